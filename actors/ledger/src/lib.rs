//! The ledger: the only place with SQL. Its [`log`] is the truth, and its tables are made from it by [`project`]. Reads go
//! through [`load`], [`query`] and [`audit`]. [`Ledger::open`] opens the ledger for one process at a time.

// Callers of this crate learn from its rustdoc when a function fails; crates whose rustdoc lacks that do not warn yet.
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub mod accounts;
pub mod archive;
pub mod attempts;
pub mod audit;
pub mod backup;
pub mod cards;
mod catch_up;
mod checkpoint;
pub mod claims;
mod error;
pub mod events;
pub mod history;
pub mod idempotency;
mod import;
pub mod kept;
pub mod keys;
pub mod load;
pub mod log;
pub mod log_rows;
pub mod lookup;
mod open;
mod owner;
pub mod payments;
mod place;
mod pool;
pub mod prices;
mod progress;
pub mod project;
pub mod query;
pub mod rebuild;
mod recent;
pub mod resources;
pub mod reversals;
pub mod rollup;
mod rows;
mod sql;
pub mod standing;
mod tables;
mod transaction;
pub mod usage;
mod watch;
pub mod webhooks;

use std::sync::{Arc, Mutex, PoisonError};

use billing::Timestamp;
use sea_orm::{AccessMode, DatabaseTransaction, DbBackend, IsolationLevel, QueryResult, Statement, Value};

pub use self::{
    error::LedgerError,
    open::Opening,
    owner::Claim,
    progress::Progress,
    standing::{Fault, Standing},
};
use self::{
    idempotency::Turns,
    log::{Head, Row, Shard, chain, read::Reader, store::Log},
    open::Keeper,
    pool::{Pool, Watched},
    project::Logged,
    recent::RecentKeys,
    sql::Sql,
};

/// A connection to the ledger's database.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// The connection that writes tables, for those who do not wait for them: the projector, and rows that are not made
    /// from the log.
    tables: Pool,
    /// The same connection, for those who wait until the tables have what the log has.
    write: Pool,
    /// The connections that read. They wait in the same way.
    read: Pool,
    /// A connection for short looks at the tables as they are. The journal has it, so no long read may use it.
    as_they_are: Pool,
    /// The log; `None` if the ledger is only read.
    log: Option<Log>,
    /// The log, to be read; `None` if there is none.
    logged: Option<Reader>,
    progress: Progress,
    recent: RecentKeys,
    /// The changes of idempotency keys that wait.
    keys: Turns,
    /// The end of the log before the journal appends to it.
    head: Arc<Mutex<Head>>,
    backend: DbBackend,
    /// Incremented by every owner. Every commit carries it, and is refused once there is a newer owner.
    epoch: i64,
    standing: Standing,
    /// The watch over SQLite's files, while the ledger is open for writing.
    watched: Watched,
    /// Keeps the ledger owned by this process; `None` if it is only read.
    keeper: Option<Arc<Keeper>>,
}

impl Ledger {
    /// The owner's epoch.
    pub const fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Whether the ledger can be used now, or the reason why not.
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The end of the log before the journal appends to it.
    pub fn head(&self) -> Head {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a row is in the log. Called before anything is answered.
    pub fn appended(&self, row: &Logged) {
        self.recent.note(row.seq, &row.transitions);
        self.progress.appended(row.seq);
    }

    /// The public parts of keys that are revoked from now on, each when that is durable.
    pub fn revocations(&self) -> tokio::sync::broadcast::Receiver<String> {
        self.recent.revocations()
    }

    /// Notes that the tables have everything up to a row.
    pub fn projected(&self, seq: u64) {
        self.progress.projected(seq);
        self.recent.forget(seq);
    }

    /// How far the tables are behind the log.
    pub const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Appends a row to the log. It is durable when this returns. The same row may be appended again: it is in the log
    /// once.
    ///
    /// # Errors
    ///
    /// The row is not in the log, unless the error [leaves that unknown](LedgerError::leaves_unknown): then append the
    /// same row again. After [`LedgerError::Fenced`] this process must stop.
    pub async fn append(&self, row: &Row) -> Result<(), LedgerError> {
        match &self.log {
            Some(log) => log.append(row).await,
            None => Err(LedgerError::NotWritten("the ledger is open for reading only".into())),
        }
    }

    /// Appends a row and brings it into the tables, before there is a journal that does both.
    async fn append_by_itself(&self, body: Vec<u8>, at: Timestamp) -> Result<(), LedgerError> {
        let row = chain::next(Shard::ONLY, self.head(), self.epoch, at, body);
        self.append(&row).await?;
        self.project(Shard::ONLY, &[catch_up::read(&row)?]).await?;
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = row.head();
        self.progress.appended(row.seq);
        self.projected(row.seq);
        Ok(())
    }

    /// The rows of the log after a number, as they are projected.
    ///
    /// # Errors
    ///
    /// The log can't be read now, or a row's body can't be read.
    pub async fn logged_after(&self, seq: u64) -> Result<Vec<Logged>, LedgerError> {
        let Some(log) = &self.logged else { return Ok(Vec::new()) };
        log.read(Shard::ONLY, seq, 64).await?.iter().map(catch_up::read).collect()
    }

    /// Brings SQLite's write-ahead log of the log into its file, if that is due. Called where nobody waits, it spares the
    /// next append the time.
    pub async fn checkpoint_log(&self) {
        if let Some(log) = &self.log {
            log.checkpoint_if_due().await;
        }
    }

    /// A statement written with `?`, in the placeholders of the current database.
    fn statement(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
        Statement::from_sql_and_values(self.backend, rows::placeholders(self.backend, sql), values)
    }

    /// A transaction that sees the tables as they are now.
    async fn snapshot(&self) -> Result<DatabaseTransaction, LedgerError> {
        if self.backend == DbBackend::Postgres {
            let level = Some(IsolationLevel::RepeatableRead);
            self.read.begin_with_config(level, Some(AccessMode::ReadOnly)).await
        } else {
            self.read.begin().await
        }
    }

    async fn rows(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Result<Vec<QueryResult>, LedgerError> {
        self.read.query_all_raw(self.statement(sql, values)).await
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
        self.read.query_one_raw(self.statement(sql, values)).await
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A new SQLite ledger, in a folder that is deleted with it.
    pub(crate) async fn new_ledger() -> (Ledger, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/ledger.db", folder.path().display());
        (Ledger::open(&url, &Opening::default()).await.unwrap(), folder)
    }
}
