//! The ends of shards' logs, as their owner continues them. Pure.

use std::collections::BTreeMap;

use billing::{Timestamp, entry::Transition};

use super::{
    Head, Row, Shard, Shards,
    body::{self, PriceBook},
    chain,
};

/// The end of a log, and the owner's epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// The shard.
    pub shard: Shard,
    /// The last row.
    pub head: Head,
    /// The owner's epoch.
    pub epoch: i64,
}

impl Tail {
    /// The row that would carry these transitions. It is the log's next one only once it is appended.
    pub fn next(&self, transitions: &[Transition], at: Timestamp) -> Row {
        chain::next(self.shard, self.head, self.epoch, at, body::encode(transitions))
    }

    /// The row that would carry a price book.
    pub fn next_prices(&self, book: &PriceBook) -> Row {
        chain::next(self.shard, self.head, self.epoch, book.at, body::encode_prices(book))
    }

    /// Goes on after a row that was appended.
    pub const fn advance(&mut self, row: &Row) {
        self.head = row.head();
    }
}

/// The ends of the logs that a process owns.
#[derive(Debug, Clone)]
pub struct Tails {
    shards: Shards,
    owned: BTreeMap<Shard, Tail>,
}

impl Tails {
    /// The ends of some of a ledger's logs.
    pub fn new(shards: Shards, owned: impl IntoIterator<Item = Tail>) -> Self {
        Self { shards, owned: owned.into_iter().map(|tail| (tail.shard, tail)).collect() }
    }

    /// All of them, in the order of their shards.
    pub fn all(&self) -> Vec<Tail> {
        self.owned.values().copied().collect()
    }

    /// The end of a shard's log; `None` if it is not owned.
    pub fn of(&self, shard: Shard) -> Option<Tail> {
        self.owned.get(&shard).copied()
    }

    /// The rows that would carry these transitions: one for each shard, with the transitions of its accounts in their
    /// order. Beside them those of shards that are not owned.
    pub fn next(&self, transitions: Vec<Transition>, at: Timestamp) -> (Vec<(Row, Vec<Transition>)>, Vec<Transition>) {
        let mut by_shard = BTreeMap::<_, Vec<_>>::new();
        for transition in transitions {
            by_shard.entry(self.shards.of(transition.account_id)).or_default().push(transition);
        }
        let (mut rows, mut not_owned) = (Vec::with_capacity(by_shard.len()), Vec::new());
        for (shard, transitions) in by_shard {
            match self.of(shard) {
                Some(tail) => rows.push((tail.next(&transitions, at), transitions)),
                None => not_owned.extend(transitions),
            }
        }
        (rows, not_owned)
    }

    /// The row that would carry a price book, in the first shard's log; `None` if that is not owned.
    pub fn next_prices(&self, book: &PriceBook) -> Option<Row> {
        Some(self.of(Shard::FIRST)?.next_prices(book))
    }

    /// Owns a shard from now on.
    pub fn own(&mut self, tail: Tail) {
        self.owned.insert(tail.shard, tail);
    }

    /// Owns a shard no longer.
    pub fn disown(&mut self, shard: Shard) {
        self.owned.remove(&shard);
    }

    /// Goes on after a row that was appended.
    pub fn advance(&mut self, shard: Shard, head: Head) {
        if let Some(tail) = self.owned.get_mut(&shard) {
            tail.head = head;
        }
    }
}
