//! A strict stand-in for Anthropic's API: it refuses what Anthropic would, answers deterministically, keeps a cache of
//! prefixes, reports usage by a simple rule (a token is a word; three more a block), and misbehaves once for each behaviour
//! it was scripted.

mod rules;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{HeaderName, HeaderValue},
    web,
};
use futures::stream;
use serde_json::{Value, json};

use super::{background::serve, fake_provider::fitting};

/// The words of every answer.
const WORDS: [&str; 6] = ["Hello", " from", " the", " fake", " Claude", "."];

/// What it does wrong, once.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Behaviour {
    /// Answers with this status, and with this `retry-after`.
    Status(u16, Option<&'static str>),
    /// Ends a stream after so many events.
    CutAfter(usize),
    /// Sends an error after so many events.
    ErrorAfter(usize),
    /// Reports no usage.
    NoUsage,
    /// Refuses before any output, and reports usage all the same.
    Refuses,
    /// Reports this usage object.
    Usage(&'static str),
    /// Answers what is not JSON.
    Garbage,
    /// Waits so many milliseconds before each event, or the whole answer.
    Slow(u64),
}

/// A request, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The path with its query.
    pub(crate) path: String,
    /// The headers, in lines.
    pub(crate) head: String,
    /// The body's bytes.
    pub(crate) text: String,
    /// The body.
    pub(crate) body: Value,
}

#[derive(Default)]
struct Shared {
    script: Mutex<VecDeque<Behaviour>>,
    requests: Mutex<Vec<Asked>>,
    /// The cached prefixes, block by block.
    cache: Mutex<Vec<Vec<String>>>,
}

/// The server, gone with the test's process.
pub(crate) struct FakeAnthropic {
    shared: Arc<Shared>,
    url: String,
}

impl FakeAnthropic {
    pub(crate) fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let state = web::Data::from(Arc::clone(&shared));
        let address = serve(move |routes| {
            routes
                .app_data(state.clone())
                .app_data(web::PayloadConfig::new(64 << 20))
                .route("/v1/messages", web::post().to(messages))
                .route("/v1/messages/count_tokens", web::post().to(count));
        });
        let url = format!("http://{address}");
        Self { shared, url }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn script(&self, behaviour: Behaviour) {
        self.shared.script.lock().unwrap().push_back(behaviour);
    }

    pub(crate) fn requests(&self) -> Vec<Asked> {
        self.shared.requests.lock().unwrap().clone()
    }
}

