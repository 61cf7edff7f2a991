//! Holds: credits set aside for one running request, and how large one is made (design, chapter 2.7).

use std::sync::Arc;

use rust_decimal::Decimal;

use crate::{
    class::{SizeClass, Units},
    ids::{GrantId, KeyId, RequestId},
    nanos::Nanos,
    price::{self, Rate},
    time::Timestamp,
};

/// How long an abandoned hold lives: 30 minutes, renewed while its request runs.
pub const DEADLINE_MS: i64 = 30 * 60_000;

/// How old the durable cost of a running request may get, in milliseconds, before it is written again.
pub const CHECKPOINT_MS: i64 = 5_000;

/// What a hold is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// An open model of a class, with the permit it holds.
    Open {
        /// Its class.
        class: SizeClass,
        /// Its permit's weight.
        units: Units,
    },
    /// A closed provider's model.
    Closed,
}

/// Credits set aside for one running request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The request it is for.
    pub request_id: RequestId,
    /// The key the request came with.
    pub key_id: Option<KeyId>,
    /// What runs.
    pub work: Work,
    /// The model's name.
    pub model: Arc<str>,
    /// Who runs it: a provider, or `farebox`.
    pub provider: Arc<str>,
    /// The price version, frozen at admission.
    pub price_version: i64,
    /// Which grants it took how much of, in draw order.
    pub allocations: Vec<(GrantId, Nanos)>,
    /// Cost so far, as last reported: what is charged if the process dies.
    pub accrued: Nanos,
    /// The largest cost the request can reach.
    pub worst_case: Nanos,
    /// The most it may come to by its key's limits; none where its key had none.
    pub claimed: Option<Nanos>,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// When it is abandoned unless renewed.
    pub deadline: Timestamp,
}

impl Hold {
    /// Whether the cost so far should be made durable: it is 5 s old, or has moved by a tenth of the hold.
    pub fn wants_checkpoint(&self, accrued: Nanos, now: Timestamp) -> bool {
        let written_at = self.deadline.plus_ms(-DEADLINE_MS);
        let moved = accrued - self.accrued;
        moved.is_positive() && (now.ms_since(written_at) >= CHECKPOINT_MS || moved.times(10) >= self.total())
    }

    /// The most it may come to, as far as that is known: what counts against its key's limits while it runs. A request that
    /// its key did not limit may come to its worst case; an open model's, billed by the second, to what was set aside.
    pub fn claim(&self) -> Nanos {
        let unlimited = match self.work {
            Work::Closed => self.worst_case,
            Work::Open { .. } => Nanos::ZERO,
        };
        self.claimed.unwrap_or(unlimited).max(self.total()).max(self.accrued)
    }

    /// All that is set aside.
    pub fn total(&self) -> Nanos {
        self.allocations.iter().map(|(_, amount)| *amount).sum()
    }
}

/// What the expected cost of a closed request depends on, for an account that has learned how long answers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputPrice {
    /// The prompt's cost in dollars, fee included.
    pub input: Decimal,
    /// An output token's, fee included.
    pub token: Rate,
    /// Output tokens, at most.
    pub limit: u64,
}

impl OutputPrice {
    /// The cost of an answer of so many tokens, rounded up; none where it is beyond what the ledger holds.
    pub fn cost(&self, tokens: u64) -> Option<Nanos> {
        price::total(self.input, self.token, tokens.min(self.limit))
    }
}

/// How much a request asks to have set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldRequest {
    /// Less available than this refuses the request.
    pub minimum: Nanos,
    /// What such requests usually cost.
    pub expected: Nanos,
    /// The most it can cost.
    pub worst_case: Nanos,
}

impl HoldRequest {
    /// A request that costs nothing here: the caller's own key.
    pub const FREE: Self = Self { minimum: Nanos::ZERO, expected: Nanos::ZERO, worst_case: Nanos::ZERO };

    /// min(worst case, max(a quarter of what is available, expected)), at most what is available; `None` where even the
    /// minimum is not there.
    pub fn size(&self, available: Nanos) -> Option<Nanos> {
        if available < self.minimum || (self.minimum.is_positive() && !available.is_positive()) {
            return None;
        }
        Some(self.worst_case.min(available.quarter().max(self.expected)).min(available).max(self.minimum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sized(minimum: i64, expected: i64, worst_case: i64, available: i64) -> Option<i64> {
        let request = HoldRequest {
            minimum: Nanos::new(minimum),
            expected: Nanos::new(expected),
            worst_case: Nanos::new(worst_case),
        };
        request.size(Nanos::new(available)).map(Nanos::get)
    }

    #[test]
    fn a_huge_limit_takes_a_quarter_and_leaves_room_for_others() {
        assert_eq!(sized(10, 20, 100_000, 1_000), Some(250));
        assert_eq!(sized(10, 400, 100_000, 1_000), Some(400));
        assert_eq!(sized(10, 20, 30, 1_000), Some(30));
        assert_eq!(sized(10, 400, 100_000, 300), Some(300));
        assert_eq!(sized(10, 20, 100_000, 9), None);
        assert_eq!(HoldRequest::FREE.size(Nanos::ZERO), Some(Nanos::ZERO));
    }
}
