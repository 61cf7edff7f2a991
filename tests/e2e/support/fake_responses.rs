//! A strict stand-in for `OpenAI`'s responses: typed events, tools of the client's, and usage by a simple rule (a token is
//! four bytes of the input). It keeps each body as it came, byte for byte, and misbehaves once for each behaviour it was
//! scripted.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use futures::stream;
use serde_json::{Value, json};

use super::background::serve;

/// What it answers, once.
#[derive(Debug, Clone)]
pub(crate) enum Turn {
    /// These words.
    Says(&'static str),
    /// A call of a tool: its name, and its arguments.
    Calls(&'static str, String),
    /// A refusal with this status.
    Status(u16),
    /// The first so many events of an answer.
    CutAfter(usize),
    /// An answer that fails after its words, with usage or without.
    Fails(bool),
    /// An answer without usage.
    NoUsage,
    /// An answer with the ids of the first.
    Repeats,
    /// So many milliseconds of silence before each event.
    Slow(u64),
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) body: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) path: String,
}

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

#[derive(Default)]
struct Shared {
    script: Mutex<VecDeque<Turn>>,
    seen: Mutex<Vec<Seen>>,
}

/// The server, gone with the test's process.
pub(crate) struct FakeResponses {
    shared: Arc<Shared>,
    url: String,
}

impl FakeResponses {
    pub(crate) fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let state = web::Data::from(Arc::clone(&shared));
        let address = serve(move |routes| {
            routes
                .app_data(state.clone())
                .app_data(web::PayloadConfig::new(64 << 20))
                .route("/v1/responses", web::post().to(respond));
        });
        Self { shared, url: format!("http://{address}/v1") }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn script(&self, turn: Turn) {
        self.shared.script.lock().unwrap().push_back(turn);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }
}

/// Fields that responses have; others are refused, as there.
pub(super) const FIELDS: [&str; 27] = [
    "model",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "text",
    "reasoning",
    "max_output_tokens",
    "max_tool_calls",
    "temperature",
    "top_p",
    "top_logprobs",
    "stream",
    "stream_options",
    "store",
    "include",
    "metadata",
    "client_metadata",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "service_tier",
    "truncation",
    "background",
];

fn fault(request: &HttpRequest, body: &str) -> Option<(u16, String)> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !header("authorization").starts_with("Bearer sk-") {
        return Some((401, "Incorrect API key provided".into()));
    }
    let Ok(Value::Object(body)) = serde_json::from_str(body) else {
        return Some((400, "We could not parse it".into()));
    };
    if let Some(name) = body.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return Some((400, format!("Unknown parameter: '{name}'.")));
    }
    if !(body["input"].is_string() || body["input"].is_array()) {
        return Some((400, "Invalid type for 'input'".into()));
    }
    for tool in body.get("tools").and_then(Value::as_array).into_iter().flatten() {
        if tool["type"] == "function" && !tool["name"].is_string() {
            return Some((400, "Missing required parameter: 'tools[0].name'.".into()));
        }
    }
    None
}

fn refuse(status: u16, message: &str) -> HttpResponse {
    let error =
        json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": "scripted"}});
    HttpResponse::build(StatusCode::from_u16(status).unwrap()).json(error)
}

