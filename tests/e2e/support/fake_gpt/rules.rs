//! What OpenAI refuses, in its words.

use serde_json::{Value, json};

use super::{super::fake_provider::Asked, PROOF};
use crate::support::{fake_provider::stranger, fake_responses};

/// Fields that chats have; others are refused, as there.
const FIELDS: [&str; 31] = [
    "model",
    "messages",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "metadata",
    "modalities",
    "n",
    "parallel_tool_calls",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
];

/// What is wrong with a request: the status and the body.
pub(super) fn fault(asked: &Asked) -> Option<(u16, Value)> {
    let body = &asked.body;
    if !asked.key.starts_with("Bearer sk-") {
        return Some(refusal(401, "Incorrect API key provided", ""));
    }
    let said = match &*asked.target {
        "/v1/chat/completions" => of_chat(body),
        "/v1/responses" => of_responses(body),
        "/v1/embeddings" => of_embeddings(body),
        _ => return Some(refusal(404, "Invalid URL", "")),
    };
    said.map(|(message, param)| refusal(400, &message, param))
}

pub(super) fn refusal(status: u16, message: &str, param: &str) -> (u16, Value) {
    (status, json!({"error": {"message": message, "type": "invalid_request_error", "param": param, "code": null}}))
}

type Fault = Option<(String, &'static str)>;

fn unknown(body: &Value, known: &[&str]) -> Fault {
    stranger(body, known).map(|name| (format!("Unrecognized request argument supplied: {name}"), "body"))
}

fn of_embeddings(body: &Value) -> Fault {
    unknown(body, &["model", "input", "encoding_format", "dimensions", "user"])
}

fn of_chat(body: &Value) -> Fault {
    if let Some(fault) = unknown(body, &FIELDS) {
        return Some(fault);
    }
    if body.get("stream_options").is_some_and(|options| !options.is_null()) && body["stream"] != true {
        return Some((
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.".into(),
            "stream_options",
        ));
    }
    let tools = list(&body["tools"]);
    for name in ["tool_choice", "parallel_tool_calls"] {
        if tools.is_empty() && body.get(name).is_some_and(|value| !value.is_null()) {
            return Some((format!("'{name}' is only allowed when 'tools' are specified."), "tools"));
        }
    }
    let functions = tools.iter().map(|tool| &tool["function"]);
    functions
        .map(|function| of_function(function, "parameters"))
        .chain([of_function(&body["response_format"]["json_schema"], "schema")])
        .find_map(|fault| fault)
        .or_else(|| of_messages(list(&body["messages"])))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A function or a format whose schema is to be kept strictly.
fn of_function(function: &Value, schema: &str) -> Fault {
    if function.is_null() {
        return None;
    }
    let letters = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if !function["name"].as_str().is_some_and(|name| !name.is_empty() && letters(name)) {
        return Some(("Invalid 'name': string does not match pattern.".into(), "name"));
    }
    if function["strict"] == true { of_schema(&function[schema]) } else { None }
}

/// A strict schema names all its properties as required, and allows no others.
fn of_schema(schema: &Value) -> Fault {
    if schema["type"] != "object" {
        return Some(("schema must be a JSON Schema of 'type: \"object\"'".into(), "schema"));
    }
    let required = list(&schema["required"]);
    let names = schema["properties"].as_object().into_iter().flat_map(|properties| properties.keys());
    let is_whole =
        schema["additionalProperties"] == false && names.into_iter().all(|name| required.contains(&json!(name)));
    (!is_whole).then(|| ("'additionalProperties' and 'required' must be supplied".into(), "schema"))
}

fn of_messages(messages: &[Value]) -> Fault {
    let mut open: Vec<&Value> = Vec::new();
    for message in messages {
        let known: &[&str] = match message["role"].as_str() {
            Some("system" | "developer" | "user") => &["role", "content", "name"],
            Some("assistant") => {
                &["role", "content", "name", "tool_calls", "refusal", "annotations", "audio", "function_call"]
            }
            Some("tool") => &["role", "content", "tool_call_id", "name"],
            _ => return Some(("Invalid value: 'role'".into(), "messages")),
        };
        if let Some(name) = stranger(message, known) {
            return Some((format!("Unknown parameter: 'messages[0].{name}'."), "messages"));
        }
        let mut calls = list(&message["tool_calls"]).iter();
        if let Some(name) = calls.find_map(|call| stranger(call, &["id", "type", "function"])) {
            return Some((format!("Unknown parameter: 'messages[0].tool_calls[0].{name}'."), "messages"));
        }
        if message["role"] == "tool" {
            let Some(place) = open.iter().position(|id| **id == message["tool_call_id"]) else {
                return Some((
                    "messages with role 'tool' must be a response to a preceding message".into(),
                    "messages",
                ));
            };
            open.remove(place);
            continue;
        }
        if !open.is_empty() {
            return Some(("'tool_calls' must be followed by tool messages".into(), "messages"));
        }
        open = list(&message["tool_calls"]).iter().map(|call| &call["id"]).collect();
        if open.is_empty() && message["content"].is_null() && message["refusal"].is_null() {
            return Some(("Invalid value for 'content': expected a string, got null.".into(), "messages"));
        }
    }
    (messages.is_empty() || !open.is_empty()).then(|| ("messages are missing".into(), "messages"))
}

fn of_responses(body: &Value) -> Fault {
    if let Some(fault) = unknown(body, &fake_responses::FIELDS) {
        return Some(fault);
    }
    let tools = list(&body["tools"]).iter().map(|tool| of_function(tool, "parameters"));
    let format = &body["text"]["format"];
    let format = if format["type"] == "json_schema" { of_function(format, "schema") } else { None };
    let items = list(&body["input"]);
    tools.chain([format]).find_map(|fault| fault).or_else(|| of_items(items, body["store"] != false))
}

fn of_items(items: &[Value], is_kept: bool) -> Fault {
    for (place, item) in items.iter().enumerate() {
        let prefix = match item["type"].as_str() {
            None | Some("message") => "msg",
            Some("function_call") => "fc",
            Some("function_call_output") => {
                let is_call = |other: &Value| other["type"] == "function_call" && other["call_id"] == item["call_id"];
                if !items[..place].iter().any(is_call) {
                    return Some(("No tool call found for function call output.".into(), "input"));
                }
                "fc"
            }
            Some("reasoning") => {
                if !item["summary"].is_array() {
                    return Some(("Missing required parameter: 'summary'.".into(), "input"));
                }
                if item["encrypted_content"] != PROOF && !is_kept {
                    return Some(("Item 'rs_1' not found: items are not kept when `store` is false.".into(), "input"));
                }
                if place + 1 == items.len() {
                    return Some(("Item 'rs_1' was provided without its required following item.".into(), "input"));
                }
                "rs"
            }
            _ => return Some(("Invalid value: 'type'".into(), "input")),
        };
        if item["id"].as_str().is_some_and(|id| !id.starts_with(prefix)) {
            return Some((format!("Invalid 'id'. Expected an ID that begins with '{prefix}'."), "input"));
        }
    }
    None
}
