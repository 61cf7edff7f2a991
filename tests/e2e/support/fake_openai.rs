//! A strict stand-in for `OpenAI`'s API: it refuses what `OpenAI` would, answers deterministically, reports usage by a simple
//! rule (a token is a word; three more a message), and misbehaves once for each behaviour it was scripted.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::{HttpRequest, HttpResponse, http::Version, web};
use futures::stream;
use serde_json::{Value, json};

use super::background::serve;

/// The words of every answer.
const WORDS: [&str; 6] = ["Hello", " from", " the", " fake", " provider", "."];

/// What it does wrong, once.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Behaviour {
    /// Answers with this status.
    Status(u16),
    /// Ends a stream after so many chunks, without `[DONE]`.
    CutAfter(usize),
    /// Reports no usage.
    NoUsage,
    /// Calls a tool, and reports no usage.
    Calls,
    /// Reports so many tokens of output.
    Reports(u64),
    /// Writes as much as it may, as it says.
    Fills,
    /// Reports this usage object.
    Usage(&'static str),
    /// Answers exactly so: the first of them whole, or all of them as the chunks of a stream.
    Says(&'static [&'static str]),
    /// Answers what is not JSON.
    Garbage,
    /// Answers with so many bytes more, which are no words.
    Long(usize),
    /// Waits so many milliseconds before each chunk, or the whole answer.
    Slow(u64),
}

#[derive(Default)]
struct Shared {
    script: Mutex<VecDeque<Behaviour>>,
    requests: Mutex<Vec<Value>>,
    versions: Mutex<Vec<Version>>,
}

/// The server, gone with the test's process.
pub(crate) struct FakeOpenAi {
    shared: Arc<Shared>,
    address: SocketAddr,
    url: String,
}

impl FakeOpenAi {
    pub(crate) fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let state = web::Data::from(Arc::clone(&shared));
        let address = serve(move |routes| {
            routes
                .app_data(state.clone())
                .app_data(web::JsonConfig::default().limit(64 << 20))
                .route("/v1/chat/completions", web::post().to(chat))
                .route("/v1/completions", web::post().to(complete))
                .route("/v1/embeddings", web::post().to(embed));
        });
        Self { shared, address, url: format!("http://{address}/v1") }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn script(&self, behaviour: Behaviour) {
        self.shared.script.lock().unwrap().push_back(behaviour);
    }

    pub(crate) fn requests(&self) -> Vec<Value> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The HTTP that each request came by.
    pub(crate) fn versions(&self) -> Vec<Version> {
        self.shared.versions.lock().unwrap().clone()
    }
}

fn refuse(status: u16, message: &str) -> HttpResponse {
    let status = actix_web::http::StatusCode::from_u16(status).unwrap();
    let error = json!({"error": {"message": message, "type": "invalid_request_error", "param": "messages", "code": "scripted"}});
    HttpResponse::build(status).json(error)
}

/// What is wrong with a request, as `OpenAI` would say.
fn fault(request: &HttpRequest, body: &Value) -> Option<(u16, String)> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !header("authorization").starts_with("Bearer sk-") {
        return Some((401, "Incorrect API key provided".into()));
    }
    if header("content-type") != "application/json" {
        return Some((400, "content-type must be application/json".into()));
    }
    for field in ["max_cost", "autoScale", "farebox"] {
        if body.get(field).is_some() {
            return Some((400, format!("Unrecognized request argument supplied: {field}")));
        }
    }
    (body["model"] == "gpt-4o-mini-unknown").then(|| (404, "The model does not exist".into()))
}

/// What is wrong with a chat.
fn chat_fault(body: &Value) -> Option<(u16, String)> {
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let known = |role: &Value| ["system", "developer", "user", "assistant", "tool"].iter().any(|name| role == name);
    if messages.is_empty() || !messages.iter().all(|message| known(&message["role"])) {
        return Some((400, "messages are wrong".into()));
    }
    None
}

