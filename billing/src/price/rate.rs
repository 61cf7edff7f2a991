//! A rate: the price of one unit. Its number is private to `billing::price`, where amounts are multiplied with it, so
//! that prices are multiplied in one place.

use std::{fmt, str::FromStr};

use rust_decimal::Decimal;
use serde::{Serialize, Serializer};

use super::FEE;

/// Dollars for one unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(Decimal);

/// The largest valid rate: $1,000 for one unit.
const LARGEST: Decimal = Decimal::from_parts(1_000, 0, 0, false, 0);

impl Rate {
    /// A rate in dollars; `None` if it is negative or above $1,000.
    pub(super) fn new(dollars: Decimal) -> Option<Self> {
        (Decimal::ZERO..=LARGEST).contains(&dollars).then(|| Self(dollars.normalize()))
    }

    /// A rate in ten-millionths of a dollar.
    pub(super) const fn ten_millionths(count: u32) -> Self {
        Self(Decimal::from_parts(count, 0, 0, false, 7))
    }

    /// The price of a million units, as in price lists.
    pub(super) fn of_a_million(self) -> Decimal {
        (self.0 * Decimal::from(1_000_000)).normalize()
    }

    /// The exact cost of an amount.
    pub(super) fn times(self, amount: u64) -> Decimal {
        Decimal::from(amount) * self.0
    }

    /// The number of units that an amount of dollars pays for; the largest number if the rate is zero.
    pub(super) fn paid_by(self, dollars: Decimal) -> u64 {
        use rust_decimal::prelude::ToPrimitive as _;
        if dollars <= Decimal::ZERO {
            return 0;
        }
        dollars.checked_div(self.0).map_or(u64::MAX, |count| count.floor().to_u64().unwrap_or(u64::MAX))
    }

    /// The rate with the fee included.
    pub(super) fn with_fee(self) -> Self {
        Self(self.0 * (Decimal::ONE + FEE))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.normalize())
    }
}

impl FromStr for Rate {
    type Err = rust_decimal::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(Decimal::from_str(text)?).ok_or(rust_decimal::Error::ExceedsMaximumPossibleValue)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
