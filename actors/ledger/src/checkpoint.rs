//! Checkpoints of the write-ahead log of SQLite's tables. SQLite's own checkpoint is off: it would run within whichever
//! transaction fills the log, and the watch over the files would not know of it.

use sea_orm::{ConnectionTrait, DbBackend, Statement};

use super::{Ledger, LedgerError};

impl Ledger {
    /// Brings what no reader needs of SQLite's write-ahead log into the database. A failure is not the caller's: the log
    /// grows, and the next call tries again.
    pub async fn keep_small(&self) {
        if self.backend == DbBackend::Sqlite
            && let Err(error) = self.checkpoint("PASSIVE").await
        {
            tracing::warn!(%error, "SQLite's write-ahead log could not be brought into the database; it grows");
        }
    }

    /// Brings the whole write-ahead log into the database, as the ledger is opened. Any rest is brought in later.
    pub(super) async fn bring_in(&self) {
        if let Err(error) = self.checkpoint("TRUNCATE").await {
            tracing::warn!(%error, "SQLite's write-ahead log could not be brought into the database yet");
        }
    }

    /// A checkpoint in a mode of SQLite's.
    pub(super) async fn checkpoint(&self, mode: &str) -> Result<(), LedgerError> {
        let _writing = self.watched.get().map(|watch| watch.writing());
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        let row = self.tables.connections().query_one_raw(Statement::from_string(self.backend, sql)).await?;
        let is_busy = row.map(|row| row.try_get_by_index::<i32>(0)).transpose()?.unwrap_or_default() != 0;
        if is_busy && mode == "TRUNCATE" {
            return Err(LedgerError::Writer("SQLite's write-ahead log is still read".into()));
        }
        Ok(())
    }
}
