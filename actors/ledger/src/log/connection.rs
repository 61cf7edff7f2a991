//! The connection that appends. It is kept open outside of any pool: a pool asks before and after each statement
//! whether its connection lives, which takes two more round trips. One caller at a time uses it.

use std::{path::Path, time::Duration};

use sea_orm::sqlx::{
    self, ConnectOptions as _, PgConnection, SqliteConnection,
    error::{DatabaseError, ErrorKind},
    postgres::{PgConnectOptions, PgDatabaseError},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::sync::Mutex;

use crate::{
    LedgerError,
    connections::{ANSWERS_WITHIN, BUSY},
};

/// The page cache as SQLite's setting: a negative number of KiB. An append needs the last pages only.
const CACHE: &str = "-1024";

/// The page of a new log, in bytes. The last page of a row's body is half empty, and a commit writes whole pages: with
/// SQLite's usual 4,096 a row of eight requests would take a sixth more room, and its commit half as many bytes again.
pub(super) const PAGE: u32 = 2_048;

/// How long it may take to open a connection to PostgreSQL.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

/// SQLite's primary code of an error of the file system ("Result and Error Codes").
const SQLITE_IOERR: u32 = 10;

/// A value of a statement.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bound<'a> {
    Int(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// The values of many rows in one column.
pub(super) enum Array<'a> {
    Ints(Vec<i64>),
    Bytes(Vec<&'a [u8]>),
}

enum Open {
    /// SQLite's connection is never closed while the log is open: its last connection would delete the write-ahead
    /// file. A statement that is no longer awaited ends before the next one begins.
    Sqlite { options: SqliteConnectOptions, connection: SqliteConnection },
    /// PostgreSQL's connection is not used again after it failed, or when its answer was not awaited.
    Postgres { options: PgConnectOptions, connection: Option<Backend> },
}

/// A connection to PostgreSQL, and the process there that serves it.
struct Backend {
    connection: PgConnection,
    pid: i32,
}

impl Backend {
    async fn open(options: &PgConnectOptions) -> Result<Self, LedgerError> {
        let open = async {
            let mut connection = options.connect().await?;
            let pid = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await?;
            Ok(Self { connection, pid })
        };
        let opened = tokio::time::timeout(OPEN_WITHIN, open).await;
        opened.unwrap_or_else(|_| Err(lost())).map_err(|error| failed(&error))
    }
}

/// Waits for a statement as long as PostgreSQL is at work on it, however long that is. One that it has never got, or has
/// answered long ago, is lost with its connection: the way to the database may have forgotten that without a word.
async fn while_at_work<T>(
    options: &PgConnectOptions,
    pid: i32,
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let mut statement = std::pin::pin!(statement);
    loop {
        if let Ok(done) = tokio::time::timeout(ANSWERS_WITHIN, &mut statement).await {
            return done;
        }
        if !is_at_work(options, pid).await {
            tracing::warn!("the connection that appends is lost: PostgreSQL is not at work on what was sent");
            return Err(lost());
        }
    }
}

/// Whether PostgreSQL is at work for a connection, as another one sees it. Who can't look does not know.
async fn is_at_work(options: &PgConnectOptions, pid: i32) -> bool {
    let look = async {
        let mut other = options.connect().await?;
        let sql = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND state IS DISTINCT FROM 'idle')";
        sqlx::query_scalar::<_, bool>(sql).bind(pid).fetch_one(&mut other).await
    };
    !matches!(tokio::time::timeout(ANSWERS_WITHIN, look).await, Ok(Ok(false)))
}

fn lost() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}

