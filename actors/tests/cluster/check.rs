//! What must be true of a story, and counts of what has happened.

use std::collections::BTreeMap;

use ledger::log::Shard;
use runtime::node::NodeId;

pub(crate) type Checked = Result<(), String>;

pub(crate) fn check(holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(what()) }
}

/// Counts, so that a story that never gets anywhere does not pass; and the longest times.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stats {
    pub(crate) started: u64,
    pub(crate) killed: u64,
    pub(crate) left: u64,
    pub(crate) paused: u64,
    pub(crate) cut: u64,
    pub(crate) outages: u64,
    pub(crate) steps: u64,
    pub(crate) begun: u64,
    pub(crate) begun_again: u64,
    pub(crate) expired: u64,
    pub(crate) handed_over: u64,
    pub(crate) drained_late: u64,
    pub(crate) refused_takes: u64,
    pub(crate) late_statements: u64,
    pub(crate) intruded: u64,
    /// The longest that a dead node's shards waited, in milliseconds.
    pub(crate) longest_takeover: u64,
    /// The longest that a leaving node's shard waited after its drain, in milliseconds.
    pub(crate) longest_handover: u64,
    /// The longest until all shards were used after the faults, in milliseconds.
    pub(crate) longest_recovery: u64,
}

impl Stats {
    fn counts(&mut self) -> [&mut u64; 15] {
        [
            &mut self.started,
            &mut self.killed,
            &mut self.left,
            &mut self.paused,
            &mut self.cut,
            &mut self.outages,
            &mut self.steps,
            &mut self.begun,
            &mut self.begun_again,
            &mut self.expired,
            &mut self.handed_over,
            &mut self.drained_late,
            &mut self.refused_takes,
            &mut self.late_statements,
            &mut self.intruded,
        ]
    }

    fn longest(&mut self) -> [&mut u64; 3] {
        [&mut self.longest_takeover, &mut self.longest_handover, &mut self.longest_recovery]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        let mut other = *other;
        for (sum, more) in self.counts().into_iter().zip(other.counts()) {
            *sum += *more;
        }
        for (most, more) in self.longest().into_iter().zip(other.longest()) {
            *most = (*most).max(*more);
        }
    }

    /// Asserts that in so many stories everything has happened.
    pub(crate) fn assert_told(&self, stories: u64) {
        let mut own = *self;
        assert!(own.begun > 20 * stories && own.handed_over > stories, "{self:?}");
        assert!(own.counts().into_iter().all(|count| *count * 50 >= stories), "{self:?}");
    }
}

/// Who began to use which shard last, and in which epoch; and when it was handed over last, by the count of changes
/// among the nodes.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    begun: BTreeMap<Shard, (NodeId, i64)>,
    handed_over: BTreeMap<Shard, u64>,
}

impl Truth {
    /// An epoch never goes back, and is of one node.
    pub(crate) fn begin(&mut self, shard: Shard, node: NodeId, epoch: i64) -> Checked {
        if let Some((before, last)) = self.begun.insert(shard, (node, epoch)) {
            let rises = if before == node { epoch >= last } else { epoch > last };
            check(rises, || format!("{shard:?} is used in epoch {epoch} after {last} of node {before}"))?;
        }
        Ok(())
    }

    /// A shard is not handed over again before something has changed.
    pub(crate) fn hand_over(&mut self, shard: Shard, change: u64) -> Checked {
        let before = self.handed_over.insert(shard, change);
        check(before != Some(change), || format!("{shard:?} is handed over twice without a reason"))
    }
}
