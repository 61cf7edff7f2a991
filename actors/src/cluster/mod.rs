//! What several nodes with one ledger decide among each other.

pub mod lease;
