//! The list of the litellm project (`model_prices_and_context_window.json`, MIT): an object with a flat object for each
//! model, whose fields name quantities: `cache_read_input_token_cost_above_272k_tokens_flex`. A name is a unit, followed by
//! how long a cache is kept, a context band and a tier. Fields of other tiers and regions have no quantity here.

use std::collections::{BTreeMap, HashSet};

use billing::{
    Timestamp,
    price::Rate,
    quantity::{Band, Cache, Direction, Key, Kind, Modality, Resolution, ServiceTier},
};
use serde_json::value::RawValue;
use wire::inference::Task;

use super::{ListError, Listed, NO_PRICE, Rates, Reading, doubt, is_callable, named, without_alternatives};

/// The list's name.
pub const NAME: &str = "litellm";

type Fields<'a> = BTreeMap<&'a str, &'a RawValue>;

/// Its names of our providers.
const PROVIDERS: [(&str, &str); 7] = [
    ("anthropic", "anthropic"),
    ("cohere", "cohere"),
    ("cohere_chat", "cohere"),
    ("gemini", "google"),
    ("mistral", "mistral"),
    ("openai", "openai"),
    ("text-completion-openai", "openai"),
];

const INPUT: Key = Key::INPUT;
const OUTPUT: Key = Key::OUTPUT;

const fn milliseconds(direction: Direction, modality: Modality) -> Key {
    Key::of(Kind::Milliseconds, direction).in_modality(modality)
}

/// Its units: the beginning of a field's name, the quantity, and how many of the quantity the number is for. A name that
/// begins with another one comes before that.
const UNITS: [(&str, Key, u64); 27] = [
    ("input_cost_per_token", INPUT, 1),
    ("output_cost_per_token", OUTPUT, 1),
    ("cache_read_input_token_cost", Key::CACHE_READ, 1),
    ("cache_creation_input_token_cost", Key::CACHE_WRITE, 1),
    ("output_cost_per_reasoning_token", Key::REASONING, 1),
    ("input_cost_per_audio_token", INPUT.in_modality(Modality::Audio), 1),
    ("output_cost_per_audio_token", OUTPUT.in_modality(Modality::Audio), 1),
    ("cache_read_input_audio_token_cost", Key::CACHE_READ.in_modality(Modality::Audio), 1),
    ("cache_creation_input_audio_token_cost", Key::CACHE_WRITE.in_modality(Modality::Audio), 1),
    ("input_cost_per_image_token", INPUT.in_modality(Modality::Image), 1),
    ("output_cost_per_image_token", OUTPUT.in_modality(Modality::Image), 1),
    ("cache_read_input_image_token_cost", Key::CACHE_READ.in_modality(Modality::Image), 1),
    ("input_cost_per_video_token", INPUT.in_modality(Modality::Video), 1),
    ("output_cost_per_video_token", OUTPUT.in_modality(Modality::Video), 1),
    ("input_cost_per_character", Key::of(Kind::Characters, Direction::Input), 1),
    ("output_cost_per_character", Key::of(Kind::Characters, Direction::Output), 1),
    ("input_cost_per_audio_per_second", milliseconds(Direction::Input, Modality::Audio), 1_000),
    ("input_cost_per_video_per_second", milliseconds(Direction::Input, Modality::Video), 1_000),
    ("input_cost_per_second", milliseconds(Direction::Input, Modality::Text), 1_000),
    ("output_cost_per_second", milliseconds(Direction::Output, Modality::Text), 1_000),
    ("input_cost_per_image", Key::of(Kind::Images, Direction::Input), 1),
    ("output_cost_per_image", Key::of(Kind::Images, Direction::Output), 1),
    ("input_cost_per_query", Key::of(Kind::SearchUnits, Direction::Neither), 1),
    ("ocr_cost_per_page", Key::of(Kind::Pages, Direction::Input), 1),
    ("annotation_cost_per_page", Key::of(Kind::AnnotatedPages, Direction::Input), 1),
    ("code_interpreter_cost_per_session", Key::of(Kind::Containers, Direction::Neither), 1),
    ("file_search_cost_per_1k_calls", Key::of(Kind::FileSearches, Direction::Neither), 1_000),
];

