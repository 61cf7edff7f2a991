//! The members of a request for messages, as far as a provider of another format is concerned.

use crate::{format::leftover::Members, inference::Request};

/// Fields that change no answer.
const HARMLESS: [&str; 7] =
    ["metadata", "cache_control", "context_management", "compaction", "betas", "anthropic_version", "anthropic_beta"];
/// Fields with values that ask for nothing beside the usual.
const USUAL: [(&str, &[&str]); 5] = [
    ("service_tier", &["\"auto\"", "\"standard_only\""]),
    ("speed", &["\"standard\""]),
    ("inference_geo", &["\"global\""]),
    ("fallbacks", &["[]"]),
    ("mcp_servers", &["[]"]),
];
/// Fields that the neutral words hold.
const NEUTRAL: [&str; 13] = [
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "max_tokens",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "thinking",
    "output_config",
];
/// Members that describe an earlier answer or help with a tool, and change no later answer, by pattern.
const DESCRIBING: [&str; 8] = [
    "messages[].id",
    "messages[].content[].citations",
    "messages[].content[].caller",
    "system[].citations",
    "tools[].eager_input_streaming",
    "tools[].input_examples",
    "tools[].allowed_callers",
    "tools[].defer_loading",
];

/// What the format's members are to providers of others.
const MEMBERS: Members = Members { neutral: &NEUTRAL, harmless: &HARMLESS, usual: &USUAL, describing: &DESCRIBING };

/// The first member of a request that has no place in the neutral words and may change the answer.
pub(in crate::format) fn leftover(request: &Request) -> Option<String> {
    // Citations that are wanted change the answer; those that were given describe one.
    MEMBERS.leftover(request, |unread| unread.json.contains("\"enabled\"") && !unread.json.contains("false"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::format::anthropic::read_messages;

    #[test]
    fn what_can_change_an_answer_and_has_no_neutral_place_is_found() {
        let of = |more: &Value| {
            let mut body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            leftover(&read_messages(body.to_string().as_bytes()).unwrap())
        };
        let said = |block: Value| json!({"messages": [{"role": "assistant", "content": [block]}]});
        for harmless in [
            json!({}),
            json!({"metadata": {"user_id": "u"}, "service_tier": "auto", "thinking": {"type": "adaptive", "display": "x"}}),
            json!({"context_management": {"edits": []}, "output_config": {"effort": "low"}, "system": "s"}),
            said(json!({"type": "text", "text": "x", "citations": [{"type": "char_location"}]})),
            said(json!({"type": "document", "source": {"type": "text", "data": "x"}, "citations": {"enabled": false}})),
        ] {
            assert_eq!(of(&harmless), None, "{harmless}");
        }
        for (more, field) in [
            (json!({"speed": "fast"}), "speed"),
            (json!({"container": "c"}), "container"),
            (json!({"new": 1}), "new"),
            (json!({"tools": [{"type": "web_search_20260318", "max_uses": 1}]}), "tools[0].type"),
            (said(json!({"type": "block_of_tomorrow"})), "messages[0].content[0].type"),
            (
                said(
                    json!({"type": "document", "source": {"type": "text", "data": "x"}, "citations": {"enabled": true}}),
                ),
                "messages[0].content[0].citations",
            ),
        ] {
            assert_eq!(of(&more).as_deref(), Some(field), "{more}");
        }
    }
}
