//! What a conversation with an open model may have in it: texts, and what names or describes them. Anything that the model
//! would not read is refused by its place.

use serde_json::{Map, Value};
use wire::inference::{Message, Prompt, TextRequest};

use super::Unable;

/// Members of a message that its template may read, and that change nothing where it does not: who speaks, what is answered,
/// earlier thoughts, marks of caches, what was cited.
const DESCRIBING: [&str; 14] = [
    "id",
    "parsed",
    "provider_specific_fields",
    "thinking_blocks",
    "extra_content",
    "reasoning_signature",
    "name",
    "tool_call_id",
    "refusal",
    "annotations",
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "cache_control",
];
/// Members of a part that change nothing.
const BESIDE_TEXT: [&str; 3] = ["type", "cache_control", "annotations"];

/// Refuses what the model would not read.
pub(super) fn check(request: &TextRequest) -> Result<(), Unable> {
    let Prompt::Messages(messages) = &request.prompt else { return Ok(()) };
    messages.iter().enumerate().try_for_each(|(place, message)| {
        let Message { role, content, rest } = message;
        members(place, role, rest)?;
        content.as_array().map_or(Ok(()), |parts| parts.iter().try_for_each(|read| part(place, read)))
    })
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

fn members(place: usize, role: &str, rest: &Map<String, Value>) -> Result<(), Unable> {
    for (name, value) in rest {
        let bad = |message: &str| Err(Unable::new(format!("messages[{place}].{}", short(name)), message));
        match (name.as_str(), value) {
            // An answer that is to be continued is refused; whether calls of tools are read depends on the model's template,
            // which is asked later.
            (_, Value::Null)
            | ("prefix" | "partial", Value::Bool(false))
            | ("name" | "tool_call_id" | "refusal", Value::String(_)) => {}
            ("name" | "tool_call_id" | "refusal", _) => return bad("must be a string"),
            ("tool_calls", Value::Array(calls)) if calls.is_empty() => {}
            ("tool_calls", Value::Array(calls)) if role == "assistant" && calls.iter().all(is_call) => {}
            ("tool_calls", Value::Array(_)) if role == "assistant" => return bad("every call must have a function"),
            ("tool_calls", Value::Array(_)) => return bad("only an assistant calls tools"),
            ("tool_calls", _) => return bad("must be an array"),
            ("function_call", Value::Object(_)) if role == "assistant" => {}
            (known, _) if DESCRIBING.contains(&known) => {}
            _ => return bad("is not read by open models, so it is refused"),
        }
    }
    Ok(())
}

fn is_call(call: &Value) -> bool {
    call["function"]["name"].is_string()
}

fn part(place: usize, part: &Value) -> Result<(), Unable> {
    let kind = part["type"].as_str().unwrap_or_default();
    let bad = |message: String| Err(Unable::new(format!("messages[{place}].content"), message));
    if kind != "text" && kind != "refusal" {
        let message =
            format!("messages[{place}].content has a part of type {}; open models read text only", short(kind));
        return Err(Unable::new("messages", message));
    }
    if !part[kind].is_string() {
        return bad(format!("a part of type {kind} must have a {kind} that is a string"));
    }
    let other = part
        .as_object()
        .into_iter()
        .flatten()
        .find(|(name, value)| *name != kind && !value.is_null() && !BESIDE_TEXT.contains(&name.as_str()));
    other.map_or(Ok(()), |(name, _)| bad(format!("a part of type {kind} has {}, which is not read", short(name))))
}
