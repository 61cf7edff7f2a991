//! Exact costs in `Decimal`, with Farebox's fee apart. The total is rounded once (design, chapter 2.1).

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::nanos::{AmountError, Nanos};

/// Farebox's fee on a provider's price: 2 %.
pub const FEE: Decimal = Decimal::from_parts(2, 0, 0, false, 2);

/// An exact cost in dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// The provider's price, or our own compute.
    pub base: Decimal,
    /// Farebox's fee.
    pub fee: Decimal,
}

impl Cost {
    /// No cost.
    pub const ZERO: Self = Self { base: Decimal::ZERO, fee: Decimal::ZERO };

    /// The sum of base and fee.
    pub fn total(&self) -> Decimal {
        self.base + self.fee
    }

    /// The total, rounded once.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](AmountError::TooLarge) if the ledger can't hold the total. The caller charges at most its limit
    /// instead.
    pub fn charged(&self) -> Result<Nanos, AmountError> {
        Nanos::round(self.total())
    }

    /// A provider's price with the fee on top.
    pub fn with_fee(base: Decimal) -> Self {
        Self { base, fee: base * FEE }
    }

    /// A cost without a fee: our own compute.
    pub const fn without_fee(base: Decimal) -> Self {
        Self { base, fee: Decimal::ZERO }
    }

    /// This cost, or exactly `limit` if the cost is larger. For estimates, which never exceed their hold.
    #[must_use]
    pub fn at_most(self, limit: Nanos) -> Self {
        let limit = limit.to_decimal();
        if self.total() <= limit {
            return self;
        }
        // The division rounds to twelve decimals, so the base could become larger than before. The smaller one is kept.
        let base = base_of(limit).min(self.base);
        Self { base, fee: limit - base }
    }

    /// Splits a total, fee included, into base and fee.
    pub fn from_total(total: Nanos) -> Self {
        let total = total.to_decimal();
        let base = base_of(total);
        Self { base, fee: total - base }
    }
}

/// The base of a total.
fn base_of(total: Decimal) -> Decimal {
    (total / (Decimal::ONE + FEE)).round_dp(12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_never_exceeds_its_hold() {
        let cost = Cost::with_fee(Decimal::new(31_234_567, 7));
        let hold = Nanos::new(1_000_000_007);
        assert_eq!(cost.at_most(hold).charged(), Ok(hold));
        assert_eq!(cost.at_most(Nanos::dollars(4)), cost);
        // 1 / 1.02 is rounded up at its twelfth decimal, to more than the base of a total just above the limit.
        let over = Cost::with_fee(Decimal::new(9_803_921_568_628, 13));
        assert!(over.total() > Decimal::ONE, "{over:?}");
        let least = over.at_most(Nanos::dollars(1));
        assert!(least.base <= over.base && least.total() == Decimal::ONE, "{least:?}");
    }
}
