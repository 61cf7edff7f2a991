//! Money of all accounts together, and the audit.

use actix_web::{HttpRequest, HttpResponse};

use super::{
    kit::{Content, Form, link, number, text, verdict},
    page::{sent, visited},
    text::{ms, second},
};
use crate::{
    http::{
        admin::overview::treasury,
        error::ApiError,
        pages::Empty,
        respond::Body,
        state::Shared,
        views::{operations::Audit, treasury::Treasury},
    },
    service::operations,
};

/// `GET /operator/money`.
pub(super) async fn money(state: Shared, request: HttpRequest) -> HttpResponse {
    visited(&state, &request, "Money", async || made(&state).await).await
}

async fn made(state: &Shared) -> Result<Content, ApiError> {
    Ok(of(&treasury(state).await?))
}

fn of(now: &Treasury) -> Content {
    let holds = now.holds.iter().map(|of| {
        let accrued = format!("${}", of.accrued);
        vec![text(of.age), number(of.holds), number(accrued), text(second(of.oldest_at))]
    });
    let today = now.today.iter().map(|day| {
        vec![
            text(&day.model),
            text(&day.provider),
            number(day.requests),
            number(day.failed),
            number(format!("${}", day.charged)),
            number(format!("${}", day.margin)),
        ]
    });
    let disputes = now.disputes.iter().map(|dispute| {
        let account = dispute.account_id.to_string();
        vec![
            text(second(dispute.at)),
            verdict(if dispute.state == "won" { "ok" } else { &dispute.state }),
            number(format!("${}", dispute.amount)),
            link(&account, format!("/operator/accounts/{account}")),
            text(dispute.payment_id.to_string()),
        ]
    });
    let write_offs = now.write_offs.iter().map(|of| {
        vec![
            text(&of.month),
            text(of.kind.replace('_', " ")),
            number(of.requests),
            number(format!("${}", of.charged)),
            number(format!("${}", of.given_back)),
        ]
    });
    let content = Content::default()
        .tile("Accounts", text(now.accounts.to_string()))
        .tile("Credits to spend", text(format!("${}", now.available)))
        .tile("Held", text(format!("${}", now.held)))
        .tile("Debt", text(format!("${}, of {} accounts", now.debt, now.debtors)))
        .tile("Tables behind the log", text(now.behind.to_string()))
        .tile("Captures that wait", text(now.captures_waiting.to_string()))
        .says(format!(
            "The tables were read at {}; they are read again every few seconds while somebody looks.",
            second(now.at)
        ));
    let content = match &now.last_audit {
        Some(last) => content.facts("audit", "The last audit", audited(second(last.at), ms(last.took_ms), &last.found)),
        None => content.says("Nobody has asked this process for an audit yet."),
    };
    let violations = now.last_audit.iter().flat_map(|last| &last.found.violations);
    let violations: Vec<_> = violations.map(|it| vec![number(it.invariant), text(&it.what)]).collect();
    let content = if violations.is_empty() {
        content
    } else {
        content.table(("violations", "Violations"), "", &["Invariant", "What"], violations)
    };
    content
        .form(Form {
            id: "audit-now",
            heading: "Audit",
            says: "All balances are made again from the ledger, and held against the tables. It only reads, and takes a while \
                   where there is much."
                .to_owned(),
            action: "/operator/money/audit".to_owned(),
            is_search: false,
            fields: Vec::new(),
            button: "Audit now".to_owned(),
            confirm: String::new(),
        })
        .table(
            ("holds", "Holds of running requests by age"),
            "",
            &["Age", "Holds", "Cost so far", "The oldest is of"],
            holds.collect(),
        )
        .table(
            ("today", "Today by model"),
            "Of what providers' models are charged the margin is the fee, about: 2 of 102. Of our own models it is all.",
            &["Model", "Provider", "Requests", "Failed", "Charged", "Margin"],
            today.collect(),
        )
        .table(
            ("write-offs", "Written off in the last twelve months"),
            "Requests whose process died while they ran. Of those that are recovered, what they had cost when that was last written \
             down was charged; of the others nothing. What was held for them beyond that was given back: about the most that was \
             lost.",
            &["Month", "Kind", "Requests", "Charged", "Given back"],
            write_offs.collect(),
        )
        .table(
            ("disputes", "The latest disputes"),
            "",
            &["Heard", "State", "Amount", "Account", "Payment"],
            disputes.collect(),
        )
}

fn audited(at: String, took: String, found: &Audit) -> Vec<(&'static str, super::kit::Cell)> {
    vec![
        ("Found", verdict(if found.ok { "ok" } else { "failed" })),
        ("Ended", text(at)),
        ("Took", text(took)),
        ("Accounts", text(found.accounts.to_string())),
        ("Lines replayed", text(found.lines.to_string())),
        ("Requests", text(found.requests.to_string())),
        ("Open holds", text(found.open_holds.to_string())),
        ("Rows behind", text(found.behind.to_string())),
    ]
}

/// `POST /operator/money/audit`.
pub(super) async fn audit(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let act = async |Empty {}| {
        operations::audit(&state.service).await?;
        Ok("/operator/money".to_owned())
    };
    sent(&state, &request, "Money", body, act, async || made(&state).await).await
}
