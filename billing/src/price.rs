//! The cost of quantities. A [`Price`] is a list of keys with a rate each. Rates are multiplied only here: with the
//! quantities used, with the most that a request permits (its hold), and with the quantities on a receipt. Costs are
//! exact in `Decimal` until the total. No request, provider or account is known here.
//!
//! A key without a rate of its own uses another key's rate ([`Price::rate`]):
//! - a cache write for twelve hours counts as one for an hour, that as a usual write; a usual write counts as uncached,
//!   as does a read;
//! - a context band uses the rates outside it, where the band has no rate for the key or its substitutes;
//! - reasoning, audio, images and video count as text: they differ only where their prices differ;
//! - a resolution counts as any resolution.
//!
//! A service tier, a kind and a direction have no substitute: a quantity without a rate is refused by name before it
//! runs ([`Unpriced`]). If a provider reports such a quantity anyway, it is reported as unpriced. It is charged at the
//! rate of the usual tier, or else at the dearest rate of its kind ([`Price::charge`]).

mod cost;
mod open;
mod parts;
mod rate;
#[cfg(test)]
mod tests;
mod text;
mod written;

use rust_decimal::Decimal;
use serde::Deserialize;

pub use cost::{Cost, FEE};
pub use open::seconds;
pub use parts::{NoParts, Part, Parts};
pub use rate::Rate;
pub use written::BadPrice;

use crate::{
    nanos::Nanos,
    quantity::{Band, Cache, Direction, Key, Kind, Modality, Quantities, Resolution, ServiceTier},
};

/// A price: a list of rates by key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "written::Written")]
pub struct Price {
    /// In order, each key once. The list is short, so it is searched linearly.
    rates: Vec<(Key, Rate)>,
    /// The context bands, the highest first.
    bands: Vec<Band>,
    terms: Terms,
}

/// The terms of a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Terms {
    /// A provider's price: the fee is added, and every quantity must have a rate.
    Provider,
    /// Our own price: no fee, and quantities without a rate are included.
    Inclusive,
}

/// A quantity that was used or permitted has no rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} has no price")]
pub struct Unpriced(pub Key);

/// The cost of quantities that were already used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// The cost.
    pub cost: Cost,
    /// The first quantity without a rate, if any. It was charged as another one.
    pub unpriced: Option<Key>,
}

/// How long a provider may keep its cache. The hold covers the dearest time that the request permits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keep {
    /// As long as the provider does by default.
    #[default]
    Usual,
    /// Longer.
    Long,
}

/// Facts of a request that the provider's usage report may leave out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// How long the cache may be kept.
    pub keep: Keep,
    /// The service tier that the request asks for.
    pub tier: ServiceTier,
}

/// What a request permits its provider to do. Each choice may have its own rate, and the hold covers the dearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permitted {
    /// How long the cache may be kept.
    pub keep: Keep,
    /// The service tiers that may serve the request.
    pub tiers: &'static [ServiceTier],
    /// The modalities of the input, beside text.
    pub input: &'static [Modality],
    /// The modalities of the output, beside text.
    pub output: &'static [Modality],
    /// The most that tools may use.
    pub uses: Quantities,
}

impl Permitted {
    /// Text and images in, text out, at the usual tier.
    pub const TEXT: Self = Self {
        keep: Keep::Usual,
        tiers: &[ServiceTier::Standard],
        input: &[Modality::Image],
        output: &[Modality::Reasoning],
        uses: Quantities::NONE,
    };

    /// Whether the request may be charged for this key.
    fn permits(&self, key: Key) -> bool {
        let beside = match key.direction {
            Direction::Input => self.input,
            Direction::Output => self.output,
            Direction::Neither => return false,
        };
        let is_kept = match key.cache {
            Cache::Uncached | Cache::Read | Cache::Write => true,
            Cache::Write1h | Cache::Write12h => self.keep == Keep::Long,
        };
        is_kept && self.tiers.contains(&key.tier) && (key.modality == Modality::Text || beside.contains(&key.modality))
    }
}

