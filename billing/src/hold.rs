//! Holds: credits set aside for one running request, and the size of a hold (design, chapter 2.7).

use serde::{Deserialize, Serialize};
use std::sync::Arc;

use rust_decimal::Decimal;

use crate::{
    class::{SizeClass, Units},
    ids::{GrantId, KeyId, RequestId},
    nanos::Nanos,
    price::{self, Rate},
    session::Session,
    time::Timestamp,
};

/// The lifetime of a hold: 30 minutes, renewed while its request runs.
pub const DEADLINE_MS: i64 = 30 * 60_000;

/// The greatest age of a running request's durable cost, in milliseconds. An older cost is written again.
pub const CHECKPOINT_MS: i64 = 5_000;

/// The work that a hold pays for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Work {
    /// A request to an open model, with its permit.
    Open {
        /// The model's class.
        class: SizeClass,
        /// The permit's weight.
        units: Units,
    },
    /// A request to a provider's closed model.
    Closed,
}

/// Credits set aside for one running request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hold {
    /// The request.
    pub request_id: RequestId,
    /// The API key of the request.
    pub key_id: Option<KeyId>,
    /// The work.
    pub work: Work,
    /// The model's name.
    pub model: Arc<str>,
    /// The provider, or `farebox` for an open model.
    pub provider: Arc<str>,
    /// The price version, frozen at admission.
    pub price_version: i64,
    /// The amount held from each grant, in draw order.
    pub allocations: Vec<(GrantId, Nanos)>,
    /// The cost so far, as last reported. It is charged if the process dies.
    pub accrued: Nanos,
    /// The largest cost the request can reach.
    pub worst_case: Nanos,
    /// The most that the request may cost under its key's limits; `None` without limits.
    pub claimed: Option<Nanos>,
    /// When the hold was placed.
    pub placed_at: Timestamp,
    /// When the hold counts as abandoned unless it is renewed.
    pub deadline: Timestamp,
    /// Whether the request stands still, because its reader is slow, and has given its permit back. Only an open one can.
    pub is_parked: bool,
    /// The session that its client names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
}

impl Hold {
    /// Whether the cost so far should be made durable: the last checkpoint is 5 s old, or the cost has grown by a tenth
    /// of the hold.
    pub fn wants_checkpoint(&self, accrued: Nanos, now: Timestamp) -> bool {
        let written_at = self.deadline.plus_ms(-DEADLINE_MS);
        let moved = accrued - self.accrued;
        moved.is_positive() && (now.ms_since(written_at) >= CHECKPOINT_MS || moved.times(10) >= self.total())
    }

    /// The most that the request may cost, as far as it is known. This amount counts against the key's limits while the
    /// request runs. Without a limit at admission, a closed request claims its worst case, and an open one, billed by
    /// the second, the amount held.
    pub fn claim(&self) -> Nanos {
        let unlimited = match self.work {
            Work::Closed => self.worst_case,
            Work::Open { .. } => Nanos::ZERO,
        };
        self.claimed.unwrap_or(unlimited).max(self.total()).max(self.accrued)
    }

    /// The units of concurrency that the request needs to run.
    pub const fn weight(&self) -> Units {
        match self.work {
            Work::Open { units, .. } => units,
            Work::Closed => Units(0),
        }
    }

    /// Those of them that it has taken now.
    pub const fn units(&self) -> Units {
        if self.is_parked { Units(0) } else { self.weight() }
    }

    /// The whole amount held.
    pub fn total(&self) -> Nanos {
        self.allocations.iter().map(|(_, amount)| *amount).sum()
    }
}

/// The inputs of a closed request's expected cost, for accounts that have learned the usual length of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputPrice {
    /// The prompt's cost in dollars, fee included.
    pub input: Decimal,
    /// The cost of an output token, fee included.
    pub token: Rate,
    /// The most output tokens.
    pub limit: u64,
}

impl OutputPrice {
    /// The cost of an answer with this many tokens, rounded up; `None` if the ledger can't hold the amount.
    pub fn cost(&self, tokens: u64) -> Option<Nanos> {
        price::total(self.input, self.token, tokens.min(self.limit))
    }
}

/// The hold that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRequest {
    /// The request is refused if less than this is available.
    pub minimum: Nanos,
    /// The usual cost of similar requests.
    pub expected: Nanos,
    /// The highest possible cost.
    pub worst_case: Nanos,
}

impl HoldRequest {
    /// A request that costs nothing here, because it runs with the caller's own provider key.
    pub const FREE: Self = Self { minimum: Nanos::ZERO, expected: Nanos::ZERO, worst_case: Nanos::ZERO };

    /// min(worst case, max(a quarter of the available credits, expected cost)), at most the available credits. `None`
    /// if they are below the minimum.
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
