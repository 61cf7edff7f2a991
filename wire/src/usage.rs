//! A provider's report of usage, independent of format: quantities, some of which may be absent, and the provider's own
//! object. Repeated reports are joined. No price and no model is known here.

use serde_json::{Map, Value};

/// A provider's report. A quantity that the provider does not report is absent, never zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Prompt tokens, all of them.
    pub input: Option<u64>,
    /// The input tokens of the largest prompt, where the answer was made in several turns and the provider tells them
    /// apart.
    pub largest_prompt: Option<u64>,
    /// The input tokens of the prompts that were told apart. What `input` has beyond them may be one more prompt.
    pub listed_input: u64,
    /// The part of `input` read from the provider's cache.
    pub cached_input: u64,
    /// The part of `input` written to the provider's cache.
    pub cache_write: u64,
    /// The part of `cache_write` that is kept for longer than usual, where the provider reports it.
    pub cache_write_long: Option<u64>,
    /// How long that is.
    pub longer: Longer,
    /// The part of `input` that is sound; whether it met the cache is not told.
    pub audio_input: u64,
    /// The part of `input` that is pictures; whether they met the cache is not told.
    pub image_input: u64,
    /// Output tokens, reasoning included.
    pub output: Option<u64>,
    /// The part of `output` spent on reasoning.
    pub reasoning: u64,
    /// The part of `output` that is sound, which no reasoning is.
    pub audio_output: u64,
    /// The part of `output` that is pictures.
    pub image_output: u64,
    /// Searches of the web that the provider ran.
    pub web_searches: u64,
    /// Pages of the web that it fetched.
    pub web_fetches: u64,
    /// Units of search and ranking that it bills.
    pub search_units: Option<u64>,
    /// Milliseconds of sound that it read.
    pub milliseconds: Option<u64>,
    /// Images that it made.
    pub images: Option<u64>,
    /// The service tier that served it, where that is said in words that are known.
    pub tier: Option<Tier>,
    /// Speed and place, where the format tells each of them beside the service tier.
    pub apart: Option<Apart>,
    /// Whether the provider bills none of it.
    pub is_free: bool,
    /// The provider's own object, as JSON and as it came, where it can be handed on to clients of its format.
    pub own: Option<Box<str>>,
}

/// What is told of speed and place, each by itself. `None` is not told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Apart {
    /// Whether it was served before others.
    pub is_fast: Option<bool>,
    /// Whether it was served in the United States alone.
    pub is_us: Option<bool>,
}

impl Apart {
    /// Joins what is told later. What is not told again stays.
    fn gain(self, later: Self) -> Self {
        Self { is_fast: later.is_fast.or(self.is_fast), is_us: later.is_us.or(self.is_us) }
    }
}

/// How long a cache is kept that is kept for longer than usual.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Longer {
    /// As OpenAI does.
    #[default]
    TwelveHours,
    /// As Anthropic does.
    Hour,
}

/// A provider's service tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// The usual one.
    Standard,
    /// With others, within a day.
    Batch,
    /// When there is room.
    Flex,
    /// Before others.
    Priority,
    /// In the United States alone.
    Us,
    /// Before others, in the United States alone.
    PriorityUs,
}

impl Tier {
    /// By a provider's word for it; `auto` and what is not known say nothing.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "default" | "standard" | "on_demand" => Some(Self::Standard),
            "batch" => Some(Self::Batch),
            "flex" => Some(Self::Flex),
            "priority" | "fast" => Some(Self::Priority),
            _ => None,
        }
    }
}

impl Report {
    /// The tier that served a request for this one. What is not told counts as it was asked: no asked tier of speed or place is
    /// cheaper than the usual one.
    pub fn served(&self, asked: Tier) -> Tier {
        let Some(Apart { is_fast, is_us }) = self.apart else { return self.tier.unwrap_or(asked) };
        let is_fast = is_fast.unwrap_or(matches!(asked, Tier::Priority | Tier::PriorityUs));
        let is_us = is_us.unwrap_or(matches!(asked, Tier::Us | Tier::PriorityUs));
        match (is_fast, is_us) {
            (true, true) => Tier::PriorityUs,
            (true, false) => Tier::Priority,
            (false, true) => Tier::Us,
            (false, false) => self.tier.unwrap_or(match asked {
                Tier::Priority | Tier::Us | Tier::PriorityUs => Tier::Standard,
                Tier::Standard | Tier::Batch | Tier::Flex => asked,
            }),
        }
    }

