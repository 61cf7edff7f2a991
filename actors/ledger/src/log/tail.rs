//! The end of a shard's log, as its owner continues it. Pure.

use billing::{Timestamp, entry::Transition};

use super::{
    Head, Row, Shard,
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
