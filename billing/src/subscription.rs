//! The pay-as-you-go plan's cycles: sign-up, renewal, cancelling, and a renewal that is declined (design, chapter 2.2).
//! Until when it is paid stands in the account's header; this says what happens then.

use crate::{
    nanos::Nanos,
    time::{FOUR_WEEKS_MS, HOUR_MS, Timestamp},
};

/// The fee of a cycle.
pub const FEE: Nanos = Nanos::dollars(3);

/// How long after a declined renewal the next one is tried, in milliseconds; after the last, the subscription ends.
pub const RETRIES_MS: [i64; 3] = [HOUR_MS, 6 * HOUR_MS, 24 * HOUR_MS];

/// Where a subscription stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Paid.
    Active,
    /// Its renewal was declined and will be tried again; the account is not subscribed meanwhile.
    PastDue,
    /// Over.
    Ended,
}

impl Status {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Ended => "ended",
        }
    }

    /// The status of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Active, Self::PastDue, Self::Ended].into_iter().find(|status| status.name() == name)
    }
}

/// What happens when the paid time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtEnd {
    /// The next cycle is paid.
    Renew,
    /// It ends: it was cancelled.
    Cancel,
}

/// An account's subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Where it stands.
    pub status: Status,
    /// What happens when the paid time is over.
    pub at_end: AtEnd,
    /// Which card pays, or the account's default.
    pub method: String,
    /// When it was first paid.
    pub started_at: Timestamp,
    /// Declined renewals in a row.
    pub failures: u32,
    /// When the next is tried, after one was declined.
    pub retry_at: Option<Timestamp>,
}

impl Subscription {
    /// A subscription whose first cycle is paid.
    pub const fn new(method: String, now: Timestamp) -> Self {
        Self { status: Status::Active, at_end: AtEnd::Renew, method, started_at: now, failures: 0, retry_at: None }
    }

    /// When something has to be done about it, if anything.
    pub fn due_at(&self, paid_until: Option<Timestamp>) -> Option<Timestamp> {
        match self.status {
            Status::Active => paid_until,
            Status::PastDue => self.retry_at,
            Status::Ended => None,
        }
    }
}

/// Until when a renewal that was paid now pays. Cycles stand on each other without drift, unless the last one ended too
/// long ago for that: nobody pays for a time that is over.
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
