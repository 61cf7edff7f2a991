//! `generationConfig`, read: how tokens are chosen and how many, the form of the answer, and how much to reason. What
//! others have no words for is unread.

use super::{
    schema::json_schema,
    spelling::{below, members},
};
use crate::{
    fields::BadRequest,
    format::openai::reading::{Member, member, note, read_as, read_text},
    inference::{Conversation, OutputFormat, OutputLimit, Unread},
};

const AT: &str = "generationConfig";
/// The limit's name in this format, for errors.
const LIMIT: &str = "generationConfig.maxOutputTokens";
/// The most texts that end an answer, and the most answers.
const MOST_STOPS: usize = 16;
const MOST_CHOICES: u32 = 8;
/// The most alternatives of a token.
const MOST_TOPS: u32 = 20;
/// Members that are read.
const READ: [&str; 17] = [
    "maxOutputTokens",
    "candidateCount",
    "temperature",
    "topP",
    "topK",
    "seed",
    "presencePenalty",
    "frequencyPenalty",
    "stopSequences",
    "responseLogprobs",
    "logprobs",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "responseModalities",
    "mediaResolution",
    "thinkingConfig",
];

/// The numbers of a configuration.
struct Numbers<'m, 'a>(&'m [Member<'a>]);

impl Numbers<'_, '_> {
    fn get(&self, name: &str, least: f64, most: f64) -> Result<Option<f64>, BadRequest> {
        let Some(json) = member(self.0, name) else { return Ok(None) };
        let number: Option<f64> = read_as(json).filter(|number| (least..=most).contains(number));
        let must = || BadRequest::new(below(AT, name), format!("must be a number from {least} to {most}"));
        number.map(Some).ok_or_else(must)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the range is far inside f32")]
    fn small(&self, name: &str, least: f64, most: f64) -> Result<Option<f32>, BadRequest> {
        self.get(name, least, most).map(|number| number.map(|number| number as f32))
    }

    /// A whole number, which clients also write as `40.0`.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole, and within its range")]
    fn whole(&self, name: &str, least: u32, most: u32) -> Result<Option<u32>, BadRequest> {
        let Some(json) = member(self.0, name) else { return Ok(None) };
        let float = || read_as(json).filter(|float: &f64| float.fract() == 0.0 && (0.0..1e9).contains(float));
        let number = read_as(json).or_else(|| float().map(|float| float as u32));
        let must = || BadRequest::new(below(AT, name), format!("must be a whole number from {least} to {most}"));
        number.filter(|number| (least..=most).contains(number)).map(Some).ok_or_else(must)
    }
}

/// Reads a configuration into a conversation.
///
/// # Errors
///
/// A member with a wrong value.
pub(super) fn read(json: &str, to: &mut Conversation, unread: &mut Vec<Unread>) -> Result<(), BadRequest> {
    let members = members(json, AT)?;
    let numbers = Numbers(&members);
    let tokens = numbers.whole("maxOutputTokens", 1, u32::MAX)?;
    let generation = &mut to.generation;
    generation.limit = tokens.map(|tokens| OutputLimit { tokens, largest: tokens, field: LIMIT });
    generation.n = numbers.whole("candidateCount", 1, MOST_CHOICES)?.unwrap_or(1);
    let sampling = &mut generation.sampling;
    sampling.temperature = numbers.small("temperature", 0.0, 2.0)?;
    sampling.top_p = numbers.small("topP", 0.0, 1.0)?;
    sampling.top_k = numbers.whole("topK", 0, 1_000_000)?;
    sampling.presence_penalty = numbers.small("presencePenalty", -2.0, 2.0)?;
    sampling.frequency_penalty = numbers.small("frequencyPenalty", -2.0, 2.0)?;
    sampling.seed = seed(&members)?;
    sampling.stop = stop(&members)?;
    let is_wanted = boolean(&members, "responseLogprobs", AT)? == Some(true);
    generation.logprobs = numbers.whole("logprobs", 0, MOST_TOPS)?.or(Some(0)).filter(|_| is_wanted);
    to.output = output(&members, unread)?;
    if let Some(json) = member(&members, "thinkingConfig") {
        thinking(json, to, unread)?;
    }
    // Values that ask for nothing beside the usual are left.
    let usual = [("responseModalities", "[\"TEXT\"]"), ("mediaResolution", "\"MEDIA_RESOLUTION_UNSPECIFIED\"")];
    for (name, value) in members.iter().filter(|(_, value)| *value != "null") {
        let is_odd = usual.iter().any(|(known, usual)| known == name && *usual != value.replace([' ', '\n'], ""));
        if is_odd || !READ.contains(&&**name) {
            note(unread, below(AT, name), value);
        }
    }
    Ok(())
}

fn boolean(members: &[Member<'_>], name: &str, at: &str) -> Result<Option<bool>, BadRequest> {
    let value = member(members, name).map(read_as);
    value.map(|value| value.ok_or_else(|| BadRequest::new(below(at, name), "must be true or false"))).transpose()
}

/// The seed, of 32 bits with a sign. The same seed stays the same.
fn seed(members: &[Member<'_>]) -> Result<Option<u64>, BadRequest> {
    let Some(json) = member(members, "seed") else { return Ok(None) };
    let seed: i32 =
        read_as(json).ok_or_else(|| BadRequest::new(below(AT, "seed"), "must be a whole number of 32 bits"))?;
    Ok(Some(u64::from(seed.cast_unsigned())))
}

fn stop(members: &[Member<'_>]) -> Result<Vec<String>, BadRequest> {
    let Some(json) = member(members, "stopSequences") else { return Ok(Vec::new()) };
    let stop: Option<Vec<String>> = read_as(json);
    stop.filter(|stop| stop.len() <= MOST_STOPS && stop.iter().all(|text| !text.is_empty())).ok_or_else(|| {
        BadRequest::new(below(AT, "stopSequences"), format!("must be at most {MOST_STOPS} texts, none of them empty"))
    })
}

/// The form of the answer.
fn output(members: &[Member<'_>], unread: &mut Vec<Unread>) -> Result<OutputFormat, BadRequest> {
    let schema = match (member(members, "responseJsonSchema"), member(members, "responseSchema")) {
        (Some(_), Some(_)) => {
            return Err(BadRequest::new(below(AT, "responseSchema"), "can't stand beside responseJsonSchema"));
        }
        (Some(json), None) => Some(Some(json.to_owned()).filter(|json| json.trim_start().starts_with('{'))),
        (None, Some(json)) => Some(json_schema(json)),
        (None, None) => None,
    };
    let schema = match schema {
        Some(schema) => Some(schema.ok_or_else(|| BadRequest::new(below(AT, "responseSchema"), "must be a schema"))?),
        None => None,
    };
    let kind = match member(members, "responseMimeType") {
        Some(json) => {
            let must = || BadRequest::new(below(AT, "responseMimeType"), "must be a string");
            Some(read_text(json).ok_or_else(must)?)
        }
        None => None,
    };
    match (kind.as_deref(), schema) {
        (None | Some("application/json"), Some(schema)) => {
            Ok(OutputFormat::JsonSchema { name: None, description: None, schema, strict: None })
        }
        (Some("application/json"), None) => Ok(OutputFormat::JsonObject),
        (None | Some("" | "text/plain"), None) => Ok(OutputFormat::Text),
        // A word of a list, or what only Google writes.
        (Some(kind), _) => {
            note(unread, below(AT, "responseMimeType"), &serde_json::Value::from(kind).to_string());
            Ok(OutputFormat::Text)
        }
    }
}

fn thinking(json: &str, to: &mut Conversation, unread: &mut Vec<Unread>) -> Result<(), BadRequest> {
    let at = below(AT, "thinkingConfig");
    let members = members(json, &at)?;
    boolean(&members, "includeThoughts", &at)?;
    if let Some(json) = member(&members, "thinkingBudget") {
        let budget: i32 = read_as(json)
            .filter(|budget| *budget >= -1)
            .ok_or_else(|| BadRequest::new(below(&at, "thinkingBudget"), "must be a whole number, at least -1"))?;
        // -1: as the model sees fit.
        to.reasoning.max_tokens = u32::try_from(budget).ok();
    }
    if let Some(json) = member(&members, "thinkingLevel") {
        let must = || BadRequest::new(below(&at, "thinkingLevel"), "must be a string");
        let level = read_text(json).ok_or_else(must)?.to_ascii_lowercase();
        to.reasoning.effort = Some(level).filter(|level| level != "thinking_level_unspecified");
    }
    for (name, value) in members.iter().filter(|(_, value)| *value != "null") {
        if !["includeThoughts", "thinkingBudget", "thinkingLevel"].contains(&&**name) {
            note(unread, below(&at, name), value);
        }
    }
    Ok(())
}

/// Whether a configuration asks not to be told the thoughts.
pub(super) fn hides_thoughts(json: &str) -> bool {
    let members = members(json, AT).unwrap_or_default();
    let thinking = member(&members, "thinkingConfig").and_then(|json| self::members(json, AT).ok()).unwrap_or_default();
    member(&thinking, "includeThoughts") == Some("false")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(config: &Value) -> Result<(Conversation, Vec<String>), BadRequest> {
        let (mut to, mut unread) = (Conversation::default(), Vec::new());
        read(&config.to_string(), &mut to, &mut unread)?;
        Ok((to, unread.into_iter().map(|unread| unread.at).collect()))
    }

    #[test]
    fn a_configuration_is_read_in_either_spelling() {
        let camel = json!({"maxOutputTokens": 9, "candidateCount": 2, "temperature": 1.5, "topP": 0.5, "topK": 40.0, "seed": -1,
            "presencePenalty": 1, "frequencyPenalty": -1, "stopSequences": ["a"], "responseLogprobs": true, "logprobs": 3,
            "responseMimeType": "application/json", "responseSchema": {"type": "STRING"}, "responseModalities": ["TEXT"],
            "thinkingConfig": {"includeThoughts": true, "thinkingBudget": 2000, "thinkingLevel": "LOW"}});
        let snake = json!({"max_output_tokens": 9, "candidate_count": 2, "temperature": 1.5, "top_p": 0.5, "top_k": 40, "seed": -1,
            "presence_penalty": 1, "frequency_penalty": -1, "stop_sequences": ["a"], "response_logprobs": true, "logprobs": 3,
            "response_mime_type": "application/json", "response_json_schema": {"type": "string"},
            "thinking_config": {"include_thoughts": true, "thinking_budget": 2000, "thinking_level": "low"}});
        let (read, unread) = of(&camel).unwrap();
        assert_eq!((&read, unread), (&of(&snake).unwrap().0, vec![]));
        let (generation, sampling) = (&read.generation, &read.generation.sampling);
        assert_eq!((generation.limit.unwrap().tokens, generation.n, generation.logprobs), (9, 2, Some(3)));
        assert_eq!(
            (sampling.top_k, sampling.seed, &sampling.stop[..]),
            (Some(40), Some(0xffff_ffff), &["a".to_owned()][..])
        );
        assert!(matches!(&read.output, OutputFormat::JsonSchema { schema, .. } if schema == r#"{"type":"string"}"#));
        assert_eq!((read.reasoning.max_tokens, read.reasoning.effort.as_deref()), (Some(2_000), Some("low")));
        assert_eq!(of(&json!({"thinkingConfig": {"thinkingBudget": -1}})).unwrap().0.reasoning.max_tokens, None);
        assert_eq!(of(&json!({"responseMimeType": "application/json"})).unwrap().0.output, OutputFormat::JsonObject);
        assert_eq!(of(&json!({"logprobs": 3})).unwrap().0.generation.logprobs, None, "they were not asked for");
        let hidden = |config: Value| hides_thoughts(&config.to_string());
        assert!(
            hidden(json!({"thinking_config": {"include_thoughts": false}})) && !hidden(camel) && !hidden(json!({}))
        );
    }

    #[test]
    fn what_others_have_no_words_for_is_told() {
        for (config, told) in [
            (json!({"speechConfig": {}}), "generationConfig.speechConfig"),
            (json!({"responseModalities": ["TEXT", "IMAGE"]}), "generationConfig.responseModalities"),
            (json!({"mediaResolution": "MEDIA_RESOLUTION_LOW"}), "generationConfig.mediaResolution"),
            (json!({"responseMimeType": "text/x.enum", "responseSchema": {}}), "generationConfig.responseMimeType"),
            (json!({"thinkingConfig": {"x": 1}}), "generationConfig.thinkingConfig.x"),
            (json!({"fieldOfTomorrow": 1}), "generationConfig.fieldOfTomorrow"),
        ] {
            assert_eq!(of(&config).unwrap().1, [told], "{config}");
        }
    }

    #[test]
    fn a_wrong_member_is_refused_by_its_name() {
        for (config, field) in [
            (json!([]), ""),
            (json!({"maxOutputTokens": 0}), ".maxOutputTokens"),
            (json!({"maxOutputTokens": "9"}), ".maxOutputTokens"),
            (json!({"maxOutputTokens": 9, "max_output_tokens": 8}), ".maxOutputTokens"),
            (json!({"candidateCount": 1.5}), ".candidateCount"),
            (json!({"candidateCount": 9}), ".candidateCount"),
            (json!({"temperature": 3}), ".temperature"),
            (json!({"topP": "x"}), ".topP"),
            (json!({"topK": -1}), ".topK"),
            (json!({"seed": 3_000_000_000_u64}), ".seed"),
            (json!({"stopSequences": [""]}), ".stopSequences"),
            (json!({"responseLogprobs": 1}), ".responseLogprobs"),
            (json!({"responseMimeType": 1}), ".responseMimeType"),
            (json!({"responseSchema": "x"}), ".responseSchema"),
            (json!({"responseSchema": {}, "responseJsonSchema": {}}), ".responseSchema"),
            (json!({"thinkingConfig": {"thinkingBudget": -2}}), ".thinkingConfig.thinkingBudget"),
            (json!({"thinkingConfig": {"includeThoughts": "x"}}), ".thinkingConfig.includeThoughts"),
        ] {
            assert_eq!(of(&config).unwrap_err().field, format!("generationConfig{field}"), "{config}");
        }
    }
}
