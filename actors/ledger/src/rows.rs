//! Rows to write, in one form for both databases. A statement is a message to another thread or another process, and an
//! answer, so it carries many rows. Its text is made once and kept. Values go straight to the database's client.

use std::{borrow::Cow, sync::OnceLock};

use sea_orm::{
    DbBackend,
    sqlx::{self, Arguments as _, postgres::PgArguments, sqlite::SqliteArguments},
};
use uuid::Uuid;

/// The most rows of one statement in PostgreSQL. Each column is one bound list, so there is no other limit.
const LARGEST: usize = 2_048;

/// The most rows of one statement in SQLite. With the widest table's 22 columns it stays far below the limit of 32,766
/// bound values. Larger ones gain nothing.
const LARGEST_IN_SQLITE: usize = 1 << (SIZES - 1);

/// The numbers of rows that statements in SQLite have, as powers of two.
const SIZES: usize = 6;

/// The number of prepared statements of a connection: those of twenty tables, in SQLite of each size, and others.
pub(super) const STATEMENTS: usize = 256;

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

impl From<Option<u64>> for Cell<'_> {
    fn from(count: Option<u64>) -> Self {
        count.map_or(Self::Int(None), Self::from)
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
        Self::from(Some(text))
    }
}

impl<'a> From<Option<&'a str>> for Cell<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Self::Text(text.map(|text| storable(text).map_or(Cow::Borrowed(text), Cow::Owned)))
    }
}

impl From<String> for Cell<'_> {
    fn from(text: String) -> Self {
        Self::from(Some(text))
    }
}

impl From<Option<String>> for Cell<'_> {
    fn from(text: Option<String>) -> Self {
        Self::Text(text.map(|text| Cow::Owned(storable(&text).unwrap_or(text))))
    }
}

/// A text as tables can hold it, where it is another one: PostgreSQL's texts have no NUL, so it stands as U+FFFD in each table. A row
/// that could not be written would stop its account, and a log that has it can't lose it.
pub(super) fn storable(text: &str) -> Option<String> {
    text.contains('\0').then(|| text.replace('\0', "\u{fffd}"))
}

impl<'a> From<&'a [u8]> for Cell<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(Cow::Borrowed(bytes))
    }
}

impl Cell<'_> {
    const fn type_in_postgres(&self) -> &'static str {
        match self {
            Self::Int(_) => "bigint",
            Self::Id(_) => "uuid",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytea",
        }
    }

    fn int(&self) -> Result<Option<i64>, sqlx::Error> {
        match self {
            Self::Int(number) => Ok(*number),
            Self::Id(_) | Self::Text(_) | Self::Bytes(_) => Err(self.misplaced("numbers")),
        }
    }

    fn id(&self) -> Result<Option<Uuid>, sqlx::Error> {
        match self {
            Self::Id(id) => Ok(*id),
            Self::Int(_) | Self::Text(_) | Self::Bytes(_) => Err(self.misplaced("ids")),
        }
    }

    fn text(&self) -> Result<Option<&str>, sqlx::Error> {
        match self {
            Self::Text(text) => Ok(text.as_deref()),
            Self::Int(_) | Self::Id(_) | Self::Bytes(_) => Err(self.misplaced("texts")),
        }
    }

    fn bytes(&self) -> Result<&[u8], sqlx::Error> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Int(_) | Self::Id(_) | Self::Text(_) => Err(self.misplaced("bytes")),
        }
    }

    fn misplaced(&self, column: &str) -> sqlx::Error {
        sqlx::Error::Encode(format!("{self:?} in a column of {column}").into())
    }
}

/// How a table's rows are written: the text before and after them in a statement for many.
#[derive(Debug)]
pub(super) struct Write {
    before: &'static str,
    after: &'static str,
    /// The statements in SQLite, by their sizes.
    in_sqlite: [OnceLock<String>; SIZES],
    in_postgres: OnceLock<String>,
}

impl Write {
    /// `before VALUES (?, ...), (?, ...) after`, or `before SELECT * FROM UNNEST($1, ...) after`.
    pub(super) const fn new(before: &'static str, after: &'static str) -> Self {
        Self { before, after, in_sqlite: [const { OnceLock::new() }; SIZES], in_postgres: OnceLock::new() }
    }

