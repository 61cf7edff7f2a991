//! The ledger's tables: the only place with SQL. The journal writes through [`append`]; reads go through [`load`],
//! [`query`] and [`audit`]. There are two pools: one connection that writes (SQLite has one writer, and the journal is
//! the only one), and a few that read. [`Ledger::open`] opens the ledger for one process at a time.

// Callers of this crate learn from its rustdoc when a function fails; crates whose rustdoc lacks that do not warn yet.
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub mod accounts;
pub mod append;
pub mod audit;
pub mod cards;
mod checkpoint;
mod error;
pub mod events;
mod frames;
pub mod history;
pub mod idempotency;
pub mod keys;
pub mod load;
pub mod log;
pub mod lookup;
mod open;
mod owner;
pub mod payments;
mod place;
mod pool;
pub mod query;
pub mod reversals;
pub mod rollup;
mod rows;
mod sql;
pub mod standing;
pub mod usage;
mod watch;
pub mod webhooks;
mod writer;

use std::sync::Arc;

use sea_orm::{DbBackend, QueryResult, Statement, Value};

pub use self::{
    error::LedgerError,
    open::Opening,
    owner::Claim,
    standing::{Fault, Standing},
};
use self::{
    open::Keeper,
    pool::{Pool, Watched},
    sql::Sql,
    writer::Writer,
};

/// A connection to the ledger's database.
#[derive(Debug, Clone)]
pub struct Ledger {
    write: Pool,
    read: Pool,
    /// The writer of SQLite.
    writer: Option<Writer>,
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

    /// A statement written with `?`, in the placeholders of the current database.
    fn statement(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
        Statement::from_sql_and_values(self.backend, rows::placeholders(self.backend, sql), values)
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
    use billing::{
        Nanos, Timestamp,
        account::Header,
        entry::{Line, LineKind, Transition},
        ids::AccountId,
        plan::Plan,
    };
    use uuid::Uuid;

    use super::*;

    /// A transition without changes.
    fn transition(account: u128, seq: u64) -> Transition {
        let now = Timestamp(0);
        Transition::unchanged(AccountId(Uuid::from_u128(account)), seq, now, Header::new(Plan::Free, now))
    }

    /// A new SQLite ledger, in a folder that is deleted with it.
    pub(crate) async fn new_ledger() -> (Ledger, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/ledger.db", folder.path().display());
        (Ledger::open(&url, &Opening::default()).await.unwrap(), folder)
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
