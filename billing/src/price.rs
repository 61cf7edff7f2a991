//! What quantities cost. A [`Price`] is a list of keys with a rate each, and the one place where a rate is multiplied: with
//! what was used, with the most that a request permits (its hold), with what is shown on a receipt. Exact in `Decimal` until
//! the total. Knows no request, no provider and no account.
//!
//! Where a key has no rate of its own, another's stands for it ([`Price::rate`]):
//! - a write to the cache for twelve hours is one for an hour, that is a usual one, and that, like a read, is not cached;
//! - what is in a context band is as outside it, where the band says nothing of it or of what stands for it;
//! - reasoning, sound, pictures and moving pictures are text: they are told apart only where they are priced apart;
//! - a resolution is any.
//!
//! A service tier, a kind and a direction are stood in for by nothing: what has no rate is refused by name before it runs
//! ([`Unpriced`]). If a provider reports it all the same, it is told, and costs what it would in the usual tier, or else the
//! dearest rate of its kind ([`Price::charge`]).

mod cost;
mod open;
mod parts;
mod rate;
#[cfg(test)]
mod tests;
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

/// A price: rates of keys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "written::Written")]
pub struct Price {
    /// In order, each key once. Few: they are searched one by one.
    rates: Vec<(Key, Rate)>,
    /// Its context bands, the highest first.
    bands: Vec<Band>,
    terms: Terms,
}

/// Whose price it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Terms {
    /// A provider's: the fee comes on top, and everything must have a rate.
    Provider,
    /// Ours: no fee, and what has no rate is in the price of what has one.
    Inclusive,
}

/// What was used, or may be, has no rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} has no price")]
pub struct Unpriced(pub Key);

/// What something costs that was used already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// It.
    pub cost: Cost,
    /// What had no rate in it, if anything: it was charged as something else.
    pub unpriced: Option<Key>,
}

/// How long a provider is asked to keep what it writes to its cache: the dearest that a request permits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keep {
    /// As long as it does unasked.
    #[default]
    Usual,
    /// Longer.
    Long,
}

/// What a request asks of its provider that a report of its usage may not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// How long it may keep its cache.
    pub keep: Keep,
    /// The tier that is to serve it.
    pub tier: ServiceTier,
}

/// What a request permits its provider to do. Each of it may have a rate of its own, and the dearest is held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permitted {
    /// How long the cache may be kept.
    pub keep: Keep,
    /// The tiers that may serve it.
    pub tiers: &'static [ServiceTier],
    /// What may be in its input, beside text.
    pub input: &'static [Modality],
    /// What may be in its output, beside text.
    pub output: &'static [Modality],
    /// What tools may use, with their bounds.
    pub uses: Quantities,
}

impl Permitted {
    /// Text and pictures in, text out, at the usual tier.
    pub const TEXT: Self = Self {
        keep: Keep::Usual,
        tiers: &[ServiceTier::Standard],
        input: &[Modality::Image],
        output: &[Modality::Reasoning],
        uses: Quantities::NONE,
    };

    /// Whether a key's tokens may come of it.
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

/// What stands for a state of the cache, itself first.
const fn caches(cache: Cache) -> &'static [Cache] {
    match cache {
        Cache::Uncached => &[Cache::Uncached],
        Cache::Read => &[Cache::Read, Cache::Uncached],
        Cache::Write => &[Cache::Write, Cache::Uncached],
        Cache::Write1h => &[Cache::Write1h, Cache::Write, Cache::Uncached],
        Cache::Write12h => &[Cache::Write12h, Cache::Write1h, Cache::Write, Cache::Uncached],
    }
}

