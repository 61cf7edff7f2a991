//! The text form of a price in price files. The short form names the prices of a million text tokens (`input`,
//! `cached_input`, `cache_write`, `cache_write_long`, `output`), and those of one context band; `batch`, `flex`,
//! `priority`, `us` and `priority_us` have the same of a service tier. The general form lists rates by key: `per_million`, and `each`. A price
//! may use both forms, with each key once. Prices are shown in the short form, as far as they have one, with the rate of
//! every key beside it.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize, Serializer};

use super::{Price, Rate, Terms};
use crate::quantity::{Band, Cache, Key, ServiceTier};

/// Multiplying with this is exact, and faster than a division.
const MILLIONTH: Decimal = Decimal::from_parts(1, 0, 0, false, 6);

/// The largest valid price of a million units: $1 million.
const LARGEST: Decimal = Decimal::from_parts(1_000_000, 0, 0, false, 0);

/// Why a price is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPrice {
    /// A number that can't be a price.
    #[error("an absurd price of {0}")]
    Absurd(Key),
    /// Only one of `input` and `output`, or no rate at all.
    #[error("input and output go together, and one of them or a list of rates must be there")]
    Half,
    /// The same key twice.
    #[error("the same quantity twice")]
    Twice,
}

/// The fields of a price file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    input: Option<Decimal>,
    cached_input: Option<Decimal>,
    cache_write: Option<Decimal>,
    cache_write_long: Option<Decimal>,
    output: Option<Decimal>,
    band: Option<WrittenBand>,
    batch: Option<WrittenTier>,
    flex: Option<WrittenTier>,
    priority: Option<WrittenTier>,
    us: Option<WrittenTier>,
    priority_us: Option<WrittenTier>,
    #[serde(default)]
    per_million: BTreeMap<Key, Decimal>,
    #[serde(default)]
    each: BTreeMap<Key, Decimal>,
}

/// The prices of the whole of a request with more than `above` input tokens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenBand {
    above: u64,
    input: Decimal,
    cached_input: Option<Decimal>,
    cache_write: Option<Decimal>,
    cache_write_long: Option<Decimal>,
    output: Decimal,
}

/// The prices of a service tier.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTier {
    input: Option<Decimal>,
    cached_input: Option<Decimal>,
    cache_write: Option<Decimal>,
    cache_write_long: Option<Decimal>,
    output: Option<Decimal>,
    band: Option<WrittenBand>,
}

/// Uncached, read, written, written for longer.
type Inputs = [Option<Decimal>; 4];

/// The rates of the short form by key, in a tier and a band. The longer cache write is the one for an hour, which is
/// also the substitute of one for twelve hours.
fn list(tier: ServiceTier, band: Band, input: Inputs, output: Option<Decimal>) -> impl Iterator<Item = (Key, Decimal)> {
    let caches = [Cache::Uncached, Cache::Read, Cache::Write, Cache::Write1h];
    let input = caches.into_iter().zip(input).map(|(cache, price)| (Key::INPUT.cached(cache), price));
    let all = input.chain([(Key::OUTPUT, output)]);
    all.filter_map(move |(key, price)| Some((key.in_tier(tier).in_band(band), price?)))
}

impl WrittenBand {
    fn rates(&self, tier: ServiceTier) -> impl Iterator<Item = (Key, Decimal)> + use<> {
        // No model reads as much as the largest band of a key.
        let above = Band(u32::try_from(self.above).unwrap_or(u32::MAX).max(1));
        list(
            tier,
            above,
            [Some(self.input), self.cached_input, self.cache_write, self.cache_write_long],
            Some(self.output),
        )
    }
}

impl WrittenTier {
    fn rates(&self, tier: ServiceTier) -> impl Iterator<Item = (Key, Decimal)> + use<> {
        let input = [self.input, self.cached_input, self.cache_write, self.cache_write_long];
        let banded = self.band.as_ref().map(|band| band.rates(tier)).into_iter().flatten();
        list(tier, Band(0), input, self.output).chain(banded)
    }
}

