//! Rows to write, in one form for both databases. A statement is a message to another thread or another process, and an
//! answer, so it carries many rows.

use std::borrow::Cow;

use sea_orm::{DbBackend, Statement, Value};
use uuid::Uuid;

/// The most rows of one statement in PostgreSQL, where it is a round trip. With the widest table's 21 columns it stays
/// far below the limit of 65,535 bound values.
const LARGEST: usize = 64;

/// The most rows of one statement in SQLite, where it is a message to another thread. Larger ones gain nothing.
const LARGEST_IN_SQLITE: usize = 32;

/// The number of prepared statements of a connection to PostgreSQL: twenty tables of up to [`LARGEST`] rows, and a few
/// others.
pub(super) const STATEMENTS: usize = 1_344;

/// The number of prepared statements of a connection to SQLite: twenty tables of six sizes, and others.
pub(super) const STATEMENTS_IN_SQLITE: usize = 256;

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

impl From<Option<String>> for Cell<'_> {
    fn from(text: Option<String>) -> Self {
        Self::Text(text.map(Cow::Owned))
    }
}

impl<'a> From<&'a [u8]> for Cell<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(Cow::Borrowed(bytes))
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

/// How a table's rows are written: the text before and after them in a statement for many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write {
    before: &'static str,
    after: &'static str,
}

impl Write {
    /// `before (?, ...), (?, ...) after`, in both databases.
    pub(super) const fn new(before: &'static str, after: &'static str) -> Self {
        Self { before, after }
    }
}

/// Rows of one table.
pub(super) struct Rows<'a> {
    write: Write,
    columns: usize,
    cells: Vec<Cell<'a>>,
}

impl<'a> Rows<'a> {
    /// A list with room for about this many rows.
    pub(super) fn new(write: Write, columns: usize, rows: usize) -> Self {
        Self { write, columns, cells: Vec::with_capacity(rows * columns) }
    }

    /// Adds a row.
    pub(super) fn push<const N: usize>(&mut self, row: [Cell<'a>; N]) {
        assert_eq!(N, self.columns, "a row of {:?} has {N} columns", self.write);
        self.cells.extend(row);
    }

    /// The number of rows.
    pub(super) const fn len(&self) -> usize {
        self.cells.len() / self.columns
    }

    /// The statements that write the rows, in order.
    pub(super) fn statements(self, backend: DbBackend) -> impl Iterator<Item = Statement> {
        let Self { write: Write { before, after }, columns, cells } = self;
        let mut cells = cells.into_iter();
        std::iter::from_fn(move || {
            let rows = step(backend, cells.len() / columns)?;
            let sql = format!("{before} {} {after}", many_marks(columns, rows));
            let values: Vec<Value> = cells.by_ref().take(rows * columns).map(Value::from).collect();
            Some(Statement::from_sql_and_values(backend, placeholders(backend, &sql), values))
        })
    }
}

/// The number of rows in the next statement, of so many that are left. SQLite prepares a statement in little time but
/// keeps few, so that sizes are powers of two. In PostgreSQL one statement of any size is better than several.
fn step(backend: DbBackend, left: usize) -> Option<usize> {
    match backend {
        DbBackend::Postgres => (left > 0).then_some(left.min(LARGEST)),
        _ => left.min(LARGEST_IN_SQLITE).checked_ilog2().map(|power| 1 << power),
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
        const WRITE: Write = Write::new("INSERT INTO t VALUES", "");
        let statements = |backend, rows: i64| {
            let mut written = Rows::new(WRITE, 2, 0);
            (0..rows).for_each(|n| written.push([n.into(), n.into()]));
            written.statements(backend).collect::<Vec<_>>()
        };
        let sizes = |statements: &[Statement]| -> Vec<_> {
            statements.iter().map(|statement| statement.values.as_ref().unwrap().0.len() / 2).collect()
        };
        let most = i64::try_from(2 * LARGEST).unwrap();
        let sqlite = statements(DbBackend::Sqlite, most + 7);
        assert_eq!(sizes(&sqlite), [32, 32, 32, 32, 4, 2, 1]);
        assert_eq!(sqlite[5].sql, "INSERT INTO t VALUES (?, ?), (?, ?) ");
        let last = &sqlite[6].values.as_ref().unwrap().0;
        assert_eq!(last[..], [Value::from(most + 6), Value::from(most + 6)]);
        let postgres = statements(DbBackend::Postgres, most + 3);
        assert_eq!(sizes(&postgres), [LARGEST, LARGEST, 3]);
        assert_eq!(postgres[2].sql, "INSERT INTO t VALUES ($1, $2), ($3, $4), ($5, $6) ");
    }

    #[test]
    fn postgres_numbers_its_placeholders() {
        assert_eq!(placeholders(DbBackend::Postgres, "a = ? AND b = ?"), "a = $1 AND b = $2");
        assert_eq!(placeholders(DbBackend::Sqlite, "a = ?"), "a = ?");
    }
}
