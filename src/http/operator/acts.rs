//! What operators do to models, providers and actors: a page asks for the reason, and lists what was done.

use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;

use super::{
    kit::{Cell, Content, Field, Form, link, text, verdict},
    page::{sent, visited},
    text::at,
};
use crate::{
    http::{
        admin::acts::{act_of, carried_out, says},
        error::ApiError,
        query::Query,
        respond::Body,
        state::Shared,
        values,
    },
    service::{
        operators::{self, KnownBy},
        page::Page,
    },
};

/// The acts of a page.
const ROWS: u64 = 50;

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
        "sweeper" | "webhook" | "projector" | "payment" => vec![to("restart", kind, "Restart it")],
        "pool" => vec![to("restart", &format!("pool {name}"), "Load its models anew")],
        "engine" => vec![
            to("reload", name, "Load its model anew"),
            to("drain", name, "Drain its model"),
            to("unload", name, "Unload its model"),
        ],
        _ => Vec::new(),
    }
}

const ACTS: &[&str] = &["load", "unload", "reload", "pin", "unpin", "drain", "pause", "resume", "restart"];

/// `GET /operator/acts`: the form of one act, and what was done.
pub(super) async fn page(state: Shared, request: HttpRequest) -> HttpResponse {
    visited(&state, &request, "Acts", async || made(&state, &request).await).await
}

async fn made(state: &Shared, request: &HttpRequest) -> Result<Content, ApiError> {
    let query = Query::of_form(request, &["act", "subject", "cursor"])?;
    let before = query.page()?.before;
    let found = operators::list(&state.service, Page { before, limit: ROWS }).await?;
    let (act, subject) = (query.get("act").unwrap_or("drain"), query.get("subject").unwrap_or_default());
    let form = Form {
        id: "act",
        heading: "Do something",
        says: "Load, unload, reload, pin, unpin and drain are for open models; pause and resume for providers; restart for the \
               sweeper, webhook, projector, payment, a provider's actor (\"provider openai\"), a pool (\"pool 7B\"), a model's \
               engine (\"engine\" and its name) and an account's actor (\"account\" and its id). No request fails of it: what \
               runs goes on. It holds in this process alone, until that ends: other nodes are to be asked, too."
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
    let rows = found.rows.iter().map(|done| {
        let outcome = done.failed.as_ref().map_or_else(|| verdict("ok"), |_| verdict("failed"));
        let why_not = done.failed.clone().unwrap_or_default();
        vec![
            text(at(done.at)),
            text(&done.act),
            text(&done.subject),
            text(&done.reason),
            text(&done.known_by),
            text(done.node.map_or_else(|| "–".to_owned(), |node| node.to_string())),
            outcome,
            text(why_not),
        ]
    });
    let content = Content::default().form(form).table(
        ("done", "What operators did, the newest first"),
        "What they did to accounts is in each account's page.",
        &["When", "What", "To what", "Reason", "Known by", "Node", "Outcome", "Why not"],
        rows.collect(),
    );
    let Some(next) = found.next else { return Ok(content) };
    Ok(content.links(vec![link("Older acts", format!("/operator/acts?cursor={next}"))]))
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
        let done = carried_out(&state, KnownBy::Session, &act, reason).await?;
        tracing::debug!(says = says(done), "an operator's act is done");
        Ok("/operator/acts".to_owned())
    };
    sent(&state, &request, "Acts", body, act, async || made(&state, &request).await).await
}
