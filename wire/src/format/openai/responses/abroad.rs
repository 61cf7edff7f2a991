//! The members of a response's request, as far as a provider of another format is concerned.

use crate::{format::leftover::Members, inference::Request};

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

/// What the format's members are to providers of others.
const MEMBERS: Members = Members { neutral: &NEUTRAL, harmless: &HARMLESS, usual: &USUAL, describing: &DESCRIBING };

/// The first member of a request that has no place in the neutral words and may change the answer.
pub(in crate::format) fn leftover(request: &Request) -> Option<String> {
    let text = request.source.body.object("text", "an object").ok().flatten();
    let verbosity = text.and_then(|text| text.string("verbosity").ok().flatten());
    if verbosity.is_some_and(|verbosity| verbosity != "medium") {
        return Some("text.verbosity".to_owned());
    }
    MEMBERS.leftover(request, |_| false)
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
