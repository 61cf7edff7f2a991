//! The members of a chat, as far as a provider of another format is concerned.

use crate::{format::leftover::Members, inference::Request};

/// Fields that change no answer: when it is served is the provider's affair.
const HARMLESS: [&str; 1] = ["priority"];
/// Fields with values that ask for nothing beside the usual: no model of others has Cohere's safety instruction, which
/// stands in a prompt by itself, cites its sources, or names tokens by Cohere's numbers.
const USUAL: [(&str, &[&str]); 4] = [
    (
        "citation_options",
        &["{\"mode\":\"OFF\"}", "{\"mode\":\"DISABLED\"}", "{\"mode\": \"OFF\"}", "{\"mode\": \"DISABLED\"}", "{}"],
    ),
    ("documents", &["[]"]),
    ("logprobs", &["false"]),
    ("safety_mode", &["\"CONTEXTUAL\""]),
];
/// Fields that the neutral words hold.
const NEUTRAL: [&str; 16] = [
    "model",
    "messages",
    "tools",
    "strict_tools",
    "tool_choice",
    "response_format",
    "max_tokens",
    "stop_sequences",
    "temperature",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "k",
    "p",
    "thinking",
    "stream",
];
/// Members that describe an earlier answer, or name a document for citations, by pattern.
const DESCRIBING: [&str; 2] = ["messages[].citations", "messages[].content[].document.id"];

/// What the format's members are to providers of others.
const MEMBERS: Members = Members { neutral: &NEUTRAL, harmless: &HARMLESS, usual: &USUAL, describing: &DESCRIBING };

/// The first member of a request that has no place in the neutral words and may change the answer.
pub(in crate::format) fn leftover(request: &Request) -> Option<String> {
    MEMBERS.leftover(request, |_| false)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::format::cohere::read_chat;

    #[test]
    fn what_can_change_an_answer_and_has_no_neutral_place_is_found() {
        let of = |more: &Value| {
            let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            leftover(&read_chat(body.to_string().as_bytes()).unwrap())
        };
        let document = json!({"type": "document", "document": {"id": "d", "data": {"title": "t"}}});
        let tool = |content: Value| json!({"messages": [{"role": "tool", "tool_call_id": "c", "content": [content]}]});
        for harmless in [
            json!({"priority": 3, "safety_mode": "CONTEXTUAL", "documents": [], "logprobs": false, "tools": null}),
            json!({"citation_options": {"mode": "OFF"}, "thinking": {"type": "enabled"}, "k": 5, "p": 0.5}),
            json!({"messages": [{"role": "assistant", "content": "x", "citations": [{"start": 0}]}]}),
            tool(document.clone()),
        ] {
            assert_eq!(of(&harmless), None, "{harmless}");
        }
        let mut odd = document;
        odd["document"]["new"] = 1.into();
        for (more, field) in [
            (json!({"documents": ["x"]}), "documents"),
            (json!({"citation_options": {"mode": "FAST"}}), "citation_options"),
            (json!({"safety_mode": "STRICT"}), "safety_mode"),
            (json!({"logprobs": true}), "logprobs"),
            (json!({"new": 1}), "new"),
            (json!({"thinking": {"type": "later"}}), "thinking"),
            (json!({"response_format": {"type": "xml"}}), "response_format"),
            (json!({"tool_choice": "AUTO"}), "tool_choice"),
            (json!({"tools": [{"type": "connector"}]}), "tools[0].type"),
            (json!({"messages": [{"role": "user", "content": [{"type": "sound"}]}]}), "messages[0].content[0].type"),
            (json!({"messages": [{"role": "user", "content": "x", "name": "a"}]}), "messages[0].name"),
            (tool(odd), "messages[0].content[0].document.new"),
        ] {
            assert_eq!(of(&more).as_deref(), Some(field), "{more}");
        }
    }
}
