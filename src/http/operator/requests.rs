//! Running requests, and one request explained.

use actix_web::{HttpRequest, HttpResponse, web};
use billing::ids::RequestId;

use super::{
    kit::{Cell, Content, Field, Form, link, number, text, verdict},
    page::{sent, visited},
    text::second,
};
use crate::http::{
    account::requests::running_of,
    admin::requests::explained,
    error::ApiError,
    pages::{Empty, to},
    query::Query,
    respond::Body,
    state::Shared,
    values,
    views::running::{Explained, RunningRequest},
};

/// `GET /operator/requests`, and by `id` the page of one.
pub(super) async fn requests(state: Shared, request: HttpRequest) -> HttpResponse {
    if let Ok(query) = Query::of_form(&request, &["id"])
        && let Some(id) = query.get("id").and_then(|id| values::id("id", id.trim(), "must be an id").ok())
    {
        return to(&format!("/operator/requests/{id}"));
    }
    let make = async || {
        Query::of_form(&request, &["id"])?
            .get("id")
            .map_or(Ok(()), |_| Err(ApiError::invalid("id", "must be a request's id")))?;
        Ok(listed(&state))
    };
    visited(&state, &request, "Requests", make).await
}

fn listed(state: &Shared) -> Content {
    let all = running_of(state, None, None);
    Content::default()
        .tile("Running here", text(all.running.to_string()))
        .tile("Refusals remembered", text(state.gateway.refusals.count().to_string()))
        .form(Form {
            id: "find",
            heading: "Explain a request",
            says: "One that runs, one that has ended, or one that was refused of late.".to_owned(),
            action: "/operator/requests".to_owned(),
            is_search: true,
            fields: vec![Field::of("id", "Request id")],
            button: "Explain".to_owned(),
            confirm: String::new(),
        })
        .table(
            ("running", "Running requests, the oldest first"),
            "",
            &["Since", "Stage", "At it since", "Model", "Provider", "Cost so far", "Held", "Account", "Request"],
            all.data.iter().map(row).collect(),
        )
}

fn row(run: &RunningRequest) -> Vec<Cell> {
    vec![
        text(second(run.asked_at)),
        text(run.stage),
        text(second(run.since)),
        text(&run.model),
        text(&run.provider),
        number(format!("${}", run.cost)),
        number(format!("${}", run.held)),
        link(run.account_id.to_string(), format!("/operator/accounts/{}", run.account_id)),
        link(run.id.to_string(), format!("/operator/requests/{}", run.id)),
    ]
}

/// `GET /operator/requests/{id}`.
pub(super) async fn request(state: Shared, request: HttpRequest, path: web::Path<String>) -> HttpResponse {
    visited(&state, &request, "Request", async || found(&state, &path).await).await
}

async fn found(state: &Shared, id: &str) -> Result<Content, ApiError> {
    let id = RequestId(values::id("id", id, "must be a request's id")?);
    let node = state.cluster.as_ref().and_then(|cluster| cluster.node_of(id));
    match (explained(state, id).await, node) {
        (Ok(found), _) => Ok(one(&found)),
        (Err(_), Some(node)) => {
            Ok(Content::default().says(format!("It was taken in by node {}, whose pages explain it.", node.0)))
        }
        (Err(error), None) => Err(error),
    }
}

fn one(found: &Explained) -> Content {
    let mut facts = vec![
        ("Request", text(found.id.to_string())),
        ("State", verdict(found.state)),
        ("Account", link(found.account_id.to_string(), format!("/operator/accounts/{}", found.account_id))),
    ];
    let content = Content::default().links(vec![link("All requests", "/operator/requests")]).says(&found.says);
    if let Some(run) = &found.running {
        facts.extend([
            ("Model", text(&run.model)),
            ("Provider", text(&run.provider)),
            ("Asked", text(second(run.asked_at))),
            ("Stage", text(run.stage)),
            ("Since", text(second(run.since))),
            ("Waits for", text(&run.waits_for)),
            ("Cost so far", text(format!("${}", run.cost))),
            ("Held", text(format!("${}", run.held))),
        ]);
        let form = Form {
            id: "cancel",
            heading: "End it",
            says: "It ends as if its client had left: what it used until then is charged.".to_owned(),
            action: format!("/operator/requests/{}/cancel", found.id),
            is_search: false,
            fields: Vec::new(),
            button: "End the request".to_owned(),
            confirm: "End this request?".to_owned(),
        };
        return content.facts("facts", "What is known", facts).form(form);
    }
    if let Some(refused) = &found.refused {
        facts.extend([
            ("Model", text(&refused.model)),
            ("Refused", text(second(refused.at))),
            ("Status", text(refused.status.to_string())),
            ("Code", text(&refused.code)),
            ("Why", text(&refused.message)),
        ]);
        let numbers = refused.error.as_object().into_iter().flatten();
        let said = ["status", "error", "message", "code", "request_id"];
        let numbers = numbers.filter(|(name, _)| !said.contains(&name.as_str()));
        let numbers = numbers.map(|(name, value)| {
            vec![text(name), text(value.as_str().map_or_else(|| value.to_string(), str::to_owned))]
        });
        return content.facts("facts", "What is known", facts).table(
            ("numbers", "The limit's numbers"),
            "",
            &["Name", "Value"],
            numbers.collect(),
        );
    }
    let Some(ended) = &found.ended else { return content.facts("facts", "What is known", facts) };
    facts.extend([
        ("Model", text(&ended.model)),
        ("Provider", text(&ended.provider)),
        ("Ended as", text(&ended.ending)),
        ("Began", text(second(ended.started_at))),
        ("Ended", text(second(ended.ended_at))),
        ("Tokens read, written", text(format!("{}, {}", ended.input_tokens, ended.output_tokens))),
        ("Compute", text(format!("{} ms, billed {} s", ended.compute_ms, ended.billed_seconds))),
        ("Charged", text(format!("${}, of it the fee ${}", ended.cost, ended.fee))),
        ("Price version", text(ended.price_version.to_string())),
    ]);
    let attempts = ended.attempts.iter().map(|attempt| {
        let charged = number(format!("${}", attempt.charged));
        vec![text(second(attempt.started_at)), text(&attempt.model), text(&attempt.outcome), charged]
    });
    content.facts("facts", "What is known", facts).table(
        ("attempts", "Attempts with several models"),
        "",
        &["Began", "Model", "Outcome", "Charged"],
        attempts.collect(),
    )
}

/// `POST /operator/requests/{id}/cancel`.
pub(super) async fn cancel(state: Shared, request: HttpRequest, path: web::Path<String>, body: Body) -> HttpResponse {
    let act = async |Empty {}| {
        let id = RequestId(values::id("id", &path, "must be a request's id")?);
        if !state.gateway.accounts.running().end(id) {
            return Err(ApiError::conflict("It does not run here any more, or waits to be let in."));
        }
        Ok(format!("/operator/requests/{}", id.0))
    };
    sent(&state, &request, "Request", body, act, async || found(&state, &path).await).await
}
