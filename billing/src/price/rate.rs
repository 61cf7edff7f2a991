//! A rate: what one of something costs. Its number is seen by nobody outside `billing::price`: what it comes to for an amount
//! is asked of it there, so that a price is multiplied in one place.

use std::{fmt, str::FromStr};

use rust_decimal::Decimal;
use serde::{Serialize, Serializer};

use super::FEE;

/// Dollars for one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(Decimal);

/// The largest rate that is taken for one: $1,000 for one of anything.
const LARGEST: Decimal = Decimal::from_parts(1_000, 0, 0, false, 0);

impl Rate {
    /// So many dollars for one, where that is what a rate can be: not negative, at most $1,000.
    pub(super) fn new(dollars: Decimal) -> Option<Self> {
        (Decimal::ZERO..=LARGEST).contains(&dollars).then(|| Self(dollars.normalize()))
    }

    /// So many ten-millionths of a dollar.
    pub(super) const fn ten_millionths(count: u32) -> Self {
        Self(Decimal::from_parts(count, 0, 0, false, 7))
    }

    /// What a million cost, as price lists say it.
    pub(super) fn of_a_million(self) -> Decimal {
        (self.0 * Decimal::from(1_000_000)).normalize()
    }

    /// What so many cost, exactly.
    pub(super) fn times(self, amount: u64) -> Decimal {
        Decimal::from(amount) * self.0
    }

    /// How many of it so much pays; any number where it costs nothing.
    pub(super) fn paid_by(self, dollars: Decimal) -> u64 {
        use rust_decimal::prelude::ToPrimitive as _;
        if dollars <= Decimal::ZERO {
            return 0;
        }
        dollars.checked_div(self.0).map_or(u64::MAX, |count| count.floor().to_u64().unwrap_or(u64::MAX))
    }

    /// The same with the fee in it.
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
