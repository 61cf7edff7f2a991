//! The log: the truth of the ledger. One row is one batch of transitions, in a versioned binary form, chained to the
//! row before it by its hash (design, chapter 4). A row is appended before anything is answered. Tables that people
//! read are made from the log afterwards.

pub mod body;
pub mod chain;
mod connection;
pub(crate) mod read;
pub(crate) mod store;
pub mod tail;

use std::num::NonZeroU16;

use billing::{Timestamp, ids::AccountId};

/// A part of the accounts, with a log and an owner of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(pub i64);

impl Shard {
    /// The first shard: the only one of SQLite's ledgers. Its log has what belongs to no account, too.
    pub const FIRST: Self = Self(0);
}

/// The number of a ledger's shards. It is chosen when the ledger is made, and stays: an account's shard depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shards(NonZeroU16);

impl Shards {
    /// One shard for all accounts.
    pub const ONE: Self = Self(NonZeroU16::MIN);
    /// The shards of a new ledger in PostgreSQL, unless its settings say otherwise.
    pub const USUAL: Self = Self(NonZeroU16::MIN.saturating_add(15));

    /// So many shards.
    pub const fn new(count: NonZeroU16) -> Self {
        Self(count)
    }

    /// Their number.
    pub const fn count(self) -> u16 {
        self.0.get()
    }

    /// The shard of an account: the last two bytes of its id, which are random, as a number modulo the number of shards.
    pub fn of(self, account: AccountId) -> Shard {
        let [.., high, low] = *account.0.as_bytes();
        Shard((u16::from_be_bytes([high, low]) % self.0).into())
    }

    /// All of them, in order.
    pub fn all(self) -> impl Iterator<Item = Shard> {
        (0..self.0.get()).map(|number| Shard(number.into()))
    }
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

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_accounts_shard_is_one_of_the_ledgers_and_never_changes() {
        let id = |low: u128| AccountId(Uuid::from_u128(0x0199_c0de_aaaa_7bbb_8ccc_0123_4567_0000 | low));
        let shards = |count: u16| Shards::new(NonZeroU16::new(count).unwrap());
        for (count, low, shard) in [(1, 0xffff, 0), (16, 0x0005, 5), (16, 0x0015, 5), (16, 0xffff, 15), (7, 0x0100, 4)]
        {
            assert_eq!(shards(count).of(id(low)), Shard(shard), "{low:#x} of {count}");
        }
        let mut found = vec![0; 16];
        for low in 0..1_600 {
            found[usize::try_from(Shards::USUAL.of(id(low)).0).unwrap()] += 1;
        }
        assert!(found.iter().all(|count| *count == 100), "{found:?}");
        assert_eq!(Shards::USUAL.all().map(|shard| shard.0).collect::<Vec<_>>(), (0..16).collect::<Vec<_>>());
    }
}
