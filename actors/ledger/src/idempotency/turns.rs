//! Changes of keys that share transactions. A change waits for the connection that writes; the changes that come
//! meanwhile are written with it. Whoever asked may stop waiting: the change is made all the same.

use std::sync::{Arc, Mutex, PoisonError};

use sea_orm::DbBackend;
use tokio::sync::{Mutex as Turn, oneshot};

use super::KeyChange;
use crate::{Ledger, LedgerError, transaction::Transaction};

/// The most changes in one transaction.
const MOST: usize = 256;

struct Job {
    change: KeyChange,
    reply: oneshot::Sender<Result<u64, LedgerError>>,
}

/// The changes that wait.
#[derive(Clone, Default)]
pub(crate) struct Turns {
    waiting: Arc<Mutex<Vec<Job>>>,
    /// Whoever has it waits for the connection. Nobody else does, so that other writers have every second turn.
    turn: Arc<Turn<()>>,
}

impl std::fmt::Debug for Turns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turns").finish_non_exhaustive()
    }
}

impl Turns {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Job>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The changes of the next transaction, oldest first.
    fn next(&self) -> Vec<Job> {
        let mut waiting = self.waiting();
        let count = waiting.len().min(MOST);
        waiting.drain(..count).collect()
    }
}

impl Ledger {
    /// Makes a change in a transaction with others that wait.
    pub(super) async fn change_in_turn(&self, change: KeyChange) -> Result<u64, LedgerError> {
        let (reply, done) = oneshot::channel();
        self.keys.waiting().push(Job { change, reply });
        let ledger = self.clone();
        // A task for each change, so that there are at least as many tasks as transactions, and none ends with a caller.
        tokio::spawn(async move { ledger.change_waiting().await });
        done.await.unwrap_or_else(|_| Err(LedgerError::Writer("the writer of keys is gone".into())))
    }

    /// Makes the changes that wait, unless they were made with earlier ones.
    async fn change_waiting(&self) {
        let _turn = self.keys.turn.lock().await;
        if self.keys.waiting().is_empty() {
            return;
        }
        let tx = match self.synchronous("FULL").await {
            Ok(()) => self.tables.begin_to_write().await,
            Err(error) => Err(error),
        };
        // Those too that came while the connection was busy.
        let jobs = self.keys.next();
        let done = match tx {
            Ok(tx) => self.standing.unless_broken(self.change_all(tx, &jobs)).await,
            Err(error) => Err(error),
        };
        answer(done, jobs);
        if let Err(error) = self.synchronous("NORMAL").await {
            tracing::warn!(%error, "the tables are written more durably than they need be");
        }
    }

    /// How durable a commit to SQLite's tables is. Unlike rows that are made from the log, a key that a power cut loses is
    /// lost: its request would run twice.
    async fn synchronous(&self, how: &str) -> Result<(), LedgerError> {
        if self.backend == DbBackend::Sqlite {
            self.tables.execute_raw(self.statement(&format!("PRAGMA synchronous = {how}"), [])).await?;
        }
        Ok(())
    }

    async fn change_all(&self, mut tx: Transaction, jobs: &[Job]) -> Result<Vec<u64>, LedgerError> {
        let mut counts = Vec::with_capacity(jobs.len());
        for job in jobs {
            let (sql, values) = job.change.statement();
            counts.push(tx.execute(sql, values).await?);
        }
        self.commit(tx).await?;
        Ok(counts)
    }
}

fn answer(done: Result<Vec<u64>, LedgerError>, jobs: Vec<Job>) {
    match done {
        Ok(counts) => {
            for (job, count) in jobs.into_iter().zip(counts) {
                // The caller may be gone.
                let _ = job.reply.send(Ok(count));
            }
        }
        Err(error) => {
            let message = error.to_string();
            for job in jobs {
                let _ = job.reply.send(Err(LedgerError::Writer(message.clone())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use billing::{Timestamp, ids::RequestId};
    use uuid::Uuid;

    use crate::{
        idempotency::{KeyChange, Slot},
        tests::new_ledger,
    };

    fn slot(number: u8) -> Slot {
        Slot { scope: Uuid::nil(), key: [number; 32] }
    }

    fn start(number: u8) -> KeyChange {
        KeyChange::Start {
            slot: slot(number),
            fingerprint: [0; 32],
            request_id: RequestId(Uuid::from_u128(100 + u128::from(number))),
            earlier: RequestId(Uuid::nil()),
            now: Timestamp(1),
            expires_at: Timestamp(2),
        }
    }

    #[tokio::test]
    async fn keys_that_wait_for_the_connection_share_a_transaction() {
        let (ledger, _folder) = new_ledger().await;
        let busy = ledger.tables.begin().await.unwrap();
        let keys = futures::future::join_all((0..9).map(|number| ledger.change_key(start(number % 8))));
        let free = async {
            while ledger.keys.waiting().len() < 9 {
                tokio::task::yield_now().await;
            }
            busy.rollback().await.unwrap();
        };
        let (changed, ()) = tokio::join!(keys, free);
        let changed: Vec<_> = changed.into_iter().map(Result::unwrap).collect();
        assert_eq!(changed, [1, 1, 1, 1, 1, 1, 1, 1, 0], "the first one has the slot");
        assert!(ledger.keys.waiting().is_empty());
    }

    #[tokio::test]
    async fn a_key_is_written_though_its_caller_left() {
        let (ledger, _folder) = new_ledger().await;
        let busy = ledger.tables.begin().await.unwrap();
        for number in 0..2 {
            let asks = ledger.clone();
            let left = tokio::spawn(async move { asks.change_key(start(number)).await });
            while ledger.keys.waiting().len() <= usize::from(number) {
                tokio::task::yield_now().await;
            }
            left.abort();
            assert!(left.await.unwrap_err().is_cancelled());
        }
        busy.rollback().await.unwrap();
        assert_eq!(ledger.change_key(start(2)).await.unwrap(), 1);
        for number in 0..3 {
            assert!(ledger.stored_key(slot(number), Timestamp(1)).await.unwrap().is_some(), "{number}");
        }
    }
}
