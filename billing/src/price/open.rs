//! The price of open models: a rate for a second of compute in each size class (design, chapter 2.4), without a fee.
//! The class belongs to the price, and not to the quantity.

use std::sync::{Arc, LazyLock};

use super::{Cost, Price, Rate};
use crate::{
    class::SizeClass,
    nanos::Nanos,
    quantity::{Key, Quantities},
};

/// Ten-millionths of a dollar for a gigabyte of video memory in a second.
const PER_GB_SECOND: u32 = 45;

impl SizeClass {
    /// The rate of a started second: $0.0000045 for each gigabyte.
    pub const fn per_second(self) -> Rate {
        Rate::ten_millionths(self.vram_gb() * PER_GB_SECOND)
    }

    /// The price of the class's models: seconds have a rate, which includes all other quantities.
    pub fn price(self) -> Arc<Price> {
        static PRICES: LazyLock<[Arc<Price>; SizeClass::ALL.len()]> = LazyLock::new(|| {
            SizeClass::ALL.map(|class| Arc::new(Price::of_compute(Key::COMPUTE_SECONDS, class.per_second())))
        });
        Arc::clone(&PRICES[self as usize])
    }

    /// The cost of started seconds.
    pub fn cost(self, seconds: u64) -> Cost {
        Cost::without_fee(self.per_second().times(seconds))
    }

    /// The cost of started seconds in nano-dollars, clamped to the ledger's range.
    pub fn cost_nanos(self, seconds: u64) -> Nanos {
        self.cost(seconds).charged().unwrap_or(Nanos::new(i64::MAX))
    }

    /// The number of whole seconds that an amount pays for.
    pub fn seconds_paid_by(self, amount: Nanos) -> u64 {
        self.per_second().paid_by(amount.to_decimal())
    }
}

/// A quantity of seconds.
pub fn seconds(seconds: u64) -> Quantities {
    [(Key::COMPUTE_SECONDS, seconds)].into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_cost_what_the_contract_says() {
        let prices = SizeClass::ALL.map(|class| class.per_second().to_string());
        assert_eq!(prices, ["0.000072", "0.000108", "0.000144", "0.000216", "0.00036"]);
        for class in SizeClass::ALL {
            assert_eq!(class.price().cost(&seconds(7)), Ok(class.cost(7)));
            let cost = class.cost_nanos(1_000);
            assert_eq!(class.seconds_paid_by(cost), 1_000);
            assert_eq!(class.seconds_paid_by(cost - Nanos::new(1)), 999);
        }
        assert_eq!(SizeClass::B7.cost_nanos(3), Nanos::new(216_000));
        assert_eq!(SizeClass::B120.cost_nanos(u64::MAX), Nanos::new(i64::MAX));
        assert_eq!(SizeClass::B7.seconds_paid_by(Nanos::new(-1)), 0);
    }
}
