//! What a node reads of the database: who is there, and who owns what. Times are the database's own.

use std::time::Duration;

use billing::Timestamp;
use ledger::log::Shard;
use runtime::node::NodeId;

/// What a node says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It takes shards.
    Serving,
    /// It ends: it takes none, and hands over those that it has.
    Leaving,
}

/// A node's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// What it says of itself.
    pub standing: Standing,
    /// The number of its newest heartbeat. A heartbeat with a lower number changes nothing, however late it comes.
    pub beat: u64,
    /// When that was.
    pub beat_at: Timestamp,
}

/// A shard's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The shard.
    pub shard: Shard,
    /// Who owns it; none: it is free.
    pub owner: Option<NodeId>,
    /// Raised each time that it gets an owner, and never lowered. Each append checks it.
    pub epoch: i64,
    /// Until when its owner has it, unless it is renewed.
    pub expires_at: Timestamp,
    /// Raised by one each time that the row is written. Whether a row is still the same this says: a clock that is set
    /// back may write the same time twice.
    pub version: i64,
}

/// A shard that a node has, in the epoch in which it took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// The shard.
    pub shard: Shard,
    /// The epoch.
    pub epoch: i64,
}

/// All rows, as one statement read them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picture {
    /// The database's time then.
    pub now: Timestamp,
    /// The nodes.
    pub members: Vec<Member>,
    /// The shards, all of them.
    pub leases: Vec<Lease>,
}

/// The times of a node's leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How long a lease lasts that is not renewed.
    pub lease: Duration,
    /// How often leases are renewed, which is the heartbeat too. A statement without an outcome for so long counts as lost.
    pub renew: Duration,
    /// How much earlier than its lease ends a node stops using a shard: for the difference in speed of two clocks, and
    /// for what begins just before.
    pub margin: Duration,
    /// How long a node must have been there before others hand shards over to it. Longer than two renewals, after which
    /// a silent node is doubted: so a node that comes as another dies is no reason to move anything but what that one had.
    pub settle: Duration,
    /// How long a drain may take. What is not done by then the next owner does, from the log.
    pub drain: Duration,
    /// How many shards are handed over at once to a node that lacks some.
    pub drains: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            renew: Duration::from_secs(3),
            margin: Duration::from_secs(1),
            settle: Duration::from_secs(7),
            drain: Duration::from_secs(5),
            drains: 2,
        }
    }
}

impl Rules {
    /// What is wrong with them, if anything: with such rules shards would be lost without need, or move without end.
    pub fn fault(&self) -> Option<&'static str> {
        if self.renew.is_zero() || self.drains == 0 {
            Some("a lease is renewed every so often, and one shard at least is handed over at once")
        } else if self.lease <= self.margin + self.renew * 2 {
            Some("a lease must last longer than two renewals and the margin: one renewal may be lost")
        } else if self.settle <= self.renew * 2 {
            Some("a node must settle for longer than two renewals, after which a silent one is doubted")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_lose_shards_or_move_them_without_end_are_none() {
        let rules = Rules::default();
        assert_eq!(rules.fault(), None);
        let seconds = Duration::from_secs;
        for bad in [
            Rules { renew: Duration::ZERO, ..rules },
            Rules { drains: 0, ..rules },
            Rules { lease: seconds(7), ..rules },
            Rules { margin: seconds(4), ..rules },
            Rules { settle: seconds(6), ..rules },
        ] {
            assert!(bad.fault().is_some(), "{bad:?}");
        }
    }
}
