//! Which other nodes may live, as far as the rows tell that this one reads. Pure: it knows no clock and no database.

use std::{collections::BTreeMap, time::Duration};

use ledger::nodes::{self, Nodes};
use runtime::node::NodeId;
use uuid::Uuid;

use super::lease::{Rules, Statement};

/// Since when each node's last heartbeat is known, by the reader's own monotonic clock: the database's clock may be set, and
/// no node dies of that. Statements that run at once end in any order: what an older one has read is not shown after a newer
/// one.
#[derive(Debug, Default)]
pub struct Hearing {
    last: Option<(Statement, Duration)>,
    beats: BTreeMap<Uuid, (u64, Duration)>,
}

impl Hearing {
    /// A statement has read the rows now. Returns whether they are the newest; of others nothing is taken.
    pub fn read(&mut self, statement: Statement, seen: &Nodes, now: Duration, rules: &Rules) -> bool {
        if self.last.is_some_and(|(newest, _)| newest > statement) {
            return false;
        }
        // While the database was away nobody could be heard of, and those who live come again in a moment.
        let is_broken = self.last.is_none_or(|(_, last)| now.saturating_sub(last) > 2 * rules.renew);
        let before = std::mem::take(&mut self.beats);
        let since = |node: &nodes::Node| {
            let known = before.get(&node.id).filter(|(beat, _)| *beat == node.beat && !is_broken);
            known.map_or(now, |(_, since)| *since)
        };
        self.beats = seen.nodes.iter().map(|node| (node.id, (node.beat, since(node)))).collect();
        self.last = Some((statement, now));
        true
    }

    /// Whether a node of the rows that were read last may live. The requests of one that does not count as gone.
    pub fn may_live(&self, node: Uuid, rules: &Rules) -> bool {
        let Some((_, now)) = self.last else { return true };
        self.beats.get(&node).is_some_and(|(_, since)| now.saturating_sub(*since) < longest_silence(rules))
    }

    /// The other nodes that may live.
    pub fn others(&self, me: NodeId, rules: &Rules) -> impl Iterator<Item = NodeId> {
        let others = self.beats.keys().filter(move |node| **node != me.0);
        others.filter(move |node| self.may_live(**node, rules)).map(|node| NodeId(*node))
    }
}

/// How long a node that lives may be silent.
fn longest_silence(rules: &Rules) -> Duration {
    rules.lease + 2 * rules.renew
}

/// Whether a node has been heard of lately, by the database's clock.
pub fn is_alive(node: &nodes::Node, seen: &Nodes, rules: &Rules) -> bool {
    let silent = seen.now.0.saturating_sub(node.beat_at.0);
    u128::try_from(silent).unwrap_or_default() < longest_silence(rules).as_millis()
}

#[cfg(test)]
mod tests {
    use billing::Timestamp;

    use super::*;

    fn node(beat: u64) -> nodes::Node {
        nodes::Node {
            id: Uuid::from_u128(1),
            name: String::new(),
            address: String::new(),
            version: String::new(),
            leaves: false,
            beat,
            beat_at: Timestamp(0),
            since: Timestamp(0),
            ahead_ms: 0,
        }
    }

    fn seen(ms: i64, beat: u64) -> Nodes {
        Nodes { now: Timestamp(ms), nodes: vec![node(beat)], leases: Vec::new() }
    }

    #[test]
    fn a_node_is_gone_once_its_last_heartbeat_was_read_for_long() {
        // A lease of ten seconds, renewed each three.
        let (rules, mut hearing, s) = (Rules::default(), Hearing::default(), Duration::from_secs);
        let id = Uuid::from_u128(1);
        for (statement, at) in (1..).zip((100..=115).step_by(3)) {
            assert!(hearing.read(statement, &seen(0, 1), s(at), &rules));
            assert!(hearing.may_live(id, &rules), "after {at} s");
        }
        assert!(!hearing.read(3, &seen(0, 9), s(116), &rules), "it began before another that has ended");
        assert!(hearing.read(7, &seen(0, 1), s(116), &rules));
        assert!(!hearing.may_live(id, &rules) && hearing.others(NodeId(Uuid::from_u128(2)), &rules).next().is_none());
        assert!(hearing.read(8, &seen(0, 2), s(117), &rules));
        assert!(hearing.may_live(id, &rules), "it has come again");
        assert!(hearing.read(9, &seen(0, 2), s(140), &rules));
        assert!(hearing.may_live(id, &rules), "the database was away: nobody could be heard of");
        assert!(!hearing.may_live(Uuid::from_u128(3), &rules), "it has no row");
    }

    #[test]
    fn no_node_dies_of_a_clock_that_is_set() {
        let (rules, mut hearing, s) = (Rules::default(), Hearing::default(), Duration::from_secs);
        assert!(hearing.read(1, &seen(0, 1), s(100), &rules));
        assert!(hearing.read(2, &seen(3_600_000, 1), s(103), &rules), "the database's clock is set by an hour");
        assert!(hearing.may_live(Uuid::from_u128(1), &rules));
        assert!(!is_alive(&node(1), &seen(16_000, 1), &rules) && is_alive(&node(1), &seen(15_999, 1), &rules));
    }
}