/// What is wrong with a completion.
fn completion_fault(body: &Value) -> Option<(u16, String)> {
    for field in ["messages", "max_completion_tokens", "tools", "response_format"] {
        if body.get(field).is_some() {
            return Some((400, format!("Unrecognized request argument supplied: {field}")));
        }
    }
    if body["model"] != "gpt-3.5-turbo-instruct" {
        return Some((404, "This is a chat model and not supported in the v1/completions endpoint.".into()));
    }
    (!body["prompt"].is_string()).then(|| (400, "you must provide a prompt parameter".into()))
}

/// Vectors of two numbers: a half, and minus one.
async fn embed(state: web::Data<Shared>, request: HttpRequest, body: web::Json<Value>) -> HttpResponse {
    let body = body.into_inner();
    if let Some((status, message)) = fault(&request, &body) {
        return refuse(status, &message);
    }
    if !body["model"].as_str().is_some_and(|model| model.starts_with("text-embedding")) {
        return refuse(404, "This is not an embedding model.");
    }
    state.requests.lock().unwrap().push(body.clone());
    let texts: Vec<&str> = match &body["input"] {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().map(|text| text.as_str().unwrap_or_default()).collect(),
        _ => return refuse(400, "'$.input' is invalid."),
    };
    if let Some(Behaviour::Status(status)) = state.script.lock().unwrap().pop_front() {
        return refuse(status, "scripted");
    }
    let vector = if body["encoding_format"] == "base64" { json!("AAAAPwAAgL8=") } else { json!([0.5, -1.0]) };
    let data: Vec<_> =
        (0..texts.len()).map(|index| json!({"object": "embedding", "index": index, "embedding": vector})).collect();
    let tokens: usize = texts.iter().map(|text| text.split_whitespace().count()).sum();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    HttpResponse::Ok().json(json!({"object": "list", "data": data, "model": body["model"], "usage": usage}))
}

/// How many words an answer has, and why it ends.
fn length(body: &Value) -> (usize, &'static str) {
    let limit = body.get("max_completion_tokens").or_else(|| body.get("max_tokens")).and_then(Value::as_u64);
    let count = limit.map_or(WORDS.len(), |limit| WORDS.len().min(usize::try_from(limit).unwrap()));
    (count, if count < WORDS.len() { "length" } else { "stop" })
}

async fn complete(state: web::Data<Shared>, request: HttpRequest, body: web::Json<Value>) -> HttpResponse {
    let body = body.into_inner();
    if let Some((status, message)) = fault(&request, &body).or_else(|| completion_fault(&body)) {
        return refuse(status, &message);
    }
    state.requests.lock().unwrap().push(body.clone());
    state.versions.lock().unwrap().push(request.version());
    let (count, finish) = length(&body);
    let input = body["prompt"].as_str().unwrap().split_whitespace().count();
    let usage = json!({"prompt_tokens": input, "completion_tokens": count, "total_tokens": input + count});
    let envelope = |text: &str, finish: Value| {
        let choice = json!({"text": text, "index": 0, "logprobs": null, "finish_reason": finish});
        json!({"id": "cmpl-fake", "object": "text_completion", "created": 1, "model": body["model"], "choices": [choice]})
    };
    if body["stream"] != true {
        let mut answer = envelope(&WORDS[..count].concat(), finish.into());
        answer["usage"] = usage;
        return HttpResponse::Ok().json(answer);
    }
    let mut chunks: Vec<_> = WORDS[..count].iter().map(|word| envelope(word, Value::Null).to_string()).collect();
    chunks.push(envelope("", finish.into()).to_string());
    if body["stream_options"]["include_usage"] == true {
        let mut last = envelope("", Value::Null);
        (last["choices"], last["usage"]) = (json!([]), usage);
        chunks.push(last.to_string());
    }
    chunks.push("[DONE]".into());
    streamed(chunks, 0)
}