/// Reads the list.
///
/// # Errors
///
/// It is no list of this form, or the version can't stand in an entry.
pub fn read(text: &str, version: Option<&str>) -> Result<Reading, ListError> {
    let format = |error| ListError::Format(NAME, error);
    let all: BTreeMap<&str, &RawValue> = serde_json::from_str(text).map_err(format)?;
    let mut reading = Reading { name: named(NAME, version)?, models: Vec::new(), skipped: Vec::new() };
    let mut seen = HashSet::new();
    for (name, fields) in all {
        let fields: Fields<'_> = serde_json::from_str(fields.get()).map_err(format)?;
        let provider = words(&fields, "litellm_provider").unwrap_or_default();
        let Some((_, provider)) = PROVIDERS.into_iter().find(|(theirs, _)| *theirs == provider) else { continue };
        let id = name.split_once('/').filter(|(before, _)| PROVIDERS.iter().any(|(theirs, _)| theirs == before));
        let id = id.map_or(name, |(_, id)| id);
        match model(provider, id, &fields) {
            // One model under two names is there once.
            Ok(model) if seen.insert((provider, id)) => reading.models.push(model),
            Ok(_) => {}
            Err(why) => reading.skipped.push((format!("{provider}/{id}"), why)),
        }
    }
    Ok(reading)
}

fn words<'a>(fields: &Fields<'a>, name: &str) -> Option<&'a str> {
    serde_json::from_str(fields.get(name)?.get()).ok()
}

fn number(fields: &Fields<'_>, name: &str) -> u32 {
    let text = fields.get(name).map(|value| value.get().trim_matches('"'));
    // Some are floats of wholes.
    text.and_then(|text| text.trim_end_matches(".0").parse().ok()).unwrap_or(0)
}

fn model(provider: &'static str, id: &str, fields: &Fields<'_>) -> Result<Listed, String> {
    if !is_callable(id) {
        return Err("its name is none that can be called".to_owned());
    }
    let mode = words(fields, "mode").unwrap_or_default();
    let task = match mode {
        "chat" | "responses" => Task::Chat,
        "completion" => Task::Completion,
        "embedding" => Task::Embedding,
        "rerank" => Task::Rerank,
        "image_generation" => Task::Image,
        "audio_speech" => Task::Speech,
        "audio_transcription" => Task::Transcription,
        "ocr" => Task::Native,
        other => return Err(format!("{other:?} is no task here")),
    };
    let mut rates: Rates = fields.iter().filter_map(|(name, value)| rate(name, value.get())).collect();
    // The same price twice: what is read is what is written.
    if task == Task::Transcription {
        rates.retain(|key, _| key.kind != Kind::Milliseconds || key.direction == Direction::Input);
    }
    // Reasoning counts as output where it has no rate of its own.
    let as_output: Vec<_> =
        rates.iter().filter(|(key, _)| key.modality == Modality::Text).map(|(k, r)| (*k, *r)).collect();
    for (key, rate) in as_output {
        let reasoning = key.in_modality(Modality::Reasoning);
        if rates.get(&reasoning) == Some(&rate) {
            rates.remove(&reasoning);
        }
    }
    let images_of_tokens = images_without_tokens(&rates);
    without_alternatives(&mut rates);
    add_searches(fields, &mut rates);
    add_factors(provider, fields, &mut rates);
    let doubt = match doubt(&rates) {
        Some(NO_PRICE) => return Err(NO_PRICE.to_owned()),
        doubt => doubt.or(images_of_tokens).map(str::to_owned),
    };
    let (input, max_output) = (number(fields, "max_input_tokens"), number(fields, "max_output_tokens"));
    let ends = words(fields, "deprecation_date").and_then(Timestamp::from_date);
    Ok(Listed {
        provider,
        id: id.to_owned(),
        aliases: Vec::new(),
        task,
        context: input,
        max_output,
        rates,
        changes: Vec::new(),
        ends,
        deprecated: false,
        doubt,
    })
}

