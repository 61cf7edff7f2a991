//! Webhooks: a list, a form that makes one, whose secret is shown once, and a page of each with its deliveries, a test, and buttons
//! that turn it off and on and delete it.

use std::collections::HashMap;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use askama::Template;
use billing::{
    event::EventKind,
    ids::{AccountId, KeyId},
    key::Scope,
};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    page::{Frame, Visitor, answered, page, sent, visited},
    text::{Minute, minute},
    ticked::{self, Fields, Kind, choices, field, ticked},
};
use crate::{
    http::{
        arrival::Arrival,
        error::ApiError,
        once::Once,
        pages::{Empty, said, to},
        query::Query,
        respond::Body,
        state::Shared,
        trail, values,
    },
    idempotency::Life,
    service::{
        keys,
        people::notices::describe,
        webhooks::{self, Endpoint, NewEndpoint, Tested},
    },
};

/// A key to choose.
struct Key {
    id: Uuid,
    name: String,
}

/// A webhook in words.
struct Row {
    id: Uuid,
    url: String,
    description: String,
    kinds: String,
    keys: String,
    state: String,
    is_on: bool,
    made: Minute,
}

impl Row {
    fn of(endpoint: Endpoint, names: &HashMap<Uuid, String>) -> Self {
        let Endpoint { id, url, description, kinds, keys, disabled, failing_since, created_at } = endpoint;
        let named = |key: KeyId| names.get(&key.0).cloned().unwrap_or_else(|| key.0.to_string());
        let state = match (&disabled, failing_since) {
            (Some((at, because)), _) => {
                let why = match because.as_str() {
                    "failing" => "as it failed for too long",
                    "gone" => "as it answered that it is gone",
                    _ => "by a member",
                };
                format!("turned off {why}, {}", minute(*at))
            }
            (None, Some(since)) => format!("on; fails since {}", minute(since)),
            (None, None) => "on".to_owned(),
        };
        Self {
            id,
            url,
            description,
            kinds: kinds.map_or_else(
                || "all".to_owned(),
                |kinds| kinds.into_iter().map(describe).collect::<Vec<_>>().join("; "),
            ),
            keys: keys
                .map_or_else(|| "all".to_owned(), |keys| keys.into_iter().map(named).collect::<Vec<_>>().join(", ")),
            state,
            is_on: disabled.is_none(),
            made: minute(created_at),
        }
    }
}

/// A webhook that was just made.
struct Made {
    id: Uuid,
    url: String,
    secret: String,
}

/// What a form has that was wrong, so that nobody types it again.
#[derive(Default)]
struct Typed {
    url: String,
    description: String,
    kinds: Vec<String>,
    keys: Vec<String>,
}

#[derive(Template)]
#[template(path = "dashboard/webhooks.html")]
struct Webhooks {
    frame: Frame,
    made: Option<Made>,
    message: Option<String>,
    said: Option<&'static str>,
    rows: Vec<Row>,
    kinds: Vec<Kind>,
    keys: Vec<(bool, Key)>,
    typed: Typed,
    once: Uuid,
}

/// The names of the keys that endpoints are about.
async fn key_names(
    state: &Shared,
    account: AccountId,
    endpoints: &[Endpoint],
) -> Result<HashMap<Uuid, String>, ApiError> {
    let ids = endpoints.iter().filter_map(|endpoint| endpoint.keys.as_ref()).flatten().map(|key| key.0);
    Ok(keys::names(&state.service, account, ids).await?)
}

/// What a page says after a form was carried out, by a word in its address.
const SAID: [(&str, &str); 3] =
    [("deleted", "The webhook is deleted."), ("on", "The webhook is on."), ("off", "The webhook is off.")];

/// `GET /dashboard/webhooks`.
pub(super) async fn webhooks(state: Shared, request: HttpRequest) -> HttpResponse {
    visited(&state, &request, async |visitor| made(&state, &request, visitor, Typed::default(), None, None).await).await
}

