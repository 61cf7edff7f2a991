//! The key of a quantity, shared by metering, holds, prices, charges and receipts. A key is written as a few words with
//! dots between them, without the default ones: `tokens.input`, `tokens.input.cache_read`, `tokens.output.reasoning`,
//! `tokens.input.audio.flex.above_272000`, `compute_seconds`. Each key has exactly one spelling, which is stored,
//! shown, and written in price files. No amount and no price is known here.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The unit that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Tokens of a model's text, or of other content that the model counts as tokens.
    Tokens,
    /// Characters, where a provider bills speech by character.
    Characters,
    /// Images, where a provider bills each.
    Images,
    /// Milliseconds of audio or video.
    Milliseconds,
    /// Pages of documents.
    Pages,
    /// Started seconds of compute of a model that runs in this gateway.
    ComputeSeconds,
    /// Requests, where a provider bills each.
    Requests,
    /// Searches of the web by a tool that runs at the provider.
    WebSearches,
    /// Web pages fetched by a tool that runs at the provider.
    WebFetches,
    /// File searches by a tool that runs at the provider.
    FileSearches,
    /// Code sessions of a tool that runs at the provider.
    Containers,
    /// A provider's own units of search and ranking.
    SearchUnits,
    /// Pages of documents that are read and described by a schema.
    AnnotatedPages,
}

/// The direction of a quantity. Quantities that a model neither reads nor writes have none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// No direction.
    #[default]
    Neither,
    /// Read by the model.
    Input,
    /// Written by the model.
    Output,
}

/// The modality of a quantity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Modality {
    /// Text, and everything that is not distinguished.
    #[default]
    Text,
    /// A model's reasoning.
    Reasoning,
    /// Sound.
    Audio,
    /// Images.
    Image,
    /// Video.
    Video,
}

/// The effect of the provider's cache on a quantity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cache {
    /// The cache was not used.
    #[default]
    Uncached,
    /// Read from the cache.
    Read,
    /// Written to the cache for the provider's default time.
    Write,
    /// Written to the cache for an hour.
    Write1h,
    /// Written to the cache for twelve hours.
    Write12h,
}

/// The service tier of a quantity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceTier {
    /// The usual tier.
    #[default]
    Standard,
    /// In a batch, within a day.
    Batch,
    /// When the provider has room.
    Flex,
    /// Before other requests.
    Priority,
    /// In the United States alone.
    Us,
    /// Before other requests, in the United States alone.
    PriorityUs,
}

/// The context band of a request: it has more input tokens than this number. Zero means no band.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Band(pub u32);

/// The resolution of an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// Not distinguished.
    #[default]
    Any,
    /// The coarsest.
    Low,
    /// A medium resolution.
    Medium,
    /// The finest.
    High,
    /// About a thousand pixels wide.
    Wide1k,
    /// About two thousand pixels wide.
    Wide2k,
    /// About four thousand pixels wide.
    Wide4k,
}

/// The key of a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The unit that is counted.
    pub kind: Kind,
    /// The direction.
    pub direction: Direction,
    /// The modality.
    pub modality: Modality,
    /// The effect of the provider's cache.
    pub cache: Cache,
    /// The service tier.
    pub tier: ServiceTier,
    /// The context band of the request.
    pub band: Band,
    /// The resolution.
    pub resolution: Resolution,
}

/// The text is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no quantity, such as \"tokens.input.cache_read\"")]
pub struct NoKey(pub String);

/// The words of one component of a key. The default value comes first and has no word.
trait Words: Copy + PartialEq + 'static {
    const WORDS: &'static [(Self, &'static str)];

    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(value, _)| *value == self).map_or("", |(_, word)| word)
    }

    fn of(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, known)| *known == word && !word.is_empty()).map(|(value, _)| *value)
    }
}

impl Words for Kind {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Tokens, "tokens"),
        (Self::Characters, "characters"),
        (Self::Images, "images"),
        (Self::Milliseconds, "milliseconds"),
        (Self::Pages, "pages"),
        (Self::ComputeSeconds, "compute_seconds"),
        (Self::Requests, "requests"),
        (Self::WebSearches, "web_searches"),
        (Self::WebFetches, "web_fetches"),
        (Self::FileSearches, "file_searches"),
        (Self::Containers, "containers"),
        (Self::SearchUnits, "search_units"),
        (Self::AnnotatedPages, "annotated_pages"),
    ];
}

impl Words for Direction {
    const WORDS: &'static [(Self, &'static str)] =
        &[(Self::Neither, ""), (Self::Input, "input"), (Self::Output, "output")];
}

