//! Notifications: what the member is told of by mail, the balances below which the owner is told, and the parts of keys' limits.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use billing::{
    ids::{KeyId, PersonId},
    key::Scope,
    member::Act,
    notice::Choice,
};
use serde::{Deserialize, de::DeserializeOwned};
use uuid::Uuid;

use super::super::{
    page::{Frame, Visitor, answered, sent, visited},
    text::dollars,
    ticked::{self, Fields, Kind, choices, field},
};
use crate::{
    http::{
        error::ApiError,
        pages::{said, to},
        query::Query,
        respond::Body,
        state::Shared,
        values::id,
    },
    service::{
        alerts, keys,
        people::notices::{self, Chosen},
    },
};

/// A key with limits in dollars.
struct Key {
    id: Uuid,
    name: String,
    percents: String,
    is_chosen: bool,
}

#[derive(Template)]
#[template(path = "dashboard/notifications.html")]
struct Notifications {
    frame: Frame,
    message: Option<String>,
    said: Option<&'static str>,
    email: String,
    role: &'static str,
    is_own: bool,
    kinds: Vec<Kind>,
    keys: Vec<Key>,
    lines: String,
    lines_say: String,
    may_pay: bool,
    may_limit: bool,
}

/// What a page says after a form was carried out, by a word in its address.
const SAID: [(&str, &str); 3] = [
    ("letters", "What you are told of is changed."),
    ("lines", "The lines are changed."),
    ("key", "The lines of the key are changed."),
];

/// `GET /dashboard/notifications`.
pub(super) async fn notifications(state: Shared, request: HttpRequest) -> HttpResponse {
    visited(&state, &request, async |visitor| made(&state, &request, visitor, None).await).await
}

async fn shown(state: &Shared, request: &HttpRequest, visitor: &Visitor, wrong: Option<ApiError>) -> HttpResponse {
    answered(state, request, visitor, wrong, async |wrong| made(state, request, visitor, wrong).await).await
}

async fn made(
    state: &Shared,
    request: &HttpRequest,
    visitor: &Visitor,
    message: Option<String>,
) -> Result<Notifications, ApiError> {
    let query = Query::of_form(request, &["said"])?;
    let (open, account) = (visitor.person(Act::Read)?, visitor.caller.account_id);
    let Chosen { role, choice, is_own } = notices::look(&state.service, account, open.person.id).await?;
    let lines = alerts::lines(&state.service, account).await?;
    let listed = keys::unrevoked(&state.service, account).await?;
    let keys = listed.into_iter().filter_map(|key| {
        let percents = key.alerts?.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        let is_chosen = choice.keys.as_ref().is_some_and(|keys| keys.contains(&key.id));
        Some(Key { id: key.id.0, name: key.name, percents, is_chosen })
    });
    let all = lines.lines.iter().map(ToString::to_string).collect::<Vec<_>>();
    let scopes = visitor.caller.scopes;
    Ok(Notifications {
        frame: visitor.frame("Notifications"),
        message,
        said: said(&query, &SAID),
        email: open.person.email.clone(),
        role: role.name(),
        is_own,
        kinds: choices(|kind| choice.kinds.contains(&kind)),
        keys: keys.collect(),
        lines: if lines.are_own { all.join(", ") } else { String::new() },
        lines_say: match (lines.are_own, all.as_slice()) {
            (true, []) => "Low credits are told to nobody.".to_owned(),
            (true, all) => format!("Low credits are told below ${}.", all.join(", $")),
            (false, all) => format!("Low credits are told below ${}, which is the usual line.", all.join(", $")),
        },
        may_pay: scopes.has(Scope::Billing),
        may_limit: scopes.has(Scope::Keys),
    })
}

/// Carries out a form of this page. Gives the word by which the page says that it was, one of [`SAID`].
async fn carried_out<T: DeserializeOwned>(
    state: &Shared,
    request: &HttpRequest,
    body: Body,
    scope: Scope,
    act: impl AsyncFnOnce(&Visitor, PersonId, T) -> Result<&'static str, ApiError>,
) -> HttpResponse {
    let act = async |visitor: &Visitor, wanted| {
        let person = visitor.person(Act::Read)?.person.id;
        let said = act(visitor, person, wanted).await?;
        Ok(to(&format!("/dashboard/notifications?said={said}")))
    };
    let again = async |visitor: &Visitor, error| shown(state, request, visitor, Some(error)).await;
    sent(state, request, body, scope, act, again).await
}

/// What a form chooses; `None`: what the role is told of.
fn choice(fields: &Fields) -> Result<Option<Choice>, ApiError> {
    if field(fields, "usual").is_some() {
        return Ok(None);
    }
    Ok(Some(Choice { kinds: ticked::kinds(fields)?, keys: ticked::keys(fields)? }))
}

/// `POST /dashboard/notifications`: what the member is told of.
pub(super) async fn choose(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let choose = async |visitor: &Visitor, person, fields: Fields| {
        let choice = choice(&fields)?;
        notices::choose(&state.service, visitor.caller.account_id, person, choice.as_ref()).await?;
        Ok("letters")
    };
    carried_out(&state, &request, body, Scope::Read, choose).await
}

/// Lines that a person typed, with commas between them.
fn typed<T>(text: Option<&str>, line: impl Fn(&str) -> Result<T, ApiError>) -> Result<Vec<T>, ApiError> {
    let parts = text.unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(line).collect()
}

/// The lines of an account.
#[derive(Deserialize)]
struct Lines {
    lines: Option<String>,
    /// Which button was pressed.
    which: Option<String>,
}

/// `POST /dashboard/notifications/lines`: the balances below which the owner is told.
pub(super) async fn set_lines(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let set = async |visitor: &Visitor, _, Lines { lines, which }| {
        let lines = match which.as_deref() {
            Some("usual") => None,
            Some("never") => Some(Vec::new()),
            _ => Some(typed(lines.as_deref(), |line| dollars("lines", line))?),
        };
        alerts::set_lines(&state.service, visitor.caller.account_id, lines).await?;
        Ok("lines")
    };
    carried_out(&state, &request, body, Scope::Billing, set).await
}

/// The lines of a key.
#[derive(Deserialize)]
struct Percents {
    percents: Option<String>,
}

/// `POST /dashboard/notifications/keys/{id}`: the parts of a key's limits that the owner is told of.
pub(super) async fn set_percents(
    state: Shared,
    request: HttpRequest,
    key: web::Path<String>,
    body: Body,
) -> HttpResponse {
    let set = async |visitor: &Visitor, _, Percents { percents }| {
        let rule = "must be whole numbers from 1 to 100, with commas";
        let percent = |text: &str| text.parse().map_err(|_| ApiError::invalid("percents", rule));
        let (key, percents) = (id("key", &key, "must be a key's id")?, typed(percents.as_deref(), percent)?);
        alerts::set_percents(&state.service, visitor.caller.account_id, KeyId(key), percents).await?;
        Ok("key")
    };
    carried_out(&state, &request, body, Scope::Keys, set).await
}