fn refuse(status: u16, message: &str, retry_after: Option<&str>) -> HttpResponse {
    let kind = match status {
        401 => "authentication_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        500..=599 => "api_error",
        _ => "invalid_request_error",
    };
    let mut response = HttpResponse::build(actix_web::http::StatusCode::from_u16(status).unwrap());
    if let Some(wait) = retry_after {
        response.insert_header(("retry-after", wait));
    }
    response.json(json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_fake"}))
}

/// The request and its body, or what Anthropic says is wrong with it.
fn read(state: &Shared, request: &HttpRequest, bytes: &[u8], counts: bool) -> Result<Asked, HttpResponse> {
    let body: Value = serde_json::from_slice(bytes).map_err(|error| refuse(400, &error.to_string(), None))?;
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let Some((status, message)) = rules::fault(header, &body, counts) {
        return Err(refuse(status, &message, None));
    }
    let line = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    let head = request.headers().iter().map(line).collect::<Vec<_>>().join("\n");
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let asked = Asked { path: request.uri().to_string(), head, text, body };
    state.requests.lock().unwrap().push(asked.clone());
    Ok(asked)
}

/// The blocks of a request in the order of the cache, each with whether a mark ends with it.
fn blocks(body: &Value) -> Vec<(String, bool)> {
    let mut all = Vec::new();
    let mut put = |block: &Value| {
        let mut plain = block.clone();
        let mark = plain.as_object_mut().and_then(|block| block.remove("cache_control"));
        all.push((plain.to_string(), mark.is_some()));
    };
    body["tools"].as_array().into_iter().flatten().for_each(&mut put);
    let messages = body["messages"].as_array().into_iter().flatten().map(|message| &message["content"]);
    for content in [&body["system"]].into_iter().chain(messages) {
        match content {
            Value::Array(blocks) => blocks.iter().for_each(&mut put),
            Value::Null => {}
            text => put(&json!({"type": "text", "text": text})),
        }
    }
    all
}

fn tokens(block: &str) -> u64 {
    block.split_whitespace().count() as u64 + 3
}

/// The usage of a request's input: uncached, written to the cache (of that for an hour), and read from it.
fn input(state: &Shared, body: &Value) -> Value {
    let blocks = blocks(body);
    let (texts, marks): (Vec<String>, Vec<bool>) = blocks.into_iter().unzip();
    let sum = |part: &[String]| part.iter().map(|block| tokens(block)).sum::<u64>();
    let marked = marks.iter().rposition(|mark| *mark).map_or(0, |place| place + 1);
    let mut cache = state.cache.lock().unwrap();
    let read = cache.iter().filter(|known| texts.starts_with(known)).map(Vec::len).max().unwrap_or(0);
    let read = if marked > 0 { read.min(marked) } else { 0 };
    if marked > 0 {
        cache.push(texts[..marked].to_vec());
    }
    let written = sum(&texts[read..marked.max(read)]);
    let long = if body.to_string().contains("\"1h\"") { written } else { 0 };
    json!({"input_tokens": sum(&texts[marked.max(read)..]), "cache_creation_input_tokens": written,
        "cache_read_input_tokens": sum(&texts[..read]), "service_tier": "standard", "inference_geo": "global",
        "cache_creation": {"ephemeral_5m_input_tokens": written - long, "ephemeral_1h_input_tokens": long}})
}

/// The answer's blocks, its reason and its length.
fn answer(body: &Value) -> (Vec<Value>, &'static str, u64) {
    let mut content = Vec::new();
    if body["thinking"]["type"] == "adaptive" || body["thinking"]["type"] == "enabled" {
        content.push(json!({"type": "thinking", "thinking": "I think", "signature": rules::SIGNATURE}));
    }
    let last = body["messages"].as_array().unwrap().last().unwrap();
    let is_answered =
        last["content"].as_array().is_some_and(|blocks| blocks.iter().any(|block| block["type"] == "tool_result"));
    let has_tools = body["tools"].as_array().is_some_and(|tools| !tools.is_empty());
    if has_tools && !is_answered && body["tool_choice"]["type"] != "none" {
        content.push(
            json!({"type": "tool_use", "id": "toolu_1", "name": body["tools"][0]["name"], "input": {"place": "Paris"}}),
        );
        return (content, "tool_use", 9);
    }
    let format = &body["output_config"]["format"];
    if format["type"] == "json_schema" {
        content.push(json!({"type": "text", "text": fitting(&format["schema"]).to_string()}));
        return (content, "end_turn", 6);
    }
    let limit = usize::try_from(body["max_tokens"].as_u64().unwrap()).unwrap();
    let count = WORDS.len().min(limit);
    content.push(json!({"type": "text", "text": WORDS[..count].concat()}));
    (content, if count < WORDS.len() { "max_tokens" } else { "end_turn" }, count as u64)
}

async fn count(state: web::Data<Shared>, request: HttpRequest, bytes: web::Bytes) -> HttpResponse {
    match read(&state, &request, &bytes, true) {
        Ok(asked) => HttpResponse::Ok()
            .json(json!({"input_tokens": blocks(&asked.body).iter().map(|(text, _)| tokens(text)).sum::<u64>()})),
        Err(refusal) => refusal,
    }
}

async fn messages(state: web::Data<Shared>, request: HttpRequest, bytes: web::Bytes) -> HttpResponse {
    let body = match read(&state, &request, &bytes, false) {
        Ok(asked) => asked.body,
        Err(refusal) => return refusal,
    };
    let behaviour = state.script.lock().unwrap().pop_front();
    if let Some(Behaviour::Status(status, wait)) = behaviour {
        return refuse(status, "scripted", wait);
    }
    if let (Some(Behaviour::Garbage), true) = (behaviour, body["stream"] != true) {
        return HttpResponse::Ok().body("<html>");
    }
    let (mut content, mut reason, mut output) = answer(&body);
    if let Some(Behaviour::Refuses) = behaviour {
        (content, reason, output) = (Vec::new(), "refusal", 1);
    }
    let mut usage = input(&state, &body);
    usage["output_tokens"] = output.into();
    if let Some(Behaviour::Usage(object)) = behaviour {
        usage = serde_json::from_str(object).unwrap();
    }
    let mut message = json!({"id": "msg_fake", "type": "message", "role": "assistant", "model": body["model"],
        "content": content, "stop_reason": reason, "stop_sequence": null, "usage": usage});
    if let Some(Behaviour::NoUsage) = behaviour {
        message.as_object_mut().unwrap().remove("usage");
    }
    if body["stream"] != true {
        if let Some(Behaviour::Slow(ms)) = behaviour {
            actix_web::rt::time::sleep(Duration::from_millis(ms)).await;
        }
        return HttpResponse::Ok().insert_header(("request-id", "req_fake")).json(message);
    }
    let mut events = streamed(&message);
    let mut wait = 0;
    match behaviour {
        Some(Behaviour::CutAfter(most)) => events.truncate(most),
        Some(Behaviour::ErrorAfter(most)) => {
            events.truncate(most);
            let error = json!({"type": "overloaded_error", "message": "Overloaded"});
            events.push(("error", json!({"type": "error", "error": error}).to_string()));
        }
        Some(Behaviour::Garbage) => events[1].1 = "{garbage".into(),
        Some(Behaviour::Slow(ms)) => wait = ms,
        _ => {}
    }
    let pieces = stream::unfold(events.into_iter(), move |mut left| async move {
        let (name, data) = left.next()?;
        actix_web::rt::time::sleep(Duration::from_millis(wait)).await;
        Some((Ok::<_, actix_web::Error>(web::Bytes::from(format!("event: {name}\ndata: {data}\n\n"))), left))
    });
    HttpResponse::Ok().content_type("text/event-stream").streaming(pieces)
}

/// The events of an answer: usage of the input first, that of the output last, and one event of a type that nobody knows.
fn streamed(message: &Value) -> Vec<(&'static str, String)> {
    let mut begun = message.clone();
    (begun["content"], begun["stop_reason"]) = (json!([]), Value::Null);
    let output = message["usage"]["output_tokens"].clone();
    if begun.get("usage").is_some() {
        begun["usage"]["output_tokens"] = 1.into();
    }
    let mut events = vec![
        ("message_start", json!({"type": "message_start", "message": begun}).to_string()),
        ("ping", json!({"type": "ping"}).to_string()),
    ];
    let mut put = |name: &'static str, data: Value| events.push((name, data.to_string()));
    for (index, block) in message["content"].as_array().unwrap().iter().enumerate() {
        let (empty, deltas) = pieces(block);
        put("content_block_start", json!({"type": "content_block_start", "index": index, "content_block": empty}));
        for delta in deltas {
            put("content_block_delta", json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        put("content_block_stop", json!({"type": "content_block_stop", "index": index}));
    }
    put("event_of_tomorrow", json!({"type": "event_of_tomorrow", "x": 1.5}));
    let delta = json!({"stop_reason": message["stop_reason"], "stop_sequence": null});
    let mut ending = json!({"type": "message_delta", "delta": delta});
    if message.get("usage").is_some() {
        ending["usage"] = json!({"output_tokens": output});
    }
    put("message_delta", ending);
    put("message_stop", json!({"type": "message_stop"}));
    events
}

/// A block as it begins, and what it gains.
fn pieces(block: &Value) -> (Value, Vec<Value>) {
    let text = |name: &str| block[name].as_str().unwrap();
    match text("type") {
        "text" => {
            let words = text("text").split_inclusive(' ').map(|word| json!({"type": "text_delta", "text": word}));
            (json!({"type": "text", "text": ""}), words.collect())
        }
        "thinking" => (
            json!({"type": "thinking", "thinking": "", "signature": ""}),
            vec![
                json!({"type": "thinking_delta", "thinking": text("thinking")}),
                json!({"type": "signature_delta", "signature": text("signature")}),
            ],
        ),
        _ => {
            let mut empty = block.clone();
            empty["input"] = json!({});
            let input = block["input"].to_string();
            let (one, other) = input.split_at(input.len() / 2);
            let parts = ["", one, other].map(|part| json!({"type": "input_json_delta", "partial_json": part}));
            (empty, parts.to_vec())
        }
    }
}
