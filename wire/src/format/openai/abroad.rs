//! The members of a chat completion's request, as far as a provider of another format is concerned.

use crate::{format::leftover::Members, inference::Request};

/// Fields that change no answer.
const HARMLESS: [&str; 10] = [
    "user",
    "safety_identifier",
    "metadata",
    "store",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "include_reasoning",
    "reasoning_format",
    "stream_options",
];
/// Fields with values that ask for nothing beside the usual.
const USUAL: [(&str, &[&str]); 4] = [
    ("service_tier", &["\"auto\"", "\"default\"", "\"standard\""]),
    ("modalities", &["[\"text\"]"]),
    ("verbosity", &["\"medium\""]),
    ("suffix", &["\"\""]),
];
/// Fields that the neutral words hold.
const NEUTRAL: [&str; 25] = [
    "model",
    "messages",
    "prompt",
    "tools",
    "functions",
    "tool_choice",
    "function_call",
    "parallel_tool_calls",
    "response_format",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "best_of",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "stop",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "reasoning_effort",
];
/// The start of an answer to go on with. Mistral's own client says of each earlier answer that it is none.
const PREFIX: &str = "messages[].prefix";
/// Members of messages that describe an earlier answer and change no later one, by pattern.
const DESCRIBING: [&str; 11] = [
    PREFIX,
    "messages[].id",
    "messages[].parsed",
    "messages[].provider_specific_fields",
    "messages[].annotations",
    "messages[].extra_content",
    "messages[].reasoning",
    "messages[].content[].annotations",
    "messages[].content[].id",
    "messages[].content[].index",
    "messages[].tool_calls[].index",
];

/// What the format's members are to providers of others.
const MEMBERS: Members = Members { neutral: &NEUTRAL, harmless: &HARMLESS, usual: &USUAL, describing: &DESCRIBING };

/// The first member of a request that has no place in the neutral words and may change the answer.
pub(in crate::format) fn leftover(request: &Request) -> Option<String> {
    MEMBERS.leftover(request, |unread| unread.pattern() == PREFIX && unread.json != "false")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::openai::read_chat;

    #[test]
    fn what_can_change_an_answer_and_has_no_neutral_place_is_found() {
        let of = |fields: &str| {
            let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}]{fields}}}"#);
            leftover(&read_chat(body.as_bytes()).unwrap())
        };
        for harmless in [
            "",
            r#","user":"u","store":true,"prompt_cache_key":"k","service_tier":"auto","modalities":["text"],"verbosity":null"#,
            r#","messages":[{"role":"assistant","content":"x","annotations":[],"id":"i","audio":null}]"#,
            r#","messages":[{"role":"assistant","content":"x","prefix":false,"tool_calls":null}]"#,
        ] {
            assert_eq!(of(harmless), None, "{harmless}");
        }
        for (fields, field) in [
            (r#","web_search_options":{}"#, "web_search_options"),
            (r#","service_tier":"flex""#, "service_tier"),
            (r#","verbosity":"low""#, "verbosity"),
            (r#","min_p":0.1"#, "min_p"),
            (r#","messages":[{"role":"assistant","content":"x","prefix":1}]"#, "messages[0].prefix"),
            (r#","tools":[{"type":"web_search"}]"#, "tools[0].type"),
        ] {
            assert_eq!(of(fields).as_deref(), Some(field), "{fields}");
        }
    }
}
