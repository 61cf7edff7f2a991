//! Two sets of tables, compared row by row in the order of their keys.

use std::cmp::Ordering;

use futures::TryStreamExt as _;
use sea_orm::{ConnectionTrait, Statement, StreamTrait};

use crate::{
    LedgerError,
    log::body::Field,
    tables::{self, Column, MADE, Table},
};

/// The most differences of a table that are told.
const MOST: usize = 5;

/// A table that differs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Compared {
    /// The table.
    pub table: &'static str,
    /// The number of rows that differ, or that only one of the two has.
    pub count: u64,
    /// The first of them, in words.
    pub first: Vec<String>,
}

/// Compares the tables that there are with those that were made. Returns the number of rows that were made, and the tables
/// that differ.
pub(super) async fn compare(
    there: &(impl ConnectionTrait + StreamTrait),
    made: &(impl ConnectionTrait + StreamTrait),
) -> Result<(u64, Vec<Compared>), LedgerError> {
    let (mut rows, mut differing) = (0, Vec::new());
    for table in &MADE {
        let columns = tables::columns(there, table, table.beside).await?;
        let names = |columns: &[Column]| columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
        let of_made = tables::columns(made, table, table.beside).await?;
        if names(&columns) != names(&of_made) {
            return Err(LedgerError::Unusable(format!("the table {} has other columns: migrate it first", table.name)));
        }
        let mut compared = Compared { table: table.name, count: 0, first: Vec::new() };
        rows += compare_table(there, made, table, &columns, &mut compared).await?;
        if compared.count > 0 {
            differing.push(compared);
        }
    }
    Ok((rows, differing))
}

/// The number of rows in all tables.
pub(super) async fn count(tables: &impl ConnectionTrait) -> Result<u64, LedgerError> {
    let mut rows = 0;
    for table in &MADE {
        let sql = format!("SELECT COUNT(*) FROM {}", table.name);
        let row = tables.query_one_raw(Statement::from_string(tables.get_database_backend(), sql)).await?;
        rows += row.map_or(Ok(0), |row| row.try_get_by_index::<i64>(0))?.unsigned_abs();
    }
    Ok(rows)
}

async fn compare_table(
    there: &(impl ConnectionTrait + StreamTrait),
    made: &(impl ConnectionTrait + StreamTrait),
    table: &Table,
    columns: &[Column],
    compared: &mut Compared,
) -> Result<u64, LedgerError> {
    let mut left = std::pin::pin!(tables::rows(there, table, columns, 0).await?);
    let mut right = std::pin::pin!(tables::rows(made, table, columns, 0).await?);
    let (mut one, mut other, mut count) = (left.try_next().await?, right.try_next().await?, 0);
    loop {
        let order = match (&one, &other) {
            (None, None) => return Ok(count),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => one[..table.key.len()].cmp(&other[..table.key.len()]),
        };
        match order {
            Ordering::Less => compared.note(columns, table, one.as_deref(), "is in the tables alone"),
            Ordering::Greater => compared.note(columns, table, other.as_deref(), "is missing"),
            Ordering::Equal if one != other => {
                let what = changed(columns, one.as_deref(), other.as_deref());
                compared.note(columns, table, one.as_deref(), &what);
            }
            Ordering::Equal => {}
        }
        if order != Ordering::Greater {
            one = left.try_next().await?;
        }
        if order != Ordering::Less {
            other = right.try_next().await?;
            count += 1;
        }
    }
}

impl Compared {
    fn note(&mut self, columns: &[Column], table: &Table, row: Option<&[Field]>, what: &str) {
        self.count += 1;
        if self.first.len() < MOST {
            let key = columns.iter().zip(row.unwrap_or_default()).take(table.key.len());
            let key = key.map(|(column, field)| format!("{} {}", column.name, spelled(field))).collect::<Vec<_>>();
            self.first.push(format!("{} {what}", key.join(", ")));
        }
    }
}

/// The columns that differ. Their values may be secrets, except for numbers.
fn changed(columns: &[Column], there: Option<&[Field]>, made: Option<&[Field]>) -> String {
    let pairs = there.unwrap_or_default().iter().zip(made.unwrap_or_default());
    let differing = columns.iter().zip(pairs).filter(|(_, (there, made))| there != made);
    let told = differing.map(|(column, (there, made))| match (there, made) {
        (Field::Text(_), _) | (_, Field::Text(_)) => column.name.clone(),
        _ => format!("{} {} instead of {}", column.name, spelled(there), spelled(made)),
    });
    format!("has another {}", told.collect::<Vec<_>>().join(", "))
}

fn spelled(field: &Field) -> String {
    match field {
        Field::Null => "none".to_owned(),
        Field::Int(number) => number.to_string(),
        Field::Text(text) => text.clone(),
        Field::Id(id) => id.to_string(),
        Field::Bytes(bytes) => format!("{} bytes", bytes.len()),
    }
}
