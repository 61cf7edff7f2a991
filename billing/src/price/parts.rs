//! The parts of a charge, as they are kept with its record and shown on receipts: what was used, each with the rate it was
//! charged at. Written as one text, `tokens.input=12@0.00000015 tokens.output=9@0.0000006`; what is in the price of something
//! else, or was recorded before rates were, has none. `limited` at its end says that less was charged than they come to.

use std::{fmt, str::FromStr};

use rust_decimal::Decimal;

use super::Rate;
use crate::quantity::{Cache, Direction, Key, Kind, Modality};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// What was used.
    pub key: Key,
    /// How much of it.
    pub amount: u64,
    /// What one costs.
    pub rate: Option<Rate>,
}

/// All of them, in the order of their keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    parts: Vec<Part>,
    /// Whether less was charged than they come to.
    limited: bool,
}

/// A text that is no list of parts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no list of quantities")]
pub struct NoParts(pub String);

/// At the end of those of which less was charged.
const LIMITED: &str = "limited";

impl Part {
    /// What it comes to.
    fn full(&self) -> Decimal {
        self.rate.map_or(Decimal::ZERO, |rate| rate.times(self.amount))
    }
}

impl Parts {
    /// Parts of which so much was charged, before the fee.
    pub(super) fn new(parts: Vec<Part>, base: Decimal) -> Self {
        let mut parts = Self { parts, limited: false };
        parts.limited = parts.full() > base;
        parts
    }

    /// They, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter()
    }

    /// Whether less was charged than they come to: an estimate ends at its hold, and so does everything where no debt may
    /// arise.
    pub const fn is_limited(&self) -> bool {
        self.limited
    }

    /// What they come to, exactly, before the fee.
    pub fn full(&self) -> Decimal {
        self.parts.iter().map(Part::full).sum()
    }

    /// What of a charge is for each, and what is for none of them: parts that are not negative and are together all of it,
    /// whatever it was. Each takes what it comes to, as far as the charge reaches.
    pub fn costs(&self, base: Decimal) -> (Vec<Decimal>, Decimal) {
        let mut left = base.max(Decimal::ZERO);
        let costs = self.parts.iter().map(|part| {
            let cost = part.full().min(left);
            left -= cost;
            cost.normalize()
        });
        (costs.collect(), left.normalize())
    }

    /// How much there is of all that are like this.
    pub fn sum(&self, is_like: impl Fn(Key) -> bool) -> u64 {
        self.parts.iter().filter(|part| is_like(part.key)).fold(0, |sum, part| sum.saturating_add(part.amount))
    }

    /// Tokens that were read, or written, in all.
    pub fn tokens(&self, direction: Direction) -> u64 {
        self.sum(|key| key.is_tokens(direction))
    }

    /// Tokens that were read from the cache.
    pub fn cache_read(&self) -> u64 {
        self.sum(|key| key.kind == Kind::Tokens && key.cache == Cache::Read)
    }

    /// Tokens that were written to the cache, for whatever time.
    pub fn cache_write(&self) -> u64 {
        self.sum(|key| key.kind == Kind::Tokens && matches!(key.cache, Cache::Write | Cache::Write1h | Cache::Write12h))
    }

    /// Tokens that a model wrote to itself.
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
