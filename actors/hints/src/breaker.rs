//! When Redis is left alone: after a failure for a while, then one call may try; each failure after another doubles the
//! while.

use std::time::Duration;

/// Whether Redis is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    Ready,
    /// It is not, for so long, because of this.
    Resting(Duration, String),
}

/// The time is any that never goes back.
#[derive(Debug)]
pub(crate) struct Breaker {
    first: Duration,
    most: Duration,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Ready,
    /// Until then nobody asks; then one does, who has until the same time again.
    Resting {
        until: Duration,
        rest: Duration,
        why: String,
    },
}

impl Breaker {
    pub(crate) fn new((first, most): (Duration, Duration)) -> Self {
        Self { first, most: most.max(first), state: State::Ready }
    }

    /// Whether Redis may be asked now. Who may after a rest tries it for all.
    pub(crate) fn may_ask(&mut self, now: Duration) -> bool {
        match &mut self.state {
            State::Ready => true,
            State::Resting { until, rest, .. } if now >= *until => {
                *until = now + *rest;
                true
            }
            State::Resting { .. } => false,
        }
    }

    pub(crate) fn answered(&mut self) {
        self.state = State::Ready;
    }

    /// A call that began then has failed. Those that began together with one that failed already say nothing new.
    pub(crate) fn failed(&mut self, began: Duration, now: Duration, why: String) {
        let rest = match &self.state {
            State::Ready => self.first,
            State::Resting { until, rest, .. } if began + *rest >= *until => (*rest * 2).min(self.most),
            State::Resting { .. } => return,
        };
        self.state = State::Resting { until: now + rest, rest, why };
    }

    pub(crate) fn standing(&self, now: Duration) -> Standing {
        match &self.state {
            State::Ready => Standing::Ready,
            State::Resting { until, why, .. } => Standing::Resting(until.saturating_sub(now), why.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn after_a_failure_it_rests_and_one_tries() {
        let mut breaker = Breaker::new((ms(100), ms(300)));
        assert!(breaker.may_ask(ms(0)) && breaker.may_ask(ms(0)));
        breaker.failed(ms(0), ms(30), "away".into());
        breaker.failed(ms(0), ms(31), "away".into());
        assert_eq!(breaker.standing(ms(30)), Standing::Resting(ms(100), "away".into()), "one failure, not two");
        assert!(!breaker.may_ask(ms(129)));
        assert!(breaker.may_ask(ms(130)));
        assert!(!breaker.may_ask(ms(131)), "one tries");
        breaker.failed(ms(130), ms(160), "still".into());
        assert!(!breaker.may_ask(ms(359)));
        assert!(breaker.may_ask(ms(360)));
        breaker.failed(ms(360), ms(360), "still".into());
        assert_eq!(breaker.standing(ms(360)), Standing::Resting(ms(300), "still".into()), "at most");
        assert!(breaker.may_ask(ms(660)));
        breaker.answered();
        assert!(breaker.may_ask(ms(661)) && breaker.may_ask(ms(661)));
        breaker.failed(ms(661), ms(700), "away".into());
        assert_eq!(breaker.standing(ms(700)), Standing::Resting(ms(100), "away".into()), "it begins anew");
    }

    #[test]
    fn one_that_tries_and_never_ends_stops_nobody_for_ever() {
        let mut breaker = Breaker::new((ms(100), ms(300)));
        breaker.failed(ms(0), ms(0), "away".into());
        assert!(breaker.may_ask(ms(100)));
        assert!(breaker.may_ask(ms(200)));
    }
}