/// The substitutes of a cache state, beginning with itself.
const fn caches(cache: Cache) -> &'static [Cache] {
    match cache {
        Cache::Uncached => &[Cache::Uncached],
        Cache::Read => &[Cache::Read, Cache::Uncached],
        Cache::Write => &[Cache::Write, Cache::Uncached],
        Cache::Write1h => &[Cache::Write1h, Cache::Write, Cache::Uncached],
        Cache::Write12h => &[Cache::Write12h, Cache::Write1h, Cache::Write, Cache::Uncached],
    }
}

/// The substitutes of a modality, beginning with itself.
const fn modalities(modality: Modality) -> &'static [Modality] {
    match modality {
        Modality::Text => &[Modality::Text],
        Modality::Reasoning => &[Modality::Reasoning, Modality::Text],
        Modality::Audio => &[Modality::Audio, Modality::Text],
        Modality::Image => &[Modality::Image, Modality::Text],
        Modality::Video => &[Modality::Video, Modality::Text],
    }
}

impl Price {
    /// A price of these rates; `None` where there are none, a key occurs twice, or a key is not sound.
    fn new(mut rates: Vec<(Key, Rate)>, terms: Terms) -> Option<Self> {
        rates.sort_unstable_by_key(|(key, _)| *key);
        let is_once = rates.windows(2).all(|pair| pair[0].0 != pair[1].0);
        let is_sound = !rates.is_empty() && is_once && rates.iter().all(|(key, _)| key.is_sound());
        let mut bands: Vec<_> = rates.iter().map(|(key, _)| key.band).filter(|band| *band != Band(0)).collect();
        bands.sort_unstable_by(|a, b| b.cmp(a));
        bands.dedup();
        is_sound.then_some(Self { rates, bands, terms })
    }

    /// A provider's price of these rates; `None` where there are none, a key occurs twice, or a key is not sound.
    pub fn of_rates(rates: Vec<(Key, Rate)>) -> Option<Self> {
        Self::new(rates, Terms::Provider)
    }

    /// This price as it is paid, with the fee in each rate. Only to be shown: the fee of a charge is a line of its own.
    #[must_use]
    pub fn with_fee(&self) -> Self {
        let rate = |rate: Rate| match self.terms {
            Terms::Provider => rate.with_fee(),
            Terms::Inclusive => rate,
        };
        let rates = self.rates.iter().map(|(key, own)| (*key, rate(*own))).collect();
        Self { rates, bands: self.bands.clone(), terms: Terms::Inclusive }
    }

    /// The price of our own compute: one rate, which includes all other quantities.
    fn of_compute(key: Key, rate: Rate) -> Self {
        Self { rates: vec![(key, rate)], bands: Vec::new(), terms: Terms::Inclusive }
    }

    /// The price of work that is paid elsewhere: zero.
    pub const fn nothing() -> Self {
        Self { rates: Vec::new(), bands: Vec::new(), terms: Terms::Inclusive }
    }

    /// A provider's price for a million input tokens and a million output tokens of text.
    ///
    /// # Errors
    ///
    /// [`Absurd`](BadPrice::Absurd) if one of the prices is negative or above $1 million.
    pub fn per_million(input: Decimal, output: Decimal) -> Result<Self, BadPrice> {
        written::Written::plain(input, output).try_into()
    }

    /// The rates, in the order of their keys.
    pub fn rates(&self) -> impl Iterator<Item = (Key, Rate)> {
        self.rates.iter().copied()
    }

    /// The context bands, the highest first.
    pub fn bands(&self) -> &[Band] {
        &self.bands
    }

    /// Whether a service tier has rates for text tokens.
    pub fn has_tier(&self, tier: ServiceTier) -> bool {
        [Key::INPUT, Key::OUTPUT].into_iter().all(|key| self.exact(key.in_tier(tier)).is_some())
    }

    fn exact(&self, key: Key) -> Option<Rate> {
        self.rates.iter().find(|(known, _)| *known == key).map(|(_, rate)| *rate)
    }

