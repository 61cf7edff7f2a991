//! A circuit breaker (Nygard, "Release It!"): after so many failures in a row a provider is left alone for a while, then
//! tried with one call.

use std::time::{Duration, Instant};

use wire::inference::Failure;

/// Failures in a row that open it.
const OPENS_AFTER: u32 = 20;
/// How long it stays open.
const OPEN_FOR: Duration = Duration::from_secs(5);

/// The breaker of one provider.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    open_until: Option<Instant>,
}

/// Whether a failure is the provider's: its overload, its error, or no answer at all.
pub(super) const fn counts(failure: &Failure) -> bool {
    match failure {
        Failure::Provider { status, .. } => *status >= 500,
        Failure::Transport(_) | Failure::Timeout(_) => true,
        Failure::Invalid { .. } | Failure::Engine(_) | Failure::Overloaded(_) => false,
    }
}

impl Breaker {
    /// Whether a call may be made. When its time is over it lets one through and waits again for what comes of it.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        match self.open_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                self.open_until = Some(now + OPEN_FOR);
                true
            }
        }
    }

    /// Notes how a call ended.
    pub(super) fn note(&mut self, failed: bool, now: Instant) {
        if !failed {
            *self = Self::default();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= OPENS_AFTER {
            self.open_until = Some(now + OPEN_FOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_that_keeps_failing_is_left_alone_then_tried() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..OPENS_AFTER {
            assert!(breaker.admits(now));
            breaker.note(true, now);
        }
        assert!(!breaker.admits(now));
        let later = now + OPEN_FOR;
        assert!(breaker.admits(later));
        assert!(!breaker.admits(later), "one call at a time until it is known to work");
        breaker.note(false, later);
        assert!(breaker.admits(later));
    }
}