    /// The statement for `1 << power` rows.
    fn for_sqlite(&'static self, power: usize, columns: usize) -> &'static str {
        self.in_sqlite[power].get_or_init(|| {
            let row = format!("({})", vec!["?"; columns].join(", "));
            // What fails is undone with its transaction or its part of one, so SQLite need not be able to undo the statement
            // alone, for which it would copy each page first.
            let before = self.before.replacen("INSERT INTO", "INSERT OR FAIL INTO", 1);
            format!("{before} VALUES {} {}", vec![row; 1 << power].join(", "), self.after)
        })
    }

    /// The statement for rows like this one.
    fn for_postgres(&'static self, row: &[Cell<'_>]) -> &'static str {
        self.in_postgres.get_or_init(|| {
            let lists = row.iter().enumerate().map(|(at, cell)| format!("${}::{}[]", at + 1, cell.type_in_postgres()));
            let lists = lists.collect::<Vec<_>>().join(", ");
            format!("{} SELECT * FROM UNNEST({lists}) {}", self.before, self.after)
        })
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
        assert_eq!(N, self.columns, "a row of {} has {N} columns", self.write.before);
        self.cells.extend(row);
    }

    /// Adds a row of as many cells as there are columns.
    pub(super) fn push_all(&mut self, row: impl IntoIterator<Item = Cell<'a>>) {
        let before = self.cells.len();
        self.cells.extend(row);
        let added = self.cells.len() - before;
        assert_eq!(added, self.columns, "a row of {} has {added} columns", self.write.before);
    }

    /// The number of rows.
    pub(super) const fn len(&self) -> usize {
        self.cells.len() / self.columns
    }

    /// The statements that write the rows to SQLite, in order. SQLite prepares a statement in little time but keeps few,
    /// so that their sizes are powers of two.
    pub(super) fn for_sqlite(self) -> impl Iterator<Item = Result<(&'static str, SqliteArguments), sqlx::Error>> {
        let Self { write, columns, cells } = self;
        let mut cells = cells.into_iter();
        std::iter::from_fn(move || {
            let rows = cells.len() / columns;
            let power = rows.min(LARGEST_IN_SQLITE).checked_ilog2()? as usize;
            let values = sqlite_values(cells.by_ref().take(columns << power));
            Some(values.map(|values| (write.for_sqlite(power, columns), values)))
        })
    }

    /// The statements that write the rows to PostgreSQL, in order. They differ in the lengths of their lists alone.
    pub(super) fn for_postgres(&self) -> impl Iterator<Item = Result<(&'static str, PgArguments), sqlx::Error>> {
        let Self { write, columns, cells } = self;
        cells.chunks(LARGEST * columns).map(|cells| {
            let sql = write.for_postgres(&cells[..*columns]);
            Ok((sql, lists(cells, *columns)?))
        })
    }
}

/// Values in their order, for SQLite.
pub(super) fn sqlite_values<'a>(
    cells: impl ExactSizeIterator<Item = Cell<'a>>,
) -> Result<SqliteArguments, sqlx::Error> {
    let mut values = SqliteArguments::default();
    values.reserve(cells.len(), 0);
    for cell in cells {
        match cell {
            Cell::Int(number) => values.add(number),
            Cell::Id(id) => values.add(id),
            Cell::Text(text) => values.add(text),
            Cell::Bytes(bytes) => values.add(bytes),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(values)
}

/// Values in their order, for PostgreSQL.
pub(super) fn postgres_values<'a>(cells: impl IntoIterator<Item = Cell<'a>>) -> Result<PgArguments, sqlx::Error> {
    let mut values = PgArguments::default();
    for cell in cells {
        match cell {
            Cell::Int(number) => values.add(number),
            Cell::Id(id) => values.add(id),
            Cell::Text(text) => values.add(text),
            Cell::Bytes(bytes) => values.add(bytes),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(values)
}

/// The values of rows as one list a column.
fn lists(cells: &[Cell<'_>], columns: usize) -> Result<PgArguments, sqlx::Error> {
    let mut lists = PgArguments::default();
    for (at, first) in cells.iter().take(columns).enumerate() {
        let column = cells[at..].iter().step_by(columns);
        match first {
            Cell::Int(_) => lists.add(column.map(Cell::int).collect::<Result<Vec<_>, _>>()?),
            Cell::Id(_) => lists.add(column.map(Cell::id).collect::<Result<Vec<_>, _>>()?),
            Cell::Text(_) => lists.add(column.map(Cell::text).collect::<Result<Vec<_>, _>>()?),
            Cell::Bytes(_) => lists.add(column.map(Cell::bytes).collect::<Result<Vec<_>, _>>()?),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(lists)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers<'a>(rows: i64) -> Rows<'a> {
        static WRITE: Write = Write::new("INSERT INTO t", "");
        let mut written = Rows::new(&WRITE, 2, 0);
        (0..rows).for_each(|n| written.push([n.into(), Cell::Text(None)]));
        written
    }

    #[test]
    fn rows_are_split_where_one_statement_is_full() {
        let sqlite: Vec<_> = numbers(135).for_sqlite().map(Result::unwrap).collect();
        assert_eq!(sqlite.iter().map(|(_, values)| values.len() / 2).collect::<Vec<_>>(), [32, 32, 32, 32, 4, 2, 1]);
        assert_eq!(sqlite[5].0, "INSERT OR FAIL INTO t VALUES (?, ?), (?, ?) ");
        let written = numbers(i64::try_from(2 * LARGEST + 3).unwrap());
        let postgres: Vec<_> = written.for_postgres().map(Result::unwrap).collect();
        assert_eq!(postgres.iter().map(|(_, lists)| lists.len()).collect::<Vec<_>>(), [2, 2, 2]);
        assert_eq!(postgres[2].0, "INSERT INTO t SELECT * FROM UNNEST($1::bigint[], $2::text[]) ");
    }

    #[test]
    fn a_value_of_another_type_than_its_column_is_not_written() {
        static WRITE: Write = Write::new("INSERT INTO t", "");
        let mut written = Rows::new(&WRITE, 1, 0);
        written.push([1_i64.into()]);
        written.push(["1".into()]);
        assert!(written.for_postgres().next().unwrap().is_err());
    }

    #[test]
    fn postgres_numbers_its_placeholders() {
        assert_eq!(placeholders(DbBackend::Postgres, "a = ? AND b = ?"), "a = $1 AND b = $2");
        assert_eq!(placeholders(DbBackend::Sqlite, "a = ?"), "a = ?");
    }
}
