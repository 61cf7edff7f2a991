//! When a failed call is made again. Only a call of which nothing was sent to the client, and only where the provider
//! surely did not work on it, or says that it could not: it is not paid twice. Pure.

use std::time::Duration;

use wire::inference::Failure;

/// The first wait, where the provider names none; it doubles from call to call.
const FIRST: Duration = Duration::from_millis(250);
/// The longest wait within a request: clients with more patience are told when to come back.
const LONGEST: Duration = Duration::from_secs(8);

/// How a failed call may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Not at all.
    Never,
    /// After a wait; where the provider has several keys, with the next one.
    After(Duration),
    /// At once, with another key only: this one's limit or account is used up.
    OtherKey,
}

/// Whether a call that failed so is made again. `attempt` counts from 0; `jitter` is from 0 to 1; `has_other_key` says
/// whether a key was not tried yet.
pub(super) fn again(failure: &Failure, attempt: u32, jitter: f64, has_other_key: bool) -> Again {
    let wait = |named: Option<u64>| {
        let named = named.map(Duration::from_secs);
        let usual = FIRST.saturating_mul(2_u32.saturating_pow(attempt)).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        match named.unwrap_or(usual) {
            wait if wait <= LONGEST => Again::After(wait),
            _ => Again::Never,
        }
    };
    match failure {
        Failure::Provider(error) => match error.status {
            // Another key has a limit of its own.
            429 if has_other_key => Again::OtherKey,
            408 | 429 | 500 | 502 | 503 | 504 | 529 => wait(error.retry_after),
            _ => Again::Never,
        },
        Failure::Unserved(_) if has_other_key => Again::OtherKey,
        Failure::Timeout("connect") | Failure::Unreached(_) => wait(None),
        Failure::Unserved(_)
        | Failure::Timeout(_)
        | Failure::Transport(_)
        | Failure::TooLarge(_)
        | Failure::Invalid { .. }
        | Failure::ContextLength(_)
        | Failure::NotFinite
        | Failure::Engine(_)
        | Failure::LeftAlone { .. }
        | Failure::Unavailable(_)
        | Failure::Overloaded(_) => Again::Never,
    }
}

#[cfg(test)]
mod tests {
    use wire::inference::{ProviderError, Unserved};

    use super::*;

    fn refused(status: u16, retry_after: Option<u64>) -> Failure {
        Failure::Provider(Box::new(ProviderError { status, retry_after, ..ProviderError::default() }))
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_may_be_paid_twice_is_not() {
        for status in [408, 429, 500, 502, 503, 504, 529] {
            assert!(matches!(again(&refused(status, None), 0, 0.5, false), Again::After(_)), "{status}");
        }
        for status in [200, 400, 401, 403, 404, 409, 413, 422, 501] {
            assert_eq!(again(&refused(status, None), 0, 0.5, true), Again::Never, "{status}");
        }
        for failure in [Failure::Timeout("connect"), Failure::Unreached("refused".into())] {
            assert!(matches!(again(&failure, 0, 0.5, false), Again::After(_)), "{failure}");
        }
        for failure in [Failure::Timeout("first byte"), Failure::Transport("cut".into()), Failure::TooLarge(1)] {
            assert_eq!(again(&failure, 0, 0.5, true), Again::Never, "{failure}");
        }
    }

    #[test]
    fn the_provider_says_how_long_and_too_long_is_left_to_the_client() {
        assert_eq!(again(&refused(429, Some(3)), 0, 0.5, false), Again::After(Duration::from_secs(3)));
        assert_eq!(again(&refused(429, Some(9)), 0, 0.5, false), Again::Never);
        assert_eq!(again(&refused(503, None), 0, 0.0, false), Again::After(Duration::from_millis(125)));
        assert_eq!(again(&refused(503, None), 2, 1.0, false), Again::After(Duration::from_secs(1)));
        assert_eq!(again(&refused(503, None), 31, 1.0, false), Again::Never);
    }

    #[test]
    fn a_limit_of_one_key_is_none_of_the_next() {
        assert_eq!(again(&refused(429, Some(60)), 0, 0.5, true), Again::OtherKey);
        assert_eq!(again(&Failure::Unserved(Unserved::Quota), 0, 0.5, true), Again::OtherKey);
        assert_eq!(again(&Failure::Unserved(Unserved::Credentials), 0, 0.5, false), Again::Never);
    }
}
