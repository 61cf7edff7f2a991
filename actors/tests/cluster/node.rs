//! A node: the product's leases, and the shell around them that uses shards.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use actors::cluster::lease::{Leases, Rules, Statement};
use ledger::log::Shard;
use runtime::node::NodeId;

pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) leases: Leases,
    /// Millionths by which its clock is faster, and what it showed at the beginning of all.
    ppm: i64,
    shift_us: i64,
    /// Its wall clock against the true time.
    pub(crate) wall_ms: i64,
    /// Until when it is stopped.
    pub(crate) paused_until: Option<u64>,
    /// Whether it reaches no database.
    pub(crate) is_cut: bool,
    pub(crate) is_leaving: bool,
    /// Shards that are begun and not stopped.
    pub(crate) begun: BTreeMap<Shard, i64>,
    /// Shards that were stopped, with the epoch in which they were used.
    pub(crate) stopped: BTreeMap<Shard, i64>,
    /// Statements whose outcome is not told.
    pub(crate) waits_for: BTreeSet<Statement>,
    /// When it is to be woken.
    pub(crate) wakes_at: Option<u64>,
}

fn us(at: u64) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX / 2_000).saturating_mul(1_000)
}

impl Node {
    pub(crate) fn new(id: NodeId, rules: Rules, ppm: i64, shift_us: i64, at: u64) -> Self {
        let mut node = Self {
            id,
            leases: Leases::new(id, rules, Duration::ZERO),
            ppm,
            shift_us,
            wall_ms: 0,
            paused_until: None,
            is_cut: false,
            is_leaving: false,
            begun: BTreeMap::new(),
            stopped: BTreeMap::new(),
            waits_for: BTreeSet::new(),
            wakes_at: None,
        };
        node.leases = Leases::new(id, rules, node.clock(at));
        node
    }

    /// Its monotonic clock, at a true time.
    pub(crate) fn clock(&self, at: u64) -> Duration {
        let passed = us(at) + us(at) / 1_000_000 * self.ppm;
        Duration::from_micros((passed + self.shift_us).unsigned_abs())
    }

    /// The first true time at which its clock shows that.
    pub(crate) fn true_time(&self, clock: Duration, now: u64) -> u64 {
        let left = clock.saturating_sub(self.clock(now)).as_millis();
        let left = i64::try_from(left).unwrap_or(0);
        let mut at = now + (left - left * self.ppm / 1_000_000 - 2).max(0).unsigned_abs();
        while self.clock(at) < clock {
            at += 1;
        }
        at
    }

    /// Whether it uses a shard now, or would if something asked for it.
    pub(crate) fn uses(&self, shard: Shard, at: u64, asks_time: bool) -> bool {
        let Some(epoch) = self.begun.get(&shard) else { return false };
        !asks_time || self.leases.may_use(shard, self.clock(at)) == Some(*epoch)
    }
}
