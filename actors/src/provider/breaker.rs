//! A circuit breaker (Nygard, "Release It!"): after so many failures in a row a provider is left alone for a while, then
//! tried with one call.

use wire::inference::Failure;

/// Failures in a row that open it.
const OPENS_AFTER: u32 = 20;

/// The breaker of one provider.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
}

/// Whether a failure is the provider's: its overload, its error, or no answer at all.
pub(super) const fn counts(failure: &Failure) -> bool {
    match failure {
        Failure::Provider(error) => error.status >= 500,
        Failure::Transport(_) | Failure::Timeout(_) => true,
        // What is wrong between it and us alone says nothing to those who have their own key.
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

    /// Whether some failed since one went well.
    pub(super) const fn is_troubled(&self) -> bool {
        self.failures > 0
    }

    /// Failures in a row.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the provider is to be left alone.
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
