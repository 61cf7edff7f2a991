//! The log: the truth of the ledger. One row is one batch of transitions, in a versioned binary form, chained to the
//! row before it by its hash (design, chapter 4). A row is appended before anything is answered. Tables that people
//! read are made from the log afterwards.

pub mod body;
pub mod chain;
mod connection;
pub(crate) mod read;
pub(crate) mod store;
pub mod tail;

use billing::Timestamp;

/// A part of the accounts, with a log and an owner of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(pub i64);

impl Shard {
    /// The only shard of a ledger with one owner.
    pub const ONLY: Self = Self(0);
}

/// A BLAKE3 hash.
pub type Hash = [u8; 32];

/// The end of a log: its last row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The row's number.
    pub seq: u64,
    /// The row's hash.
    pub hash: Hash,
}

/// A row of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The shard whose log it is.
    pub shard: Shard,
    /// The row's number: dense, from 0. Row 0 is the [genesis](chain::genesis).
    pub seq: u64,
    /// The epoch of the owner that appended the row.
    pub epoch: i64,
    /// The time at which the row was made.
    pub at: Timestamp,
    /// The hash of the row before; zeros before the first.
    pub prev_hash: Hash,
    /// The hash of this row.
    pub hash: Hash,
    /// The content: its form's version, and the content in that form.
    pub body: Vec<u8>,
}

impl Row {
    /// The row as the end of its log.
    pub const fn head(&self) -> Head {
        Head { seq: self.seq, hash: self.hash }
    }
}
