//! The transaction that makes the tables. It goes straight to the database's client: a busy ledger binds a hundred thousand
//! values a second, and each layer between copies them.

use sea_orm::{
    DatabaseConnection, DbBackend, DbErr, RuntimeErr,
    sqlx::{self, AssertSqlSafe, FromRow, Postgres, Sqlite, postgres::PgRow, sqlite::SqliteRow},
};

use super::{
    LedgerError,
    rows::{Cell, Rows, placeholders, postgres_values, sqlite_values},
};

/// A transaction on the connection that writes. Dropped without a commit, it changes nothing.
pub(super) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Transaction {
    pub(super) async fn begin(connections: &DatabaseConnection) -> Result<Self, DbErr> {
        let begun = match connections.get_database_backend() {
            DbBackend::Postgres => connections.get_postgres_connection_pool().begin().await.map(Self::Postgres),
            _ => connections.get_sqlite_connection_pool().begin().await.map(Self::Sqlite),
        };
        begun.map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(error.into())))
    }

    const fn backend(&self) -> DbBackend {
        match self {
            Self::Sqlite(_) => DbBackend::Sqlite,
            Self::Postgres(_) => DbBackend::Postgres,
        }
    }

    /// Runs one statement, and returns the number of rows changed.
    pub(super) async fn execute<'a, V>(&mut self, sql: &str, values: V) -> Result<u64, LedgerError>
    where
        V: IntoIterator<Item = Cell<'a>, IntoIter: ExactSizeIterator>,
    {
        let sql = AssertSqlSafe(placeholders(self.backend(), sql));
        let values = values.into_iter();
        let done = match self {
            Self::Sqlite(tx) => {
                let values = sqlite_values(values).map_err(|error| unwritten(&error))?;
                sqlx::query_with(sql, values).execute(&mut **tx).await.map(|done| done.rows_affected())
            }
            Self::Postgres(tx) => {
                let values = postgres_values(values).map_err(|error| unwritten(&error))?;
                sqlx::query_with(sql, values).execute(&mut **tx).await.map(|done| done.rows_affected())
            }
        };
        done.map_err(|error| failed(&error))
    }

    /// Writes rows of one table, and returns the number of rows changed.
    pub(super) async fn write(&mut self, rows: Rows<'_>) -> Result<u64, LedgerError> {
        let mut changed = 0;
        match self {
            Self::Sqlite(tx) => {
                for statement in rows.for_sqlite() {
                    let (sql, values) = statement.map_err(|error| unwritten(&error))?;
                    let done = sqlx::query_with(sql, values).execute(&mut **tx).await;
                    changed += done.map_err(|error| failed(&error))?.rows_affected();
                }
            }
            Self::Postgres(tx) => {
                for statement in rows.for_postgres() {
                    let (sql, values) = statement.map_err(|error| unwritten(&error))?;
                    let done = sqlx::query_with(sql, values).execute(&mut **tx).await;
                    changed += done.map_err(|error| failed(&error))?.rows_affected();
                }
            }
        }
        Ok(changed)
    }

    /// The rows of a query with one number.
    pub(super) async fn rows<T>(&mut self, sql: &str, number: i64) -> Result<Vec<T>, LedgerError>
    where
        T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let sql = AssertSqlSafe(placeholders(self.backend(), sql));
        let found = match self {
            Self::Sqlite(tx) => sqlx::query_as(sql).bind(number).fetch_all(&mut **tx).await,
            Self::Postgres(tx) => sqlx::query_as(sql).bind(number).fetch_all(&mut **tx).await,
        };
        found.map_err(|error| failed(&error))
    }

    /// Begins a part that can be undone by itself. Parts do not nest.
    pub(super) async fn begin_part(&mut self) -> Result<(), LedgerError> {
        self.execute("SAVEPOINT part", []).await.map(drop)
    }

    /// Keeps what was done since the part began.
    pub(super) async fn keep_part(&mut self) -> Result<(), LedgerError> {
        self.execute("RELEASE SAVEPOINT part", []).await.map(drop)
    }

    /// Undoes what was done since the part began.
    pub(super) async fn undo_part(&mut self) -> Result<(), LedgerError> {
        self.execute("ROLLBACK TO SAVEPOINT part", []).await?;
        self.keep_part().await
    }

    pub(super) async fn commit(self) -> Result<(), LedgerError> {
        let done = match self {
            Self::Sqlite(tx) => tx.commit().await,
            Self::Postgres(tx) => tx.commit().await,
        };
        done.map_err(|error| LedgerError::Writer(error.to_string()))
    }
}

/// Values that can't be sent.
fn unwritten(error: &sqlx::Error) -> LedgerError {
    LedgerError::Refused(error.to_string())
}

/// Recognises a row that the database refuses: by a constraint, by a trigger of ours, or because it can't hold a value.
/// The same row is refused again, unlike after a failed connection.
fn failed(error: &sqlx::Error) -> LedgerError {
    use sqlx::postgres::PgDatabaseError;
    let Some(told) = error.as_database_error() else { return LedgerError::Writer(error.to_string()) };
    let code = told.code().unwrap_or_default();
    let is_refused = if told.try_downcast_ref::<PgDatabaseError>().is_some() {
        // Classes of SQLSTATE: impossible values, constraints, values that are too large; and what our triggers raise.
        ["22", "23", "54", "P0001"].iter().any(|class| code.starts_with(class))
    } else {
        // The lowest byte of SQLite's codes: too large, constraint, mismatch.
        code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 18..=20))
    };
    if is_refused { LedgerError::Refused(error.to_string()) } else { LedgerError::Writer(error.to_string()) }
}
