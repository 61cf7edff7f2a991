//! An account's own view of its money: balance and grants. What happened to it is in [`super::history`], what was bought in
//! [`super::payments`].

use actix_web::{HttpRequest, HttpResponse};
use actors::account::{Look, Picture};
use billing::{Nanos, account::Balance, class::SizeClass, grant::Grant, key::Scope};
use serde_json::{Value, json};

use super::{
    auth,
    error::ApiError,
    query::{Query, list_by_id},
    respond::answer,
    state::Shared,
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
            "unlocked": balance.tier.unlocked().map(SizeClass::name).collect::<Vec<_>>(),
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

/// `GET /v1/balance`.
pub async fn balance(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::caller(&state, &request).await?;
        let picture: Picture = state.gateway.accounts.ask(caller.account_id, Look).await?;
        Ok(balance_json(&picture.balance))
    };
    answer(&request, work.await)
}

/// `GET /v1/grants`, newest first.
pub async fn grants(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Read).await?;
        let query = Query::of(&request, &["limit", "cursor"])?;
        let (before, limit) = (query.cursor_id()?, query.limit()?);
        let grants = state.gateway.accounts.ledger().grants(caller.account_id, before, limit).await?;
        Ok(list_by_id(grants.iter().map(grant_json).collect(), limit))
    };
    answer(&request, work.await)
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
