//! Accounts: found, looked at, given credits, credits taken back, payments refunded.

use actix_web::{HttpRequest, HttpResponse, web};
use billing::{
    grant::{Grant, Source},
    ids::{AccountId, GrantId, PaymentId},
    payment::{Payment, PaymentStatus},
};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    kit::{Cell, Content, Field, Form, bad, link, number, text, verdict},
    page::{sent, visited},
    text::at,
};
use crate::{
    http::{
        account::requests::{refused_of, running_of},
        dashboard::text::{dollars, dollars_given},
        error::ApiError,
        once::Once,
        pages::said,
        query::Query,
        respond::Body,
        state::Shared,
        values,
    },
    idempotency::Life,
    service::{
        accounts::{self, Freezing, Operated},
        credits::{self, NewGrant},
        page::Page,
        payments,
    },
};

/// The accounts of a page.
const ROWS: u64 = 50;
/// The grants and payments of an account's page.
const FEW: u64 = 20;

/// `GET /operator/accounts`.
pub(super) async fn accounts(state: Shared, request: HttpRequest) -> HttpResponse {
    visited(&state, &request, "Accounts", async || listed(&state, &request).await).await
}

async fn listed(state: &Shared, request: &HttpRequest) -> Result<Content, ApiError> {
    let query = Query::of_form(request, &["search", "cursor"])?;
    let (search, before) = (query.get("search"), query.page()?.before);
    let found = accounts::search(&state.service, search, None, Page { before, limit: ROWS }).await?;
    let rows = found.rows.iter().map(|account| {
        let id = account.id.to_string();
        vec![
            link(&account.email, format!("/operator/accounts/{id}")),
            text(&account.plan),
            number(format!("${}", account.available)),
            number(format!("${}", account.debt)),
            if account.frozen_at.is_some() { verdict("frozen") } else { text("–") },
            text(at(account.created_at)),
            text(id),
        ]
    });
    let content = Content::default()
        .form(Form {
            id: "search",
            heading: "Find an account",
            says: String::new(),
            action: "/operator/accounts".to_owned(),
            is_search: true,
            fields: vec![Field::maybe("search", "Part of its e-mail address").with(search.unwrap_or_default())],
            button: "Find".to_owned(),
            confirm: String::new(),
        })
        .table(
            ("accounts", "Accounts, the newest first"),
            "",
            &["Address", "Plan", "Available", "Debt", "Frozen", "Since", "Id"],
            rows.collect(),
        );
    let Some(next) = found.next else { return Ok(content) };
    let pairs = search.map(|search| ("search", search.to_owned())).into_iter().chain([("cursor", next.to_string())]);
    let next = serde_urlencoded::to_string(pairs.collect::<Vec<_>>()).unwrap_or_default();
    Ok(content.links(vec![link("Older accounts", format!("/operator/accounts?{next}"))]))
}

/// What was done, as an address says it.
const SAID: [(&str, &str); 5] = [
    ("frozen", "The account is frozen: it admits no more requests. What runs goes on."),
    ("unfrozen", "The account admits requests again."),
    ("granted", "The credits were given."),
    ("voided", "The credits were taken back."),
    ("refunded", "The refund is under way: the credits that it bought were taken back."),
];

/// `GET /operator/accounts/{account}`.
pub(super) async fn account(state: Shared, request: HttpRequest, path: web::Path<String>) -> HttpResponse {
    let make = async || {
        let query = Query::of_form(&request, &["said"])?;
        Ok(Content { said: said(&query, &SAID).map(str::to_owned), ..one(&state, &path).await? })
    };
    visited(&state, &request, "Account", make).await
}

