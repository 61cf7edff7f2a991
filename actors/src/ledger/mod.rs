//! The ledger's tables: the only place with SQL. The journal appends through [`append`]; everyone reads through
//! [`load`], [`query`] and [`audit`]; accounts and keys are made in [`directory`]. Two pools: one connection that writes
//! (SQLite has one writer, and the journal is the only one), and a few that read.

pub mod append;
pub mod audit;
pub mod cards;
mod checkpoint;
pub mod directory;
pub mod events;
mod frames;
pub mod history;
pub mod hooks;
pub mod idempotency;
pub mod keys;
pub mod load;
pub mod payments;
pub mod query;
pub mod rollup;
mod rows;
mod sql;
pub mod usage;
mod writer;

use std::time::Duration;

use migrations::Migrator;
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DbBackend, DbErr, Statement, Value,
    sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use sea_orm::{ConnectionTrait, QueryResult};
use sea_orm_migration::MigratorTrait;
use sql::Sql;
use writer::Writer;

/// Why the ledger could not do something.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database could not be reached, or refused.
    #[error("database: {0}")]
    Database(#[from] DbErr),
    /// SQLite's writer failed: what it was writing is there or not, as [`Ledger::was_committed`] tells.
    #[error("writing: {0}")]
    Writer(String),
    /// The database holds a rule that a row would break; nothing of its batch was written.
    #[error("refused: {0}")]
    Refused(String),
    /// A newer owner has taken over: nothing was written, and nothing ever will be by this process.
    #[error("another process has taken this ledger over")]
    Fenced,
    /// A row that can't be: someone wrote to the database behind the ledger's back.
    #[error("corrupt row: {0}")]
    Corrupt(String),
    /// Something that must be unique is there already.
    #[error("{0} is taken already")]
    Taken(&'static str),
}

/// A connection to the ledger's database.
#[derive(Debug, Clone)]
pub struct Ledger {
    write: DatabaseConnection,
    read: DatabaseConnection,
    /// Who appends, in SQLite.
    writer: Option<Writer>,
    backend: DbBackend,
    /// Rises with every owner; every commit carries it and is refused once a newer owner is there.
    epoch: i64,
}

/// What a connection may do to a file: PostgreSQL's roles say so themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Make it, and write.
    Write,
    /// Only read.
    Read,
}

/// Connections that read.
const READERS: u32 = 4;
/// PostgreSQL plans what is read for the values at hand: one plan for all would have to fit a minute and a year of an account
/// with ten records and of one with millions, and it takes whole tables.
const CUSTOM_PLANS: &[(&str, &str)] = &[("plan_cache_mode", "force_custom_plan")];
/// How long a query waits for a connection before it is an error.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

impl Ledger {
    /// Connects, brings the schema up to date, and takes the ledger over from any earlier process.
    pub async fn open(url: &str, owner: &str) -> Result<Self, LedgerError> {
        let mut ledger = Self::connect(url, Access::Write).await?;
        Migrator::up(&ledger.write, None).await?;
        ledger.epoch = ledger.take_over(owner).await?;
        if ledger.backend == DbBackend::Sqlite {
            let options =
                url.parse::<SqliteConnectOptions>().map_err(|error| LedgerError::Writer(error.to_string()))?;
            ledger.writer = Some(Writer::open(options.get_filename())?);
        }
        Ok(ledger)
    }

    /// Brings the schema up to date, and nothing more.
    pub async fn migrate(url: &str) -> Result<(), LedgerError> {
        Ok(Migrator::up(&Self::connect(url, Access::Write).await?.write, None).await?)
    }

    /// Connects to a ledger that is there, only to read it, beside an owner too (`farebox audit`): a file that is not there
    /// is an error, and is not made.
    pub async fn for_reading(url: &str) -> Result<Self, LedgerError> {
        Self::connect(url, Access::Read).await
    }

    async fn connect(url: &str, access: Access) -> Result<Self, LedgerError> {
        let write = Database::connect(options(url, access, 1, &[])).await?;
        let backend = write.get_database_backend();
        let read = Database::connect(options(url, access, READERS, CUSTOM_PLANS)).await?;
        Ok(Self { write, read, writer: None, backend, epoch: 0 })
    }

    async fn take_over(&self, owner: &str) -> Result<i64, LedgerError> {
        let sql = "INSERT INTO shard_lease (shard, owner, epoch) VALUES (0, ?, 1) \
                   ON CONFLICT (shard) DO UPDATE SET owner = excluded.owner, epoch = shard_lease.epoch + 1 RETURNING epoch";
        let row = self.write.query_one_raw(self.statement(sql, [owner.into()])).await?;
        let row = row.ok_or_else(|| LedgerError::Corrupt("no lease came back".into()))?;
        Ok(row.try_get_by_index(0)?)
    }

