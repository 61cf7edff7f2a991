//! Automatic purchases as their owner sets them: auto-reload and autoScale, with what they have spent this month. A PUT is a
//! change, which the account applies to the settings that stand then: two at once never undo each other.

use actix_web::{HttpRequest, HttpResponse};
use actors::account::Look;
use billing::{
    Nanos, Timestamp,
    account::Automatic,
    automatic::{AutoChange, MethodChange, Switch},
    command::Command,
    key::Scope,
    payment::DEFAULT_METHOD,
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    account::amount,
    admin::read,
    auth,
    cards::{check_undisputed, choose_again, followed_card},
    error::ApiError,
    respond::answer,
    state::Shared,
};
use crate::gateway::serve::Caller;

type Body = Result<Bytes, actix_web::Error>;

/// Auto-reload as people read it.
pub fn reload_json(automatic: Option<&Automatic>, now: Timestamp) -> Value {
    let default = Automatic::default();
    let Automatic { settings, state, window } = automatic.unwrap_or(&default);
    json!({
        "enabled": settings.reload.is_on(), "threshold": settings.threshold, "amount": settings.amount,
        "monthly_max": settings.monthly_max, "payment_method": settings.method, "spent_this_month": window.at(now).reloads(),
        "failures": state.failures, "retry_at": state.retry_at.map(|at| at.to_string()),
        "capped": state.full_month == Some(now.month()),
        "paused_at": state.paused_at.map(|at| at.to_string()),
    })
}

/// `AutoScale` as people read it.
pub fn scale_json(automatic: Option<&Automatic>, now: Timestamp) -> Value {
    let default = Automatic::default();
    let Automatic { settings, state, window } = automatic.unwrap_or(&default);
    json!({
        "enabled": settings.scale.is_on(), "max_monthly_spend": settings.monthly_spend,
        "spent_this_month": window.at(now).all(), "paused_at": state.paused_at.map(|at| at.to_string()),
    })
}

async fn look(state: &Shared, caller: Caller) -> Result<Option<Automatic>, ApiError> {
    Ok(state.gateway.accounts.ask(caller.account_id, Look).await?.automatic)
}

async fn set(state: &Shared, caller: Caller, change: AutoChange) -> Result<Option<Automatic>, ApiError> {
    state.gateway.accounts.decide(caller.account_id, Command::SetAutomatic(change)).await?.result?;
    look(state, caller).await
}

/// `GET /v1/auto-reload`.
pub async fn reload(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Read).await?;
        Ok(reload_json(look(&state, caller).await?.as_ref(), state.gateway.clock().now()))
    };
    answer(&request, work.await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reload {
    enabled: Option<bool>,
    threshold: Option<Value>,
    amount: Option<Value>,
    monthly_max: Option<Value>,
    payment_method: Option<String>,
}

fn given(field: &str, value: Option<&Value>) -> Result<Option<Nanos>, ApiError> {
    value.map(|value| amount(field, value)).transpose()
}

/// The card that is named; where credits are to be bought and none is named, the account must have one to charge.
async fn card(state: &Shared, caller: Caller, wanted: &Reload) -> Result<Option<MethodChange>, ApiError> {
    let named = wanted.payment_method.as_deref();
    if named.is_none() && wanted.enabled != Some(true) {
        return Ok(None);
    }
    if named.is_none() && look(state, caller).await?.is_some_and(|before| before.settings.method.is_some()) {
        return Ok(None);
    }
    let followed = followed_card(state, caller.account_id, named).await?;
    // The default card is followed without being named.
    Ok(match named {
        _ if followed == DEFAULT_METHOD => None,
        Some(_) => Some(MethodChange::To(followed)),
        None => Some(MethodChange::AtFirst(followed)),
    })
}

/// A card that is named is chosen, also one that was disputed before; one that is not must not have been disputed since.
async fn check_card(
    state: &Shared,
    caller: Caller,
    wanted: &Reload,
    change: Option<&MethodChange>,
) -> Result<(), ApiError> {
    let card = if let Some(MethodChange::To(card) | MethodChange::AtFirst(card)) = change {
        card.clone()
    } else {
        let before = look(state, caller).await?.and_then(|before| before.settings.method);
        before.unwrap_or_else(|| DEFAULT_METHOD.to_owned())
    };
    if wanted.payment_method.is_some() {
        choose_again(state, caller.account_id, &card).await
    } else if wanted.enabled == Some(true) {
        check_undisputed(state, caller.account_id, &card).await
    } else {
        Ok(())
    }
}

/// `PUT /v1/auto-reload`: what is not named stays as it is.
pub async fn set_reload(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let wanted: Reload = read(&state, body)?;
        let change = AutoChange {
            reload: wanted.enabled.map(Switch::from_bool),
            threshold: given("threshold", wanted.threshold.as_ref())?,
            amount: given("amount", wanted.amount.as_ref())?,
            monthly_max: given("monthly_max", wanted.monthly_max.as_ref())?,
            method: card(&state, caller, &wanted).await?,
            ..AutoChange::default()
        };
        check_card(&state, caller, &wanted, change.method.as_ref()).await?;
        let after = set(&state, caller, change).await?;
        Ok(reload_json(after.as_ref(), state.gateway.clock().now()))
    };
    answer(&request, work.await)
}

/// `GET /v1/auto-scale`.
pub async fn scale(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Read).await?;
        Ok(scale_json(look(&state, caller).await?.as_ref(), state.gateway.clock().now()))
    };
    answer(&request, work.await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scale {
    enabled: Option<bool>,
    max_monthly_spend: Option<Value>,
}

/// `PUT /v1/auto-scale`: what is not named stays as it is.
pub async fn set_scale(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let wanted: Scale = read(&state, body)?;
        let change = AutoChange {
            scale: wanted.enabled.map(Switch::from_bool),
            monthly_spend: given("max_monthly_spend", wanted.max_monthly_spend.as_ref())?,
            ..AutoChange::default()
        };
        let after = set(&state, caller, change).await?;
        Ok(scale_json(after.as_ref(), state.gateway.clock().now()))
    };
    answer(&request, work.await)
}
