//! An exact cost, with Farebox's fee apart: `Decimal` until the total, which is rounded once (design, chapter 2.1).

use rust_decimal::Decimal;

use crate::nanos::{AmountError, Nanos};

/// Farebox's fee on a provider's price: 2 %.
pub const FEE: Decimal = Decimal::from_parts(2, 0, 0, false, 2);

/// An exact cost in dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// What the provider takes, or the open model's compute.
    pub base: Decimal,
    /// Farebox's fee.
    pub fee: Decimal,
}

impl Cost {
    /// Nothing.
    pub const ZERO: Self = Self { base: Decimal::ZERO, fee: Decimal::ZERO };

    /// The whole.
    pub fn total(&self) -> Decimal {
        self.base + self.fee
    }

    /// The whole, rounded once.
    pub fn charged(&self) -> Result<Nanos, AmountError> {
        Nanos::round(self.total())
    }

    /// A provider's price with the fee on top.
    pub fn with_fee(base: Decimal) -> Self {
        Self { base, fee: base * FEE }
    }

    /// What carries no fee: compute of ours.
    pub const fn without_fee(base: Decimal) -> Self {
        Self { base, fee: Decimal::ZERO }
    }

    /// This cost, or exactly `limit` where it is larger: for estimates, which never exceed their hold.
    #[must_use]
    pub fn at_most(self, limit: Nanos) -> Self {
        let limit = limit.to_decimal();
        if self.total() <= limit {
            return self;
        }
        // The fee is cut off at twelve decimals, which must not make the rest of it more than it was.
        let base = base_of(limit).min(self.base);
        Self { base, fee: limit - base }
    }

    /// A cost of exactly so much with the fee in it.
    pub fn from_total(total: Nanos) -> Self {
        let total = total.to_decimal();
        let base = base_of(total);
        Self { base, fee: total - base }
    }
}

/// What of a total is not its fee.
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
        // 1 / 1.02 is rounded up at its twelfth decimal: to more than what was a little dearer than the limit.
        let over = Cost::with_fee(Decimal::new(9_803_921_568_628, 13));
        assert!(over.total() > Decimal::ONE, "{over:?}");
        let least = over.at_most(Nanos::dollars(1));
        assert!(least.base <= over.base && least.total() == Decimal::ONE, "{least:?}");
    }
}