impl Written {
    pub(super) const fn plain(input: Decimal, output: Decimal) -> Self {
        Self {
            input: Some(input),
            cached_input: None,
            cache_write: None,
            cache_write_long: None,
            output: Some(output),
            band: None,
            batch: None,
            flex: None,
            priority: None,
            us: None,
            priority_us: None,
            per_million: BTreeMap::new(),
            each: BTreeMap::new(),
        }
    }

    /// The rates of the short form by key.
    fn short(&self) -> Result<Vec<(Key, Decimal)>, BadPrice> {
        let input = [self.input, self.cached_input, self.cache_write, self.cache_write_long];
        let is_whole = self.input.is_some() && self.output.is_some();
        let tiers = [
            (ServiceTier::Batch, &self.batch),
            (ServiceTier::Flex, &self.flex),
            (ServiceTier::Priority, &self.priority),
            (ServiceTier::Us, &self.us),
            (ServiceTier::PriorityUs, &self.priority_us),
        ];
        let is_empty = input.iter().all(Option::is_none) && self.output.is_none() && self.band.is_none();
        match (is_whole, is_empty) {
            (true, _) => {}
            (false, true) if !(self.per_million.is_empty() && self.each.is_empty()) => {}
            (false, _) => return Err(BadPrice::Half),
        }
        let mut all: Vec<_> = list(ServiceTier::Standard, Band(0), input, self.output).collect();
        all.extend(self.band.iter().flat_map(|band| band.rates(ServiceTier::Standard)));
        for (tier, rates) in tiers.into_iter().filter_map(|(tier, rates)| Some((tier, rates.as_ref()?))) {
            all.extend(rates.rates(tier));
        }
        Ok(all)
    }
}

impl TryFrom<Written> for Price {
    type Error = BadPrice;

    fn try_from(written: Written) -> Result<Self, BadPrice> {
        let per_million = |(key, price): (Key, Decimal)| {
            let is_price = (Decimal::ZERO..=LARGEST).contains(&price);
            let rate = Some(price).filter(|_| is_price).and_then(|price| Rate::new(price * MILLIONTH));
            Ok((key, rate.ok_or(BadPrice::Absurd(key))?))
        };
        let each = |(key, price): (Key, Decimal)| Ok((key, Rate::new(price).ok_or(BadPrice::Absurd(key))?));
        let short = written.short()?.into_iter().map(per_million);
        let listed = written.per_million.into_iter().map(per_million);
        let rates = short.chain(listed).chain(written.each.into_iter().map(each));
        Self::new(rates.collect::<Result<_, BadPrice>>()?, Terms::Provider).ok_or(BadPrice::Twice)
    }
}

/// The fields of a price as it is shown.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    short: ShownShort,
    #[serde(skip_serializing_if = "Option::is_none")]
    band: Option<ShownBand>,
    /// Dollars for one unit of each key.
    rates: BTreeMap<Key, Rate>,
}

/// Dollars for a million tokens of text.
#[derive(Serialize)]
struct ShownShort {
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_input: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write_long: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Decimal>,
}

#[derive(Serialize)]
struct ShownBand {
    above: u32,
    #[serde(flatten)]
    short: ShownShort,
}

impl Serialize for Price {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let short = |band: Band| {
            let of = |key: Key| self.exact(key.in_band(band)).map(Rate::of_a_million);
            let [input, cached_input, cache_write] = [Key::INPUT, Key::CACHE_READ, Key::CACHE_WRITE].map(of);
            let long = [Cache::Write1h, Cache::Write12h].into_iter().find_map(|kept| of(Key::INPUT.cached(kept)));
            ShownShort { input, cached_input, cache_write, cache_write_long: long, output: of(Key::OUTPUT) }
        };
        let band = self.bands.last().map(|band| ShownBand { above: band.0, short: short(*band) });
        let rates = self.rates().collect();
        Shown { short: short(Band(0)), band, rates }.serialize(serializer)
    }
}
