//! Multi-row statements: up to [`LARGEST`] rows in one, since each statement is a round trip to the database's thread or
//! process. A connection's cache of prepared statements ([`STATEMENTS`]) holds every text there is.

use sea_orm::{DbBackend, Value};

/// Rows in one statement, at most: with the widest table's 18 columns far below both databases' limits on bound values
/// (32,766 and 65,535).
const LARGEST: usize = 64;

/// Prepared statements a writing connection keeps: seven tables of up to [`LARGEST`] rows, and the few others.
pub(super) const STATEMENTS: usize = 512;

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

/// A statement's text around its rows, and the rows.
pub(super) struct Rows {
    before: &'static str,
    after: &'static str,
    columns: usize,
    values: Vec<Value>,
}

impl Rows {
    /// `before (?, ...), (?, ...) after`.
    pub(super) const fn new(before: &'static str, columns: usize, after: &'static str) -> Self {
        Self { before, after, columns, values: Vec::new() }
    }

    /// Adds a row.
    pub(super) fn push<const N: usize>(&mut self, row: [Value; N]) {
        assert_eq!(N, self.columns, "a row of {} has {N} columns", self.before);
        self.values.extend(row);
    }

    /// The statements, each with its values, and how many rows it has.
    pub(super) fn statements(self, backend: DbBackend) -> impl Iterator<Item = (String, Vec<Value>)> {
        let Self { before, after, columns, values } = self;
        let mut values = values.into_iter();
        std::iter::from_fn(move || {
            let left = values.len() / columns;
            if left == 0 {
                return None;
            }
            let rows = LARGEST.min(left);
            let row = format!("({})", vec!["?"; columns].join(", "));
            let sql = format!("{before} {} {after}", vec![row.as_str(); rows].join(", "));
            Some((placeholders(backend, &sql), values.by_ref().take(rows * columns).collect()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_split_where_one_statement_is_full() {
        let mut rows = Rows::new("INSERT INTO t VALUES", 2, "");
        (0..132_i64).for_each(|n| rows.push([n.into(), n.into()]));
        let statements: Vec<_> = rows.statements(DbBackend::Sqlite).collect();
        let counts: Vec<_> = statements.iter().map(|(_, values)| values.len() / 2).collect();
        assert_eq!(counts, [64, 64, 4]);
        assert_eq!(statements[2].0, "INSERT INTO t VALUES (?, ?), (?, ?), (?, ?), (?, ?) ");
    }

    #[test]
    fn postgres_numbers_its_placeholders() {
        assert_eq!(placeholders(DbBackend::Postgres, "a = ? AND b = ?"), "a = $1 AND b = $2");
    }
}
