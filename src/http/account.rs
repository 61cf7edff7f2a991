//! An account's own view of its money: balance, grants, holds, requests, purchases.

use actix_web::{HttpRequest, HttpResponse, web};
use billing::{
    Nanos,
    account::Balance,
    class::SizeClass,
    grant::Grant,
    hold::Hold,
    ids::{PaymentId, RequestId},
    payment::{Payment, Purpose},
};
use bytes::Bytes;
use farebox_actors::{
    account::{Bought, Buy, Look, Picture},
    card::sandbox,
    ledger::query::LARGEST_PAGE,
};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Arrival, Shared, answer, auth, error::ApiError, parse_body};

/// A balance as clients read it.
pub fn balance_json(balance: &Balance) -> Value {
    let next = balance.next_expiry.map(|(at, amount)| json!({"at": at.to_string(), "amount": amount}));
    json!({
        "available": balance.available,
        "held": balance.held,
        "debt": balance.debt,
        "currency": "USD",
        "tier": {
            "purchased": balance.purchased,
            "from": balance.tier.purchased,
            "largest_class": balance.tier.largest.name(),
            "units": balance.tier.units.to_string(),
            "units_used": balance.units_used.to_string(),
            "unlocked": SizeClass::ALL.iter().filter(|c| **c <= balance.tier.largest).map(|c| c.name()).collect::<Vec<_>>(),
        },
        "next_expiry": next,
    })
}

fn grant_json(grant: &Grant) -> Value {
    json!({
        "id": grant.id.to_string(), "source": grant.source.name(), "created_at": grant.created_at.to_string(),
        "expires_at": grant.expires_at.to_string(), "amount": grant.funded, "available": grant.available,
        "held": grant.held, "spent": grant.spent, "expired": grant.expired, "voided": grant.voided,
    })
}

fn hold_json(hold: &Hold) -> Value {
    json!({
        "request_id": hold.request_id.to_string(), "model": hold.model, "amount": hold.total(), "accrued": hold.accrued,
        "worst_case": hold.worst_case, "placed_at": hold.placed_at.to_string(), "deadline": hold.deadline.to_string(),
    })
}

/// A payment as clients read it.
pub fn payment_json(payment: &Payment) -> Value {
    json!({
        "id": payment.id.to_string(), "amount": payment.amount, "status": payment.status.name(), "method": payment.method,
        "decline_code": payment.decline_code, "created_at": payment.created_at.to_string(),
    })
}

/// A page: how many, and older than which.
#[derive(Debug)]
struct Page {
    before: Option<Uuid>,
    limit: u64,
}

fn page(request: &HttpRequest) -> Result<Page, ApiError> {
    let mut page = Page { before: None, limit: 50 };
    for pair in request.query_string().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "before" => {
                page.before = Some(Uuid::parse_str(value).map_err(|_| ApiError::invalid("before", "must be an id"))?);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit));
                let message = format!("must be a whole number from 1 to {LARGEST_PAGE}");
                page.limit = limit.ok_or_else(|| ApiError::invalid("limit", message))?;
            }
            other => return Err(ApiError::invalid(other, "is not a parameter here")),
        }
    }
    Ok(page)
}

fn listed(data: &[Value], id: &str, limit: u64) -> Value {
    let more = data.len() as u64 == limit;
    let next = data.last().filter(|_| more).map(|last| last[id].clone());
    json!({"data": data, "next_before": next})
}

/// `GET /v1/balance`.
pub async fn balance(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::caller(&state, &request).await?;
        let picture: Picture = state.gateway.directory.ask(caller.account_id, Look).await?;
        Ok(balance_json(&picture.balance))
    };
    answer(&request, work.await)
}

/// `GET /v1/grants`, newest first.
pub async fn grants(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::caller(&state, &request).await?;
        let Page { before, limit } = page(&request)?;
        let grants = state.gateway.directory.ledger().grants(caller.account_id, before, limit).await?;
        Ok(listed(&grants.iter().map(grant_json).collect::<Vec<_>>(), "id", limit))
    };
    answer(&request, work.await)
}

/// `GET /v1/holds`: what running requests have set aside, oldest first.
pub async fn holds(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::caller(&state, &request).await?;
        let picture: Picture = state.gateway.directory.ask(caller.account_id, Look).await?;
        Ok(json!({"data": picture.holds.iter().map(hold_json).collect::<Vec<_>>()}))
    };
    answer(&request, work.await)
}

/// `GET /v1/requests`: ended requests, newest first.
pub async fn requests(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::caller(&state, &request).await?;
        let Page { before, limit } = page(&request)?;
        let rows = state.gateway.directory.ledger().requests(caller.account_id, before, limit).await?;
        let data = rows.iter().map(|row| serde_json::to_value(row).map_err(|error| ApiError::internal(&error)));
        Ok(listed(&data.collect::<Result<Vec<_>, _>>()?, "id", limit))
    };
    answer(&request, work.await)
}

/// `GET /v1/requests/{id}`.
pub async fn request(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::caller(&state, &request).await?;
        let id = Uuid::parse_str(&id).map_err(|_| ApiError::invalid("id", "must be an id"))?;
        let row = state.gateway.directory.ledger().request(caller.account_id, RequestId(id)).await?;
        let row = row.ok_or_else(|| ApiError::not_found("this request"))?;
        serde_json::to_value(row).map_err(|error| ApiError::internal(&error))
    };
    answer(&request, work.await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Purchase {
    amount: Value,
    payment_method: Option<String>,
}

/// An amount of dollars as a string or a number.
pub fn amount(field: &str, value: &Value) -> Result<Nanos, ApiError> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err(ApiError::invalid(field, "must be an amount of dollars, such as \"10.00\"")),
    };
    text.parse().map_err(|error| ApiError::invalid(field, error))
}

/// `POST /v1/credits/purchase`: charges a card and adds the credits.
pub async fn purchase(state: Shared, request: HttpRequest, body: Result<Bytes, actix_web::Error>) -> HttpResponse {
    let work = async {
        let caller = auth::caller(&state, &request).await?;
        let body = body.map_err(|_| ApiError::too_large(state.settings.limits.body_bytes))?;
        let Purchase { amount: wanted, payment_method } = parse_body(&body)?;
        let amount = amount("amount", &wanted)?;
        let method = payment_method.unwrap_or_else(|| "pm_card_visa".to_owned());
        if !sandbox::knows(&method) {
            let cards = sandbox::cards().collect::<Vec<_>>().join(", ");
            return Err(ApiError::invalid("payment_method", format!("is no test card; there are {cards}")));
        }
        let created_at = state.gateway.clock().now();
        // What a request makes has its id: a retry after a crash asks the ledger by it.
        let id = PaymentId(Arrival::of(&request).id.0);
        let payment = Payment::new(id, Purpose::Purchase, amount, method, created_at);
        let Bought { payment, answer } = state.gateway.directory.ask(caller.account_id, Buy(payment)).await?;
        answer.result?;
        if let Some(code) = &payment.decline_code {
            return Err(ApiError::payment_declined(code));
        }
        Ok(json!({"payment": payment_json(&payment), "balance": balance_json(&answer.balance)}))
    };
    answer(&request, work.await)
}
