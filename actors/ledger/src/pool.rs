//! Connections to the ledger's tables that never wait in vain: while the ledger is away nothing is begun, and callers
//! that are waiting are told at once. Most callers wait until the tables have what the log had when they asked.

use std::sync::{Arc, OnceLock};

use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, ExecResult, IsolationLevel,
    QueryResult, Statement, TransactionTrait,
};

use super::{
    LedgerError, nodes::Others, progress::Progress, standing::Standing, transaction::Transaction, watch::Watch,
};

/// The watch over a database's files, once there is one.
pub(super) type Watched = Arc<OnceLock<Arc<Watch>>>;

/// A pool of connections, shared by clones.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    connections: DatabaseConnection,
    standing: Standing,
    watched: Watched,
    /// The progress that callers wait for; `None` for those who don't.
    progress: Option<Progress>,
    /// The tables of shards that other nodes own, if there are some, for the same callers.
    others: Option<Others>,
}

impl Pool {
    /// A pool whose callers see the tables as they are, even if they are behind the log.
    pub(super) const fn new(connections: DatabaseConnection, standing: Standing, watched: Watched) -> Self {
        Self { connections, standing, watched, progress: None, others: None }
    }

    /// The same connections, for callers who wait until the tables have what the log has.
    pub(super) fn after(&self, progress: &Progress) -> Self {
        Self { progress: Some(progress.clone()), ..self.clone() }
    }

    /// The same, for callers who wait for what other nodes have appended, too.
    pub(super) fn after_others(&self, others: &Others) -> Self {
        Self { others: Some(others.clone()), ..self.clone() }
    }

    /// The same, for callers who wait for other nodes and not for this process's own appends.
    pub(super) fn after_others_alone(&self) -> Self {
        Self { progress: None, ..self.clone() }
    }

    /// The same, for callers who wait for no other node.
    pub(super) fn without_others(&self) -> Self {
        Self { others: None, ..self.clone() }
    }

    /// Checks the standing, and the files that are written to.
    pub(super) fn look(&self) -> Result<(), LedgerError> {
        self.standing.check()?;
        self.watched.get().map_or(Ok(()), |watch| watch.check()).map_err(|why| {
            let error = LedgerError::Away(why);
            self.standing.not_committed(&error);
            error
        })
    }

    /// Runs work on the database, and stops waiting if the database goes away. The outcome of work that has begun is
    /// unknown then. Work on files that the next start will not open counts as failed.
    async fn unless_away<T>(&self, work: impl Future<Output = Result<T, DbErr>>) -> Result<T, LedgerError> {
        self.look()?;
        if let Some(progress) = &self.progress {
            progress.caught_up().await?;
        }
        if let Some(others) = &self.others {
            others.caught_up().await?;
        }
        let done = tokio::select! {
            biased;
            done = work => done?,
            fault = self.standing.broken() => return Err(fault.into()),
        };
        self.look()?;
        Ok(done)
    }

    pub(super) async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, LedgerError> {
        self.unless_away(self.connections.execute_raw(statement)).await
    }

    pub(super) async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, LedgerError> {
        self.unless_away(self.connections.query_one_raw(statement)).await
    }

    pub(super) async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, LedgerError> {
        self.unless_away(self.connections.query_all_raw(statement)).await
    }

    /// Begins a transaction. Statements within it are awaited without a limit: whoever makes them in a process that serves
    /// does so within [`Standing::unless_broken`].
    pub(super) async fn begin(&self) -> Result<DatabaseTransaction, LedgerError> {
        self.unless_away(self.connections.begin()).await
    }

    /// Begins a transaction that writes rows.
    pub(super) async fn begin_to_write(&self) -> Result<Transaction, LedgerError> {
        self.unless_away(Transaction::begin(&self.connections)).await
    }

    pub(super) async fn begin_with_config(
        &self,
        isolation: Option<IsolationLevel>,
        access: Option<AccessMode>,
    ) -> Result<DatabaseTransaction, LedgerError> {
        self.unless_away(self.connections.begin_with_config(isolation, access)).await
    }

    /// The connections themselves, for migrations.
    pub(super) const fn connections(&self) -> &DatabaseConnection {
        &self.connections
    }

    /// Closes the connections, once they are unused.
    pub(super) async fn close(&self) -> Result<(), LedgerError> {
        Ok(self.connections.close_by_ref().await?)
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::ConnectionTrait;

    use crate::tests::new_ledger;

    #[tokio::test]
    async fn a_connection_that_believes_in_a_transaction_that_is_over_is_not_used_again() {
        let (ledger, _folder) = new_ledger().await;
        let marks = async || {
            let sql = "SELECT COUNT(*) FROM sqlite_temp_master";
            let row = ledger.tables.query_one_raw(ledger.statement(sql, [])).await.unwrap().unwrap();
            row.try_get_by_index::<i64>(0).unwrap()
        };
        ledger.tables.execute_raw(ledger.statement("CREATE TEMP TABLE mark (x)", [])).await.unwrap();
        drop(ledger.tables.begin().await.unwrap());
        assert_eq!(marks().await, 1, "a transaction that was dropped leaves a sound connection");
        let tx = ledger.tables.begin().await.unwrap();
        // As SQLite itself does where a COMMIT finds the disk full.
        tx.execute_unprepared("ROLLBACK").await.unwrap();
        assert!(tx.commit().await.is_err());
        assert_eq!(marks().await, 0, "it is another connection");
    }
}
