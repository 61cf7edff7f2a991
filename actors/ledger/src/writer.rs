//! SQLite's writer: one connection, used on the journal's own thread. Through the pool every statement would be a
//! message to another thread and back, which took longer than the write itself. Idempotency keys are written here too,
//! in turn with batches, so that their transactions never make a batch wait for SQLite's lock. Keys that wait at the
//! same time share a transaction.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use billing::entry::Transition;
use rusqlite::{CachedStatement, Connection, ErrorCode, OptionalExtension};
use tokio::sync::{Mutex as FairMutex, oneshot};

use super::{
    LedgerError,
    append::{EPOCH, Stamp, account::ACCOUNT, rows},
    checkpoint::{self, Checkpoints},
    frames,
    idempotency::KeyChange,
    watch::Watch,
};

/// How long to wait for another connection's transaction. Only operators' short transactions use other connections.
pub(super) const BUSY: Duration = Duration::from_secs(5);
/// The page cache as SQLite's setting: a negative number of KiB. With the default of 2 MiB pages are read repeatedly;
/// with a much larger cache, each commit looks through more pages.
const CACHE: i64 = -4_096;
/// The number of prepared statements kept.
const STATEMENTS: usize = 96;
/// The most changes of keys in one transaction.
const KEYS: usize = 256;

struct KeyJob {
    change: KeyChange,
    reply: oneshot::Sender<Result<u64, LedgerError>>,
}

/// The connection. Waiting callers get it in turn, so that neither batches nor keys starve.
#[derive(Clone)]
pub(super) struct Writer {
    connection: Arc<FairMutex<Connection>>,
    keys: Arc<Mutex<Vec<KeyJob>>>,
    checkpoints: Arc<Checkpoints>,
    watch: Arc<Watch>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    /// Opens the connection to a watched database.
    pub(super) fn open(file: &Path, watch: Arc<Watch>) -> Result<Self, LedgerError> {
        let connection = frames::open(file)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        // A batch's rows refer only to their accounts, which are never deleted. `append` checks each account once;
        // SQLite would check it for every row.
        connection.pragma_update(None, "foreign_keys", false)?;
        connection.pragma_update(None, "cache_size", CACHE)?;
        // Pages of a transaction never spill, so that a rollback leaves nothing in the log or its buffer.
        connection.pragma_update(None, "cache_spill", false)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        checkpoint::take_over(&connection);
        let connection = Arc::new(FairMutex::new(connection));
        let checkpoints = Arc::new(Checkpoints::start(file, Arc::clone(&connection), Arc::clone(&watch))?);
        Ok(Self { connection, keys: Arc::default(), checkpoints, watch })
    }

    /// Writes a batch. Blocks while it writes.
    pub(super) async fn append(&self, stamp: Stamp, transitions: &[Transition]) -> Result<(), LedgerError> {
        // A batch that panicked dropped its transaction, which rolled back.
        let mut connection = self.connection.lock().await;
        self.lasting(|| append(&mut connection, stamp, transitions))
    }

