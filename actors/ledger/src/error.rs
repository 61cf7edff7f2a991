//! Why the ledger could not do something, by what the caller can do about it.

use sea_orm::DbErr;

/// Why the ledger could not do something.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database could not be reached, or refused.
    #[error("database: {0}")]
    Database(#[from] DbErr),
    /// SQLite's writer failed: what it was writing is there or not, as [`Ledger::was_committed`](crate::Ledger::was_committed) tells.
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
    /// The database is not there, or not what it was: nothing is begun until it is.
    #[error("{0}")]
    Away(String),
    /// A living process owns it.
    #[error("{0}")]
    Owned(String),
    /// It can't be opened as it is, and what there is must be looked at first.
    #[error("{0}")]
    Unusable(String),
    /// There is no ledger to be read.
    #[error("{0}")]
    NoLedger(String),
}
