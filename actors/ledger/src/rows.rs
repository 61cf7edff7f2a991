//! Rows to write, in one form for both databases. SQLite's writer lives in this process, so its statements carry a few
//! rows, in a few sizes that are prepared once. For PostgreSQL a statement is a round trip, so it carries up to
//! [`LARGEST`] rows.

use std::{borrow::Cow, sync::OnceLock};

use rusqlite::{
    ToSql,
    types::{ToSqlOutput, ValueRef},
};
use sea_orm::{DbBackend, Value};
use uuid::Uuid;

/// The most rows of one statement. With the widest table's 18 columns it stays far below PostgreSQL's limit of 65,535
/// bound values.
const LARGEST: usize = 64;

/// The most rows of one statement in SQLite. Smaller statements have a power of two.
const LARGEST_STEP: usize = 16;

/// The number of prepared statements of a connection: in PostgreSQL seventeen tables of up to [`LARGEST`] rows, and a
/// few others.
pub(super) const STATEMENTS: usize = 1_152;

/// Replaces `?` by the database's placeholders.
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

/// One value of a row. A NULL has a type too, which PostgreSQL needs.
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
    /// A count that exceeds `i64` (a provider's nonsense) is written as the largest number.
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
#[derive(Debug)]
pub(super) struct Write {
    /// The text before and after the rows in a statement for many.
    before: &'static str,
    after: &'static str,
    sqlite: InSqlite,
}

#[derive(Debug)]
enum InSqlite {
    /// Statements for 1, 2, 4, ... rows, made on first use.
    Inserts([OnceLock<String>; LARGEST_STEP.ilog2() as usize + 1]),
    /// Statements for one row.
    Each(&'static [&'static str]),
}

impl Write {
    /// `before (?, ...), (?, ...) after`, in both databases.
    pub(super) const fn insert(before: &'static str, after: &'static str) -> Self {
        Self { before, after, sqlite: InSqlite::Inserts([const { OnceLock::new() }; _]) }
    }

    /// UPDATEs or a DELETE: in SQLite written for one row; in PostgreSQL for many, with the text before and after them.
    pub(super) const fn change(each: &'static [&'static str], before: &'static str, after: &'static str) -> Self {
        Self { before, after, sqlite: InSqlite::Each(each) }
    }
}

/// Rows of one table.
pub(super) struct Rows<'a> {
    write: &'static Write,
    columns: usize,
    cells: Vec<Cell<'a>>,
}

impl<'a> Rows<'a> {
    /// A list with room for about this many rows.
    pub(super) fn new(write: &'static Write, columns: usize, rows: usize) -> Self {
        Self { write, columns, cells: Vec::with_capacity(rows * columns) }
    }

    /// Adds a row.
    pub(super) fn push<const N: usize>(&mut self, row: [Cell<'a>; N]) {
        assert_eq!(N, self.columns, "a row of {:?} has {N} columns", self.write);
        self.cells.extend(row);
    }

    /// The statements for SQLite, each with its values.
    pub(super) fn steps(&self) -> impl Iterator<Item = (&'static str, &[Cell<'a>])> {
        let Write { before, after, sqlite } = self.write;
        let (inserts, each): (&[_], &[_]) = match sqlite {
            InSqlite::Inserts(inserts) => (inserts, &[]),
            InSqlite::Each(each) => (&[], each),
        };
        let mut left = self.cells.as_slice();
        let many = std::iter::from_fn(move || {
            let size = (left.len() / self.columns).min(LARGEST_STEP).checked_ilog2()?;
            let sql = inserts.get(size as usize)?;
            let sql = sql.get_or_init(|| {
                // A failing statement ends its batch, so the savepoint that could undo it alone is left out.
                let before = before.replacen("INSERT INTO", "INSERT OR FAIL INTO", 1);
                format!("{before} {} {after}", many_marks(self.columns, 1 << size))
            });
            let (values, rest) = left.split_at(self.columns << size);
            left = rest;
            Some((sql.as_str(), values))
        });
        many.chain(each.iter().flat_map(|sql| self.cells.chunks_exact(self.columns).map(|row| (*sql, row))))
    }

    /// The statements for PostgreSQL, each with its values.
    pub(super) fn statements(self) -> impl Iterator<Item = (String, Vec<Value>)> {
        let Self { write: Write { before, after, .. }, columns, cells } = self;
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
        static WRITE: Write = Write::insert("INSERT INTO t VALUES", "");
        let mut rows = Rows::new(&WRITE, 2, 0);
        (0..132_i64).for_each(|n| rows.push([n.into(), n.into()]));
        let steps: Vec<_> = rows.steps().map(|(sql, values)| (sql, values.len() / 2)).collect();
        assert_eq!(steps.iter().map(|(_, rows)| *rows).collect::<Vec<_>>(), [[16; 8].as_slice(), &[4]].concat());
        assert_eq!(steps[8].0, "INSERT OR FAIL INTO t VALUES (?, ?), (?, ?), (?, ?), (?, ?) ");
        let last = rows.steps().last().map(|(_, values)| values[7].clone());
        assert_eq!(last, Some(Cell::Int(Some(131))));
        let statements: Vec<_> = rows.statements().collect();
        let counts: Vec<_> = statements.iter().map(|(_, values)| values.len() / 2).collect();
        assert_eq!(counts, [64, 64, 4]);
        assert_eq!(statements[2].0, "INSERT INTO t VALUES ($1, $2), ($3, $4), ($5, $6), ($7, $8) ");
    }

    #[test]
    fn each_row_is_changed_by_each_statement() {
        static WRITE: Write = Write::change(&["UPDATE a ?1, ?2", "UPDATE b ?2"], "UPDATE (VALUES", ") AS v");
        let mut rows = Rows::new(&WRITE, 2, 2);
        (0..2_i64).for_each(|n| rows.push([n.into(), 7_i64.into()]));
        let steps: Vec<_> = rows.steps().map(|(sql, values)| (sql, values[0].clone())).collect();
        let (first, second) = (Cell::from(0_i64), Cell::from(1_i64));
        let changes = [
            ("UPDATE a ?1, ?2", &first),
            ("UPDATE a ?1, ?2", &second),
            ("UPDATE b ?2", &first),
            ("UPDATE b ?2", &second),
        ];
        assert_eq!(steps, changes.map(|(sql, cell)| (sql, cell.clone())));
        let statements: Vec<_> = rows.statements().map(|(sql, values)| (sql, values.len())).collect();
        assert_eq!(statements, [("UPDATE (VALUES ($1, $2), ($3, $4) ) AS v".to_owned(), 4)]);
    }

    #[test]
    fn postgres_numbers_its_placeholders() {
        assert_eq!(placeholders(DbBackend::Postgres, "a = ? AND b = ?"), "a = $1 AND b = $2");
        assert_eq!(placeholders(DbBackend::Sqlite, "a = ?"), "a = ?");
    }
}
