//! What the strict stand-ins for providers of other formats than OpenAI's share: they serve one format, refuse what the
//! real provider would, note what they were asked, and misbehave once for each misdeed that they were scripted.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::background::serve;

/// What a provider does wrong, once.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Misdeed {
    /// Answers with this status, and this body where it is not the format's own.
    Status(u16, Option<&'static str>),
    /// Breaks its connection after so many bytes of its answer.
    CutAt(usize),
    /// Reports no usage.
    NoUsage,
    /// Answers what is not of its format.
    Garbage,
    /// Waits so many milliseconds before each piece, or the whole answer.
    Slow(u64),
    /// Answers exactly so.
    Says(&'static str),
}

/// A request, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The path and the query.
    pub(crate) target: String,
    /// The key, in its header.
    pub(crate) key: String,
    /// The body.
    pub(crate) body: Value,
}

/// An answer in both forms.
pub(crate) struct Said {
    pub(crate) whole: Value,
    /// The events of a stream, as they are sent.
    pub(crate) pieces: Vec<String>,
}

/// One provider's format.
pub(crate) struct Dialect {
    /// The header of its key.
    pub(crate) key_header: &'static str,
    /// What is wrong with a request: the status and the body.
    pub(crate) fault: fn(&Asked) -> Option<(u16, Value)>,
    /// The error of a status.
    pub(crate) error: fn(u16) -> Value,
    /// The answer to a request, with its usage or without.
    pub(crate) answer: fn(&Asked, bool) -> Said,
    /// Whether a request is for a stream.
    pub(crate) is_stream: fn(&Asked) -> bool,
}

struct Shared {
    dialect: Dialect,
    script: Mutex<VecDeque<Misdeed>>,
    asked: Mutex<Vec<Asked>>,
}

/// The server, gone with the test's process.
pub(crate) struct FakeProvider {
    shared: Arc<Shared>,
    url: String,
}

impl FakeProvider {
    pub(crate) fn start(dialect: Dialect) -> Self {
        let shared = Arc::new(Shared { dialect, script: Mutex::default(), asked: Mutex::default() });
        let state = web::Data::from(Arc::clone(&shared));
        let address = serve(move |routes| {
            let limit = web::JsonConfig::default().limit(64 << 20);
            routes.app_data(state.clone()).app_data(limit).default_service(web::post().to(answer));
        });
        Self { shared, url: format!("http://{address}") }
    }

    /// Its address, without a version.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn script(&self, misdeed: Misdeed) {
        self.shared.script.lock().unwrap().push_back(misdeed);
    }

    /// The requests that it accepted.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }
}

async fn answer(state: web::Data<Shared>, request: HttpRequest, body: web::Json<Value>) -> HttpResponse {
    let dialect = &state.dialect;
    let key = request.headers().get(dialect.key_header).and_then(|key| key.to_str().ok()).unwrap_or_default();
    let asked = Asked { target: request.uri().to_string(), key: key.to_owned(), body: body.into_inner() };
    if let Some((status, error)) = (dialect.fault)(&asked) {
        return HttpResponse::build(StatusCode::from_u16(status).unwrap()).json(error);
    }
    let misdeed = state.script.lock().unwrap().pop_front();
    state.asked.lock().unwrap().push(asked.clone());
    match misdeed {
        Some(Misdeed::Status(status, body)) => {
            let body = body.map_or_else(|| (dialect.error)(status).to_string(), str::to_owned);
            return HttpResponse::build(StatusCode::from_u16(status).unwrap()).body(body);
        }
        Some(Misdeed::Garbage) => return HttpResponse::Ok().body("<html><title>Busy</title></html>"),
        Some(Misdeed::Says(body)) => return HttpResponse::Ok().content_type("application/json").body(body),
        Some(Misdeed::CutAt(_) | Misdeed::NoUsage | Misdeed::Slow(_)) | None => {}
    }
    let Said { whole, pieces } = (dialect.answer)(&asked, !matches!(misdeed, Some(Misdeed::NoUsage)));
    let broken = || actix_web::error::ErrorInternalServerError("cut");
    let wait = Duration::from_millis(if let Some(Misdeed::Slow(ms)) = misdeed { ms } else { 0 });
    if !(dialect.is_stream)(&asked) {
        actix_web::rt::time::sleep(wait).await;
        if !matches!(misdeed, Some(Misdeed::CutAt(_))) {
            return HttpResponse::Ok().json(whole);
        }
    }
    let (is_stream, whole) = ((dialect.is_stream)(&asked), whole.to_string());
    let pieces = if is_stream { pieces } else { vec![whole] };
    let pieces: Vec<Result<web::Bytes, actix_web::Error>> = match misdeed {
        Some(Misdeed::CutAt(bytes)) => {
            let text = pieces.concat();
            let begun = web::Bytes::copy_from_slice(&text.as_bytes()[..bytes.min(text.len())]);
            vec![Ok(begun), Err(broken())]
        }
        _ => pieces.into_iter().map(|piece| Ok(web::Bytes::from(piece))).collect(),
    };
    let slowly = stream::iter(pieces).then(move |piece| async move {
        actix_web::rt::time::sleep(wait).await;
        piece
    });
    let content_type = if is_stream { "text/event-stream" } else { "application/json" };
    HttpResponse::Ok().content_type(content_type).streaming(slowly)
}

/// The first member of an object that is not one of these.
pub(crate) fn stranger(object: &Value, known: &[&str]) -> Option<String> {
    object.as_object()?.keys().find(|name| !known.contains(&name.as_str())).cloned()
}

/// A value that fits a schema: `Paris` for texts, 3 for numbers.
pub(crate) fn fitting(schema: &Value) -> Value {
    match schema["type"].as_str() {
        Some("object") => {
            let members = schema["properties"].as_object().into_iter().flatten();
            members.map(|(name, schema)| (name.clone(), fitting(schema))).collect()
        }
        Some("integer" | "number") => json!(3),
        _ => json!("Paris"),
    }
}

/// What the tool of the stories is called with.
pub(crate) const TOOL: &str = "weather";

/// The words of every answer.
pub(crate) const WORDS: [&str; 6] = ["Hello", " from", " the", " fake", " provider", "."];
