//! An account's plan and tier: what it has, what each next tier costs and unlocks, when the tier will fall; subscribing,
//! cancelling; and what the account was told.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode};
use actors::account::{Look, Picture};
use billing::{
    account::{FREE_RATE, TierFall},
    class::SizeClass,
    command::Command,
    ids::{AccountId, PaymentId},
    key::Scope,
    payment::{Payment, Purpose},
    plan::Plan,
    subscription::{AtEnd, FEE, Status, Subscription},
    tier::{TIERS, Tier},
    time::FOUR_WEEKS_MS,
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    account::balance_json,
    acts::{self, Act, carry_out},
    admin::read,
    arrival::Arrival,
    auth,
    automatic::{reload_json, scale_json},
    cards,
    error::ApiError,
    hooks, payments,
    query::{Query, list_by_id},
    respond::answer,
    state::Shared,
};

type Body = Result<Bytes, actix_web::Error>;

fn tier_json(tier: Tier) -> Value {
    let unlocked: Vec<&str> = tier.unlocked().map(SizeClass::name).collect();
    json!({"from": tier.purchased, "largest_class": tier.largest.name(), "units": tier.units.to_string(), "unlocked": unlocked})
}

fn fall_json(fall: TierFall) -> Value {
    json!({"at": fall.at.to_string(), "to": tier_json(fall.to)})
}

fn subscription_json(subscription: &Subscription, picture: &Picture) -> Value {
    let paid_until = picture.header.subscribed_until.map(|until| until.to_string());
    let renews = subscription.status == Status::Active && subscription.at_end == AtEnd::Renew;
    json!({
        "status": subscription.status.name(), "fee": FEE, "credits": Plan::Payg.credits(), "payment_method": subscription.method,
        "started_at": subscription.started_at.to_string(), "paid_until": paid_until, "renews": renews,
        "retry_at": subscription.retry_at.map(|at| at.to_string()),
    })
}

/// The tiers above the one in force, and what is missing to each.
fn next_tiers(picture: &Picture) -> Vec<Value> {
    let above = TIERS.into_iter().filter(|tier| tier.purchased > picture.balance.tier.purchased);
    above
        .map(|tier| {
            let mut json = tier_json(tier);
            json["buy"] = json!(tier.purchased - picture.balance.purchased);
            json
        })
        .collect()
}

/// An account as its owner reads it, and the operator.
pub(super) async fn account_json(state: &Shared, account: AccountId) -> Result<Value, ApiError> {
    let accounts = &state.gateway.accounts;
    let picture = accounts.ask(account, Look).await?;
    let stored = accounts.ledger().account(account).await?;
    let stored = stored.ok_or_else(|| ApiError::not_found("the account"))?;
    let now = state.gateway.clock().now();
    let since = now.ms_since(stored.created_at) / FOUR_WEEKS_MS + 1;
    let refresh = stored.created_at.plus_ms(since * FOUR_WEEKS_MS);
    let is_free = picture.header.plan == Plan::Free;
    let rate = (!picture.payg).then(|| json!({"requests_per_second": FREE_RATE, "burst": FREE_RATE}));
    Ok(json!({
        "id": stored.id, "email": stored.email, "created_at": stored.created_at.to_string(),
        "plan": picture.header.plan.name(), "pay_as_you_go": picture.payg,
        "subscription": picture.subscription.as_ref().map(|subscription| subscription_json(subscription, &picture)),
        "free_credits": is_free.then(|| json!({"amount": Plan::Free.credits(), "refreshed_at": refresh.to_string()})),
        "balance": balance_json(&picture.balance), "tier": tier_json(picture.balance.tier),
        "purchased": picture.balance.purchased, "next_tiers": next_tiers(&picture),
        "tier_falls": picture.fall.map(fall_json), "closed_rate_limit": rate,
        "concurrency": {"units": picture.balance.tier.units.to_string(), "used": picture.balance.units_used.to_string(),
            "waiting": picture.waiting},
        "auto_reload": reload_json(picture.automatic.as_ref(), now),
        "auto_scale": scale_json(picture.automatic.as_ref(), now),
    }))
}

/// `GET /v1/account`.
pub async fn account(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Read).await?;
        account_json(&state, caller.account_id).await
    };
    answer(&request, work.await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subscribe {
    payment_method: Option<String>,
}

/// `POST /v1/subscription`: pays the first cycle, or lets a cancelled one go on. 202 where the payment goes on by itself.
pub async fn subscribe(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let Subscribe { payment_method } = read(&state, body)?;
        if acts::is_done(&request) {
            return Ok((StatusCode::OK, subscribed(&state, caller.account_id).await?));
        }
        let accounts = &state.gateway.accounts;
        let picture = accounts.ask(caller.account_id, Look).await?;
        let is_cancelled = |it: &Subscription| it.status == Status::Active && it.at_end == AtEnd::Cancel;
        if picture.subscription.as_ref().is_some_and(is_cancelled) {
            let act = Act { name: "resume_subscription", subject: String::new(), amount: None, reason: None };
            carry_out(&state, &request, caller.account_id, act, Command::ResumeSubscription).await?;
        } else {
            let named = payment_method.as_deref();
            let method = cards::followed_card(&state, caller.account_id, named).await?;
            if named.is_some() {
                cards::choose_again(&state, caller.account_id, &method).await?;
            }
            let now = state.gateway.clock().now();
            let payment = Payment::new(PaymentId(Arrival::of(&request).id.0), Purpose::Subscription, FEE, method, now);
            let bought = payments::buy(&state, caller.account_id, payment).await?;
            if bought.0 != StatusCode::OK {
                return Ok(bought);
            }
        }
        Ok((StatusCode::OK, subscribed(&state, caller.account_id).await?))
    };
    payments::answer_bought(&request, work.await)
}

/// `DELETE /v1/subscription`: what is paid stays; nothing more is.
pub async fn cancel(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let accounts = &state.gateway.accounts;
        accounts.decide(caller.account_id, Command::CancelSubscription).await?.result?;
        subscribed(&state, caller.account_id).await
    };
    answer(&request, work.await)
}

/// `GET /v1/subscription`.
pub async fn subscription(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Read).await?;
        subscribed(&state, caller.account_id).await
    };
    answer(&request, work.await)
}

async fn subscribed(state: &Shared, account: AccountId) -> Result<Value, ApiError> {
    let picture = state.gateway.accounts.ask(account, Look).await?;
    let subscription = picture.subscription.as_ref().map(|subscription| subscription_json(subscription, &picture));
    Ok(
        json!({"plan": picture.header.plan.name(), "subscription": subscription, "balance": balance_json(&picture.balance)}),
    )
}

/// `GET /v1/events`: what the account was told, newest first.
pub async fn events(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Read).await?;
        let query = Query::of(&request, &["kind", "limit", "cursor"])?;
        let kind = query.get("kind").map(|name| hooks::kind("kind", name)).transpose()?;
        let (limit, before) = (query.limit()?, query.cursor_id()?);
        let rows = state.gateway.accounts.ledger().events(caller.account_id, kind, before, limit).await?;
        let data = rows.iter().map(|row| serde_json::to_value(row).map_err(|error| ApiError::internal(&error)));
        Ok(list_by_id(data.collect::<Result<Vec<_>, _>>()?, limit))
    };
    answer(&request, work.await)
}
