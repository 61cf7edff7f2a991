//! The list of the genai-prices project (`data.json`, MIT): providers with models, each with prices or a list of prices
//! of which the last one whose condition holds counts, and with other prices for batches and service tiers.

use std::collections::{BTreeMap, BTreeSet};

use billing::{
    Timestamp,
    price::Rate,
    quantity::{Band, Cache, Direction, Key, Kind, Modality, ServiceTier},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use wire::inference::Task;

use super::{ListError, Listed, NO_PRICE, PROVIDERS, Rates, Reading, doubt, is_callable, named, without_alternatives};

/// The list's name.
pub const NAME: &str = "genai-prices";

#[derive(Deserialize)]
struct Provider<'a> {
    id: &'a str,
    #[serde(borrow)]
    models: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct GivenModel<'a> {
    id: String,
    #[serde(borrow, rename = "match")]
    matches: Option<&'a RawValue>,
    context_window: Option<u32>,
    #[serde(default)]
    deprecated: bool,
    #[serde(borrow)]
    prices: &'a RawValue,
    #[serde(borrow, default)]
    price_variants: Vec<Conditional<'a>>,
}

#[derive(Deserialize)]
struct Conditional<'a> {
    #[serde(default)]
    when: BTreeMap<String, String>,
    constraint: Option<Constraint>,
    #[serde(borrow)]
    prices: Given<'a>,
}

#[derive(Deserialize)]
struct Constraint {
    start_date: Option<String>,
}

#[derive(Deserialize)]
struct Tiered<'a> {
    #[serde(borrow)]
    base: &'a RawValue,
    #[serde(borrow)]
    tiers: Vec<Tier<'a>>,
}

#[derive(Deserialize)]
struct Tier<'a> {
    start: u32,
    #[serde(borrow)]
    price: &'a RawValue,
}

type Given<'a> = BTreeMap<&'a str, &'a RawValue>;

const fn audio(direction: Direction) -> Key {
    Key::of(Kind::Milliseconds, direction)
}

/// Milliseconds of an hour.
const HOUR: u64 = 3_600_000;
const MILLION: u64 = 1_000_000;

/// Its units, and how many of each the number is for.
const UNITS: [(&str, Key, u64); 23] = [
    ("input_mtok", Key::INPUT, MILLION),
    ("output_mtok", Key::OUTPUT, MILLION),
    ("cache_read_mtok", Key::CACHE_READ, MILLION),
    ("cache_write_mtok", Key::CACHE_WRITE, MILLION),
    ("cache_write_5m_mtok", Key::CACHE_WRITE, MILLION),
    ("cache_write_1h_mtok", Key::INPUT.cached(Cache::Write1h), MILLION),
    ("output_reasoning_mtok", Key::REASONING, MILLION),
    ("input_audio_mtok", Key::INPUT.in_modality(Modality::Audio), MILLION),
    ("output_audio_mtok", Key::OUTPUT.in_modality(Modality::Audio), MILLION),
    ("cache_audio_read_mtok", Key::CACHE_READ.in_modality(Modality::Audio), MILLION),
    ("input_image_mtok", Key::INPUT.in_modality(Modality::Image), MILLION),
    ("output_image_mtok", Key::OUTPUT.in_modality(Modality::Image), MILLION),
    ("cache_image_read_mtok", Key::CACHE_READ.in_modality(Modality::Image), MILLION),
    ("input_video_mtok", Key::INPUT.in_modality(Modality::Video), MILLION),
    ("output_video_mtok", Key::OUTPUT.in_modality(Modality::Video), MILLION),
    ("input_mchars", Key::of(Kind::Characters, Direction::Input), MILLION),
    ("audio_hours", audio(Direction::Input), HOUR),
    ("input_audio_hours", audio(Direction::Input), HOUR),
    ("output_audio_hours", audio(Direction::Output), HOUR),
    ("input_document_kpages", Key::of(Kind::Pages, Direction::Input), 1_000),
    ("input_annotated_document_kpages", Key::of(Kind::AnnotatedPages, Direction::Input), 1_000),
    ("web_searches_kcount", Key::of(Kind::WebSearches, Direction::Neither), 1_000),
    ("storage_searches_kcount", Key::of(Kind::FileSearches, Direction::Neither), 1_000),
];

/// Reads the list, for prices from a time on.
///
/// # Errors
///
/// It is no list of this form, or the version can't stand in an entry.
pub fn read(text: &str, version: Option<&str>, now: Timestamp) -> Result<Reading, ListError> {
    let format = |error| ListError::Format(NAME, error);
    let providers: Vec<Provider<'_>> = serde_json::from_str(text).map_err(format)?;
    let mut reading = Reading { name: named(NAME, version)?, models: Vec::new(), skipped: Vec::new() };
    for Provider { id, models } in providers {
        let Some(provider) = PROVIDERS.into_iter().find(|known| *known == id) else { continue };
        for given in models {
            let given: GivenModel<'_> = serde_json::from_str(given.get()).map_err(format)?;
            match model(provider, &given, now) {
                Ok(model) => reading.models.push(model),
                Err(why) => reading.skipped.push((format!("{provider}/{}", given.id), why)),
            }
        }
    }
    Ok(reading)
}

