//! A strict receiver of webhooks: it checks the form of every call, keeps them all, and misbehaves by path as it was told:
//! once for each behaviour of a script, or always. Signatures are checked here by code of our own, not the gateway's.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

use super::background::serve;

/// What it answers.
#[derive(Debug, Clone)]
pub(crate) enum Behaviour {
    /// This status, and a short body.
    Status(u16),
    /// This status, and a body of so many bytes.
    Large(u16, usize),
    /// 200, so many milliseconds later.
    Slow(u64),
    /// Somewhere else.
    Redirect(String),
}

/// A call that was received.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) seconds: String,
    pub(crate) signature: String,
    pub(crate) body: String,
}

impl Call {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    /// Whether it is signed with this secret.
    pub(crate) fn is_signed(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{}.{}.{}", self.id, self.seconds, self.body).as_bytes());
        let theirs = self.signature.strip_prefix("v1,").unwrap();
        mac.verify_slice(&STANDARD.decode(theirs).unwrap()).is_ok()
    }
}

#[derive(Default)]
struct ReceiverState {
    scripts: HashMap<String, VecDeque<Behaviour>>,
    always: HashMap<String, Behaviour>,
    calls: Vec<Call>,
    faults: Vec<String>,
}

/// The receiver, gone with the test's process.
pub(crate) struct Receiver {
    state: Arc<Mutex<ReceiverState>>,
    url: String,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let state = Arc::<Mutex<ReceiverState>>::default();
        let served = web::Data::from(Arc::clone(&state));
        let address = serve(move |routes| {
            routes.app_data(served.clone()).default_service(web::to(take));
        });
        let url = format!("http://{address}");
        Self { state, url }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub(crate) fn script(&self, path: &str, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.state.lock().unwrap().scripts.entry(path.to_owned()).or_default().extend(behaviours);
    }

    pub(crate) fn always(&self, path: &str, behaviour: Behaviour) {
        self.state.lock().unwrap().always.insert(path.to_owned(), behaviour);
    }

    /// What came at a path, oldest first. Fails the test when any call had a wrong form.
    pub(crate) fn calls(&self, path: &str) -> Vec<Call> {
        let state = self.state.lock().unwrap();
        assert!(state.faults.is_empty(), "{:?}", state.faults);
        state.calls.iter().filter(|call| call.path == path).cloned().collect()
    }
}

/// What is wrong with the form of a call.
fn fault(request: &HttpRequest, call: &Call) -> Option<String> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if request.method() != "POST" || header("content-type") != "application/json" {
        return Some(format!("{} of {:?}", request.method(), header("content-type")));
    }
    if !header("user-agent").starts_with("Farebox/") || header("content-length") != call.body.len().to_string() {
        return Some(format!("{:?} {:?}", header("user-agent"), header("content-length")));
    }
    if !call.signature.starts_with("v1,") || call.seconds.parse::<u64>().is_err() {
        return Some(format!("{call:?}"));
    }
    let body: Value = serde_json::from_str(&call.body).ok()?;
    let names: Vec<&String> = body.as_object()?.keys().collect();
    let is_whole = names == ["id", "type", "created_at", "account_id", "data"] && body["data"].is_object();
    (!is_whole || body["id"] != call.id.as_str()).then(|| format!("body {body}"))
}

async fn take(state: web::Data<Mutex<ReceiverState>>, request: HttpRequest, body: String) -> HttpResponse {
    let header =
        |name: &str| request.headers().get(name).and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned();
    let call = Call {
        path: request.path().to_owned(),
        id: header("webhook-id"),
        seconds: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        body,
    };
    let behaviour = {
        let mut state = state.lock().unwrap();
        state.faults.extend(fault(&request, &call));
        let scripted = state.scripts.get_mut(&call.path).and_then(VecDeque::pop_front);
        let behaviour = scripted.or_else(|| state.always.get(&call.path).cloned()).unwrap_or(Behaviour::Status(204));
        state.calls.push(call);
        behaviour
    };
    let status = |status: u16| HttpResponse::build(StatusCode::from_u16(status).unwrap());
    match behaviour {
        Behaviour::Status(204) => status(204).finish(),
        Behaviour::Status(code) => status(code).body(format!("answer {code}")),
        Behaviour::Large(code, bytes) => status(code).body("x".repeat(bytes)),
        Behaviour::Slow(ms) => {
            actix_web::rt::time::sleep(Duration::from_millis(ms)).await;
            status(200).finish()
        }
        Behaviour::Redirect(to) => status(302).insert_header(("location", to)).finish(),
    }
}
