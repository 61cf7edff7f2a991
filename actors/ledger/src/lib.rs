//! The ledger: the only place with SQL. Its [`log`] is the truth, and its tables are made from it by [`project`]. Reads go
//! through [`load`], [`query`] and [`audit`]. [`Ledger::open`] opens the ledger for one process at a time.

// Callers of this crate learn from its rustdoc when a function fails; crates whose rustdoc lacks that do not warn yet.
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub mod accounts;
pub mod archive;
pub mod attempts;
pub mod audit;
pub mod backup;
mod calendar;
pub mod cards;
mod catch_up;
mod checkpoint;
pub mod claims;
mod connections;
pub mod drawn;
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
pub mod money;
pub mod nodes;
pub mod notices;
mod open;
pub mod operations;
mod owner;
pub mod payments;
pub mod people;
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
pub mod trail;
mod transaction;
pub mod usage;
mod watch;
pub mod webhooks;

use std::{
    collections::BTreeMap,
    slice,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use billing::{Timestamp, entry::Transition};
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
    log::{Row, Shard, Shards, body, chain, read::Reader, store::Log, tail::Tail},
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
    /// The connection for nodes and leases; `None` if one process owns all shards.
    leases: Option<Pool>,
    /// The log; `None` if the ledger is only read.
    log: Option<Log>,
    /// The log, to be read; `None` if there is none.
    logged: Option<Reader>,
    progress: Progress,
    recent: RecentKeys,
    /// The changes of idempotency keys that wait.
    keys: Turns,
    shards: Shards,
    /// The ends of the logs that this process owns, before the journal appends to them. Their epochs are incremented by
    /// every owner. Every commit carries its shard's, and is refused once there is a newer owner.
    tails: Arc<Mutex<BTreeMap<Shard, Tail>>>,
    backend: DbBackend,
    standing: Standing,
    /// The watch over SQLite's files, while the ledger is open for writing.
    watched: Watched,
    /// Keeps the ledger owned by this process; `None` if it is only read.
    keeper: Option<Arc<Keeper>>,
}

impl Ledger {
    /// The shards of the ledger.
    pub const fn shards(&self) -> Shards {
        self.shards
    }

    /// Whether several nodes own the shards, each for a while.
    pub const fn is_shared(&self) -> bool {
        self.leases.is_some()
    }

    /// The ledger for reads of accounts that this process owns: they wait for no other node.
    fn as_owner(&self) -> Self {
        Self { read: self.read.without_others(), ..self.clone() }
    }

    /// The ends of the logs that this process owns, before the journal appends to them, in the order of their shards.
    pub fn tails(&self) -> Vec<Tail> {
        self.owned().values().copied().collect()
    }

    fn owned(&self) -> MutexGuard<'_, BTreeMap<Shard, Tail>> {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The epoch in which this process owns a shard, if it does.
    pub fn epoch(&self, shard: Shard) -> Option<i64> {
        self.owned().get(&shard).map(|tail| tail.epoch)
    }

    /// The end of a log that this process owns.
    fn tail(&self, shard: Shard) -> Result<Tail, LedgerError> {
        self.owned().get(&shard).copied().ok_or(LedgerError::Fenced)
    }

    /// Whether the ledger can be used now, or the reason why not.
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Notes that rows are in the log. Called before anything is answered. Returns the number of this call, from 1 on:
    /// [`Self::projected`] takes it.
    pub fn appended(&self, rows: &[Logged]) -> u64 {
        let number = self.progress.last() + 1;
        for row in rows {
            self.recent.note(number, &row.transitions);
        }
        self.progress.appended(number);
        number
    }

    /// The public parts of keys that are revoked from now on, each when that is durable.
    pub fn revocations(&self) -> tokio::sync::broadcast::Receiver<String> {
        self.recent.revocations()
    }

    /// The same, of those that this process itself makes durable.
    pub fn revocations_here(&self) -> tokio::sync::broadcast::Receiver<String> {
        self.recent.revocations_here()
    }

    /// Another node has revoked the key with this public part, durably.
    pub fn revoked_elsewhere(&self, public: String) {
        self.recent.revoked_elsewhere(public);
    }

    /// Notes that the tables have everything up to a call of [`Self::appended`].
    pub fn projected(&self, number: u64) {
        self.progress.projected(number);
        self.recent.forget(number);
    }

    /// How far the tables are behind the log.
    pub const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Appends rows to the log, at most one of each shard. They are durable when this returns, but for those of the shards
    /// that it returns, which have a newer owner. The same rows may be appended again: each is in the log once.
    ///
    /// # Errors
    ///
    /// No row is in the log, unless the error [leaves that unknown](LedgerError::leaves_unknown): then append the same
    /// rows again.
    pub async fn append(&self, rows: &[Row]) -> Result<Vec<Shard>, LedgerError> {
        match &self.log {
            Some(log) => log.append_all(rows).await,
            None => Err(LedgerError::NotWritten("the ledger is open for reading only".into())),
        }
    }

    /// Appends a row and brings it into the tables, before there is a journal that does both.
    async fn append_by_itself(&self, shard: Shard, body: Vec<u8>, at: Timestamp) -> Result<(), LedgerError> {
        let mut tail = self.tail(shard)?;
        let row = chain::next(shard, tail.head, tail.epoch, at, body);
        if !self.append(slice::from_ref(&row)).await?.is_empty() {
            return Err(LedgerError::Fenced);
        }
        let logged = [catch_up::read(&row)?];
        Box::pin(self.project(&logged)).await?;
        tail.advance(&row);
        self.owned().insert(shard, tail);
        let number = self.appended(&logged);
        self.projected(number);
        Ok(())
    }

    /// Appends a transition by itself.
    async fn append_transition(&self, transition: Transition, at: Timestamp) -> Result<(), LedgerError> {
        self.append_by_itself(self.shards.of(transition.account_id), body::encode(&[transition]), at).await
    }

    /// The rows of a shard's log after a number, as they are projected.
    ///
    /// # Errors
    ///
    /// The log can't be read now, or a row's body can't be read.
    pub async fn logged_after(&self, shard: Shard, seq: u64) -> Result<Vec<Logged>, LedgerError> {
        let Some(log) = &self.logged else { return Ok(Vec::new()) };
        log.read(shard, seq, 64).await?.iter().map(catch_up::read).collect()
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
        let values = values.into_iter().map(|value| match value {
            Value::String(Some(text)) => rows::storable(&text).unwrap_or(text).into(),
            value => value,
        });
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
