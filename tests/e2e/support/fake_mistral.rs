//! A strict stand-in for Mistral's API: a field that it does not know is a 422, calls have ids of nine letters and digits,
//! and usage is that of the notes' example.

use serde_json::{Value, json};

use super::fake_provider::{Asked, Dialect, FakeProvider, Said, TOOL, WORDS, stranger};

pub(crate) const KEY: &str = "mistral-test";
pub(crate) const MODEL: &str = "mistral-medium-3-5";

pub(crate) fn start() -> FakeProvider {
    let is_stream = |asked: &Asked| asked.body["stream"] == true;
    FakeProvider::start(Dialect { key_header: "authorization", fault, error, answer, is_stream })
}

fn error(code: u16) -> Value {
    json!({"object": "error", "message": "scripted", "type": "scripted", "param": null, "code": code.to_string()})
}

fn unprocessable(place: &str, said: &str) -> (u16, Value) {
    let detail = json!([{"type": "extra_forbidden", "loc": ["body", place], "msg": said}]);
    (422, json!({"object": "error", "message": {"detail": detail}, "type": "invalid_request_error", "code": null}))
}

fn fault(asked: &Asked) -> Option<(u16, Value)> {
    let body = &asked.body;
    if asked.key != format!("Bearer {KEY}") {
        return Some((401, json!({"detail": "Unauthorized"})));
    }
    match (&*asked.target, body["model"].as_str()) {
        ("/v1/chat/completions", Some(MODEL)) => {}
        ("/v1/embeddings", Some("mistral-embed")) => {
            let known = ["model", "input", "output_dimension", "output_dtype", "encoding_format", "metadata"];
            return stranger(body, &known).map(|name| unprocessable(&name, "Extra inputs are not permitted"));
        }
        _ => return Some((404, error(1500))),
    }
    let known = [
        "model",
        "messages",
        "temperature",
        "top_p",
        "top_k",
        "max_tokens",
        "stream",
        "stop",
        "random_seed",
        "response_format",
        "tools",
        "tool_choice",
        "presence_penalty",
        "frequency_penalty",
        "n",
        "prediction",
        "parallel_tool_calls",
        "prompt_mode",
        "reasoning_effort",
        "safe_prompt",
        "prompt_cache_key",
        "service_tier",
    ];
    if let Some(name) = stranger(body, &known) {
        return Some(unprocessable(&name, "Extra inputs are not permitted"));
    }
    let choice = &body["tool_choice"];
    if !(choice.is_null()
        || choice.is_object()
        || ["auto", "none", "any", "required"].iter().any(|word| choice == word))
    {
        return Some(unprocessable("tool_choice", "Input should be 'auto', 'none', 'any' or 'required'"));
    }
    let tools = body["tools"].as_array().map_or(&[][..], Vec::as_slice);
    if !tools.iter().all(|tool| tool["function"]["parameters"].is_object()) {
        return Some(unprocessable("tools", "Field required: parameters"));
    }
    body["messages"].as_array().unwrap().iter().find_map(message)
}

/// What is wrong with a message.
fn message(message: &Value) -> Option<(u16, Value)> {
    let is_id =
        |id: &Value| id.as_str().is_some_and(|id| id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric()));
    let known: &[&str] = match message["role"].as_str() {
        Some("system" | "user") => &["role", "content"],
        Some("assistant") => &["role", "content", "tool_calls", "prefix"],
        Some("tool") => &["role", "content", "tool_call_id", "name"],
        _ => return Some(unprocessable("messages", "Input tag does not match any of the expected tags")),
    };
    if let Some(name) = stranger(message, known) {
        return Some(unprocessable(&name, "Extra inputs are not permitted"));
    }
    let calls = message["tool_calls"].as_array().map_or(&[][..], Vec::as_slice);
    let ids = calls.iter().map(|call| &call["id"]).chain(message.get("tool_call_id"));
    let is_odd = ids.into_iter().any(|id| !is_id(id));
    is_odd.then(|| (400, json!({"object": "error", "message": "Tool call id must be a-z, A-Z, 0-9, with a length of 9.", "type": "invalid_function_call", "code": "3280"})))
}

fn answer(asked: &Asked, has_usage: bool) -> Said {
    if asked.target == "/v1/embeddings" {
        let data = json!([{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}]);
        let usage = json!({"prompt_tokens": 3, "total_tokens": 3, "completion_tokens": 0});
        let whole = json!({"id": "e1", "object": "list", "data": data, "model": asked.body["model"], "usage": usage});
        return Said { whole, pieces: Vec::new() };
    }
    let last = asked.body["messages"].as_array().unwrap().last().unwrap();
    let text = |text: &str| json!({"content": text});
    let mut finish = "stop";
    let said: Vec<Value> = if last["role"] == "tool" {
        vec![text("It is "), text(last["content"].as_str().unwrap())]
    } else if asked.body.get("tools").is_some() {
        finish = "tool_calls";
        let thought = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "let me see"}]}]);
        let call = json!({"id": "abcDEF123", "index": 0, "function": {"name": TOOL, "arguments": "{\"place\":\"Paris\",\"days\":3}"}});
        vec![json!({"content": thought}), json!({"content": "", "tool_calls": [call]})]
    } else if asked.body["response_format"]["type"] == "json_schema" {
        vec![text("{\"sky\":"), text("\"blue\"}")]
    } else {
        WORDS.into_iter().map(text).collect()
    };
    let usage = json!({"prompt_tokens": 2000, "completion_tokens": 400, "total_tokens": 2400,
        "prompt_tokens_details": {"cached_tokens": 1536}, "service_tier": "standard"});
    let envelope = |kind: &str, choice: Value| json!({"id": "m1", "object": kind, "created": 1, "model": MODEL, "choices": [choice]});
    let mut pieces: Vec<String> = said
        .iter()
        .map(|delta| envelope("chat.completion.chunk", json!({"index": 0, "delta": delta, "finish_reason": null})))
        .map(|chunk| format!("data: {chunk}\n\n"))
        .collect();
    let mut last =
        envelope("chat.completion.chunk", json!({"index": 0, "delta": {"content": ""}, "finish_reason": finish}));
    let mut message = json!({"role": "assistant", "content": "", "tool_calls": null, "prefix": false});
    let texts: String = said.iter().filter_map(|delta| delta["content"].as_str()).collect();
    message["content"] = texts.into();
    if let Some(calls) = said.iter().find_map(|delta| delta.get("tool_calls")) {
        message["tool_calls"] = calls.clone();
        message["content"] = said[0]["content"].clone();
    }
    let mut whole = envelope("chat.completion", json!({"index": 0, "message": message, "finish_reason": finish}));
    if has_usage {
        (last["usage"], whole["usage"]) = (usage.clone(), usage);
    }
    pieces.extend([format!("data: {last}\n\n"), "data: [DONE]\n\n".into()]);
    Said { whole, pieces }
}
