//! Which other nodes may live, as far as the rows tell that this one reads. Pure: it knows no clock and no database.

use std::time::Duration;

use ledger::nodes::{self, Nodes};
use runtime::node::NodeId;

use super::lease::{Rules, Statement};

/// Since when the rows are read without a break, and the newest reading. Statements that run at once end in any order: what
/// an older one has read is not shown after a newer one.
#[derive(Debug, Default)]
pub struct Hearing {
    since: Duration,
    last: Option<(Statement, Duration)>,
}

impl Hearing {
    /// A statement has read the rows now. Returns for how long they are read without a break; `None` where a newer
    /// statement has read them.
    pub fn read(&mut self, statement: Statement, now: Duration, rules: &Rules) -> Option<Duration> {
        if self.last.is_some_and(|(newest, _)| newest > statement) {
            return None;
        }
        if self.last.is_none_or(|(_, last)| now.saturating_sub(last) > 2 * rules.renew) {
            self.since = now;
        }
        self.last = Some((statement, now));
        Some(now.saturating_sub(self.since))
    }
}

/// How long a node that lives may be silent.
fn longest_silence(rules: &Rules) -> Duration {
    rules.lease + 2 * rules.renew
}

/// Whether a node has been heard of lately.
pub fn is_alive(node: &nodes::Node, seen: &Nodes, rules: &Rules) -> bool {
    let silent = seen.now.0.saturating_sub(node.beat_at.0);
    u128::try_from(silent).unwrap_or_default() < longest_silence(rules).as_millis()
}

/// Whether a node may live, of which rows without a break tell that are read for so long. The requests of one that does not
/// count as gone. After the database was away nobody has been heard of, and those who live come again in a moment.
pub fn may_live(node: &nodes::Node, seen: &Nodes, rules: &Rules, heard_for: Duration) -> bool {
    is_alive(node, seen, rules) || heard_for < longest_silence(rules)
}

/// The other nodes that may live.
pub fn others<'a>(
    me: NodeId,
    seen: &'a Nodes,
    rules: &'a Rules,
    heard_for: Duration,
) -> impl Iterator<Item = NodeId> + 'a {
    let others = seen.nodes.iter().filter(move |node| node.id != me.0);
    others.filter(move |node| may_live(node, seen, rules, heard_for)).map(|node| NodeId(node.id))
}

#[cfg(test)]
mod tests {
    use billing::Timestamp;

    use super::*;

    #[test]
    fn who_could_not_be_heard_may_live_until_it_has_had_time_to_be_heard() {
        let node = nodes::Node {
            id: uuid::Uuid::from_u128(1),
            name: String::new(),
            address: String::new(),
            version: String::new(),
            leaves: false,
            beat: 1,
            beat_at: Timestamp(0),
            since: Timestamp(0),
            ahead_ms: 0,
        };
        let seen = |ms| Nodes { now: Timestamp(ms), nodes: vec![node.clone()], leases: Vec::new() };
        // A lease of ten seconds, renewed each three.
        let (rules, mut hearing, s) = (Rules::default(), Hearing::default(), Duration::from_secs);
        assert_eq!(hearing.read(1, s(100), &rules), Some(s(0)), "nothing was read before");
        assert_eq!(hearing.read(3, s(103), &rules), Some(s(3)));
        assert_eq!(hearing.read(2, s(104), &rules), None, "it began before");
        assert_eq!(hearing.read(4, s(109), &rules), Some(s(9)), "one reading was missed");
        assert_eq!(hearing.read(5, s(120), &rules), Some(s(0)), "the database was away");
        let lives = |ms, heard_for| may_live(&node, &seen(ms), &rules, heard_for);
        assert!(lives(15_999, s(3_600)) && !lives(16_000, s(3_600)));
        assert!(lives(3_600_000, s(15)) && !lives(3_600_000, s(16)));
    }
}