fn model(provider: &'static str, given: &GivenModel<'_>, now: Timestamp) -> Result<Listed, String> {
    if !is_callable(&given.id) {
        return Err("its name is none that can be called".to_owned());
    }
    if provider == "google" && given.id.starts_with("claude") {
        return Err("it is called at another address, in another format".to_owned());
    }
    let rows = rows(given)?;
    let mut rates = rates_at(given, &rows, now);
    let task = task(provider, &given.id, &rates)?;
    without_alternatives(&mut rates);
    let doubt = match doubt(&rates) {
        Some(NO_PRICE) => return Err(NO_PRICE.to_owned()),
        doubt => doubt.map(str::to_owned),
    };
    let starts = rows.iter().chain(&given.price_variants).filter_map(start).filter(|start| *start > now);
    let starts: BTreeSet<_> = starts.collect();
    let changes = starts.into_iter().map(|start| {
        let mut rates = rates_at(given, &rows, start);
        without_alternatives(&mut rates);
        (start, rates)
    });
    let changes = changes.collect();
    Ok(Listed {
        provider,
        id: given.id.clone(),
        aliases: given.matches.map(aliases).unwrap_or_default(),
        task,
        context: given.context_window.unwrap_or(0),
        max_output: 0,
        doubt,
        rates,
        changes,
        ends: None,
        deprecated: given.deprecated,
    })
}

/// The prices of a model in the order in which they are looked at, from the last to the first.
fn rows<'a>(given: &GivenModel<'a>) -> Result<Vec<Conditional<'a>>, String> {
    let text = given.prices.get();
    let rows = if text.starts_with('[') {
        serde_json::from_str(text)
    } else {
        serde_json::from_str(text).map(|prices| vec![Conditional { when: BTreeMap::new(), constraint: None, prices }])
    };
    let mut rows: Vec<Conditional<'a>> = rows.map_err(|error| error.to_string())?;
    if rows.iter().chain(&given.price_variants).any(|row| row.constraint.is_some() && start(row).is_none()) {
        return Err("its price depends on the time of day".to_owned());
    }
    rows.reverse();
    Ok(rows)
}

/// When a price begins; `None` where it is always in force.
fn start(row: &Conditional<'_>) -> Option<Timestamp> {
    Timestamp::from_date(row.constraint.as_ref()?.start_date.as_deref()?)
}

/// The rates at a time, those of tiers included.
fn rates_at(given: &GivenModel<'_>, rows: &[Conditional<'_>], now: Timestamp) -> Rates {
    let is_begun = |row: &&Conditional<'_>| start(row).is_none_or(|start| start <= now);
    let Some(row) = rows.iter().find(is_begun).or_else(|| rows.last()) else { return Rates::new() };
    let mut all = rates(&row.prices, ServiceTier::Standard);
    for variant in given.price_variants.iter().filter(is_begun) {
        let when: Vec<_> = variant.when.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let tier = match when.as_slice() {
            [("processing", "batch")] => ServiceTier::Batch,
            [("service_tier", "flex")] => ServiceTier::Flex,
            [("service_tier", "priority")] => ServiceTier::Priority,
            _ => continue,
        };
        for (key, rate) in rates(&variant.prices, tier) {
            // The first of several counts.
            all.entry(key).or_insert(rate);
        }
    }
    all
}

/// The rates of a set of prices, in a tier.
fn rates(given: &Given<'_>, tier: ServiceTier) -> Rates {
    let mut rates = Rates::new();
    for (name, value) in given {
        let Some((_, key, units)) = UNITS.into_iter().find(|(unit, ..)| unit == name) else { continue };
        let key = key.in_tier(tier);
        let mut add = |key: Key, number: &RawValue| {
            if let Some(rate) = Rate::of_list(number.get(), units).filter(|_| key.is_sound()) {
                rates.entry(key).or_insert(rate);
            }
        };
        match serde_json::from_str::<Tiered<'_>>(value.get()) {
            Ok(tiered) => {
                add(key, tiered.base);
                tiered.tiers.iter().for_each(|tier| add(key.in_band(Band(tier.start)), tier.price));
            }
            Err(_) => add(key, value),
        }
    }
    rates
}

/// The names that a rule says are the model's, beside beginnings and patterns.
fn aliases(matches: &RawValue) -> Vec<String> {
    let Ok(rule) = serde_json::from_str::<serde_json::Value>(matches.get()) else { return Vec::new() };
    let rules = match rule.get("or").and_then(serde_json::Value::as_array) {
        Some(rules) => rules.clone(),
        None => vec![rule],
    };
    rules.iter().filter_map(|rule| rule.get("equals")?.as_str().map(str::to_owned)).collect()
}

/// The task, which the list doesn't say: by the units of the price, and by the name.
fn task(provider: &str, id: &str, rates: &Rates) -> Result<Task, String> {
    let has = |words: &[&str]| words.iter().any(|word| id.contains(word));
    let bills = |kind: Kind| rates.keys().any(|key| key.kind == kind);
    if has(&["realtime", "live", "moderation", "computer-use"]) {
        return Err("it has no task here".to_owned());
    }
    let first = id.split('-').next().unwrap_or_default();
    let is_old = ["ada", "babbage", "curie", "davinci", "text"].contains(&first) || has(&["-instruct"]);
    Ok(match () {
        () if has(&["embed"]) => Task::Embedding,
        () if has(&["rerank"]) => Task::Rerank,
        () if bills(Kind::Pages) => Task::Native,
        () if has(&["tts"]) || bills(Kind::Characters) => Task::Speech,
        () if has(&["whisper", "transcribe"]) || bills(Kind::Milliseconds) => Task::Transcription,
        () if has(&["imagen", "dall-e", "gpt-image", "chatgpt-image"]) => Task::Image,
        () if provider == "openai" && is_old => Task::Completion,
        () => Task::Chat,
    })
}