async fn one(state: &Shared, name: &str) -> Result<Content, ApiError> {
    let service = &state.service;
    let id = accounts::named(service, name).await?;
    let found = accounts::operated(service, id).await?;
    let few = Page { before: None, limit: FEW };
    let grants = credits::grants(service, id, few).await?.rows;
    let payments = payments::list(service, id, few).await?.rows;
    let running = running_of(state, Some(id), None);
    let refused = refused_of(state, id, None);
    let running = running.data.iter().map(|run| {
        let explain = link(run.id.to_string(), format!("/operator/requests/{}", run.id));
        vec![
            text(run.stage),
            text(&run.model),
            number(format!("${}", run.cost)),
            number(format!("${}", run.held)),
            explain,
        ]
    });
    let refused = refused.iter().take(20).map(|refused| {
        let explain = link(refused.id.to_string(), format!("/operator/requests/{}", refused.id));
        vec![
            text(super::text::second(refused.at)),
            text(&refused.code),
            text(&refused.model),
            text(&refused.message),
            explain,
        ]
    });
    let actions = found.last_actions.iter().map(|action| {
        let amount = action.amount.map_or_else(|| "–".to_owned(), |amount| format!("${amount}"));
        vec![text(at(action.at)), text(&action.action), number(amount), text(&action.reason), text(&action.subject)]
    });
    let older = if found.keys.next.is_some() { "The newest; farebox key list shows more." } else { "" };
    let keys = found.keys.rows.iter().map(|key| {
        let state = if key.revoked_at.is_some() { "revoked" } else { "works" };
        vec![text(&key.name), text(&key.public), text(state), text(at(key.created_at))]
    });
    let once = || state.onces.make(id);
    Ok(standing(&found)
        .table(
            ("running", "Running here"),
            "",
            &["Stage", "Model", "Cost so far", "Held", "Request"],
            running.collect(),
        )
        .table(
            ("refused", "Refused of late, here"),
            "",
            &["When", "Code", "Model", "Why", "Request"],
            refused.collect(),
        )
        .table(
            ("grants", "Credits, the newest first"),
            "",
            &["From", "Given", "Expires", "Amount", "Available", "Held", "Spent", "Grant"],
            grants.iter().map(grant_row).collect(),
        )
        .table(
            ("payments", "Payments, the newest first"),
            "",
            &["Begun", "For", "Amount", "Given back", "State", "Payment"],
            payments.iter().map(payment_row).collect(),
        )
        .table(("keys", "Keys"), older, &["Name", "Public part", "State", "Made"], keys.collect())
        .table(
            ("actions", "What operators did to it of late"),
            "",
            &["When", "What", "Amount", "Reason", "To what"],
            actions.collect(),
        )
        .form(freeze_form(id, once(), found.whole.picture.header.frozen_at.is_some()))
        .form(grant_form(id, once()))
        .form(void_form(id, once(), &grants))
        .form(refund_form(id, once(), &payments)))
}

fn standing(found: &Operated) -> Content {
    let (whole, balance) = (&found.whole, &found.whole.picture.balance);
    let expiry = balance.next_expiry.map(|(when, amount)| format!("${amount} at {}", at(when)));
    let facts = vec![
        ("Address", text(&whole.email)),
        ("Id", text(whole.id.to_string())),
        ("Plan", text(whole.picture.header.plan.name())),
        ("Since", text(at(whole.created_at))),
        (
            "Frozen",
            whole.picture.header.frozen_at.map_or_else(|| text("no"), |since| bad(format!("since {}", at(since)))),
        ),
        ("Bought in the last 28 days", text(format!("${}", balance.purchased))),
        ("Open models up to", text(balance.tier.largest.name())),
        ("Units in use", text(format!("{} of {}", balance.units_used, balance.tier.units))),
        ("Requests in line", text(whole.picture.waiting.to_string())),
        ("Next credits to expire", text(expiry.unwrap_or_else(|| "none".to_owned()))),
        ("Another has its address", text(if found.twin { "yes, in another spelling" } else { "no" })),
    ];
    Content::default()
        .tile("Available", text(format!("${}", balance.available)))
        .tile("Held", text(format!("${}", balance.held)))
        .tile("Debt", text(format!("${}", balance.debt)))
        .tile("Running requests", text(whole.picture.holds.len().to_string()))
        .links(vec![link("All accounts", "/operator/accounts")])
        .facts("facts", "How it stands", facts)
}

fn grant_row(grant: &Grant) -> Vec<Cell> {
    let amounts = [grant.funded, grant.available, grant.held, grant.spent].map(|amount| number(format!("${amount}")));
    let head = [text(grant.source.name().replace('_', " ")), text(at(grant.created_at)), text(at(grant.expires_at))];
    head.into_iter().chain(amounts).chain([text(grant.id.to_string())]).collect()
}

