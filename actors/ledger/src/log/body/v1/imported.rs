//! Stored rows from before there was a log.

use uuid::Uuid;

use super::{
    super::{Field as Value, Imported as Rows},
    BadBody, each, malformed,
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Imported {
    #[prost(string, tag = "1")]
    table: String,
    #[prost(string, repeated, tag = "2")]
    columns: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    rows: Vec<Row>,
    #[prost(bool, tag = "4")]
    is_last: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Row {
    #[prost(message, repeated, tag = "1")]
    fields: Vec<Field>,
}

/// Without a value: NULL.
#[derive(Clone, PartialEq, prost::Message)]
struct Field {
    #[prost(oneof = "Is", tags = "1, 2, 3, 4")]
    is: Option<Is>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Is {
    #[prost(sint64, tag = "1")]
    Int(i64),
    #[prost(string, tag = "2")]
    Text(String),
    #[prost(bytes, tag = "3")]
    Id(Vec<u8>),
    #[prost(bytes, tag = "4")]
    Bytes(Vec<u8>),
}

impl Imported {
    pub(super) fn write(rows: &Rows) -> Self {
        let Rows { table, columns, rows, is_last } = rows;
        let row = |fields: &Vec<Value>| Row { fields: fields.iter().map(Field::write).collect() };
        Self { table: table.clone(), columns: columns.clone(), rows: rows.iter().map(row).collect(), is_last: *is_last }
    }

    pub(super) fn read(self) -> Result<Rows, BadBody> {
        let Self { table, columns, rows, is_last } = self;
        if rows.iter().any(|row| row.fields.len() != columns.len()) {
            return Err(malformed("imported.rows"));
        }
        Ok(Rows { table, columns, rows: each(rows, |row| each(row.fields, Field::read))?, is_last })
    }
}

impl Field {
    fn write(value: &Value) -> Self {
        Self {
            is: match value {
                Value::Null => None,
                Value::Int(number) => Some(Is::Int(*number)),
                Value::Text(text) => Some(Is::Text(text.clone())),
                Value::Id(id) => Some(Is::Id(id.as_bytes().to_vec())),
                Value::Bytes(bytes) => Some(Is::Bytes(bytes.clone())),
            },
        }
    }

    fn read(self) -> Result<Value, BadBody> {
        Ok(match self.is {
            None => Value::Null,
            Some(Is::Int(number)) => Value::Int(number),
            Some(Is::Text(text)) => Value::Text(text),
            Some(Is::Bytes(bytes)) => Value::Bytes(bytes),
            Some(Is::Id(bytes)) => Value::Id(Uuid::from_slice(&bytes).map_err(|_| malformed("imported.id"))?),
        })
    }
}
