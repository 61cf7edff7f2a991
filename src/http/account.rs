//! An account's own view of its money: balance, grants, purchases. What happened to it is in [`super::history`].

use actix_web::{HttpRequest, HttpResponse};
use billing::{
    Nanos,
    account::Balance,
    class::SizeClass,
    grant::Grant,
    ids::PaymentId,
    payment::{Payment, Purpose},
};
use bytes::Bytes;
use farebox_actors::{
    account::{Bought, Buy, Look, Picture},
    card::sandbox,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Arrival, Shared, answer, auth,
    error::ApiError,
    parse_body,
    query::{Query, list_by_id},
};

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

/// A payment as clients read it.
pub fn payment_json(payment: &Payment) -> Value {
    json!({
        "id": payment.id.to_string(), "amount": payment.amount, "status": payment.status.name(), "method": payment.method,
        "decline_code": payment.decline_code, "created_at": payment.created_at.to_string(),
    })
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
        let query = Query::of(&request, &["limit", "cursor"])?;
        let (before, limit) = (query.cursor_id()?, query.limit()?);
        let grants = state.gateway.directory.ledger().grants(caller.account_id, before, limit).await?;
        Ok(list_by_id(grants.iter().map(grant_json).collect(), limit))
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

/// The card a payment is charged to.
pub fn method(_: &Shared, named: Option<String>) -> Result<String, ApiError> {
    let method = named.unwrap_or_else(|| "pm_card_visa".to_owned());
    if sandbox::knows(&method) {
        return Ok(method);
    }
    let cards = sandbox::cards().collect::<Vec<_>>().join(", ");
    Err(ApiError::invalid("payment_method", format!("is no test card; there are {cards}")))
}

/// `POST /v1/credits/purchase`: charges a card and adds the credits.
pub async fn purchase(state: Shared, request: HttpRequest, body: Result<Bytes, actix_web::Error>) -> HttpResponse {
    let work = async {
        let caller = auth::caller(&state, &request).await?;
        let body = body.map_err(|_| ApiError::too_large(state.settings.limits.body_bytes))?;
        let Purchase { amount: wanted, payment_method } = parse_body(&body)?;
        let amount = amount("amount", &wanted)?;
        let method = method(&state, payment_method)?;
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