fn payment_row(payment: &Payment) -> Vec<Cell> {
    vec![
        text(at(payment.created_at)),
        text(payment.purpose.name().replace('_', " ")),
        number(format!("${}", payment.amount)),
        number(format!("${}", payment.reversed)),
        verdict(if payment.status == PaymentStatus::Succeeded { "ok" } else { payment.status.name() }),
        text(payment.id.to_string()),
    ]
}

fn freeze_form(id: AccountId, once: Uuid, is_frozen: bool) -> Form {
    let (act, heading, says, confirm) = if is_frozen {
        let says = "It admits requests again. A renewal of its plan that was due meanwhile is charged now.";
        ("unfreeze", "Unfreeze the account", says, "Unfreeze this account?")
    } else {
        let says = "It admits no more requests, and buys nothing by itself. What runs goes on; its keys stay, and it may be paid \
                    in and refunded by hand. Its owner is told, without the reason.";
        ("freeze", "Freeze the account", says, "Freeze this account?")
    };
    Form {
        id: "freeze",
        heading,
        says: says.to_owned(),
        action: format!("/operator/accounts/{id}/{act}"),
        is_search: false,
        fields: vec![Field::hidden("once", once), Field::of("reason", "Reason")],
        button: heading.to_owned(),
        confirm: confirm.to_owned(),
    }
}

const GIVEN: &[&str] = &["goodwill", "promo", "plan", "free"];

fn grant_form(id: AccountId, once: Uuid) -> Form {
    Form {
        id: "grant",
        heading: "Give credits",
        says: String::new(),
        action: format!("/operator/accounts/{id}/grant"),
        is_search: false,
        fields: vec![
            Field::hidden("once", once),
            Field::of("amount", "Dollars"),
            Field::of("source", "As").among(GIVEN),
            Field::of("reason", "Reason"),
        ],
        button: "Give".to_owned(),
        confirm: "Give these credits?".to_owned(),
    }
}

fn void_form(id: AccountId, once: Uuid, grants: &[Grant]) -> Form {
    let first = grants.iter().find(|grant| grant.available.is_positive());
    Form {
        id: "void",
        heading: "Take credits back",
        says: "What running requests hold of them is taken as they end.".to_owned(),
        action: format!("/operator/accounts/{id}/void"),
        is_search: false,
        fields: vec![
            Field::hidden("once", once),
            Field::of("grant", "Grant").with(first.map(|grant| grant.id.to_string()).unwrap_or_default()),
            Field::maybe("amount", "Dollars; all that is left if empty"),
            Field::of("reason", "Reason"),
        ],
        button: "Take back".to_owned(),
        confirm: "Take these credits back?".to_owned(),
    }
}

fn refund_form(id: AccountId, once: Uuid, payments: &[Payment]) -> Form {
    let is_refundable =
        |payment: &&Payment| payment.status == PaymentStatus::Succeeded && payment.reversed < payment.amount;
    let first = payments.iter().find(is_refundable);
    Form {
        id: "refund",
        heading: "Refund a payment",
        says: "The money goes back to the card, and the credits that it bought are taken back.".to_owned(),
        action: format!("/operator/accounts/{id}/refund"),
        is_search: false,
        fields: vec![
            Field::hidden("once", once),
            Field::of("payment", "Payment").with(first.map(|payment| payment.id.to_string()).unwrap_or_default()),
            Field::maybe("amount", "Dollars; all of it if empty"),
            Field::of("reason", "Reason"),
        ],
        button: "Refund".to_owned(),
        confirm: "Refund this payment?".to_owned(),
    }
}

/// Credits to give.
#[derive(Deserialize)]
struct Granting {
    once: Once,
    #[serde(default)]
    amount: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    reason: String,
}

/// `POST /operator/accounts/{account}/grant`.
pub(super) async fn grant(state: Shared, request: HttpRequest, path: web::Path<String>, body: Body) -> HttpResponse {
    let act = async |Granting { once, amount, source, reason }| {
        let account = accounts::named(&state.service, &path).await?;
        let origin = state.onces.origin(account, once, Life::Again)?;
        let source = Source::from_name(&source).filter(|source| credits::is_given(*source));
        let source = source.ok_or_else(|| ApiError::invalid("source", "must be one that nobody pays for"))?;
        let (amount, reason) = (dollars("amount", &amount)?, values::reason(reason)?);
        let wanted = NewGrant { source, amount, expires_at: None, reason: Some(reason) };
        credits::give(&state.service, origin, account, wanted).await?;
        Ok(format!("/operator/accounts/{account}?said=granted"))
    };
    sent(&state, &request, "Account", body, act, async || one(&state, &path).await).await
}