/// What stands for a modality, itself first.
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
    /// A price of these rates; none where there is nothing in it, a key is there twice, or is none.
    fn new(mut rates: Vec<(Key, Rate)>, terms: Terms) -> Option<Self> {
        rates.sort_unstable_by_key(|(key, _)| *key);
        let is_once = rates.windows(2).all(|pair| pair[0].0 != pair[1].0);
        let is_sound = !rates.is_empty() && is_once && rates.iter().all(|(key, _)| key.is_sound());
        let mut bands: Vec<_> = rates.iter().map(|(key, _)| key.band).filter(|band| *band != Band(0)).collect();
        bands.sort_unstable_by(|a, b| b.cmp(a));
        bands.dedup();
        is_sound.then_some(Self { rates, bands, terms })
    }

    /// The price of what runs here: one rate, and all else is in it.
    fn of_compute(key: Key, rate: Rate) -> Self {
        Self { rates: vec![(key, rate)], bands: Vec::new(), terms: Terms::Inclusive }
    }

    /// Of what is paid elsewhere: everything costs nothing here.
    pub const fn nothing() -> Self {
        Self { rates: Vec::new(), bands: Vec::new(), terms: Terms::Inclusive }
    }

    /// A provider's price of a million tokens of text read and of a million written.
    pub fn per_million(input: Decimal, output: Decimal) -> Result<Self, BadPrice> {
        written::Written::plain(input, output).try_into()
    }

    /// Its rates, in the order of their keys.
    pub fn rates(&self) -> impl Iterator<Item = (Key, Rate)> {
        self.rates.iter().copied()
    }

    /// Its context bands, the highest first.
    pub fn bands(&self) -> &[Band] {
        &self.bands
    }

    /// Whether tokens of a tier have rates.
    pub fn has_tier(&self, tier: ServiceTier) -> bool {
        [Key::INPUT, Key::OUTPUT].into_iter().all(|key| self.exact(key.in_tier(tier)).is_some())
    }

    fn exact(&self, key: Key) -> Option<Rate> {
        self.rates.iter().find(|(known, _)| *known == key).map(|(_, rate)| *rate)
    }

    /// The rate of a key: its own, or that of what stands for it. Of those that do, the one that is nearest: first another
    /// state of the cache, then no band, then text, then any resolution.
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

    /// The rate that something is charged at that was used already, and it itself where it has none: then that of the usual
    /// tier, or the dearest of its kind that went the same way, or of its kind.
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

    /// The context band of a request that read so much.
    fn band(&self, input: u64) -> Band {
        self.bands.iter().copied().find(|band| input > u64::from(band.0)).unwrap_or_default()
    }

    /// What was used, its tokens in the context band that all of them together put their request into.
    fn placed<'a>(&self, used: &'a Quantities) -> impl Iterator<Item = (Key, u64)> + use<'a> {
        let band =
            if self.bands.is_empty() { Band(0) } else { self.band(used.sum(|key| key.is_tokens(Direction::Input))) };
        used.iter().map(move |(key, amount)| {
            let key = if key.kind == Kind::Tokens && band != Band(0) { key.in_band(band) } else { key };
            (key, amount)
        })
    }

    /// What quantities cost; refused where one has no rate.
    pub fn cost(&self, used: &Quantities) -> Result<Cost, Unpriced> {
        match self.charge(used) {
            Charge { cost, unpriced: None } => Ok(cost),
            Charge { unpriced: Some(key), .. } => Err(Unpriced(key)),
        }
    }

    /// What quantities cost that were used already. One without a rate costs what it would in the usual tier, or the dearest
    /// of its kind; where there is no rate of its kind, nothing says what it costs. It is told in any case.
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

    /// What of quantities has no rate, if anything.
    pub fn unpriced(&self, used: &Quantities) -> Option<Key> {
        self.placed(used).find_map(|(key, _)| self.charged_at(key).1)
    }

    /// What was used, each with the rate it is charged at, and of it so much as was charged before the fee.
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

    /// The dearest rate of tokens that went one way, of all that a request may be charged at: whatever of it meets the cache,
    /// whichever tier serves it, in any band that a prompt of at most so many tokens may be in.
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

    /// The most that so many prompt tokens and all that tools may use can cost.
    pub fn most_input(&self, prompt: u64, permitted: &Permitted) -> Result<Cost, Unpriced> {
        let tokens = self.dearest(Direction::Input, prompt, permitted)?.times(prompt);
        let uses = if permitted.uses.is_empty() { Decimal::ZERO } else { self.cost(&permitted.uses)?.base };
        Ok(self.with_terms(tokens + uses))
    }

    /// The most that an output token can cost after a prompt of at most so many, the fee in it.
    pub fn most_output(&self, prompt: u64, permitted: &Permitted) -> Result<Rate, Unpriced> {
        let rate = self.dearest(Direction::Output, prompt, permitted)?;
        Ok(match self.terms {
            Terms::Provider => rate.with_fee(),
            Terms::Inclusive => rate,
        })
    }
}

/// How many of something at this rate so much pays, after what is paid first.
pub fn affordable(most: Nanos, first: Decimal, rate: Rate) -> u64 {
    rate.paid_by(most.to_decimal() - first)
}

/// What so much costs, after what is paid first, rounded up; none where it is beyond what the ledger holds.
pub fn total(first: Decimal, rate: Rate, amount: u64) -> Option<Nanos> {
    Nanos::ceil(first.checked_add(rate.times(amount))?).ok()
}