async fn chat(state: web::Data<Shared>, request: HttpRequest, body: web::Json<Value>) -> HttpResponse {
    let body = body.into_inner();
    if let Some((status, message)) = fault(&request, &body).or_else(|| chat_fault(&body)) {
        return refuse(status, &message);
    }
    state.requests.lock().unwrap().push(body.clone());
    state.versions.lock().unwrap().push(request.version());
    let behaviour = state.script.lock().unwrap().pop_front();
    if let Some(Behaviour::Status(status)) = behaviour {
        return refuse(status, "scripted");
    }
    let (count, mut finish) = length(&body);
    let messages = body["messages"].as_array().unwrap();
    let words = |message: &Value| message["content"].as_str().unwrap_or_default().split_whitespace().count();
    let input: usize = messages.iter().map(|message| words(message) + 3).sum();
    let said = match behaviour {
        Some(Behaviour::Reports(tokens)) => tokens,
        Some(Behaviour::Fills) => {
            finish = "length";
            body.get("max_completion_tokens")
                .or_else(|| body.get("max_tokens"))
                .and_then(Value::as_u64)
                .unwrap_or(16_384)
        }
        _ => count as u64,
    };
    let mut usage = json!({"prompt_tokens": input, "completion_tokens": said, "total_tokens": input as u64 + said});
    if let Some(Behaviour::Usage(object)) = behaviour {
        usage = serde_json::from_str(object).unwrap();
    }
    if let Some(Behaviour::Says(said)) = behaviour {
        if body["stream"] != true {
            return HttpResponse::Ok().content_type("application/json").body(said[0]);
        }
        return streamed(said.iter().chain(&["[DONE]"]).map(|chunk| (*chunk).to_owned()).collect(), 0);
    }
    let envelope = |object: &str, choice: Value| json!({"id": "chatcmpl-fake", "object": object, "created": 1, "model": body["model"], "choices": [choice]});
    if body["stream"] != true {
        if let Some(Behaviour::Slow(ms)) = behaviour {
            actix_web::rt::time::sleep(Duration::from_millis(ms)).await;
        }
        if matches!(behaviour, Some(Behaviour::Garbage)) {
            return HttpResponse::Ok().body("<html>");
        }
        let padding = if let Some(Behaviour::Long(bytes)) = behaviour { "x".repeat(bytes) } else { String::new() };
        let content = WORDS[..count].concat() + &padding;
        let message = json!({"role": "assistant", "content": content, "refusal": null});
        let choice = json!({"index": 0, "message": message, "finish_reason": finish});
        let mut answer = envelope("chat.completion", choice);
        if matches!(behaviour, Some(Behaviour::Calls)) {
            let called = json!({"name": "weather", "arguments": json!({"place": "Paris", "days": 3}).to_string()});
            let call = json!({"id": "call_1", "type": "function", "function": called});
            let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
            answer["choices"][0] = json!({"index": 0, "message": message, "finish_reason": "tool_calls"});
        } else if !matches!(behaviour, Some(Behaviour::NoUsage)) {
            answer["usage"] = usage;
        }
        return HttpResponse::Ok().json(answer);
    }
    let chunk = |delta: Value, finish: Value| {
        envelope("chat.completion.chunk", json!({"index": 0, "delta": delta, "finish_reason": finish})).to_string()
    };
    let mut chunks = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
    chunks.extend(WORDS[..count].iter().map(|word| chunk(json!({"content": word}), Value::Null)));
    chunks.push(chunk(json!({}), finish.into()));
    if body["stream_options"]["include_usage"] == true && !matches!(behaviour, Some(Behaviour::NoUsage)) {
        chunks.push(json!({"id": "chatcmpl-fake", "choices": [], "usage": usage}).to_string());
    }
    chunks.push("[DONE]".into());
    let wait = match behaviour {
        Some(Behaviour::Slow(ms)) => ms,
        Some(Behaviour::CutAfter(most)) => {
            chunks.truncate(most);
            0
        }
        Some(Behaviour::Garbage) => {
            chunks[1] = "{garbage".into();
            0
        }
        _ => 0,
    };
    streamed(chunks, wait)
}

/// A stream of events, each after so many milliseconds.
fn streamed(chunks: Vec<String>, wait: u64) -> HttpResponse {
    let pieces = stream::unfold(chunks.into_iter(), move |mut left| async move {
        let chunk = left.next()?;
        actix_web::rt::time::sleep(Duration::from_millis(wait)).await;
        Some((Ok::<_, actix_web::Error>(web::Bytes::from(format!("data: {chunk}\n\n"))), left))
    });
    HttpResponse::Ok().content_type("text/event-stream").streaming(pieces)
}
