//! A clock of compute: it runs and stands, and says how long it ran in all. The time is passed in.

use std::time::Duration;

/// How long something computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ComputeClock {
    /// The time of the spans that have ended.
    ended: Duration,
    /// When the span that runs began.
    since: Option<Duration>,
}

impl ComputeClock {
    /// Lets the clock run, if it stands.
    pub fn start(&mut self, now: Duration) {
        self.since.get_or_insert(now);
    }

    /// Lets the clock stand, if it runs.
    pub fn stop(&mut self, now: Duration) {
        self.ended = self.at(now);
        self.since = None;
    }

    /// The time that it ran up to now.
    pub fn at(&self, now: Duration) -> Duration {
        self.ended + self.since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_spans_count_and_each_once() {
        let at = Duration::from_millis;
        let mut clock = ComputeClock::default();
        assert_eq!(clock.at(at(500)), at(0));
        clock.start(at(1_000));
        clock.start(at(1_200));
        assert_eq!(clock.at(at(1_500)), at(500));
        clock.stop(at(1_700));
        clock.stop(at(1_900));
        assert_eq!(clock.at(at(9_000)), at(700));
        clock.start(at(9_000));
        clock.stop(at(9_001));
        assert_eq!(clock.at(at(9_500)), at(701));
    }
}