/// A model that writes images for a price each, among tokens, says nothing of what its image tokens cost.
fn images_without_tokens(rates: &Rates) -> Option<&'static str> {
    let has = |key: Key| rates.get(&key).is_some_and(|rate| !rate.is_zero());
    let (images, tokens) = (Key::of(Kind::Images, Direction::Output), OUTPUT.in_modality(Modality::Image));
    (has(images) && has(OUTPUT) && !has(tokens)).then_some("its images have a price each, and their tokens none")
}

/// The key and the rate of a field; `None` where it is not a price, or one without a quantity here.
fn rate(name: &str, number: &str) -> Option<(Key, Rate)> {
    let (unit, key, units) =
        UNITS.into_iter().filter(|(unit, ..)| is_of(name, unit)).max_by_key(|(unit, ..)| unit.len())?;
    let key = suffixed(key, name.strip_prefix(unit)?)?;
    Some((key, Rate::of_list(number, units)?)).filter(|_| key.is_sound())
}

fn is_of(name: &str, unit: &str) -> bool {
    name.strip_prefix(unit).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

/// The key with what the end of a field's name says.
fn suffixed(mut key: Key, mut rest: &str) -> Option<Key> {
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("_above_1hr").or_else(|| rest.strip_prefix("_above_12hr")) {
            // The longer of a provider's two times.
            (key, rest) = (key.cached(Cache::Write1h), after);
        } else if let Some(band) = rest.strip_prefix("_above_") {
            let (thousands, after) = band.split_once("k_tokens")?;
            let above = thousands.parse::<u32>().ok()?.checked_mul(1_000)?;
            (key, rest) = (key.in_band(Band(above)), after);
        } else {
            let tiers =
                [("_batches", ServiceTier::Batch), ("_flex", ServiceTier::Flex), ("_priority", ServiceTier::Priority)];
            let (word, tier) = tiers.into_iter().find(|(word, _)| rest.starts_with(word))?;
            (key, rest) = (key.in_tier(tier), rest.strip_prefix(word)?);
        }
    }
    Some(key)
}

/// Adds the price of a search of the web: the dearest is that of any, and cheaper ones have a size.
fn add_searches(fields: &Fields<'_>, rates: &mut Rates) {
    let Some(searches) = fields.get("search_context_cost_per_query") else { return };
    let Ok(searches) = serde_json::from_str::<BTreeMap<&str, &RawValue>>(searches.get()) else { return };
    let sizes = [("low", Resolution::Low), ("medium", Resolution::Medium), ("high", Resolution::High)];
    let of = |(word, size): (&str, Resolution)| {
        let number = searches.get(&*format!("search_context_size_{word}"))?;
        Some((size, Rate::of_list(number.get(), 1)?))
    };
    let found: Vec<_> = sizes.into_iter().filter_map(of).collect();
    let any = Key::of(Kind::WebSearches, Direction::Neither);
    let Some(dearest) = found.iter().map(|(_, rate)| *rate).max() else { return };
    rates.insert(any, dearest);
    let cheaper = found.into_iter().filter(|(_, rate)| *rate != dearest);
    rates.extend(cheaper.map(|(resolution, rate)| (Key { resolution, ..any }, rate)));
}