    /// Runs one statement as a transaction, and returns the number of rows changed.
    pub(super) async fn execute(
        &self,
        sql: &'static str,
        values: impl rusqlite::Params + Send + 'static,
    ) -> Result<u64, LedgerError> {
        let writer = self.clone();
        let execute = tokio::task::spawn_blocking(move || {
            let mut connection = writer.connection.blocking_lock();
            writer.lasting(|| {
                let tx = Transaction::begin(&mut connection)?;
                let changed = tx.prepare(sql)?.execute(values)? as u64;
                tx.commit()?;
                Ok(changed)
            })
        });
        execute.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Commits only to the files that the next start will open. A commit to other files counts as failed.
    fn lasting<T>(&self, commit: impl FnOnce() -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        let done = commit()?;
        self.watch.check().map_err(LedgerError::Away)?;
        self.checkpoints.look();
        Ok(done)
    }

    /// Checkpoints the whole log into the database, after the last commit.
    pub(super) async fn close(&self) -> Result<(), LedgerError> {
        let (connection, watch) = (Arc::clone(&self.connection), Arc::clone(&self.watch));
        let close = tokio::task::spawn_blocking(move || {
            let connection = connection.blocking_lock();
            let _writing = watch.writing();
            checkpoint::truncate(&connection)
        });
        close.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Changes a key, and returns the number of rows changed.
    pub(super) async fn change_key(&self, change: KeyChange) -> Result<u64, LedgerError> {
        let (reply, done) = oneshot::channel();
        self.waiting().push(KeyJob { change, reply });
        let writer = self.clone();
        // One task for each key, so that there are at least as many tasks as transactions.
        tokio::task::spawn_blocking(move || writer.write_keys());
        done.await.map_err(|_| gone())?
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<KeyJob>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the waiting keys in its turn, often with those that came meanwhile.
    fn write_keys(&self) {
        let mut connection = self.connection.blocking_lock();
        let keys: Vec<KeyJob> = {
            let mut waiting = self.waiting();
            let count = waiting.len().min(KEYS);
            waiting.drain(..count).collect()
        };
        if !keys.is_empty() {
            let done = self.lasting(|| caught(|| change_keys(&mut connection, &keys)));
            answer_keys(done, keys);
        }
    }
}

fn gone() -> LedgerError {
    LedgerError::Writer("the writer's thread is gone".into())
}

/// Catches a panic, which drops the transaction and so rolls it back.
fn caught<T>(work: impl FnOnce() -> Result<T, LedgerError>) -> Result<T, LedgerError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(LedgerError::Corrupt("a transaction made its writer panic".into())))
}

fn answer_keys(done: Result<Vec<u64>, LedgerError>, keys: Vec<KeyJob>) {
    match done {
        Ok(counts) => {
            for (key, count) in keys.into_iter().zip(counts) {
                // The caller may be gone.
                let _ = key.reply.send(Ok(count));
            }
        }
        Err(error) => {
            let message = error.to_string();
            for key in keys {
                let _ = key.reply.send(Err(LedgerError::Writer(message.clone())));
            }
        }
    }
}

/// A transaction that rolls back unless it is committed. Its ends are prepared once, while `rusqlite`'s own parses
/// their SQL for every batch.
struct Transaction<'a> {
    connection: &'a Connection,
    is_committed: bool,
}

impl<'a> Transaction<'a> {
    /// Takes SQLite's write lock. The exclusive borrow allows one transaction at a time.
    fn begin(connection: &'a mut Connection) -> Result<Self, LedgerError> {
        let connection = &*connection;
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Self { connection, is_committed: false })
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'a>, LedgerError> {
        Ok(self.connection.prepare_cached(sql)?)
    }

    fn commit(mut self) -> Result<(), LedgerError> {
        self.prepare("COMMIT")?.execute([])?;
        self.is_committed = true;
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.is_committed && !self.connection.is_autocommit() {
            // If the rollback fails, the next transaction can't begin and returns an error.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }
}

fn change_keys(connection: &mut Connection, keys: &[KeyJob]) -> Result<Vec<u64>, LedgerError> {
    let tx = Transaction::begin(connection)?;
    let mut counts = Vec::with_capacity(keys.len());
    for key in keys {
        let (sql, values) = key.change.statement();
        let changed = tx.prepare(sql)?.execute(rusqlite::params_from_iter(values))?;
        counts.push(changed as u64);
    }
    tx.commit()?;
    Ok(counts)
}

fn append(connection: &mut Connection, stamp: Stamp, transitions: &[Transition]) -> Result<(), LedgerError> {
    let tx = Transaction::begin(connection)?;
    let epoch: Option<i64> = tx.prepare(EPOCH)?.query_row([], |row| row.get(0)).optional()?;
    if epoch != Some(stamp.epoch) {
        return Err(LedgerError::Fenced);
    }
    for rows in rows(transitions, stamp) {
        let mut last = None;
        for (sql, values) in rows.steps() {
            if last.as_ref().is_none_or(|(known, _)| *known != sql) {
                let statement = tx.prepare(sql)?;
                last = Some((sql, statement));
            }
            if let Some((_, statement)) = &mut last {
                let changed = statement.execute(rusqlite::params_from_iter(values))?;
                if changed == 0 && sql == ACCOUNT {
                    return Err(LedgerError::Refused("a batch is of an account that is not there".into()));
                }
            }
        }
    }
    tx.commit()
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => Self::Refused(error.to_string()),
            _ => Self::Writer(error.to_string()),
        }
    }
}
