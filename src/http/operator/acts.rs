//! What operators do to models, providers and actors: a page asks for the reason, and lists what was done.

use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;

use super::{
    kit::{Cell, Content, Field, Form, link, text, verdict},
    page::{sent, visited},
    text::at,
};
use crate::http::{
    admin::acts::{act_of, says},
    error::ApiError,
    query::Query,
    respond::Body,
    state::Shared,
    values,
};

/// A text as a part of an address.
pub(super) fn encoded(text: &str) -> String {
    serde_urlencoded::to_string([("", text)]).unwrap_or_default().trim_start_matches('=').replace('+', "%20")
}

fn to(act: &str, subject: &str, label: &str) -> Cell {
    let query = serde_urlencoded::to_string([("act", act), ("subject", subject)]).unwrap_or_default();
    link(label, format!("/operator/acts?{query}"))
}

/// What can be done to a model that stands so.
pub(super) fn of_model(id: &str, state: &str) -> Cell {
    if state == "unavailable" { to("load", id, "Resume") } else { to("drain", id, "Drain") }
}

/// What can be done to a provider.
pub(super) fn of_provider(name: &str, is_paused: bool) -> Cell {
    if is_paused { to("resume", name, "Resume") } else { to("pause", name, "Pause") }
}

/// What can be done to an actor.
pub(super) fn of_actor(kind: &str, name: &str) -> Vec<Cell> {
    match kind {
        "provider" => {
            vec![to("restart", &format!("provider {name}"), "Restart its actor"), to("pause", name, "Pause it")]
        }
        "sweeper" => vec![to("restart", "sweeper", "Restart it")],
        "engine" => vec![to("drain", name, "Drain its model"), to("unload", name, "Unload its model")],
        _ => Vec::new(),
    }
}

const ACTS: &[&str] = &["load", "unload", "pin", "unpin", "drain", "pause", "resume", "restart"];

/// `GET /operator/acts`: the form of one act, and what was done.
pub(super) async fn page(state: Shared, request: HttpRequest) -> HttpResponse {
    visited(&state, &request, "Acts", async || made(&state, &request)).await
}

fn made(state: &Shared, request: &HttpRequest) -> Result<Content, ApiError> {
    let query = Query::of_form(request, &["act", "subject"])?;
    let (act, subject) = (query.get("act").unwrap_or("drain"), query.get("subject").unwrap_or_default());
    let form = Form {
        id: "act",
        heading: "Do something",
        says: "Load, unload, pin, unpin and drain are for open models; pause and resume for providers; restart for the sweeper \
               and for a provider's actor, such as \"provider openai\". No request fails of it: what runs goes on."
            .to_owned(),
        action: "/operator/acts".to_owned(),
        is_search: false,
        fields: vec![
            Field::of("act", "What").among(ACTS).with(act),
            Field::of("subject", "To what").with(subject),
            Field::of("reason", "Reason"),
        ],
        button: "Do it".to_owned(),
        confirm: "Do this?".to_owned(),
    };
    let rows = state.gateway.acts().into_iter().map(|act| {
        let outcome = act.failed.as_ref().map_or_else(|| verdict("ok"), |_| verdict("failed"));
        let why_not = act.failed.clone().unwrap_or_default();
        vec![text(at(act.at)), text(act.act.name()), text(act.act.subject()), text(&act.reason), outcome, text(why_not)]
    });
    Ok(Content::default().form(form).table(
        ("done", "What operators did since the process began, the newest first"),
        "What they did to accounts is in each account's page.",
        &["When", "What", "To what", "Reason", "Outcome", "Why not"],
        rows.collect(),
    ))
}

/// An act to carry out.
#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    act: String,
    #[serde(default)]
    subject: String,
    #[serde(default)]
    reason: String,
}

/// `POST /operator/acts`.
pub(super) async fn act(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let act = async |Wanted { act, subject, reason }| {
        let reason = values::reason(reason)?;
        let act = act_of(&act, subject.trim())?;
        let done = state.gateway.carry_out(act, reason).await?;
        tracing::debug!(says = says(done), "an operator's act is done");
        Ok("/operator/acts".to_owned())
    };
    sent(&state, &request, "Acts", body, act, async || made(&state, &request)).await
}
