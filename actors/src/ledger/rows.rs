//! Rows to write, spelled once for both databases. SQLite's writer lives in this process, so its statements carry a few
//! rows, of a few sizes that are prepared once; for PostgreSQL a statement is a round trip, so it carries up to [`LARGEST`].

use std::borrow::Cow;

use rusqlite::{
    ToSql,
    types::{ToSqlOutput, ValueRef},
};
use sea_orm::{DbBackend, Value};
use uuid::Uuid;

/// Rows in one statement, at most: with the widest table's 18 columns far below PostgreSQL's limit of 65,535 bound values.
const LARGEST: usize = 64;

/// Rows in one statement in SQLite, at most; less than that, a power of two.
const LARGEST_STEP: usize = 16;

/// Prepared statements a connection keeps: in PostgreSQL thirteen tables of up to [`LARGEST`] rows, and the few others.
pub(super) const STATEMENTS: usize = 896;

/// `?` as the database spells it.
pub(super) fn placeholders(backend: DbBackend, sql: &str) -> String {
    if backend != DbBackend::Postgres {
        return sql.to_owned();
    }
    let mut spelled = String::with_capacity(sql.len() + 16);
    for (index, part) in sql.split('?').enumerate() {
        if index > 0 {
            spelled.push('$');
            spelled.push_str(&index.to_string());
        }
        spelled.push_str(part);
    }
    spelled
}

/// One value of a row. An absent one still has a type: PostgreSQL asks for it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell<'a> {
    Int(Option<i64>),
    Id(Option<Uuid>),
    Text(Option<Cow<'a, str>>),
    Bytes(Cow<'a, [u8]>),
}

impl From<i64> for Cell<'_> {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<Option<i64>> for Cell<'_> {
    fn from(number: Option<i64>) -> Self {
        Self::Int(number)
    }
}

impl From<u64> for Cell<'_> {
    /// Counts fit `i64`; one that does not (a provider's nonsense) is written as the largest there is.
    fn from(count: u64) -> Self {
        Self::Int(Some(i64::try_from(count).unwrap_or(i64::MAX)))
    }
}

impl From<Uuid> for Cell<'_> {
    fn from(id: Uuid) -> Self {
        Self::Id(Some(id))
    }
}

impl From<Option<Uuid>> for Cell<'_> {
    fn from(id: Option<Uuid>) -> Self {
        Self::Id(id)
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(Cow::Borrowed(text)))
    }
}

impl<'a> From<Option<&'a str>> for Cell<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Self::Text(text.map(Cow::Borrowed))
    }
}

impl From<String> for Cell<'_> {
    fn from(text: String) -> Self {
        Self::Text(Some(Cow::Owned(text)))
    }
}

impl<'a> From<&'a [u8]> for Cell<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(Cow::Borrowed(bytes))
    }
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Int(Some(number)) => ValueRef::Integer(*number),
            Self::Id(Some(id)) => ValueRef::Blob(id.as_bytes()),
            Self::Text(Some(text)) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
            Self::Int(None) | Self::Id(None) | Self::Text(None) => ValueRef::Null,
        }))
    }
}

impl From<Cell<'_>> for Value {
    fn from(cell: Cell<'_>) -> Self {
        match cell {
            Cell::Int(number) => number.into(),
            Cell::Id(id) => id.into(),
            Cell::Text(text) => text.map(Cow::into_owned).into(),
            Cell::Bytes(bytes) => bytes.into_owned().into(),
        }
    }
}

/// How a table's rows are written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Write {
    /// `before (?, ...), (?, ...) after`, in both databases.
    Insert { before: &'static str, after: &'static str },
    /// An UPDATE or DELETE, spelled for one row in SQLite; for many, what stands before and after them, in PostgreSQL.
    Change { one: &'static str, before: &'static str, after: &'static str },
}

/// Rows of one table.
pub(super) struct Rows<'a> {
    write: Write,
    columns: usize,
    cells: Vec<Cell<'a>>,
}

impl<'a> Rows<'a> {
    /// Room for about so many rows.
    pub(super) fn new(write: Write, columns: usize, rows: usize) -> Self {
        Self { write, columns, cells: Vec::with_capacity(rows * columns) }
    }

    /// Adds a row.
    pub(super) fn push<const N: usize>(&mut self, row: [Cell<'a>; N]) {
        assert_eq!(N, self.columns, "a row of {:?} has {N} columns", self.write);
        self.cells.extend(row);
    }

    /// SQLite's statements, each with its values.
    pub(super) fn steps(&self) -> impl Iterator<Item = (Cow<'static, str>, &[Cell<'a>])> {
        let mut left = self.cells.as_slice();
        std::iter::from_fn(move || {
            let waiting = left.len() / self.columns;
            let (sql, rows) = match self.write {
                _ if waiting == 0 => return None,
                Write::Insert { before, after } => {
                    let rows = LARGEST_STEP.min(1 << waiting.ilog2());
                    (format!("{before} {} {after}", many_marks(self.columns, rows)).into(), rows)
                }
                Write::Change { one, .. } => (one.into(), 1),
            };
            let (values, rest) = left.split_at(rows * self.columns);
            left = rest;
            Some((sql, values))
        })
    }

    /// PostgreSQL's statements, each with its values.
    pub(super) fn statements(self) -> impl Iterator<Item = (String, Vec<Value>)> {
        let Self { write, columns, cells } = self;
        let (Write::Insert { before, after } | Write::Change { before, after, .. }) = write;
        let mut cells = cells.into_iter();
        std::iter::from_fn(move || {
            let rows = LARGEST.min(cells.len() / columns);
            if rows == 0 {
                return None;
            }
            let sql = format!("{before} {} {after}", many_marks(columns, rows));
            let values = cells.by_ref().take(rows * columns).map(Value::from).collect();
            Some((placeholders(DbBackend::Postgres, &sql), values))
        })
    }
}

fn many_marks(columns: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(", "));
    vec![row.as_str(); rows].join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_split_where_one_statement_is_full() {
        let write = Write::Insert { before: "INSERT INTO t VALUES", after: "" };
        let mut rows = Rows::new(write, 2, 0);
        (0..132_i64).for_each(|n| rows.push([n.into(), n.into()]));
        let steps: Vec<_> = rows.steps().map(|(sql, values)| (sql, values.len() / 2)).collect();
        assert_eq!(steps.iter().map(|(_, rows)| *rows).collect::<Vec<_>>(), [[16; 8].as_slice(), &[4]].concat());
        assert_eq!(steps[8].0, "INSERT INTO t VALUES (?, ?), (?, ?), (?, ?), (?, ?) ");
        let last = rows.steps().last().map(|(_, values)| values[7].clone());
        assert_eq!(last, Some(Cell::Int(Some(131))));
        let statements: Vec<_> = rows.statements().collect();
        let counts: Vec<_> = statements.iter().map(|(_, values)| values.len() / 2).collect();
        assert_eq!(counts, [64, 64, 4]);
        assert_eq!(statements[2].0, "INSERT INTO t VALUES ($1, $2), ($3, $4), ($5, $6), ($7, $8) ");
    }

    #[test]
    fn postgres_numbers_its_placeholders() {
        assert_eq!(placeholders(DbBackend::Postgres, "a = ? AND b = ?"), "a = $1 AND b = $2");
        assert_eq!(placeholders(DbBackend::Sqlite, "a = ?"), "a = ?");
    }
}
