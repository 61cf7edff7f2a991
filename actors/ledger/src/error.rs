//! Errors of the ledger, by what the caller can do.

use sea_orm::DbErr;

/// Why a call to the ledger failed.
///
/// Reads change nothing and may be repeated. After a write, [`Database`](Self::Database), [`Writer`](Self::Writer) and
/// [`Away`](Self::Away) [leave its outcome unknown](Self::leaves_unknown). [`Fenced`](Self::Fenced) is final: this process
/// must stop.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database could not be reached, or refused the statement.
    #[error("database: {0}")]
    Database(#[from] DbErr),
    /// Writing failed at an unknown point.
    #[error("writing: {0}")]
    Writer(String),
    /// The database answered that it wrote nothing, because of its state: a full disk, a file that is only readable.
    #[error("not written: {0}")]
    NotWritten(String),
    /// A row breaks a rule of the database. Nothing of its batch was written.
    #[error("refused: {0}")]
    Refused(String),
    /// A newer owner has taken over: this process will never write again, and the new owner knows what was written.
    #[error("another process has taken this ledger over")]
    Fenced,
    /// A row has an impossible value: the database was changed behind the ledger's back.
    #[error("corrupt row: {0}")]
    Corrupt(String),
    /// A value that must be unique exists already.
    #[error("{0} is taken already")]
    Taken(&'static str),
    /// The database is missing, or is not the one that was opened. Nothing is begun until it is back.
    #[error("{0}")]
    Away(String),
    /// A living process owns the ledger.
    #[error("{0}")]
    Owned(String),
    /// The ledger can't be opened in its current state. An operator must examine it first.
    #[error("{0}")]
    Unusable(String),
    /// There is no ledger to read.
    #[error("{0}")]
    NoLedger(String),
}

impl LedgerError {
    /// Whether a write that ended so may or may not have taken place.
    pub const fn leaves_unknown(&self) -> bool {
        matches!(self, Self::Database(_) | Self::Writer(_) | Self::Away(_))
    }
}
