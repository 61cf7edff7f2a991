//! When a webhook is called again, when a delivery is given up, and when an endpoint is: pure rules; the time is passed
//! in.

use billing::{
    Timestamp,
    time::{DAY_MS, HOUR_MS},
    webhook::Because,
};
use ledger::webhooks::Fate;
use upstream::delivery::DeliveryOutcome;

const MINUTE_MS: i64 = 60_000;
/// The waits after each failed attempt. After the last one a delivery is given up.
const BACK_OFF_MS: [i64; 8] =
    [10_000, MINUTE_MS, 5 * MINUTE_MS, 30 * MINUTE_MS, 2 * HOUR_MS, 6 * HOUR_MS, 12 * HOUR_MS, 24 * HOUR_MS];
/// How long an endpoint may fail without a success.
const LONGEST_FAILING_MS: i64 = 5 * DAY_MS;
/// An endpoint with this status is gone for good.
const GONE: u16 = 410;

/// The consequence of an attempt. `attempts` includes it; `failing_since` is the time of the endpoint's first failure
/// since its last success.
pub(super) fn fate(outcome: &DeliveryOutcome, attempts: u32, failing_since: Option<Timestamp>, now: Timestamp) -> Fate {
    if outcome.is_success() {
        return Fate::Delivered;
    }
    if outcome.status == Some(GONE) {
        return Fate::Disable(Because::Gone);
    }
    if failing_since.is_some_and(|since| now.ms_since(since) >= LONGEST_FAILING_MS) {
        return Fate::Disable(Because::Failing);
    }
    let place = usize::try_from(attempts).unwrap_or(usize::MAX).saturating_sub(1);
    BACK_OFF_MS.get(place).map_or(Fate::GivenUp, |wait| Fate::Again(now.plus_ms(*wait)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn answered(status: u16) -> DeliveryOutcome {
        DeliveryOutcome { status: Some(status), ..DeliveryOutcome::default() }
    }

    #[test]
    fn nine_attempts_are_made_over_two_days() {
        let waits: Vec<i64> = (1..=8)
            .map(|attempts| match fate(&answered(500), attempts, None, NOW) {
                Fate::Again(at) => at.ms_since(NOW) / 1_000,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(waits, [10, 60, 300, 1_800, 7_200, 21_600, 43_200, 86_400]);
        assert_eq!(fate(&answered(500), 9, None, NOW), Fate::GivenUp);
        assert_eq!(fate(&answered(500), u32::MAX, None, NOW), Fate::GivenUp);
    }

    #[test]
    fn only_a_2xx_is_a_success() {
        for status in [200, 201, 204, 299] {
            assert_eq!(fate(&answered(status), 1, None, NOW), Fate::Delivered, "{status}");
        }
        for status in [199, 301, 302, 400, 404, 429, 500, 503] {
            assert!(matches!(fate(&answered(status), 1, None, NOW), Fate::Again(_)), "{status}");
        }
        let silent = DeliveryOutcome { error: Some("no answer in time".into()), ..DeliveryOutcome::default() };
        assert!(matches!(fate(&silent, 1, None, NOW), Fate::Again(_)));
    }

    #[test]
    fn an_endpoint_is_given_up_when_it_is_gone_or_failed_for_five_days() {
        assert_eq!(fate(&answered(410), 1, None, NOW), Fate::Disable(Because::Gone));
        let since = |ms: i64| Some(NOW.plus_ms(-ms));
        assert_eq!(fate(&answered(500), 1, since(5 * DAY_MS), NOW), Fate::Disable(Because::Failing));
        assert!(matches!(fate(&answered(500), 1, since(5 * DAY_MS - 1), NOW), Fate::Again(_)));
        assert_eq!(fate(&answered(200), 1, since(9 * DAY_MS), NOW), Fate::Delivered);
    }
}