async fn made(
    state: &Shared,
    request: &HttpRequest,
    visitor: &Visitor,
    typed: Typed,
    made: Option<Made>,
    message: Option<String>,
) -> Result<Webhooks, ApiError> {
    let account = visitor.may(Scope::Billing)?.account_id;
    let query = Query::of_form(request, &["said"])?;
    let rows = webhooks::list(&state.service, account).await?;
    let names = key_names(state, account, &rows).await?;
    let works = keys::unrevoked(&state.service, account).await?;
    let works = works.into_iter().map(|key| Key { id: key.id.0, name: key.name });
    let chosen = |key: Key| (typed.keys.contains(&key.id.to_string()), key);
    Ok(Webhooks {
        frame: visitor.frame("Webhooks"),
        made,
        message,
        said: said(&query, &SAID),
        rows: rows.into_iter().map(|endpoint| Row::of(endpoint, &names)).collect(),
        kinds: choices(|kind| typed.kinds.iter().any(|name| name == kind.name())),
        keys: works.map(chosen).collect(),
        typed,
        once: state.onces.make(account),
    })
}

/// `POST /dashboard/webhooks`: makes a webhook, and shows its secret, once.
pub(super) async fn create(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let typed = std::cell::RefCell::default();
    let make = async |visitor: &Visitor, fields: Fields| {
        typed.replace(Typed::of(&fields));
        let account = visitor.caller.account_id;
        let origin = state.onces.origin(account, Once::of_field(field(&fields, "once"))?, Life::First)?;
        let kinds = ticked::kinds(&fields)?;
        let wanted = NewEndpoint {
            url: field(&fields, "url").unwrap_or_default().trim().to_owned(),
            kinds: (!kinds.is_empty()).then_some(kinds),
            keys: ticked::keys(&fields)?,
            description: field(&fields, "description").unwrap_or_default().trim().to_owned(),
            enabled: true,
        };
        let (Endpoint { id, url, .. }, secret) = webhooks::create(&state.service, origin, account, wanted).await?;
        trail::makes(&request, &id, &url);
        let shown = made(&state, &request, visitor, Typed::default(), Some(Made { id, url, secret }), None).await?;
        Ok(page(&state, &request, visitor, StatusCode::OK, &shown).await)
    };
    let again = async |visitor: &Visitor, error| {
        let typed = typed.take();
        let make = async |wrong| made(&state, &request, visitor, typed, None, wrong).await;
        answered(&state, &request, visitor, Some(error), make).await
    };
    sent(&state, &request, body, Scope::Billing, make, again).await
}

impl Typed {
    fn of(fields: &Fields) -> Self {
        let text = |name| field(fields, name).unwrap_or_default().to_owned();
        let all = |name| ticked(fields, name).map(str::to_owned).collect();
        Self { url: text("url"), description: text("description"), kinds: all("kind"), keys: all("key") }
    }
}

/// A delivery in words.
struct Sent {
    at: Minute,
    event: Uuid,
    kind: String,
    state: String,
    attempts: i64,
    last: String,
    answer: String,
}

impl From<webhooks::Delivery> for Sent {
    fn from(delivery: webhooks::Delivery) -> Self {
        let webhooks::Delivery { event_id, kind, at, status, attempts, due_at, attempted_at, answer, error, .. } =
            delivery;
        Self {
            at: minute(at),
            event: event_id,
            kind: EventKind::from_name(&kind).map_or(kind, |kind| describe(kind).to_owned()),
            state: match (status.as_str(), due_at) {
                ("waiting", Some(due)) => format!("waits, until {}", minute(due)),
                _ => status,
            },
            attempts,
            last: attempted_at.map(|at| minute(at).to_string()).unwrap_or_default(),
            answer: answered_with(answer.map(|(status, body)| (status, body.unwrap_or_default())), error),
        }
    }
}

/// A receiver's answer in words: the status and the beginning of the body, or why there is none.
fn answered_with(answer: Option<(i64, String)>, error: Option<String>) -> String {
    let parts = [answer.map(|(status, body)| format!("{status} {body}")), error];
    parts.iter().flatten().map(|part| part.trim()).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
}