    /// The report with each part limited to its whole.
    #[must_use]
    pub fn fitted(mut self) -> Self {
        let input = self.input.unwrap_or(0);
        let unlisted = input.saturating_sub(self.listed_input);
        self.largest_prompt = self.largest_prompt.map(|largest| largest.max(unlisted).min(input));
        self.cached_input = self.cached_input.min(input);
        self.cache_write = self.cache_write.min(input - self.cached_input);
        self.cache_write_long = self.cache_write_long.map(|long| long.min(self.cache_write));
        self.audio_input = self.audio_input.min(input);
        self.image_input = self.image_input.min(input - self.audio_input);
        let output = self.output.unwrap_or(0);
        self.reasoning = self.reasoning.min(output);
        self.audio_output = self.audio_output.min(output - self.reasoning);
        self.image_output = self.image_output.min(output - self.reasoning - self.audio_output);
        self
    }

    /// Joins a later report of the same request. Of each number the larger one counts, so that no known number is lost.
    /// The object is the later report's where it has all the other has, else both objects merged.
    #[must_use]
    pub fn gain(self, later: Self) -> Self {
        let own = match (later.covers(&self), self.covers(&later)) {
            (true, _) => later.own.or(self.own),
            (false, true) => self.own.or(later.own),
            (false, false) => self.own.zip(later.own).and_then(|(known, later)| joined(&known, &later)),
        };
        let joined = Self {
            input: self.input.max(later.input),
            largest_prompt: self.largest_prompt.max(later.largest_prompt),
            listed_input: self.listed_input.max(later.listed_input),
            cached_input: self.cached_input.max(later.cached_input),
            cache_write: self.cache_write.max(later.cache_write),
            cache_write_long: self.cache_write_long.max(later.cache_write_long),
            longer: if later.cache_write_long.is_some() { later.longer } else { self.longer },
            audio_input: self.audio_input.max(later.audio_input),
            image_input: self.image_input.max(later.image_input),
            output: self.output.max(later.output),
            reasoning: self.reasoning.max(later.reasoning),
            audio_output: self.audio_output.max(later.audio_output),
            image_output: self.image_output.max(later.image_output),
            web_searches: self.web_searches.max(later.web_searches),
            web_fetches: self.web_fetches.max(later.web_fetches),
            search_units: self.search_units.max(later.search_units),
            milliseconds: self.milliseconds.max(later.milliseconds),
            images: self.images.max(later.images),
            tier: later.tier.or(self.tier),
            apart: match (self.apart, later.apart) {
                (Some(known), Some(later)) => Some(known.gain(later)),
                (known, later) => known.or(later),
            },
            is_free: later.is_free,
            own,
        };
        joined.fitted()
    }

    /// Whether no number of the other report is larger.
    fn covers(&self, other: &Self) -> bool {
        self.numbers().into_iter().zip(other.numbers()).all(|(own, other)| own >= other)
    }

    /// All it says in numbers.
    const fn numbers(&self) -> [Option<u64>; 14] {
        [
            self.input,
            Some(self.cached_input),
            Some(self.cache_write),
            self.cache_write_long,
            Some(self.audio_input),
            Some(self.image_input),
            self.output,
            Some(self.reasoning),
            Some(self.audio_output),
            Some(self.image_output),
            Some(self.web_searches.saturating_add(self.web_fetches)),
            self.search_units,
            self.milliseconds,
            self.images,
        ]
    }
}

/// Two objects as one.
fn joined(known: &str, later: &str) -> Option<Box<str>> {
    let mut known: Map<String, Value> = serde_json::from_str(known).ok()?;
    join(&mut known, serde_json::from_str(later).ok()?);
    serde_json::to_string(&known).ok().map(String::into_boxed_str)
}

