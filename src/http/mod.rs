//! HTTP: translates between clients and the gateway. [`routes`] is the one table of routes; handlers are short.

pub mod account;
pub mod accounts;
pub mod acts;
pub mod admin;
pub mod auth;
pub mod automatic;
pub mod body;
pub mod cards;
pub mod connection;
pub mod cors;
pub mod edge;
pub mod error;
mod events;
pub mod export;
pub mod guesses;
pub mod history;
pub mod hooks;
pub mod idempotency;
pub mod inference;
pub mod keys;
mod landing;
pub mod live;
pub mod operations;
pub mod payments;
pub mod plan;
pub mod query;
pub mod receipt;
pub mod routes;
mod scrape;
pub mod usage;
pub mod webhooks;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use billing::ids::RequestId;
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    config::Settings,
    gateway::{
        Gateway,
        idempotency::{Life, store::Store},
        room::Room,
    },
    telemetry::Metrics,
    words,
};
use actors::{delivery::Webhooks, journal::Journal, payment::PaymentActor};
use auth::Keys;
use error::ApiError;
use guesses::Guesses;
use live::sockets::Sockets;
use runtime::mailbox::Handle;

/// Bytes of bodies on their way of requests that show no key, of all together.
const STRANGERS: usize = 8 << 20;

/// What handlers share.
pub struct State {
    /// The life of requests.
    pub gateway: Arc<Gateway>,
    /// The settings.
    pub settings: Settings,
    /// Keys seen lately.
    pub keys: Keys,
    /// Requests with idempotency keys.
    pub idempotency: Store,
    /// For `/metrics`.
    pub metrics: Metrics,
    /// For faults that tests ask for.
    pub journal: Arc<Journal>,
    /// Who charges cards.
    pub payments: Handle<PaymentActor>,
    /// Who calls owners' webhooks.
    pub webhooks: Webhooks,
    /// Request bodies on their way.
    pub bodies: Arc<Room>,
    /// Those of requests that show no key.
    pub strangers: Arc<Room>,
    /// Wrong operator's tokens.
    pub guesses: Guesses,
    /// Live sockets that are open.
    pub sockets: Sockets,
    admin_token: blake3::Hash,
    /// Whether the process is stopping.
    stopping: watch::Sender<bool>,
    /// Requests that run detached, whether their clients are there or not.
    detached: Arc<AtomicUsize>,
}

impl State {
    /// The state of a process that is ready.
    pub fn new(
        gateway: Arc<Gateway>,
        settings: Settings,
        admin_token: &str,
        metrics: Metrics,
        journal: Arc<Journal>,
        payments: Handle<PaymentActor>,
        webhooks: Webhooks,
    ) -> Self {
        let admin_token = blake3::hash(admin_token.as_bytes());
        let (stopping, _) = watch::channel(false);
        let idempotency = Store::new(gateway.accounts.clone(), &admin_token);
        let bodies = Room::new(settings.limits.bodies_bytes);
        Self {
            gateway,
            settings,
            keys: Keys::default(),
            idempotency,
            metrics,
            journal,
            payments,
            webhooks,
            bodies,
            strangers: Room::new(STRANGERS),
            guesses: Guesses::default(),
            sockets: Sockets::default(),
            admin_token,
            stopping,
            detached: Arc::default(),
        }
    }

    /// Whether new work is taken.
    pub fn is_ready(&self) -> bool {
        !*self.stopping.borrow()
    }

    /// Counts a request that runs detached, until what this gives is dropped.
    fn count_detached(&self) -> Detached {
        self.detached.fetch_add(1, Ordering::Relaxed);
        Detached(Arc::clone(&self.detached))
    }

    /// How many are.
    pub fn detached(&self) -> usize {
        self.detached.load(Ordering::Relaxed)
    }

    /// No new work from now on.
    pub fn stop_being_ready(&self) {
        self.stopping.send_replace(true);
    }