/// That an account is to be frozen or unfrozen.
#[derive(Deserialize)]
struct Freeze {
    once: Once,
    #[serde(default)]
    reason: String,
}

/// `POST /operator/accounts/{account}/freeze`.
pub(super) async fn freeze(state: Shared, request: HttpRequest, path: web::Path<String>, body: Body) -> HttpResponse {
    set_frozen(&state, &request, &path, Freezing::Freeze, body).await
}

/// `POST /operator/accounts/{account}/unfreeze`.
pub(super) async fn unfreeze(state: Shared, request: HttpRequest, path: web::Path<String>, body: Body) -> HttpResponse {
    set_frozen(&state, &request, &path, Freezing::Unfreeze, body).await
}

async fn set_frozen(state: &Shared, request: &HttpRequest, path: &str, freezing: Freezing, body: Body) -> HttpResponse {
    let act = async |Freeze { once, reason }| {
        let account = accounts::named(&state.service, path).await?;
        let origin = state.onces.origin(account, once, Life::Again)?;
        accounts::set_frozen(&state.service, origin, account, freezing, values::reason(reason)?).await?;
        let said = if freezing == Freezing::Freeze { "frozen" } else { "unfrozen" };
        if accounts::is_frozen(&state.service, account).await? != (freezing == Freezing::Freeze) {
            return Err(ApiError::conflict(format!(
                "This form was carried out before: the account was {said}, and is not so any more. Open the page again."
            )));
        }
        Ok(format!("/operator/accounts/{account}?said={said}"))
    };
    sent(state, request, "Account", body, act, async || one(state, path).await).await
}

/// Credits to take back.
#[derive(Deserialize)]
struct Voiding {
    once: Once,
    #[serde(default)]
    grant: String,
    amount: Option<String>,
    #[serde(default)]
    reason: String,
}

/// `POST /operator/accounts/{account}/void`.
pub(super) async fn void(state: Shared, request: HttpRequest, path: web::Path<String>, body: Body) -> HttpResponse {
    let act = async |Voiding { once, grant, amount, reason }| {
        let account = accounts::named(&state.service, &path).await?;
        let origin = state.onces.origin(account, once, Life::Again)?;
        let grant = GrantId(values::id("grant", grant.trim(), "must be a grant's id")?);
        let (part, reason) = (dollars_given("amount", amount.as_deref())?, values::reason(reason)?);
        credits::take_back(&state.service, origin, account, grant, part, reason).await?;
        Ok(format!("/operator/accounts/{account}?said=voided"))
    };
    sent(&state, &request, "Account", body, act, async || one(&state, &path).await).await
}

/// A payment to refund.
#[derive(Deserialize)]
struct Refunding {
    once: Once,
    #[serde(default)]
    payment: String,
    amount: Option<String>,
    #[serde(default)]
    reason: String,
}

/// `POST /operator/accounts/{account}/refund`.
pub(super) async fn refund(state: Shared, request: HttpRequest, path: web::Path<String>, body: Body) -> HttpResponse {
    let act = async |Refunding { once, payment, amount, reason }| {
        let account = accounts::named(&state.service, &path).await?;
        let origin = state.onces.origin(account, once, Life::Again)?;
        let payment = PaymentId(values::id("payment", payment.trim(), "must be a payment's id")?);
        // The account's own: a payment of another is not refunded from its page.
        payments::whole(&state.service, account, payment).await?;
        let amount = dollars_given("amount", amount.as_deref())?;
        let amount = amount.map(|amount| payments::check_cents("amount", amount)).transpose()?;
        payments::refund(&state.service, origin, payment, amount, values::reason(reason)?).await?;
        Ok(format!("/operator/accounts/{account}?said=refunded"))
    };
    sent(&state, &request, "Account", body, act, async || one(&state, &path).await).await
}