async fn respond(state: web::Data<Shared>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let body = String::from_utf8(body.to_vec()).unwrap();
    if let Some((status, message)) = fault(&request, &body) {
        return refuse(status, &message);
    }
    let header = |(name, value): (&actix_web::http::header::HeaderName, &actix_web::http::header::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap_or_default().to_owned())
    };
    let headers = request.headers().iter().map(header).collect();
    let path = request.uri().to_string();
    let number = {
        let mut seen = state.seen.lock().unwrap();
        seen.push(Seen { body: body.clone(), headers, path });
        seen.len()
    };
    let turn = state.script.lock().unwrap().pop_front().unwrap_or(Turn::Says("Hello there."));
    if let Turn::Status(status) = turn {
        return refuse(status, "scripted");
    }
    let number = if matches!(turn, Turn::Repeats) { 1 } else { number };
    let body: Value = serde_json::from_str(&body).unwrap();
    let (item, pieces) = item(&turn, number);
    let written = pieces.concat().len() / 4 + 1;
    let input = body["input"].to_string().len() / 4;
    let usage = match turn {
        Turn::NoUsage | Turn::Fails(false) => Value::Null,
        _ => json!({"input_tokens": input, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": input + written}),
    };
    let response = |status: &str, output: Value, usage: &Value| {
        json!({"id": format!("resp_{number}"), "object": "response", "created_at": 1, "status": status, "error": null,
            "incomplete_details": null, "instructions": null, "max_output_tokens": null, "model": body["model"],
            "output": output, "parallel_tool_calls": true, "previous_response_id": null, "reasoning": {"effort": null},
            "store": false, "temperature": 1.0, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
            "top_p": 1.0, "truncation": "disabled", "usage": usage, "metadata": {}})
    };
    if body["stream"] != true {
        let fails = matches!(turn, Turn::Fails(_));
        let mut whole = response(if fails { "failed" } else { "completed" }, json!([item]), &usage);
        if fails {
            whole["error"] = json!({"code": "server_error", "message": "scripted"});
        }
        return HttpResponse::Ok().insert_header(("x-codex-turn-state", "turn")).json(whole);
    }
    let mut events = vec![
        json!({"type": "response.created", "response": response("in_progress", json!([]), &Value::Null)}),
        json!({"type": "response.in_progress", "response": response("in_progress", json!([]), &Value::Null)}),
    ];
    events.extend(of_item(&item, &pieces, 0));
    events.push(match turn {
        Turn::Fails(_) => {
            let mut failed = response("failed", json!([]), &usage);
            failed["error"] = json!({"code": "server_error", "message": "scripted"});
            json!({"type": "response.failed", "response": failed})
        }
        _ => json!({"type": "response.completed", "response": response("completed", json!([item]), &usage)}),
    });
    let wait = if let Turn::Slow(ms) = turn { ms } else { 0 };
    if let Turn::CutAfter(most) = turn {
        events.truncate(most);
    }
    for (event, number) in events.iter_mut().zip(0_u32..) {
        event["sequence_number"] = number.into();
    }
    let pieces = stream::unfold(events.into_iter(), move |mut left| async move {
        let event = left.next()?;
        actix_web::rt::time::sleep(Duration::from_millis(wait)).await;
        let kind = event["type"].as_str().unwrap().to_owned();
        Some((Ok::<_, actix_web::Error>(web::Bytes::from(format!("event: {kind}\ndata: {event}\n\n"))), left))
    });
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header(("x-codex-turn-state", "turn"))
        .insert_header(("openai-model", "another-name"))
        .streaming(pieces)
}

/// The item of the answer with this number, and the pieces in which it is written.
fn item(turn: &Turn, number: usize) -> (Value, Vec<String>) {
    match turn {
        Turn::Calls(name, arguments) => {
            let item = json!({"id": format!("fc_{number}"), "type": "function_call", "status": "completed", "call_id": "call_1",
                "name": name, "arguments": arguments});
            (item, arguments.split_inclusive(' ').map(str::to_owned).collect())
        }
        other => {
            let words = if let Turn::Says(words) = other { words } else { "Hello there." };
            let part = json!({"type": "output_text", "text": words, "annotations": [], "logprobs": []});
            let item = json!({"id": format!("msg_{number}"), "type": "message", "status": "completed", "role": "assistant", "content": [part]});
            (item, words.split_inclusive(' ').map(str::to_owned).collect())
        }
    }
}

/// The events of an item that is written in pieces.
pub(super) fn of_item(item: &Value, pieces: &[String], index: usize) -> Vec<Value> {
    let mut begun = item.clone();
    begun["status"] = "in_progress".into();
    let is_call = item["type"] == "function_call";
    let kind = if is_call { "response.function_call_arguments" } else { "response.output_text" };
    if is_call {
        begun["arguments"] = "".into();
    } else {
        begun["content"] = json!([]);
    }
    let about = |kind: String, more: Value| {
        let mut event = json!({"type": kind, "item_id": item["id"], "output_index": index});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let mut events = vec![json!({"type": "response.output_item.added", "output_index": index, "item": begun})];
    if !is_call {
        let part = json!({"type": "output_text", "text": "", "annotations": [], "logprobs": []});
        events.push(about("response.content_part.added".into(), json!({"content_index": 0, "part": part})));
    }
    let content = if is_call { json!({}) } else { json!({"content_index": 0, "logprobs": []}) };
    for piece in pieces {
        let mut more = content.clone();
        more["delta"] = piece.as_str().into();
        events.push(about(format!("{kind}.delta"), more));
    }
    let mut done = content;
    done[if is_call { "arguments" } else { "text" }] = pieces.concat().into();
    events.push(about(format!("{kind}.done"), done));
    if !is_call {
        events
            .push(about("response.content_part.done".into(), json!({"content_index": 0, "part": item["content"][0]})));
    }
    events.push(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
    events
}