/// A connection that is opened again when it was lost.
pub(super) struct Connection(Mutex<Open>);

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    /// Opens an existing file of SQLite.
    pub(super) async fn sqlite(file: &Path) -> Result<Self, LedgerError> {
        let options = writing(file);
        let connection = options.connect().await.map_err(|error| failed(&error))?;
        Ok(Self(Mutex::new(Open::Sqlite { options, connection })))
    }

    /// Connects to PostgreSQL.
    pub(super) async fn postgres(url: &str) -> Result<Self, LedgerError> {
        let unusable = |error: sqlx::Error| LedgerError::Unusable(error.to_string());
        let options = url.parse::<PgConnectOptions>().map_err(unusable)?.disable_statement_logging();
        // Whatever the database's own setting is: an append that was answered is durable.
        let options = options.options([("synchronous_commit", "on")]);
        let connection = Some(Backend::open(&options).await?);
        Ok(Self(Mutex::new(Open::Postgres { options, connection })))
    }

    /// Runs one statement as a transaction, and returns the number of rows it changed.
    pub(super) async fn execute(&self, sql: &'static str, values: &[Bound<'_>]) -> Result<u64, LedgerError> {
        let done = match &mut *self.0.lock().await {
            Open::Sqlite { options, connection } => {
                let done = sqlite(sql, values).execute(&mut *connection).await;
                reopen(options, connection, &done).await;
                done.map(|done| done.rows_affected())
            }
            Open::Postgres { options, connection } => {
                let mut open = take(options, connection).await?;
                let statement = postgres(sql, values).execute(&mut open.connection);
                let done = while_at_work(options, open.pid, statement).await;
                put_back(connection, open, &done);
                done.map(|done| done.rows_affected())
            }
        };
        done.map_err(|error| failed(&error))
    }

    /// The same for a statement that takes arrays, which SQLite has not.
    pub(super) async fn execute_arrays(&self, sql: &'static str, values: &[Array<'_>]) -> Result<u64, LedgerError> {
        let done = match &mut *self.0.lock().await {
            Open::Sqlite { .. } => return Err(LedgerError::NotWritten("SQLite's ledger has one shard".into())),
            Open::Postgres { options, connection } => {
                let mut open = take(options, connection).await?;
                let query = values.iter().fold(sqlx::query(sql), |query, value| match value {
                    Array::Ints(numbers) => query.bind(&numbers[..]),
                    Array::Bytes(bytes) => query.bind(&bytes[..]),
                });
                let done = while_at_work(options, open.pid, query.execute(&mut open.connection)).await;
                put_back(connection, open, &done);
                done.map(|done| done.rows_affected())
            }
        };
        done.map_err(|error| failed(&error))
    }

    /// Reads the bytes in the first column of one row.
    pub(super) async fn bytes(&self, sql: &'static str, values: &[Bound<'_>]) -> Result<Option<Vec<u8>>, LedgerError> {
        use sqlx::Row as _;
        let found = match &mut *self.0.lock().await {
            Open::Sqlite { options, connection } => {
                let found = sqlite(sql, values).fetch_optional(&mut *connection).await;
                reopen(options, connection, &found).await;
                found.and_then(|row| row.map(|row| row.try_get(0)).transpose())
            }
            Open::Postgres { options, connection } => {
                let mut open = take(options, connection).await?;
                let statement = postgres(sql, values).fetch_optional(&mut open.connection);
                let found = while_at_work(options, open.pid, statement).await;
                put_back(connection, open, &found);
                found.and_then(|row| row.map(|row| row.try_get(0)).transpose())
            }
        };
        found.map_err(|error| failed(&error))
    }
}

/// How a file of SQLite is written.
pub(super) fn writing(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(false)
        .page_size(PAGE)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY)
        .pragma("cache_size", CACHE)
        // Only the log itself checkpoints, because it notifies the watch.
        .pragma("wal_autocheckpoint", "0")
        .disable_statement_logging()
}

type SqliteQuery<'q> = sqlx::query::Query<'q, sqlx::Sqlite, <sqlx::Sqlite as sqlx::Database>::Arguments>;
type PostgresQuery<'q> = sqlx::query::Query<'q, sqlx::Postgres, <sqlx::Postgres as sqlx::Database>::Arguments>;

fn sqlite<'q>(sql: &'static str, values: &[Bound<'q>]) -> SqliteQuery<'q> {
    values.iter().fold(sqlx::query(sql), |query, value| match *value {
        Bound::Int(number) => query.bind(number),
        Bound::Text(text) => query.bind(text),
        Bound::Bytes(bytes) => query.bind(bytes),
    })
}

fn postgres<'q>(sql: &'static str, values: &[Bound<'q>]) -> PostgresQuery<'q> {
    values.iter().fold(sqlx::query(sql), |query, value| match *value {
        Bound::Int(number) => query.bind(number),
        Bound::Text(text) => query.bind(text),
        Bound::Bytes(bytes) => query.bind(bytes),
    })
}

/// Opens SQLite's connection again if its thread is gone.
async fn reopen<T>(options: &SqliteConnectOptions, open: &mut SqliteConnection, done: &Result<T, sqlx::Error>) {
    if let Err(sqlx::Error::WorkerCrashed) = done
        && let Ok(again) = options.connect().await
    {
        *open = again;
    }
}

async fn take(options: &PgConnectOptions, open: &mut Option<Backend>) -> Result<Backend, LedgerError> {
    match open.take() {
        Some(open) => Ok(open),
        None => Backend::open(options).await,
    }
}

/// Keeps a connection whose statement succeeded. After any error a new one is the safer choice.
fn put_back<T>(place: &mut Option<Backend>, open: Backend, done: &Result<T, sqlx::Error>) {
    if done.is_ok() {
        *place = Some(open);
    }
}

/// What is known of a failed statement. A row that the database refuses and a database that says that it can't write are
/// known to have written nothing; after any other error that is unknown.
fn failed(error: &sqlx::Error) -> LedgerError {
    let Some(told) = error.as_database_error() else { return LedgerError::Writer(error.to_string()) };
    match told.kind() {
        ErrorKind::CheckViolation | ErrorKind::NotNullViolation | ErrorKind::UniqueViolation => {
            LedgerError::Refused(error.to_string())
        }
        _ if wrote_nothing(told) => LedgerError::NotWritten(error.to_string()),
        _ => LedgerError::Writer(error.to_string()),
    }
}

/// Whether a database says that its state kept it from writing. SQLite undoes what failed, but what failed to be synced
/// may be found at the next start all the same. PostgreSQL undoes it, too, but a server that is shut down may have committed
/// before it says so: of its errors only those of classes 25 (only reading) and 53 (no disk or memory left) are told before
/// a commit.
fn wrote_nothing(told: &dyn DatabaseError) -> bool {
    let code = told.code().unwrap_or_default();
    if told.try_downcast_ref::<PgDatabaseError>().is_some() {
        return code.starts_with("25") || code.starts_with("53");
    }
    code.parse::<u32>().is_ok_and(|code| code & 0xff != SQLITE_IOERR)
}
