//! For how long the other nodes have known without a break that this one lives, as it can tell itself. They count a node as
//! gone, and settle its requests, after a silence of a lease and two heartbeats. Here a lease of silence is a break: a question
//! that is sent just before has as long as two heartbeats to arrive.

use std::time::Duration;

use super::{rows::Rules, sight::When};

/// A time in which no other node has counted this one as gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    since: Duration,
    until: Duration,
}

impl Known {
    /// A heartbeat was carried out between these times, after the ones that made `before`.
    pub(super) fn after(before: Option<Self>, when: When, rules: &Rules) -> Self {
        let since = before.filter(|before| when.received < before.until).map_or(when.received, |before| before.since);
        Self { since, until: when.sent + rules.lease }
    }

    /// Whether no other node has counted this one as gone from a time until now.
    pub fn has_lasted(&self, from: Duration, now: Duration) -> bool {
        self.since <= from && now < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_without_a_heartbeat_is_a_break() {
        let (rules, s) = (Rules::default(), Duration::from_secs);
        let beat = |before, sent, received| Known::after(before, When { sent: s(sent), received: s(received) }, &rules);
        let first = beat(None, 100, 101);
        assert!(!first.has_lasted(s(100), s(102)), "nobody knew of it before the first");
        assert!(first.has_lasted(s(101), s(109)) && !first.has_lasted(s(101), s(110)));
        let second = beat(Some(first), 108, 109);
        assert!(second.has_lasted(s(101), s(117)) && !second.has_lasted(s(101), s(118)));
        let late = beat(Some(second), 117, 118);
        assert!(!late.has_lasted(s(101), s(118)), "it may have been carried out a lease after the second");
        assert!(late.has_lasted(s(118), s(126)));
    }
}