    /// Resolves once the process is stopping: bodies that have not arrived and sockets without work end then.
    pub async fn stopping(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender is this state's own, so it can't be gone.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }
}

/// A request that runs detached.
struct Detached(Arc<AtomicUsize>);

impl Drop for Detached {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The shared state, as handlers take it.
pub type Shared = web::Data<State>;

/// A request's id and when it came.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// Its id: also its hold's, its record's, and that of whatever it makes.
    pub id: RequestId,
    /// Which of its lives this is: one under an `Idempotency-Key` may have others.
    pub life: Life,
    /// When its head was read.
    pub at: Instant,
}

impl Arrival {
    /// Of this request: made on first use.
    pub fn of(request: &HttpRequest) -> Self {
        if let Some(arrival) = request.extensions().get::<Self>() {
            return *arrival;
        }
        let arrival = Self { id: RequestId(Uuid::now_v7()), life: Life::First, at: Instant::now() };
        request.extensions_mut().insert(arrival);
        arrival
    }

    /// A later life of a request: it goes on under the id of the first.
    fn resumed(request: &HttpRequest, id: RequestId, life: Life) {
        let at = Self::of(request).at;
        request.extensions_mut().insert(Self { id, life, at });
    }
}

/// An error as this request's answer.
pub fn refuse(request: &HttpRequest, error: &ApiError) -> HttpResponse {
    // By the pattern of the path, of which there are few: what clients write is no label.
    let route = request.match_pattern().unwrap_or_else(|| "none".to_owned());
    let status = error.status().as_u16().to_string();
    metrics::counter!("farebox_refusals_total", "route" => route, "status" => status).increment(1);
    let form = request.app_data::<Shared>().map(|state| state.settings.http.error_form).unwrap_or_default();
    error.response(error::form::shape_of(request, form), &Arrival::of(request).id.to_string())
}

/// A JSON answer or an error, with the request's id.
pub fn answer(request: &HttpRequest, result: Result<serde_json::Value, ApiError>) -> HttpResponse {
    match result {
        Ok(body) => HttpResponse::Ok().insert_header(("x-request-id", Arrival::of(request).id.to_string())).json(body),
        Err(error) => refuse(request, &error),
    }
}

/// A JSON body, with an error that names the field.
pub fn parse_body<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let text = if body.is_empty() { b"{}" } else { body };
    let mut reader = serde_json::Deserializer::from_slice(text);
    let parsed = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let (path, message) = (error.path().to_string(), error.inner().to_string());
        // A field that is missing or unknown is named by the message alone; one that is wrong, by its path.
        let named = message.split("field `").nth(1).and_then(|rest| rest.split('`').next());
        let field = match (named, path.as_str()) {
            (Some(named), _) => named.to_owned(),
            (None, "." | "?") => "body".to_owned(),
            (None, _) => path,
        };
        ApiError::invalid(&field, words::plain(&message))
    })?;
    reader.end().map_err(|error| ApiError::invalid("body", error))?;
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::{error::Shape, *};

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        amount: u8,
        inner: Option<Inner>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        names: Vec<String>,
    }

    #[test]
    fn the_field_that_is_wrong_is_named() {
        for (body, field) in [
            ("{}", "amount"),
            ("", "amount"),
            (r#"{"amount": "x"}"#, "amount"),
            (r#"{"amount": 1, "color": 1}"#, "color"),
            (r#"{"amount": 1, "inner": {"names": ["a", 2]}}"#, "inner.names[1]"),
            (r#"{"amount": 1} x"#, "body"),
            ("[", "body"),
            ("7", "body"),
        ] {
            let error = parse_body::<Body>(body.as_bytes()).unwrap_err().body(Shape::Native, "r");
            assert_eq!(error["field"], field, "{body}: {error}");
        }
        let parsed: Body = parse_body(br#"{"amount": 1, "inner": {"names": ["a"]}}"#).unwrap();
        assert_eq!((parsed.amount, parsed.inner.unwrap().names.len()), (1, 1));
    }
}
