//! The cycles of the pay-as-you-go plan: sign-up, renewal, cancellation, and declined renewals (design, chapter 2.2).
//! The end of the paid time is in the account's header; this file decides what follows from it.

use crate::{
    nanos::Nanos,
    time::{FOUR_WEEKS_MS, HOUR_MS, Timestamp},
};
use serde::{Deserialize, Serialize};

/// The fee of a cycle.
pub const FEE: Nanos = Nanos::dollars(3);

/// The waits before the next attempt after a declined renewal, in milliseconds. A decline after the last wait ends the
/// subscription.
pub const RETRIES_MS: [i64; 3] = [HOUR_MS, 6 * HOUR_MS, 24 * HOUR_MS];

/// The status of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Paid.
    Active,
    /// The renewal was declined and will be tried again. Meanwhile the account is not subscribed.
    PastDue,
    /// Ended.
    Ended,
}

impl Status {
    /// The status's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Ended => "ended",
        }
    }

    /// Finds a status by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Active, Self::PastDue, Self::Ended].into_iter().find(|status| status.name() == name)
    }
}

/// What happens when the paid time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AtEnd {
    /// The next cycle is paid for.
    Renew,
    /// The subscription ends: it was cancelled.
    Cancel,
}

/// An account's subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// The current status.
    pub status: Status,
    /// What happens when the paid time is over.
    pub at_end: AtEnd,
    /// The card that is charged, or the account's default.
    pub method: String,
    /// When the subscription began.
    pub started_at: Timestamp,
    /// Declined renewals in a row.
    pub failures: u32,
    /// When the next attempt is made after a decline.
    pub retry_at: Option<Timestamp>,
}

impl Subscription {
    /// A subscription whose first cycle is paid.
    pub const fn new(method: String, now: Timestamp) -> Self {
        Self { status: Status::Active, at_end: AtEnd::Renew, method, started_at: now, failures: 0, retry_at: None }
    }

    /// When the subscription needs a renewal or its end, if ever.
    pub fn due_at(&self, paid_until: Option<Timestamp>) -> Option<Timestamp> {
        match self.status {
            Status::Active => paid_until,
            Status::PastDue => self.retry_at,
            Status::Ended => None,
        }
    }
}

/// The end of the cycle that a renewal paid now pays for. Cycles follow each other without drift. A cycle that would
/// already be over begins now instead: nobody pays for the past.
pub fn paid_until(before: Option<Timestamp>, status: Status, now: Timestamp) -> Timestamp {
    let seamless = before.map(|until| until.plus_ms(FOUR_WEEKS_MS)).filter(|next| *next > now);
    match (status, seamless) {
        (Status::Active, Some(next)) => next,
        _ => now.plus_ms(FOUR_WEEKS_MS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_do_not_drift_and_nobody_pays_for_the_past() {
        let end = Timestamp(1_000 * FOUR_WEEKS_MS);
        let next = end.plus_ms(FOUR_WEEKS_MS);
        assert_eq!(paid_until(Some(end), Status::Active, end.plus_ms(5_000)), next);
        assert_eq!(paid_until(Some(end), Status::PastDue, end.plus_ms(HOUR_MS)), next.plus_ms(HOUR_MS));
        let late = end.plus_ms(3 * FOUR_WEEKS_MS);
        assert_eq!(paid_until(Some(end), Status::Active, late), late.plus_ms(FOUR_WEEKS_MS));
        assert_eq!(paid_until(None, Status::Active, end), next);
    }
}