impl Words for Modality {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Text, ""),
        (Self::Reasoning, "reasoning"),
        (Self::Audio, "audio"),
        (Self::Image, "image"),
        (Self::Video, "video"),
    ];
}

impl Words for Cache {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Uncached, ""),
        (Self::Read, "cache_read"),
        (Self::Write, "cache_write"),
        (Self::Write1h, "cache_write_1h"),
        (Self::Write12h, "cache_write_12h"),
    ];
}

impl Words for ServiceTier {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Standard, ""),
        (Self::Batch, "batch"),
        (Self::Flex, "flex"),
        (Self::Priority, "priority"),
        (Self::Us, "us"),
        (Self::PriorityUs, "priority_us"),
    ];
}

impl Words for Resolution {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Any, ""),
        (Self::Low, "low"),
        (Self::Medium, "medium"),
        (Self::High, "high"),
        (Self::Wide1k, "1k"),
        (Self::Wide2k, "2k"),
        (Self::Wide4k, "4k"),
    ];
}

/// The prefix of a band's number.
const ABOVE: &str = "above_";

impl Kind {
    /// The unit's word in a key.
    pub fn name(self) -> &'static str {
        self.word()
    }

    /// Whether models read or write this unit.
    const fn has_direction(self) -> bool {
        match self {
            Self::Tokens
            | Self::Characters
            | Self::Images
            | Self::Milliseconds
            | Self::Pages
            | Self::AnnotatedPages => true,
            Self::ComputeSeconds
            | Self::Requests
            | Self::WebSearches
            | Self::WebFetches
            | Self::FileSearches
            | Self::Containers
            | Self::SearchUnits => false,
        }
    }
}

impl ServiceTier {
    /// All tiers.
    pub const ALL: [Self; 6] = [Self::Standard, Self::Batch, Self::Flex, Self::Priority, Self::Us, Self::PriorityUs];

    /// The tier's word in a key; empty for the usual tier.
    pub fn name(self) -> &'static str {
        self.word()
    }
}

impl Key {
    /// Uncached input tokens of text.
    pub const INPUT: Self = Self::of(Kind::Tokens, Direction::Input);
    /// Input tokens read from the cache.
    pub const CACHE_READ: Self = Self::INPUT.cached(Cache::Read);
    /// Input tokens written to the cache.
    pub const CACHE_WRITE: Self = Self::INPUT.cached(Cache::Write);
    /// Output tokens of text.
    pub const OUTPUT: Self = Self::of(Kind::Tokens, Direction::Output);
    /// Reasoning tokens.
    pub const REASONING: Self = Self::OUTPUT.in_modality(Modality::Reasoning);
    /// Started seconds of compute.
    pub const COMPUTE_SECONDS: Self = Self::of(Kind::ComputeSeconds, Direction::Neither);

    /// A key of a unit and a direction, with the defaults for everything else.
    pub const fn of(kind: Kind, direction: Direction) -> Self {
        Self {
            kind,
            direction,
            modality: Modality::Text,
            cache: Cache::Uncached,
            tier: ServiceTier::Standard,
            band: Band(0),
            resolution: Resolution::Any,
        }
    }

    /// This key with another cache state.
    #[must_use]
    pub const fn cached(self, cache: Cache) -> Self {
        Self { cache, ..self }
    }

    /// This key with another modality.
    #[must_use]
    pub const fn in_modality(self, modality: Modality) -> Self {
        Self { modality, ..self }
    }

    /// This key with another service tier.
    #[must_use]
    pub const fn in_tier(self, tier: ServiceTier) -> Self {
        Self { tier, ..self }
    }

    /// This key with another context band.
    #[must_use]
    pub const fn in_band(self, band: Band) -> Self {
        Self { band, ..self }
    }

    /// Whether the key counts tokens of this direction.
    pub fn is_tokens(self, direction: Direction) -> bool {
        self.kind == Kind::Tokens && self.direction == direction
    }

