//! What Anthropic refuses, in its words.

use serde_json::Value;

/// The proof of every thought.
pub(super) const SIGNATURE: &str = "sig-of-the-fake";
/// The fields that a request may have.
const FIELDS: [&str; 24] = [
    "model",
    "messages",
    "max_tokens",
    "system",
    "tools",
    "tool_choice",
    "stream",
    "stop_sequences",
    "temperature",
    "top_p",
    "top_k",
    "metadata",
    "thinking",
    "output_config",
    "service_tier",
    "speed",
    "inference_geo",
    "cache_control",
    "context_management",
    "container",
    "mcp_servers",
    "fallbacks",
    "compaction",
    "thread",
];
/// Fields of a request that a count of tokens does not have.
const NOT_COUNTED: [&str; 8] =
    ["max_tokens", "stream", "stop_sequences", "temperature", "top_p", "top_k", "metadata", "service_tier"];
const OLD: &str = "2023-06-01";
const NEW: &str = "2026-10-21";

/// What is wrong with a request, as Anthropic would say.
pub(super) fn fault<'a>(header: impl Fn(&str) -> &'a str, body: &Value, counts: bool) -> Option<(u16, String)> {
    if !header("x-api-key").starts_with("sk-ant-") || !header("authorization").is_empty() {
        return Some((401, "invalid x-api-key".into()));
    }
    let version = header("anthropic-version");
    if version != OLD && version != NEW {
        return Some((400, "anthropic-version: header is required".into()));
    }
    if header("content-type") != "application/json" {
        return Some((400, "content-type must be application/json".into()));
    }
    if body["model"] == "claude-unknown" {
        return Some((404, "model: claude-unknown".into()));
    }
    of_fields(version, body, counts).or_else(|| of_messages(body)).map(|message| (400, message))
}

fn of_fields(version: &str, body: &Value, counts: bool) -> Option<String> {
    let is_known = |name: &str| FIELDS.contains(&name) && !(counts && NOT_COUNTED.contains(&name));
    if let Some(name) = body.as_object()?.keys().find(|name| !is_known(name)) {
        return Some(format!("{name}: Extra inputs are not permitted"));
    }
    if !counts && body["max_tokens"].as_u64().is_none() {
        return Some("max_tokens: Field required".into());
    }
    let sampled = ["temperature", "top_p", "top_k"].into_iter().find(|name| body.get(*name).is_some());
    if let Some(name) = sampled.filter(|_| version == NEW) {
        return Some(format!("{name}: is not supported in this version"));
    }
    if body["temperature"].as_f64().is_some_and(|heat| !(0.0..=1.0).contains(&heat)) {
        return Some("temperature: range: 0..1".into());
    }
    if body.to_string().matches("\"cache_control\"").count() > 4 {
        return Some("A maximum of 4 blocks with cache_control may be provided.".into());
    }
    let budget = body["thinking"]["budget_tokens"].as_u64();
    if budget.is_some_and(|budget| budget < 1_024 || budget >= body["max_tokens"].as_u64().unwrap_or(u64::MAX)) {
        return Some("max_tokens must be greater than thinking.budget_tokens".into());
    }
    let tools = body["tools"].as_array().map_or(&[][..], Vec::as_slice);
    let is_bare = |tool: &&Value| tool.get("type").is_none() && tool["input_schema"]["type"] != "object";
    tools.iter().any(|tool| is_bare(&tool)).then(|| "tools.0.custom.input_schema.type: Field required".into())
}

/// The ids of a message's blocks of one type.
fn ids<'a>(message: &'a Value, kind: &str, name: &str) -> Vec<&'a str> {
    let blocks = message["content"].as_array().map_or(&[][..], Vec::as_slice);
    blocks.iter().filter(|block| block["type"] == kind).map(|block| block[name].as_str().unwrap_or_default()).collect()
}

fn of_messages(body: &Value) -> Option<String> {
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    if messages.is_empty() {
        return Some("messages: at least one message is required".into());
    }
    let mut called: Vec<&str> = Vec::new();
    for (place, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        if !["user", "assistant", "system"].contains(&role) {
            return Some(format!("messages.{place}.role: Input should be 'user' or 'assistant'"));
        }
        if let Some(fault) = message["content"].as_array().and_then(|blocks| blocks.iter().find_map(of_block)) {
            return Some(format!("messages.{place}.content: {fault}"));
        }
        let returned = ids(message, "tool_result", "tool_use_id");
        if returned != called {
            return Some(format!(
                "messages.{place}: `tool_use` ids were found without `tool_result` blocks, or others"
            ));
        }
        let first = message["content"][0]["type"].as_str();
        if !returned.is_empty() && first != Some("tool_result") {
            return Some(format!("messages.{place}: `tool_result` blocks must come first"));
        }
        called = if role == "assistant" { ids(message, "tool_use", "id") } else { Vec::new() };
    }
    (!called.is_empty()).then(|| "the last message calls tools".into())
}

fn of_block(block: &Value) -> Option<String> {
    match block["type"].as_str().unwrap_or_default() {
        "text" if block["text"].as_str().is_none_or(str::is_empty) => {
            Some("text content blocks must be non-empty".into())
        }
        "thinking" if block["signature"] != SIGNATURE => Some("Invalid `signature` in `thinking` block".into()),
        "tool_use" if !block["input"].is_object() => Some("tool_use.input: Input should be a valid dictionary".into()),
        "" => Some("type: Field required".into()),
        _ => None,
    }
}
