//! SQLite's writer: one connection, used where the journal's thread stands. Through the pool every statement would be a
//! message to another thread and back, which took longer than the writing.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use billing::entry::Transition;
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior};

use super::{
    LedgerError,
    append::{EPOCH, Stamp, rows},
};

/// How long it waits for another connection's transaction: those are short, and only of operators.
const BUSY: Duration = Duration::from_secs(5);
/// Pages it keeps, as SQLite wants it: KiB, below zero. With the default of 2 MiB pages are read again and again; with
/// much more, each commit looks through more of them.
const CACHE: i64 = -4_096;
/// Pages of the log after which they are brought into the database, by the batch that reaches it: what many batches
/// write again and again is written there once, and synced once. 32 MiB; the default is an eighth.
const CHECKPOINT: i64 = 8_000;
/// Prepared statements it keeps.
const STATEMENTS: usize = 64;

/// The connection, which only the journal's thread uses.
#[derive(Debug, Clone)]
pub(super) struct Writer(Arc<Mutex<Connection>>);

impl Writer {
    /// Opens the connection.
    pub(super) fn open(file: &Path) -> Result<Self, LedgerError> {
        let connection = Connection::open(file)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "cache_size", CACHE)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Writes a batch. Blocks.
    pub(super) fn append(&self, stamp: Stamp, transitions: &[Transition]) -> Result<(), LedgerError> {
        // A batch that panicked dropped its transaction, which rolled it back.
        append(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), stamp, transitions)
    }
}

fn append(connection: &mut Connection, stamp: Stamp, transitions: &[Transition]) -> Result<(), LedgerError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let epoch: Option<i64> = tx.prepare_cached(EPOCH)?.query_row([], |row| row.get(0)).optional()?;
    if epoch != Some(stamp.epoch) {
        return Err(LedgerError::Fenced);
    }
    for rows in rows(transitions, stamp) {
        let mut last = None;
        for (sql, values) in rows.steps() {
            if last.as_ref().is_none_or(|(known, _)| *known != sql) {
                let statement = tx.prepare_cached(&sql)?;
                last = Some((sql, statement));
            }
            if let Some((_, statement)) = &mut last {
                statement.execute(rusqlite::params_from_iter(values))?;
            }
        }
    }
    Ok(tx.commit()?)
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => Self::Refused(error.to_string()),
            _ => Self::Writer(error.to_string()),
        }
    }
}
