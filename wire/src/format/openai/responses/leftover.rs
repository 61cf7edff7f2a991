//! Fields of a response's request for a provider of another format: those that the neutral words hold are translated,
//! those that change no answer are left out. Any other field makes the request one that can't be translated.

use super::super::known::LONGEST_NAME;
use crate::inference::{Request, Unread};

/// Fields that change no answer.
const HARMLESS: [&str; 11] = [
    "client_metadata",
    "include",
    "max_tool_calls",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "store",
    "stream_options",
    "user",
];
/// Fields with values that ask for nothing beside the usual.
const USUAL: [(&str, &[&str]); 3] = [
    ("service_tier", &["\"auto\"", "\"default\"", "\"standard\""]),
    ("background", &["false"]),
    ("truncation", &["\"disabled\""]),
];
/// Fields that the neutral words hold.
const NEUTRAL: [&str; 13] = [
    "input",
    "instructions",
    "max_output_tokens",
    "model",
    "parallel_tool_calls",
    "reasoning",
    "stream",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
];
/// Members of items that describe an earlier answer and change no later one, by pattern.
const DESCRIBING: [&str; 4] =
    ["input[].id", "input[].status", "input[].content[].annotations", "input[].content[].logprobs"];

/// The first member of a request that has no place in the neutral words and may change the answer.
pub(in crate::format) fn leftover(request: &Request) -> Option<String> {
    let body = &request.source.body;
    let is_left = |name: &&str| {
        let usual = USUAL.iter().find(|(known, _)| known == name);
        let is_usual = usual.is_some_and(|(_, values)| body.get(name).is_some_and(|value| values.contains(&value)));
        !(body.present(name).is_none() || NEUTRAL.contains(name) || HARMLESS.contains(name) || is_usual)
    };
    if let Some(name) = body.names().find(is_left) {
        return Some(name.chars().take(LONGEST_NAME).collect());
    }
    let verbosity = body.object("text", "an object").ok().flatten().and_then(|text| text.string("verbosity").ok());
    if verbosity.flatten().is_some_and(|verbosity| verbosity != "medium") {
        return Some("text.verbosity".to_owned());
    }
    let is_harmless = |unread: &Unread| unread.json == "null" || DESCRIBING.contains(&&*unread.pattern());
    request.unread.iter().find(|unread| !is_harmless(unread)).map(|unread| unread.at.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::openai::read_response;

    #[test]
    fn what_can_change_an_answer_and_has_no_neutral_place_is_found() {
        let of = |fields: &str| {
            leftover(&read_response(format!(r#"{{"model":"m","input":"x"{fields}}}"#).as_bytes()).unwrap())
        };
        for harmless in [
            "",
            r#","store":true,"include":["reasoning.encrypted_content"],"prompt_cache_key":"k","background":false"#,
            r#","client_metadata":{},"text":{"verbosity":"medium"},"truncation":"disabled","service_tier":"auto""#,
        ] {
            assert_eq!(of(harmless), None, "{harmless}");
        }
        for (fields, field) in [
            (r#","previous_response_id":"r""#, "previous_response_id"),
            (r#","background":true"#, "background"),
            (r#","truncation":"auto""#, "truncation"),
            (r#","text":{"verbosity":"low"}"#, "text.verbosity"),
            (r#","tools":[{"type":"web_search"}]"#, "tools[0].type"),
            (r#","input":[{"type":"item_reference","id":"i"}]"#, "input[0].type"),
        ] {
            assert_eq!(of(fields).as_deref(), Some(field), "{fields}");
        }
    }
}