/// Adds the prices of Anthropic's fast mode, of its service in the United States alone, and of both together, which the
/// list has as factors of all tokens ("Pricing", Claude documentation: they multiply, cache reads and writes too). Each is a
/// tier of its own price here.
fn add_factors(provider: &str, fields: &Fields<'_>, rates: &mut Rates) {
    let entry = fields.get("provider_specific_entry").filter(|_| provider == "anthropic");
    let entry: Fields<'_> = entry.and_then(|entry| serde_json::from_str(entry.get()).ok()).unwrap_or_default();
    let tiers: [(ServiceTier, &[&str]); 3] =
        [(ServiceTier::Priority, &["fast"]), (ServiceTier::Us, &["us"]), (ServiceTier::PriorityUs, &["fast", "us"])];
    let usual: Vec<_> = rates.iter().map(|(key, rate)| (*key, *rate)).collect();
    for (tier, factors) in tiers {
        let times = |rate: Rate| factors.iter().try_fold(rate, |rate, name| rate.times_of_list(entry.get(name)?.get()));
        let of_tokens = usual.iter().filter(|(key, _)| key.kind == Kind::Tokens && key.tier == ServiceTier::Standard);
        rates.extend(of_tokens.filter_map(|(key, rate)| Some((key.in_tier(tier), times(*rate)?))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fields_name_is_its_quantity() {
        let key = |name: &str| rate(name, "1e-06").map(|(key, _)| key.to_string());
        for (name, expected) in [
            ("input_cost_per_token", "tokens.input"),
            ("output_cost_per_token_batches", "tokens.output.batch"),
            ("cache_read_input_token_cost_above_272k_tokens_flex", "tokens.input.cache_read.flex.above_272000"),
            ("cache_creation_input_token_cost_above_1hr_above_100k_tokens", "tokens.input.cache_write_1h.above_100000"),
            ("cache_creation_input_token_cost_above_12hr_priority", "tokens.input.cache_write_1h.priority"),
            ("input_cost_per_image_token", "tokens.input.image"),
            ("input_cost_per_image", "images.input"),
            ("input_cost_per_second", "milliseconds.input"),
            ("ocr_cost_per_page_batches", "pages.input.batch"),
            ("annotation_cost_per_page", "annotated_pages.input"),
        ] {
            assert_eq!(key(name).as_deref(), Some(expected), "{name}");
        }
        for name in [
            "input_cost_per_token_ultrafast",
            "input_cost_per_token_decisions",
            "output_cost_per_second_1080p",
            "input_cost_per_image_above_128k_tokens",
            "input_cost_per_pixel",
            "max_input_tokens",
            "fedramp_uplift_multiplier",
        ] {
            assert_eq!(key(name), None, "{name}");
        }
        assert_eq!(rate("input_cost_per_token", "\"free\""), None);
    }

    #[test]
    fn fast_mode_and_a_place_are_tiers_of_so_many_times_the_price() {
        let entry = r#"{"mode":"chat","input_cost_per_token":4e-06,"output_cost_per_token":2e-05,
            "cache_read_input_token_cost":2e-07,"input_cost_per_token_batches":2e-06,"max_input_tokens":9,
            "search_context_cost_per_query":{"search_context_size_medium":0.01},"provider_specific_entry":{"us":1.1,"fast":2.0}}"#;
        let rates = |provider: &'static str, entry: &str| -> Vec<String> {
            let fields: Fields<'_> = serde_json::from_str(entry).unwrap();
            let rates = model(provider, "m", &fields).unwrap().rates.into_iter();
            let added = rates.filter(|(key, _)| ![ServiceTier::Standard, ServiceTier::Batch].contains(&key.tier));
            let mut added: Vec<_> = added.map(|(key, rate)| format!("{key}={}", rate.million_text())).collect();
            added.sort();
            added
        };
        let expected = [
            "tokens.input.cache_read.priority=0.40",
            "tokens.input.cache_read.priority_us=0.44",
            "tokens.input.cache_read.us=0.22",
            "tokens.input.priority=8.00",
            "tokens.input.priority_us=8.80",
            "tokens.input.us=4.40",
            "tokens.output.priority=40.00",
            "tokens.output.priority_us=44.00",
            "tokens.output.us=22.00",
        ];
        assert_eq!(rates("anthropic", entry), expected);
        let slow = entry.replace(r#","fast":2.0"#, "");
        let of_us: Vec<_> = expected.into_iter().filter(|rate| rate.contains(".us=")).collect();
        assert_eq!(rates("anthropic", &slow), of_us);
        assert!(rates("openai", entry).is_empty());
    }
}