    /// The rate of a key, or of its nearest substitute: first another cache state, then a lower band, then text, then
    /// any resolution.
    pub fn rate(&self, key: Key) -> Option<Rate> {
        let own = self.exact(key);
        if own.is_some() {
            return own;
        }
        let resolutions = [key.resolution, Resolution::Any];
        let lower = self.bands.iter().copied().filter(|band| *band < key.band && key.band != Band(0));
        let bands = [key.band].into_iter().chain(lower).chain([Band(0)]);
        let stand_ins = resolutions.into_iter().flat_map(|resolution| {
            let bands = bands.clone();
            modalities(key.modality).iter().flat_map(move |&modality| {
                bands.clone().flat_map(move |band| {
                    caches(key.cache).iter().map(move |&cache| Key { modality, cache, band, resolution, ..key })
                })
            })
        });
        stand_ins.into_iter().find_map(|key| self.exact(key))
    }

    /// The rate for a quantity that was already used, and the key itself if it has no rate. In that case the rate is
    /// the usual tier's, or else the dearest of the same kind and direction, or else the dearest of the kind.
    fn charged_at(&self, key: Key) -> (Option<Rate>, Option<Key>) {
        match (self.rate(key), self.terms) {
            (Some(rate), _) => (Some(rate), None),
            (None, Terms::Inclusive) => (None, None),
            (None, Terms::Provider) => {
                let dearest = |is_like: &dyn Fn(Key) -> bool| {
                    self.rates.iter().filter(|(known, _)| is_like(*known)).map(|(_, rate)| *rate).max()
                };
                let same_way = || dearest(&|known| (known.kind, known.direction) == (key.kind, key.direction));
                let usual = self.rate(key.in_tier(ServiceTier::Standard));
                (usual.or_else(same_way).or_else(|| dearest(&|known| known.kind == key.kind)), Some(key))
            }
        }
    }

    /// The context band of a request whose largest prompt has this many tokens.
    fn band(&self, prompt: u64) -> Band {
        self.bands.iter().copied().find(|band| prompt > u64::from(band.0)).unwrap_or_default()
    }