/// Adds a later object's members. Null and smaller numbers replace nothing.
fn join(known: &mut Map<String, Value>, later: Map<String, Value>) {
    for (name, value) in later {
        match (known.get_mut(&name), value) {
            (Some(_), Value::Null) => {}
            (Some(Value::Object(known)), Value::Object(later)) => join(known, later),
            (Some(place), value) => {
                let is_less = place.as_f64().zip(value.as_f64()).is_some_and(|(known, later)| later < known);
                if !is_less {
                    *place = value;
                }
            }
            (None, value) => drop(known.insert(name, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(input: Option<u64>, cached_input: u64, output: Option<u64>, own: &str) -> Report {
        Report { input, cached_input, output, own: Some(own.into()), ..Report::default() }
    }

    #[test]
    fn a_later_report_takes_nothing_away() {
        let good = report(Some(100), 40, Some(50), "good");
        for later in [
            report(None, 0, None, "later"),
            report(Some(100), 0, Some(50), "later"),
            report(Some(10), 0, Some(5), "later"),
            Report::default(),
        ] {
            assert_eq!(good.clone().gain(later.clone()), good, "{later:?}");
        }
        let larger = report(Some(100), 40, Some(60), "larger");
        assert_eq!(good.gain(larger.clone()), larger);
    }

    #[test]
    fn reports_of_a_part_each_are_one_report() {
        let begun = report(Some(100), 40, None, r#"{"prompt_tokens":100,"details":{"cached":40},"x":1}"#);
        let ended =
            report(None, 0, Some(7), r#"{"prompt_tokens":0,"completion_tokens":7,"details":{"audio":0},"x":null}"#);
        let both = begun.gain(ended);
        assert_eq!((both.input, both.cached_input, both.output), (Some(100), 40, Some(7)));
        let own = r#"{"prompt_tokens":100,"details":{"cached":40,"audio":0},"x":1,"completion_tokens":7}"#;
        assert_eq!(both.own.as_deref(), Some(own));
    }

    #[test]
    fn of_speed_place_and_service_tier_each_is_told_by_itself() {
        let told = |is_fast, is_us| Report {
            tier: Some(Tier::Standard),
            apart: Some(Apart { is_fast, is_us }),
            ..Report::default()
        };
        for (report, asked, served) in [
            (told(None, None), Tier::Standard, Tier::Standard),
            (told(None, None), Tier::Priority, Tier::Priority),
            (told(None, None), Tier::Us, Tier::Us),
            (told(None, None), Tier::PriorityUs, Tier::PriorityUs),
            (told(Some(true), None), Tier::PriorityUs, Tier::PriorityUs),
            (told(None, Some(true)), Tier::PriorityUs, Tier::PriorityUs),
            (told(Some(false), None), Tier::PriorityUs, Tier::Us),
            (told(None, Some(false)), Tier::PriorityUs, Tier::Priority),
            (told(Some(false), None), Tier::Priority, Tier::Standard),
            (told(Some(false), Some(false)), Tier::PriorityUs, Tier::Standard),
            (told(Some(true), None), Tier::Standard, Tier::Priority),
            (told(Some(true), Some(true)), Tier::Standard, Tier::PriorityUs),
            (Report { tier: None, ..told(Some(false), None) }, Tier::Priority, Tier::Standard),
            (Report { tier: Some(Tier::Standard), ..Report::default() }, Tier::Priority, Tier::Standard),
            (Report::default(), Tier::Flex, Tier::Flex),
        ] {
            assert_eq!(report.served(asked), served, "{report:?} {asked:?}");
        }
        let begun = told(Some(true), None).gain(told(None, Some(true)));
        assert_eq!(begun.apart, Some(Apart { is_fast: Some(true), is_us: Some(true) }));
    }

    #[test]
    fn a_part_is_never_more_than_all() {
        let odd =
            Report { cache_write: 80, cache_write_long: Some(90), reasoning: 9, ..report(Some(100), 40, Some(5), "") };
        let fitted = odd.fitted();
        assert_eq!((fitted.cached_input, fitted.cache_write, fitted.cache_write_long), (40, 60, Some(60)));
        assert_eq!(fitted.reasoning, 5);
        let odd = Report {
            audio_input: 70,
            image_input: 50,
            audio_output: 9,
            reasoning: 2,
            ..report(Some(100), 0, Some(5), "")
        };
        let fitted = odd.fitted();
        assert_eq!((fitted.audio_input, fitted.image_input, fitted.audio_output), (70, 30, 3));
        assert_eq!(report(None, 40, None, "").fitted().cached_input, 0);
    }
}
