//! A circuit breaker (Nygard, "Release It!"): after a number of failures in a row a provider is not called for a while,
//! then one call is tried.

use wire::inference::Failure;

/// The failures in a row that open the breaker.
const OPENS_AFTER: u32 = 20;

/// The breaker of one provider.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
}

/// Whether a failure is the provider's: its overload, its error, or a missing answer.
pub(super) const fn counts(failure: &Failure) -> bool {
    match failure {
        Failure::Provider(error) => error.status >= 500,
        Failure::Transport(_) | Failure::Unreached(_) | Failure::Timeout(_) => true,
        // A fault between the provider and this gateway's key does not concern callers with their own key.
        Failure::Unserved(_)
        | Failure::Invalid { .. }
        | Failure::ContextLength(_)
        | Failure::NotFinite
        | Failure::Engine(_)
        | Failure::Unavailable(_)
        | Failure::LeftAlone { .. }
        | Failure::Overloaded(_)
        | Failure::TooLarge(_) => false,
    }
}

impl Breaker {
    /// Notes how a call ended.
    pub(super) const fn note(&mut self, failed: bool) {
        self.failures = if failed { self.failures.saturating_add(1) } else { 0 };
    }

    /// Whether calls failed since the last success.
    pub(super) const fn is_troubled(&self) -> bool {
        self.failures > 0
    }

    /// The number of failures in a row.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the provider is not to be called.
    pub(super) const fn is_open(&self) -> bool {
        self.failures >= OPENS_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_open_it_and_one_success_closes_it() {
        let mut breaker = Breaker::default();
        for _ in 1..OPENS_AFTER {
            breaker.note(true);
        }
        assert!(breaker.is_troubled() && !breaker.is_open());
        breaker.note(true);
        assert!(breaker.is_open());
        breaker.note(false);
        assert!(!breaker.is_troubled() && !breaker.is_open());
    }
}
