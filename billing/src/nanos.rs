//! Amounts of money in the ledger: whole nano-dollars (1e-9 dollars) in an `i64`. Never a float. Arithmetic that
//! overflows panics, and the panic stops only the account concerned.

use std::{
    fmt,
    iter::Sum,
    ops::{Add, AddAssign, Neg, Sub, SubAssign},
    str::FromStr,
};

use rust_decimal::{Decimal, RoundingStrategy, prelude::ToPrimitive};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Nano-dollars in one dollar.
pub const NANOS_PER_DOLLAR: i64 = 1_000_000_000;

/// An amount in nano-dollars. Written as a decimal string in dollars (`"4.99"`), with two to nine decimals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(i64);

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not a plain decimal number.
    #[error("not a decimal amount of dollars, such as \"4.99\"")]
    NotDecimal,
    /// More than nine decimals.
    #[error("finer than a nano-dollar (nine decimals)")]
    TooFine,
    /// Outside the ledger's range.
    #[error("larger than the ledger holds ($9.2 billion)")]
    TooLarge,
}

impl Nanos {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// An amount of nano-dollars.
    pub const fn new(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Whole dollars.
    ///
    /// # Panics
    ///
    /// If the ledger can't hold so many dollars (above $9.2 billion). For amounts that are known when the code is
    /// compiled.
    pub const fn dollars(dollars: i64) -> Self {
        match dollars.checked_mul(NANOS_PER_DOLLAR) {
            Some(nanos) => Self(nanos),
            None => panic!("more dollars than the ledger holds"),
        }
    }

    /// The amount in nano-dollars.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Whether the amount is above zero.
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// The exact amount in dollars.
    pub fn to_decimal(self) -> Decimal {
        Decimal::from_i128_with_scale(i128::from(self.0), 9)
    }

    /// Rounds dollars half to even, to nano-dollars. A request's cost is rounded here, once.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](AmountError::TooLarge) if the ledger can't hold the amount. The caller refuses it, or stops at the
    /// largest amount.
    pub fn round(dollars: Decimal) -> Result<Self, AmountError> {
        let nanos = dollars.checked_mul(Decimal::from(NANOS_PER_DOLLAR)).ok_or(AmountError::TooLarge)?;
        nanos
            .round_dp_with_strategy(0, RoundingStrategy::MidpointNearestEven)
            .to_i64()
            .map(Self)
            .ok_or(AmountError::TooLarge)
    }

    /// Rounds dollars up to nano-dollars. For holds, which may be a nano-dollar too large, but never too small.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](AmountError::TooLarge), as for [`Nanos::round`].
    pub fn ceil(dollars: Decimal) -> Result<Self, AmountError> {
        let nanos = dollars.checked_mul(Decimal::from(NANOS_PER_DOLLAR)).ok_or(AmountError::TooLarge)?;
        nanos.ceil().to_i64().map(Self).ok_or(AmountError::TooLarge)
    }

    /// `count` times this amount.
    ///
    /// # Panics
    ///
    /// If the product overflows. Use [`Nanos::checked_times`] for numbers from outside.
    #[must_use]
    pub fn times(self, count: i64) -> Self {
        match self.0.checked_mul(count) {
            Some(nanos) => Self(nanos),
            None => panic!("amount overflows: {} x {count}", self.0),
        }
    }

    /// `count` times this amount; `None` where the product overflows.
    pub fn checked_times(self, count: i64) -> Option<Self> {
        self.0.checked_mul(count).map(Self)
    }

    /// A quarter of the amount, rounded down.
    #[must_use]
    pub const fn quarter(self) -> Self {
        Self(self.0 / 4)
    }
}

impl Add for Nanos {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        match self.0.checked_add(other.0) {
            Some(sum) => Self(sum),
            None => panic!("amount overflows: {} + {}", self.0, other.0),
        }
    }
}

impl Sub for Nanos {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        match self.0.checked_sub(other.0) {
            Some(difference) => Self(difference),
            None => panic!("amount overflows: {} - {}", self.0, other.0),
        }
    }
}

impl Neg for Nanos {
    type Output = Self;
    fn neg(self) -> Self {
        Self::ZERO - self
    }
}