    /// Whether such a quantity can exist: a direction where the unit has one, cache states only for input tokens,
    /// reasoning only for output tokens, and context bands only for tokens.
    pub fn is_sound(self) -> bool {
        let is_input = self.direction == Direction::Input;
        self.kind.has_direction() == (self.direction != Direction::Neither)
            && (self.cache == Cache::Uncached || is_input && self.kind == Kind::Tokens)
            && (self.modality != Modality::Reasoning || self.is_tokens(Direction::Output))
            && (self.modality == Modality::Text || self.kind.has_direction())
            && (self.band == Band(0) || self.kind == Kind::Tokens)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.word())?;
        let mut word =
            |word: &str| if word.is_empty() { Ok(()) } else { f.write_str(".").and_then(|()| f.write_str(word)) };
        word(self.direction.word())?;
        word(self.modality.word())?;
        word(self.cache.word())?;
        word(self.tier.word())?;
        if self.band != Band(0) {
            write!(f, ".{ABOVE}{}", self.band.0)?;
        }
        let resolution = self.resolution.word();
        if resolution.is_empty() { Ok(()) } else { write!(f, ".{resolution}") }
    }
}

/// Reads a band's word: plain digits without leading zeros.
fn band(word: &str) -> Option<Band> {
    let digits = word.strip_prefix(ABOVE)?;
    let is_plain = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_plain).map(Band)
}

impl FromStr for Key {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        /// Takes the next word if this component knows it, and the default otherwise.
        fn next<'a, T: Default>(
            words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
            of: impl Fn(&str) -> Option<T>,
        ) -> T {
            let found = words.peek().and_then(|word| of(word));
            if found.is_some() {
                words.next();
            }
            found.unwrap_or_default()
        }
        let mut words = text.split('.').peekable();
        let kind = words.next().and_then(Kind::of).ok_or_else(|| NoKey(text.to_owned()))?;
        let key = Self {
            kind,
            direction: next(&mut words, Direction::of),
            modality: next(&mut words, Modality::of),
            cache: next(&mut words, Cache::of),
            tier: next(&mut words, ServiceTier::of),
            band: next(&mut words, band),
            resolution: next(&mut words, Resolution::of),
        };
        if words.next().is_none() && key.is_sound() { Ok(key) } else { Err(NoKey(text.to_owned())) }
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    fn one<T: Words + fmt::Debug>() -> impl Strategy<Value = T> {
        select(T::WORDS.iter().map(|(value, _)| *value).collect::<Vec<_>>())
    }

    /// All possible keys.
    pub(crate) fn key() -> impl Strategy<Value = Key> {
        let band = prop_oneof![3 => Just(0), 1 => Just(272_000), 1 => any::<u32>()].prop_map(Band);
        let parts = (one(), one(), one(), one(), one(), band, one());
        parts.prop_filter_map("there is no such thing", |(kind, direction, modality, cache, tier, band, resolution)| {
            let key = Key { kind, direction, modality, cache, tier, band, resolution };
            let plain = Key { cache: Cache::Uncached, band: Band(0), modality: Modality::Text, ..key };
            let neither = Key { direction: Direction::Neither, ..plain };
            [key, plain, neither].into_iter().find(|key| key.is_sound())
        })
    }

    proptest! {
        #[test]
        fn a_key_is_read_as_it_is_written_and_in_no_other_spelling(key in key(), at in 0_usize..40) {
            let text = key.to_string();
            prop_assert_eq!(text.parse::<Key>(), Ok(key));
            let mut other = text.clone().into_bytes();
            let at = at % other.len();
            other[at] = other[at].to_ascii_uppercase();
            let other = String::from_utf8(other).unwrap();
            prop_assert!(other == text || other.parse::<Key>().is_err(), "{other}");
        }
    }

    #[test]
    fn keys_are_spelled_in_plain_words() {
        assert_eq!(Key::CACHE_READ.to_string(), "tokens.input.cache_read");
        assert_eq!(Key::REASONING.to_string(), "tokens.output.reasoning");
        assert_eq!(Key::COMPUTE_SECONDS.to_string(), "compute_seconds");
        let all = Key::INPUT
            .in_modality(Modality::Audio)
            .cached(Cache::Write12h)
            .in_tier(ServiceTier::Flex)
            .in_band(Band(272_000));
        assert_eq!(all.to_string(), "tokens.input.audio.cache_write_12h.flex.above_272000");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in [
            "",
            "tokens",
            "tokens.",
            "tokens.input.text",
            "tokens.input.",
            "tokens.cache_read.input",
            "tokens.output.cache_read",
            "tokens.input.reasoning",
            "tokens.input.above_0",
            "tokens.input.above_0272000",
            "tokens.input.above_+5",
            "tokens.input.above_99999999999",
            "compute_seconds.input",
            "web_searches.above_5",
            "Tokens.input",
            "tokens..input",
            "tokens.input tokens",
        ] {
            assert_eq!(text.parse::<Key>(), Err(NoKey(text.to_owned())));
        }
    }
}
