//! The parts of a charge, for its record and for receipts: each quantity with the rate it was charged at. Their text
//! form is `tokens.input=12@0.00000015 tokens.output=9@0.0000006`. Quantities without a rate are included in another
//! price, or were recorded before rates were kept. `limited` at the end marks a charge below the sum of its parts.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

use rust_decimal::Decimal;

use super::Rate;
use crate::quantity::{Cache, Direction, Key, Kind, Modality};

/// One part of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The quantity's key.
    pub key: Key,
    /// The amount of the quantity.
    pub amount: u64,
    /// The rate of one unit.
    pub rate: Option<Rate>,
}

/// All parts, in the order of their keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Parts {
    parts: Vec<Part>,
    /// Whether less was charged than the sum of the parts.
    limited: bool,
}

/// The text is not a list of parts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no list of quantities")]
pub struct NoParts(pub String);

/// The mark of a charge below the sum of its parts.
const LIMITED: &str = "limited";

impl Part {
    /// The exact cost of the part.
    fn full(&self) -> Decimal {
        self.rate.map_or(Decimal::ZERO, |rate| rate.times(self.amount))
    }
}

impl Parts {
    /// Parts of a charge, marked as limited if `base`, the charge before the fee, is below their sum.
    pub(super) fn new(parts: Vec<Part>, base: Decimal) -> Self {
        let mut parts = Self { parts, limited: false };
        parts.limited = parts.full() > base;
        parts
    }

    /// Each part, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter()
    }

    /// Whether less was charged than the sum of the parts. An estimate ends at its hold, as does every charge that may
    /// not cause a debt.
    pub const fn is_limited(&self) -> bool {
        self.limited
    }

    /// The exact sum of the parts, before the fee.
    pub fn full(&self) -> Decimal {
        self.parts.iter().map(Part::full).sum()
    }

    /// Splits a charge among its parts, and returns the rest that belongs to none. No share is negative, and together
    /// they are the whole charge. Each part takes its full cost as far as the charge reaches.
    pub fn costs(&self, base: Decimal) -> (Vec<Decimal>, Decimal) {
        let mut left = base.max(Decimal::ZERO);
        let costs = self.parts.iter().map(|part| {
            let cost = part.full().min(left);
            left -= cost;
            cost.normalize()
        });
        (costs.collect(), left.normalize())
    }

    /// The sum of all amounts whose keys match.
    pub fn sum(&self, is_like: impl Fn(Key) -> bool) -> u64 {
        self.parts.iter().filter(|part| is_like(part.key)).fold(0, |sum, part| sum.saturating_add(part.amount))
    }

    /// All tokens of a direction.
    pub fn tokens(&self, direction: Direction) -> u64 {
        self.sum(|key| key.is_tokens(direction))
    }

    /// Tokens read from the cache.
    pub fn cache_read(&self) -> u64 {
        self.sum(|key| key.kind == Kind::Tokens && key.cache == Cache::Read)
    }

    /// Tokens written to the cache, for any time.
    pub fn cache_write(&self) -> u64 {
        self.sum(|key| key.kind == Kind::Tokens && matches!(key.cache, Cache::Write | Cache::Write1h | Cache::Write12h))
    }

    /// Reasoning tokens.
    pub fn reasoning(&self) -> u64 {
        self.sum(|key| key.modality == Modality::Reasoning)
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, Part { key, amount, rate }) in self.parts.iter().enumerate() {
            let space = if place == 0 { "" } else { " " };
            write!(f, "{space}{key}={amount}")?;
            if let Some(rate) = rate {
                write!(f, "@{rate}")?;
            }
        }
        match (self.limited, self.parts.is_empty()) {
            (false, _) => Ok(()),
            (true, true) => f.write_str(LIMITED),
            (true, false) => write!(f, " {LIMITED}"),
        }
    }
}

impl From<Parts> for String {
    fn from(parts: Parts) -> Self {
        parts.to_string()
    }
}

impl TryFrom<String> for Parts {
    type Error = NoParts;

    fn try_from(text: String) -> Result<Self, NoParts> {
        text.parse()
    }
}

impl FromStr for Parts {
    type Err = NoParts;

    fn from_str(text: &str) -> Result<Self, NoParts> {
        let bad = || NoParts(text.to_owned());
        let mut all = Self::default();
        for word in text.split(' ').filter(|_| !text.is_empty()) {
            if all.limited {
                return Err(bad());
            }
            if word == LIMITED {
                all.limited = true;
                continue;
            }
            let (key, rest) = word.split_once('=').ok_or_else(bad)?;
            let (amount, rate) = rest.split_once('@').map_or((rest, None), |(amount, rate)| (amount, Some(rate)));
            all.parts.push(Part {
                key: key.parse().map_err(|_| bad())?,
                amount: amount.parse().map_err(|_| bad())?,
                rate: rate.map(str::parse).transpose().map_err(|_| bad())?,
            });
        }
        let is_once = all.parts.windows(2).all(|pair| pair[0].key < pair[1].key);
        if is_once { Ok(all) } else { Err(bad()) }
    }
}