impl AddAssign for Nanos {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Nanos {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for Nanos {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The digits are written backwards into a buffer as long as the longest amount: each request writes several
        // amounts.
        let mut text = [0_u8; 21];
        let (mut begin, mut end, mut left) = (text.len(), text.len(), self.0.unsigned_abs());
        for decimals in 0.. {
            if decimals > 10 && left == 0 {
                break;
            }
            begin -= 1;
            if decimals == 9 {
                text[begin] = b'.';
                continue;
            }
            let digit = (left % 10) as u8;
            text[begin] = b'0' + digit;
            left /= 10;
            if decimals < 7 && end == begin + 1 && digit == 0 {
                end -= 1;
            }
        }
        if self.0 < 0 {
            begin -= 1;
            text[begin] = b'-';
        }
        f.write_str(std::str::from_utf8(&text[begin..end]).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Nanos {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let plain = text.len() <= 40 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-');
        if !plain {
            return Err(AmountError::NotDecimal);
        }
        if text.split_once('.').is_some_and(|(_, decimals)| decimals.trim_end_matches('0').len() > 9) {
            return Err(AmountError::TooFine);
        }
        let digits = text.trim_start_matches(['-', '0']).split('.').next().unwrap_or_default().len();
        if digits > 10 {
            return Err(AmountError::TooLarge);
        }
        Self::round(Decimal::from_str(text).map_err(|_| AmountError::NotDecimal)?)
    }
}

impl Serialize for Nanos {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads a decimal string, or a JSON number as it was written.
impl<'de> Deserialize<'de> for Nanos {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Nanos;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount of dollars, such as \"4.99\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Nanos, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, dollars: i64) -> Result<Nanos, E> {
                dollars.to_string().parse().map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, dollars: u64) -> Result<Nanos, E> {
                dollars.to_string().parse().map_err(E::custom)
            }
            fn visit_f64<E: de::Error>(self, dollars: f64) -> Result<Nanos, E> {
                // Up to 15 digits, the shortest text that reads back as the same number is the text that was written.
                dollars.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_print_as_dollars() {
        assert_eq!(Nanos::dollars(5).to_string(), "5.00");
        assert_eq!(Nanos::new(72_000).to_string(), "0.000072");
        assert_eq!(Nanos::new(-1).to_string(), "-0.000000001");
        assert_eq!(Nanos::ZERO.to_string(), "0.00");
        assert_eq!(Nanos::new(10_120_000_000).to_string(), "10.12");
        assert_eq!(Nanos::new(100_000_000).to_string(), "0.10");
        assert_eq!(Nanos::new(i64::MAX).to_string(), "9223372036.854775807");
        assert_eq!(Nanos::new(i64::MIN).to_string(), "-9223372036.854775808");
    }

    #[test]
    fn what_is_not_an_amount_is_refused() {
        for text in ["", ".", "-", "NaN", "1e30", "1_000", " 1", "0x1", "1.2.3", "--1"] {
            assert_eq!(text.parse::<Nanos>(), Err(AmountError::NotDecimal), "{text}");
        }
        assert_eq!("0.0000000001".parse::<Nanos>(), Err(AmountError::TooFine));
        assert_eq!("99999999999".parse::<Nanos>(), Err(AmountError::TooLarge));
        assert_eq!("9999999999".parse::<Nanos>(), Err(AmountError::TooLarge));
        assert_eq!("1".repeat(41).parse::<Nanos>(), Err(AmountError::NotDecimal));
    }

    #[test]
    fn a_cost_is_rounded_once_half_to_even() {
        for (dollars, nanos) in [("0.0000000005", 0), ("0.0000000015", 2), ("0.0000000025", 2), ("0.00000000251", 3)] {
            assert_eq!(Nanos::round(Decimal::from_str(dollars).unwrap()), Ok(Nanos::new(nanos)), "{dollars}");
        }
        assert_eq!(Nanos::round(Decimal::MAX), Err(AmountError::TooLarge));
        assert_eq!(Nanos::ceil(Decimal::from_str("0.0000000001").unwrap()), Ok(Nanos::new(1)));
    }

    #[test]
    #[should_panic(expected = "amount overflows")]
    fn overflow_stops() {
        let _ = Nanos::new(i64::MAX) + Nanos::new(1);
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(nanos: i64) {
            prop_assert_eq!(Nanos::new(nanos).to_string().parse::<Nanos>(), Ok(Nanos::new(nanos)));
            prop_assert_eq!(Nanos::round(Nanos::new(nanos).to_decimal()), Ok(Nanos::new(nanos)));
        }
    }
}