    /// The owner's epoch.
    pub const fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), LedgerError> {
        Ok(self.read.ping().await?)
    }

    /// A statement written with `?`, spelled for the database at hand.
    fn statement(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
        Statement::from_sql_and_values(self.backend, rows::placeholders(self.backend, sql), values)
    }

    async fn rows(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Result<Vec<QueryResult>, LedgerError> {
        Ok(self.read.query_all_raw(self.statement(sql, values)).await?)
    }

    async fn rows_of(&self, sql: Sql) -> Result<Vec<QueryResult>, LedgerError> {
        self.rows(&sql.text, sql.values).await
    }

    async fn row_of(&self, sql: Sql) -> Result<Option<QueryResult>, LedgerError> {
        self.row(&sql.text, sql.values).await
    }

    async fn row(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Option<QueryResult>, LedgerError> {
        Ok(self.read.query_one_raw(self.statement(sql, values)).await?)
    }
}

fn options(url: &str, access: Access, connections: u32, postgres: &'static [(&str, &str)]) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options.max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT).sqlx_logging(false);
    options.map_sqlx_sqlite_opts(move |sqlite| {
        let sqlite = sqlite.foreign_keys(true).busy_timeout(Duration::from_secs(5));
        match access {
            Access::Write => {
                sqlite.create_if_missing(true).journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full)
            }
            Access::Read => sqlite.create_if_missing(false).read_only(true),
        }
    });
    options.map_sqlx_postgres_opts(move |options| {
        let options = options.statement_cache_capacity(rows::STATEMENTS);
        if postgres.is_empty() { options } else { options.options(postgres.iter().copied()) }
    });
    options
}

#[cfg(test)]
pub(crate) mod tests {
    use billing::{
        Nanos, Timestamp,
        entry::{Line, LineKind, Transition},
        plan::Plan,
    };
    use uuid::Uuid;

    use super::*;
    use crate::journal::protocol::tests::transition;

    /// A new ledger in SQLite, in a folder that is gone with it.
    pub(crate) async fn new_ledger() -> (Ledger, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/ledger.db", folder.path().display());
        (Ledger::open(&url, "tests").await.unwrap(), folder)
    }

    async fn with_account() -> (Ledger, tempfile::TempDir) {
        let (ledger, folder) = new_ledger().await;
        let account = transition(1, 1).account_id;
        ledger.create_account(account, "one@example.com", Plan::Free, Timestamp(0)).await.unwrap();
        (ledger, folder)
    }

    #[tokio::test]
    async fn a_batch_that_was_not_committed_when_asked_never_is() {
        let (ledger, _folder) = with_account().await;
        let now = Timestamp(1);
        let batch = [transition(1, 1)];
        let (there, late) = (Uuid::now_v7(), Uuid::now_v7());
        ledger.append(there, &batch, now).await.unwrap();
        assert!(ledger.was_committed(there, now).await.unwrap());
        assert!(!ledger.was_committed(late, now).await.unwrap());
        let refused = ledger.append(late, &batch, now).await;
        assert!(matches!(refused, Err(LedgerError::Refused(_))), "{refused:?}");
    }

    #[tokio::test]
    async fn a_batch_that_can_t_be_written_leaves_nothing() {
        let (ledger, _folder) = with_account().await;
        let now = Timestamp(1);
        let line = |funded| Line { grant_id: None, funded: Nanos::new(funded), ..Line::new(LineKind::DebtRepaid) };
        let with_line = |account, seq, funded| Transition { lines: vec![line(funded)], ..transition(account, seq) };
        let refused = [
            ("an account that is not there", [with_line(1, 1, 0), with_line(2, 1, 0)]),
            ("a row that is there already", [with_line(1, 1, 0), with_line(1, 1, 0)]),
            ("money that comes from nowhere", [with_line(1, 1, 0), with_line(1, 2, 5)]),
        ];
        for (why, batch) in refused {
            let outcome = ledger.append(Uuid::now_v7(), &batch, now).await;
            assert!(matches!(outcome, Err(LedgerError::Refused(_))), "{why}: {outcome:?}");
            let seq = ledger.row("SELECT seq FROM account", []).await.unwrap().unwrap();
            assert_eq!(seq.try_get_by_index::<i64>(0).unwrap(), 0, "{why}");
        }
        ledger.append(Uuid::now_v7(), &[with_line(1, 1, 0)], now).await.unwrap();
    }
}
