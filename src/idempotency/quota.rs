//! The number of kept answers of an account in the current hour. Beyond the quota only answers that did something are
//! kept, so that answers without cost (quotes, refusals) can't fill the disk. A retry of such an answer runs again,
//! which is as good.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use billing::Timestamp;
use uuid::Uuid;

/// The most answers of an account kept in an hour, whether they did something or not.
pub const AN_HOUR: u32 = 5_000;

const HOUR_MS: i64 = 3_600_000;

/// Whether an answer is within its account's quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Within the quota: the answer is kept in any case.
    Within,
    /// Beyond the quota: the answer is kept if it did something.
    Beyond,
}

/// The counts of one hour. Earlier hours are forgotten.
#[derive(Debug, Default)]
pub struct Quota(Mutex<(i64, HashMap<Uuid, u32>)>);

impl Quota {
    /// Counts an answer.
    pub fn take(&self, scope: Uuid, now: Timestamp) -> Share {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hour = now.0 / HOUR_MS;
        if counts.0 != hour {
            *counts = (hour, HashMap::new());
        }
        let count = counts.1.entry(scope).or_default();
        *count = count.saturating_add(1);
        if *count > AN_HOUR { Share::Beyond } else { Share::Within }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_account_has_its_quota_each_hour() {
        let (quota, now) = (Quota::default(), Timestamp(7 * HOUR_MS));
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        for _ in 0..AN_HOUR {
            assert_eq!(quota.take(one, now), Share::Within);
        }
        assert_eq!(quota.take(one, now.plus_ms(HOUR_MS - 1)), Share::Beyond);
        assert_eq!(quota.take(two, now), Share::Within);
        assert_eq!(quota.take(one, now.plus_ms(HOUR_MS)), Share::Within);
    }
}
