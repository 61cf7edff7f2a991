//! Webhooks of an account's owner: endpoints that its events are sent to, signed, and what became of each delivery. All of
//! it takes the scope "billing": a key that may change where an account's events go could read them, and so could
//! one that sees an endpoint's answers. A secret is shown once, when its endpoint is made.

use actix_web::{HttpRequest, HttpResponse, web};
use actors::delivery::{NotTested, Test, sign};
use billing::{Timestamp, event::EventKind, ids::AccountId, key::Scope};
use bytes::Bytes;
use ledger::hooks::{Attempt, Delivery, Endpoint, Fate, MOST_ENDPOINTS};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

use super::{
    acts,
    admin::read,
    arrival::Arrival,
    auth,
    error::ApiError,
    query::{Query, list_by_id},
    respond::answer,
    state::Shared,
};

type Body = Result<Bytes, actix_web::Error>;

/// The longest description, in characters.
const LONGEST_DESCRIPTION: usize = 200;
/// What a test may take beyond its call.
const TEST_MARGIN: Duration = Duration::from_secs(10);

/// A kind of event, by its name.
pub(super) fn kind(field: &str, name: &str) -> Result<EventKind, ApiError> {
    EventKind::from_name(name).ok_or_else(|| {
        let known = EventKind::ALL.map(EventKind::name).join(", ");
        ApiError::invalid(field, format!("is no kind of event; there are {known}"))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    url: String,
    events: Option<Vec<String>>,
    #[serde(default)]
    description: String,
    #[serde(default = "yes")]
    enabled: bool,
}

const fn yes() -> bool {
    true
}

impl Wanted {
    async fn check(self, state: &Shared, request: &HttpRequest, account_id: AccountId) -> Result<Endpoint, ApiError> {
        let Self { url, events, description, enabled } = self;
        let kinds = events.as_deref().map(kinds).transpose()?;
        if description.chars().count() > LONGEST_DESCRIPTION || description.chars().any(char::is_control) {
            let rule = format!("must have at most {LONGEST_DESCRIPTION} characters, none of them a control character");
            return Err(ApiError::invalid("description", rule));
        }
        let url = state.webhooks.deliveries.check(&url).await.map_err(|bad| ApiError::invalid("url", bad))?;
        let created_at = state.gateway.clock().now();
        Ok(Endpoint {
            id: Arrival::of(request).id.0,
            account_id,
            url,
            description,
            secret: sign::new_secret(),
            kinds,
            created_at,
            failing_since: None,
            disabled: (!enabled).then(|| (created_at, "owner".to_owned())),
        })
    }
}

fn kinds(names: &[String]) -> Result<Vec<EventKind>, ApiError> {
    if names.is_empty() {
        return Err(ApiError::invalid("events", "must name at least one kind; leave it out for all"));
    }
    let mut kinds = Vec::new();
    for (place, name) in names.iter().enumerate() {
        let field = format!("events[{place}]");
        let kind = kind(&field, name)?;
        if kinds.contains(&kind) {
            return Err(ApiError::invalid(&field, "is named twice"));
        }
        kinds.push(kind);
    }
    Ok(kinds)
}

fn text(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

fn endpoint_json(endpoint: &Endpoint) -> Value {
    let kinds = endpoint.kinds.as_ref();
    let (disabled_at, because) = endpoint.disabled.clone().unzip();
    json!({
        "id": endpoint.id, "url": endpoint.url, "description": endpoint.description,
        "events": kinds.map(|kinds| kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>()),
        "enabled": endpoint.disabled.is_none(), "disabled_at": text(disabled_at), "disabled_because": because,
        "failing_since": text(endpoint.failing_since), "created_at": endpoint.created_at.to_string(),
    })
}

fn delivery_json(delivery: &Delivery) -> Value {
    json!({
        "id": delivery.event_id, "type": delivery.kind, "created_at": delivery.at.to_string(),
        "status": delivery.status, "attempts": delivery.attempts, "next_attempt_at": text(delivery.due_at),
        "last_attempt_at": text(delivery.attempted_at), "ended_at": text(delivery.ended_at),
        "answer": delivery.answer_status.map(|status| json!({"status": status, "body": delivery.answer_body})),
        "error": delivery.error,
    })
}

/// `POST /v1/webhooks`: the answer holds the secret.
pub async fn create(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let wanted: Wanted = read(&state, body)?;
        let ledger = state.gateway.accounts.ledger();
        let endpoint = if acts::is_done(&request) {
            ledger.endpoint(caller.account_id, Arrival::of(&request).id.0).await?.ok_or_else(missing)?
        } else {
            let endpoint = wanted.check(&state, &request, caller.account_id).await?;
            if !ledger.create_endpoint(&endpoint).await? {
                let message =
                    format!("This account has {MOST_ENDPOINTS} webhooks, which is the most; delete one first.");
                return Err(ApiError::conflict(message));
            }
            endpoint
        };
        let mut made = endpoint_json(&endpoint);
        made["secret"] = endpoint.secret.into();
        Ok(made)
    };
    answer(&request, work.await)
}

/// `GET /v1/webhooks`, oldest first.
pub async fn list(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        Query::of(&request, &[])?;
        let endpoints = state.gateway.accounts.ledger().endpoints(caller.account_id).await?;
        Ok(json!({"object": "list", "data": endpoints.iter().map(endpoint_json).collect::<Vec<_>>()}))
    };
    answer(&request, work.await)
}

fn missing() -> ApiError {
    ApiError::not_found("a webhook with that id")
}

fn endpoint_id(text: &str) -> Result<Uuid, ApiError> {
    Uuid::parse_str(text).map_err(|_| ApiError::invalid("id", "must be a webhook's id"))
}

/// The caller's own endpoint of this id.
async fn owned(state: &Shared, request: &HttpRequest, id: &str) -> Result<Endpoint, ApiError> {
    let caller = auth::scoped(state, request, Scope::Billing).await?;
    let found = state.gateway.accounts.ledger().endpoint(caller.account_id, endpoint_id(id)?).await?;
    found.ok_or_else(missing)
}

/// `GET /v1/webhooks/{id}`.
pub async fn endpoint(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async { Ok(endpoint_json(&owned(&state, &request, &id).await?)) };
    answer(&request, work.await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    enabled: bool,
}

/// `PUT /v1/webhooks/{id}`: turns it on or off. What waits for one that is turned off is not sent any more.
pub async fn turn(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    let work = async {
        let before = owned(&state, &request, &id).await?;
        let Turn { enabled } = read(&state, body)?;
        let (ledger, account) = (state.gateway.accounts.ledger(), before.account_id);
        if enabled {
            ledger.enable_endpoint(account, before.id).await?;
        } else {
            ledger.disable_endpoint(account, before.id, state.gateway.clock().now()).await?;
        }
        Ok(endpoint_json(&ledger.endpoint(account, before.id).await?.ok_or_else(missing)?))
    };
    answer(&request, work.await)
}

/// `DELETE /v1/webhooks/{id}`: with its deliveries.
pub async fn delete(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let id = endpoint_id(&id)?;
        if !state.gateway.accounts.ledger().delete_endpoint(caller.account_id, id).await? {
            return Err(missing());
        }
        Ok(json!({"id": id, "deleted": true}))
    };
    answer(&request, work.await)
}

/// `POST /v1/webhooks/{id}/test`: calls it now, once, and says what came of it.
pub async fn test(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let endpoint = owned(&state, &request, &id).await?;
        let event_id = Arrival::of(&request).id.0;
        let deadline = Duration::from_secs(state.settings.webhooks.timeout_seconds) + TEST_MARGIN;
        let asked = Test { endpoint, event_id };
        let tested: Result<Attempt, NotTested> = state.webhooks.actor.ask(asked, deadline).await?;
        let Attempt { at, answer, error, fate, .. } = tested?;
        Ok(json!({
            "id": event_id, "delivered": fate == Fate::Delivered, "at": at.to_string(), "error": error,
            "answer": answer.map(|(status, body)| json!({"status": status, "body": body})),
        }))
    };
    answer(&request, work.await)
}

/// `GET /v1/webhooks/{id}/deliveries`: newest event first.
pub async fn deliveries(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let endpoint = owned(&state, &request, &id).await?;
        let query = Query::of(&request, &["limit", "cursor"])?;
        let (limit, before) = (query.limit()?, query.cursor_id()?);
        let found = state.gateway.accounts.ledger().deliveries(endpoint.id, before, limit).await?;
        Ok(list_by_id(found.iter().map(delivery_json).collect(), limit))
    };
    answer(&request, work.await)
}
