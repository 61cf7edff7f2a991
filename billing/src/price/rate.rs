//! A rate: the price of one unit. Its number is private to `billing::price`, where amounts are multiplied with it, so
//! that prices are multiplied in one place.

use std::{fmt, str::FromStr};

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::FEE;

/// Dollars for one unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(Decimal);

/// The largest valid rate: $1,000 for one unit.
const LARGEST: Decimal = Decimal::from_parts(1_000, 0, 0, false, 0);

/// The significant digits of a rate that is read from another price list.
const DIGITS: u32 = 14;

/// At least two digits after the point.
fn dollars_text(dollars: Decimal) -> String {
    let mut dollars = dollars.normalize();
    if dollars.scale() < 2 {
        dollars.rescale(2);
    }
    dollars.to_string()
}

impl Rate {
    /// A rate in dollars; `None` if it is negative or above $1,000.
    pub(super) fn new(dollars: Decimal) -> Option<Self> {
        (Decimal::ZERO..=LARGEST).contains(&dollars).then(|| Self(dollars.normalize()))
    }

    /// This rate so many times, as other price lists write a factor: `1.1`, or `2`. `None` where the text is no number, or the
    /// product no rate.
    pub fn times_of_list(self, factor: &str) -> Option<Self> {
        Self::new(self.0.checked_mul(Decimal::from_str(factor.trim()).ok()?)?)
    }

    /// Dollars for so many units, as other price lists write them: `2.50` for a million, `2e-07` for one, or
    /// `0.36` for the milliseconds of an hour. Lists that were written by way of floats have noise in their last
    /// digits: all beyond the fourteenth is left out. `None` where the text is no number, or no rate.
    pub fn of_list(text: &str, units: u64) -> Option<Self> {
        let text = text.trim();
        let dollars = Decimal::from_str(text).or_else(|_| Decimal::from_scientific(text)).ok()?;
        let one = dollars.checked_div(Decimal::from(units))?;
        Self::new(one.round_sf_with_strategy(DIGITS, RoundingStrategy::MidpointNearestEven)?)
    }

    /// The price of a million units, as price files write it: `2.50`.
    pub fn million_text(self) -> String {
        dollars_text(self.of_a_million())
    }

    /// The price of one unit, as price files write it: `0.01`.
    pub fn unit_text(self) -> String {
        dollars_text(self.0)
    }

    /// Whether two rates differ by no more than the rounding of lists that divide: a hundred-thousandth.
    pub fn is_about(self, other: Self) -> bool {
        let (less, more) = (self.0.min(other.0), self.0.max(other.0));
        (more - less) * Decimal::from(100_000) <= less
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
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

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_of_another_list_is_its_number_without_the_noise_of_floats() {
        let of = |text: &str, units| Rate::of_list(text, units).map(|rate| rate.to_string());
        assert_eq!(of("2.50", 1_000_000).as_deref(), Some("0.0000025"));
        assert_eq!(of("2.0000000000000002e-07", 1), of("2e-07", 1));
        assert_eq!(of("1.5E-6", 1).as_deref(), Some("0.0000015"));
        assert_eq!(of("0.18", 3_600_000).as_deref(), Some("0.00000005"));
        assert_eq!(of("8.900000000000001e-07", 1).as_deref(), Some("0.00000089"));
        assert_eq!(of("0", 1).as_deref(), Some("0"));
        for bad in ["", "-1", "2000000000", "nan", "1e400", "null", "\"1\""] {
            assert_eq!(of(bad, 1), None, "{bad}");
        }
        assert_eq!(of("1", 0), None);
        let rate = |text: &str| Rate::of_list(text, 1).unwrap();
        assert!(rate("0.0000583333").is_about(rate("0.000058333333333")) && rate("0").is_about(rate("0")));
        assert!(!rate("0.01").is_about(rate("0.0100002")) && !rate("0").is_about(rate("0.0000001")));
    }

    #[test]
    fn a_rate_is_written_as_it_is_read() {
        let rate = Rate::of_list("0.075", 1_000_000).unwrap();
        assert_eq!((rate.million_text().as_str(), rate.unit_text().as_str()), ("0.075", "0.000000075"));
        assert_eq!(Rate::of_list("15", 1_000_000).unwrap().million_text(), "15.00");
        assert_eq!(Rate::of_list("0.0", 1).unwrap().unit_text(), "0.00");
    }
}