    /// The quantities, with tokens moved to the context band that the request's largest prompt puts it in.
    fn placed<'a>(&self, used: &'a Quantities) -> impl Iterator<Item = (Key, u64)> + use<'a> {
        let band = if self.bands.is_empty() { Band(0) } else { self.band(used.largest_prompt()) };
        used.iter().map(move |(key, amount)| {
            let key = if key.kind == Kind::Tokens && band != Band(0) { key.in_band(band) } else { key };
            (key, amount)
        })
    }

    /// The cost of quantities.
    ///
    /// # Errors
    ///
    /// [`Unpriced`] names a quantity without a rate. The request must be refused, or the price completed.
    pub fn cost(&self, used: &Quantities) -> Result<Cost, Unpriced> {
        match self.charge(used) {
            Charge { cost, unpriced: None } => Ok(cost),
            Charge { unpriced: Some(key), .. } => Err(Unpriced(key)),
        }
    }

    /// The cost of quantities that were already used. A quantity without a rate costs what it would in the usual tier,
    /// or else the dearest rate of its kind. Without any rate of its kind it costs nothing. In all three cases it is
    /// returned as unpriced.
    pub fn charge(&self, used: &Quantities) -> Charge {
        let (mut base, mut unpriced) = (Decimal::ZERO, None);
        for (key, amount) in self.placed(used) {
            let (rate, without) = self.charged_at(key);
            unpriced = unpriced.or(without);
            if let Some(rate) = rate {
                base += rate.times(amount);
            }
        }
        Charge { cost: self.with_terms(base), unpriced }
    }

    /// What the quantities that were read from caches would have cost more, uncached; the writing of caches is not counted
    /// against it. Zero where that can't be told. For people to read: nothing is charged by it.
    pub fn saved_by_caches(&self, used: impl IntoIterator<Item = (Key, u64)>) -> Nanos {
        let read: Quantities = used.into_iter().filter(|(key, _)| key.cache == Cache::Read).collect();
        let uncached: Quantities = read.iter().map(|(key, amount)| (key.cached(Cache::Uncached), amount)).collect();
        let charged = |used: &Quantities| self.cost(used).ok().and_then(|cost| cost.charged().ok());
        let saved =
            charged(&uncached).zip(charged(&read)).map(|(uncached, read)| uncached.get().saturating_sub(read.get()));
        Nanos::new(saved.unwrap_or(0).max(0))
    }

    /// The first quantity without a rate, if any.
    pub fn unpriced(&self, used: &Quantities) -> Option<Key> {
        self.placed(used).find_map(|(key, _)| self.charged_at(key).1)
    }

    /// The quantities with the rates they are charged at, and whether `base`, the charge before the fee, is less than
    /// their sum.
    pub fn parts(&self, used: &Quantities, base: Decimal) -> Parts {
        let part = |(key, amount)| Part { key, amount, rate: self.charged_at(key).0 };
        Parts::new(self.placed(used).map(part).collect(), base)
    }

    fn with_terms(&self, base: Decimal) -> Cost {
        match self.terms {
            Terms::Provider => Cost::with_fee(base),
            Terms::Inclusive => Cost::without_fee(base),
        }
    }

    /// The dearest token rate of a direction that the request may be charged at: in any cache state and tier that it
    /// permits, and in any band that a prompt of at most `prompt` tokens can reach.
    fn dearest(&self, direction: Direction, prompt: u64, permitted: &Permitted) -> Result<Rate, Unpriced> {
        let first = Key::of(Kind::Tokens, direction);
        let unpriced = permitted.tiers.iter().map(|tier| first.in_tier(*tier)).find(|key| self.rate(*key).is_none());
        let may_be = |key: Key| {
            key.is_tokens(direction) && permitted.permits(key) && (key.band == Band(0) || prompt > key.band.0.into())
        };
        let dearest = self.rates.iter().filter(|(key, _)| may_be(*key)).map(|(_, rate)| *rate).max();
        match (dearest, unpriced) {
            (Some(rate), None) => Ok(rate),
            (_, unpriced) => Err(Unpriced(unpriced.unwrap_or(first))),
        }
    }

    /// The highest cost of `input` tokens and of everything that tools may use, where no single prompt has more than
    /// `prompt` tokens.
    ///
    /// # Errors
    ///
    /// [`Unpriced`] names a permitted quantity without a rate. The request must be refused before it runs.
    pub fn most_input(&self, input: u64, prompt: u64, permitted: &Permitted) -> Result<Cost, Unpriced> {
        let tokens = self.dearest(Direction::Input, prompt, permitted)?.times(input);
        let uses = if permitted.uses.is_empty() { Decimal::ZERO } else { self.cost(&permitted.uses)?.base };
        Ok(self.with_terms(tokens + uses))
    }

    /// The highest cost of an output token after prompts of at most `prompt` tokens, fee included.
    ///
    /// # Errors
    ///
    /// [`Unpriced`] names a permitted service tier, or the output, without a rate. The request must be refused before
    /// it runs.
    pub fn most_output(&self, prompt: u64, permitted: &Permitted) -> Result<Rate, Unpriced> {
        let rate = self.dearest(Direction::Output, prompt, permitted)?;
        Ok(match self.terms {
            Terms::Provider => rate.with_fee(),
            Terms::Inclusive => rate,
        })
    }
}

/// The number of units at this rate that `most` pays for, after `first` is paid.
pub fn affordable(most: Nanos, first: Decimal, rate: Rate) -> u64 {
    rate.paid_by(most.to_decimal() - first)
}

/// The cost of `amount` units after `first`, rounded up; `None` if the ledger can't hold the sum.
pub fn total(first: Decimal, rate: Rate, amount: u64) -> Option<Nanos> {
    Nanos::ceil(first.checked_add(rate.times(amount))?).ok()
}