#[derive(Template)]
#[template(path = "dashboard/webhook.html")]
struct Webhook {
    frame: Frame,
    tested: Option<Tested>,
    message: Option<String>,
    said: Option<&'static str>,
    row: Row,
    deliveries: Vec<Sent>,
    next: Option<Uuid>,
}

impl Webhook {
    /// The answer to the test.
    fn test_answer(tested: &Tested) -> String {
        let answer = tested.answer.clone().map(|(status, body)| (status.into(), body));
        answered_with(answer, tested.error.clone())
    }
}

fn webhook_id(text: &str) -> Result<Uuid, ApiError> {
    values::id("id", text, "must be a webhook's id")
}

async fn one(
    state: &Shared,
    request: &HttpRequest,
    visitor: &Visitor,
    id: &str,
    tested: Option<Tested>,
    message: Option<String>,
) -> Result<Webhook, ApiError> {
    let (account, id) = (visitor.may(Scope::Billing)?.account_id, webhook_id(id)?);
    let query = Query::of_form(request, &["said", "cursor"])?;
    let endpoint = webhooks::endpoint(&state.service, account, id).await?;
    let names = key_names(state, account, std::slice::from_ref(&endpoint)).await?;
    let found = webhooks::deliveries(&state.service, account, id, query.page()?).await?;
    Ok(Webhook {
        frame: visitor.frame("Webhook"),
        tested,
        message,
        said: said(&query, &SAID),
        row: Row::of(endpoint, &names),
        next: found.next,
        deliveries: found.rows.into_iter().map(Sent::from).collect(),
    })
}

/// `GET /dashboard/webhooks/{id}`.
pub(super) async fn webhook(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    visited(&state, &request, async |visitor| one(&state, &request, visitor, &id, None, None).await).await
}

async fn shown(state: &Shared, request: &HttpRequest, visitor: &Visitor, id: &str, wrong: ApiError) -> HttpResponse {
    let make = async |message| one(state, request, visitor, id, None, message).await;
    answered(state, request, visitor, Some(wrong), make).await
}

/// `POST /dashboard/webhooks/{id}/test`: calls it once, now, and shows the result.
pub(super) async fn test(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    let test = async |visitor: &Visitor, Empty {}| {
        let (account, origin) = (visitor.caller.account_id, Arrival::origin(&request));
        let tested = webhooks::test(&state.service, origin, account, webhook_id(&id)?).await?;
        let shown = one(&state, &request, visitor, &id, Some(tested), None).await?;
        Ok(page(&state, &request, visitor, StatusCode::OK, &shown).await)
    };
    let again = async |visitor: &Visitor, error| shown(&state, &request, visitor, &id, error).await;
    sent(&state, &request, body, Scope::Billing, test, again).await
}

/// Whether events are sent.
#[derive(Deserialize)]
struct Turn {
    enabled: bool,
}

/// `POST /dashboard/webhooks/{id}/turn`: turns it on or off.
pub(super) async fn turn(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    let turn = async |visitor: &Visitor, Turn { enabled }| {
        let id = webhook_id(&id)?;
        let (_, is_changed) = webhooks::turn(&state.service, visitor.caller.account_id, id, enabled).await?;
        trail::unless_changed(&request, is_changed);
        Ok(to(&format!("/dashboard/webhooks/{id}?said={}", if enabled { "on" } else { "off" })))
    };
    let again = async |visitor: &Visitor, error| shown(&state, &request, visitor, &id, error).await;
    sent(&state, &request, body, Scope::Billing, turn, again).await
}

/// `POST /dashboard/webhooks/{id}/delete`: deletes it and its deliveries.
pub(super) async fn delete(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    let delete = async |visitor: &Visitor, Empty {}| {
        webhooks::delete(&state.service, visitor.caller.account_id, webhook_id(&id)?).await?;
        Ok(to("/dashboard/webhooks?said=deleted"))
    };
    let again = async |visitor: &Visitor, error| shown(&state, &request, visitor, &id, error).await;
    sent(&state, &request, body, Scope::Billing, delete, again).await
}
