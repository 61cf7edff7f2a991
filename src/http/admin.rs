//! The operator's routes: accounts, keys, grants, actors, the audit, the test clock, faults that tests ask for. What
//! a request makes has the request's id, by which a retry under the same `Idempotency-Key` finds it after a crash.

use actix_web::{HttpRequest, HttpResponse, web};
use actors::{
    account::{self, AccountError, Open},
    delivery, payment, pool, provider,
};
use billing::{
    Nanos, Timestamp,
    command::{Command, Fund},
    grant::Source,
    ids::{AccountId, GrantId},
    plan::Plan,
    time::DAY_MS,
};
use bytes::Bytes;
use runtime::mailbox;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    account::{amount, balance_json},
    accounts::named,
    acts::{Act, carry_out, is_done},
    arrival::Arrival,
    auth,
    error::ApiError,
    query::{instant_of, text_fault},
    respond::{answer, parse_body},
    state::Shared,
};
use crate::email;

type Body = Result<Bytes, actix_web::Error>;

pub(super) fn read<T: serde::de::DeserializeOwned>(state: &Shared, body: Body) -> Result<T, ApiError> {
    parse_body(&body.map_err(|_| ApiError::too_large(state.settings.limits.body_bytes))?)
}

/// An address in its one spelling.
fn address(text: &str) -> Result<String, ApiError> {
    email::canonical(text).map_err(|fault| ApiError::invalid("email", fault))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAccount {
    email: String,
    #[serde(default)]
    plan: Plan,
}

/// Makes an account with its plan's first credits. The address is spelled canonically.
pub async fn open_account(state: &Shared, id: AccountId, email: &str, plan: Plan) -> Result<(), ApiError> {
    let accounts = &state.gateway.accounts;
    let is_taken = async || {
        let found = accounts.ledger().account_by_email(email).await?;
        Ok::<_, ApiError>(found.is_some_and(|found| found.id != id))
    };
    let taken = || ApiError::conflict("that email address is taken already");
    if is_taken().await? {
        return Err(taken());
    }
    match accounts.ask(id, Open { email: email.to_owned(), plan }).await {
        Ok(answer) => answer.result.map(drop).map_err(ApiError::from),
        // Not written, or not known to be.
        Err(error @ AccountError::Unavailable(_)) => match accounts.ledger().account(id).await? {
            Some(_) => Ok(()),
            None if is_taken().await? => Err(taken()),
            None => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// `POST /admin/v1/accounts`.
pub async fn create_account(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let NewAccount { email, plan } = read(&state, body)?;
        let email = address(&email)?;
        // The account's id is the request's: its row, plan and first credits are one transaction, which is the proof.
        let id = AccountId(Arrival::of(&request).id.0);
        if !is_done(&request) {
            open_account(&state, id, &email, plan).await?;
        }
        Ok(json!({"id": id.to_string(), "email": email, "plan": plan.name()}))
    };
    answer(&request, work.await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewGrant {
    source: Source,
    amount: Value,
    expires_at: Option<Value>,
    reason: Option<String>,
}

/// `POST /admin/v1/accounts/{id}/grants`: credits that nobody paid for.
pub async fn grant(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let NewGrant { source, amount: wanted, expires_at, reason } = read(&state, body)?;
        if !matches!(source, Source::Promo | Source::Goodwill | Source::Plan | Source::Free) {
            return Err(ApiError::invalid("source", "must be one that nobody pays for: promo, goodwill, plan, free"));
        }
        let amount = amount("amount", &wanted)?;
        let expires_at = expires_at.map(|at| instant_of("expires_at", &at)).transpose()?;
        reason.as_deref().map(checked_reason).transpose()?;
        let account = named(&state, &id).await?;
        let grant_id = GrantId(Arrival::of(&request).id.0);
        let fund = Fund {
            grant_id,
            source,
            source_key: format!("operator {grant_id}"),
            amount,
            paid: Nanos::ZERO,
            expires_at,
            subscribed_until: None,
        };
        let reason = Some(reason.unwrap_or_else(|| "none given".to_owned()));
        let act = Act { name: "grant", subject: grant_id.to_string(), amount: Some(amount), reason };
        let balance = carry_out(&state, &request, account, act, Command::Fund(fund)).await?;
        Ok(json!({"id": grant_id.to_string(), "source": source.name(), "amount": amount,
            "balance": balance_json(&balance)}))
    };
    answer(&request, work.await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Void {
    amount: Option<Value>,
    reason: String,
}

/// `POST /admin/v1/accounts/{id}/grants/{grant}/void`: takes back what is left of a grant, or a part of it.
pub async fn void(state: Shared, request: HttpRequest, path: web::Path<(String, String)>, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let (account, grant) = path.into_inner();
        let account = named(&state, &account).await?;
        let grant = Uuid::parse_str(&grant).map_err(|_| ApiError::invalid("grant", "must be a grant's id"))?;
        let Void { amount: wanted, reason } = read(&state, body)?;
        let reason = checked_reason(&reason)?;
        let part = wanted.map(|value| amount("amount", &value)).transpose()?;
        let act = Act { name: "void_grant", subject: grant.to_string(), amount: part, reason: Some(reason.to_owned()) };
        let command = Command::VoidGrant { grant_id: GrantId(grant), amount: part };
        let balance = carry_out(&state, &request, account, act, command).await?;
        Ok(json!({"id": grant.to_string(), "voided": true, "balance": balance_json(&balance)}))
    };
    answer(&request, work.await)
}

/// An operator's reason for an action: for the audit log's readers.
pub(super) fn checked_reason(reason: &str) -> Result<&str, ApiError> {
    match text_fault(reason) {
        Some(fault) => Err(ApiError::invalid("reason", fault)),
        None => Ok(reason),
    }
}

/// `GET /admin/v1/actors`: each that has a name, all accounts as one, and what each kind handled.
pub async fn actors(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let accounts = &state.gateway.accounts;
        let health = accounts.health();
        Ok(json!({"actors": health.seen(), "kinds": health.observe(), "running_requests": accounts.running().count()}))
    };
    answer(&request, work.await)
}

/// `POST /admin/v1/audit`.
pub async fn audit(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let audit = state.gateway.accounts.ledger().audit().await?;
        serde_json::to_value(audit).map_err(|error| ApiError::internal(&error))
    };
    answer(&request, work.await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_seconds: u32,
}

/// The latest a test clock shows: what follows from it in weeks must be written with a year of four digits too.
const LAST_CLOCK: Timestamp = Timestamp(Timestamp::LAST.0 - 366 * DAY_MS);

/// `POST /admin/v1/clock`: moves the test clock forward.
pub async fn clock(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        if state.settings.clock == crate::config::Clock::System {
            return Err(ApiError::forbidden("The clock only moves by itself; FAREBOX_CLOCK=test lets it be moved."));
        }
        let Advance { advance_seconds } = read(&state, body)?;
        let clock = state.gateway.clock();
        if clock.now().plus_ms(i64::from(advance_seconds) * 1_000) > LAST_CLOCK {
            let rule = format!("would move the clock beyond {LAST_CLOCK}, the latest it can show");
            return Err(ApiError::invalid("advance_seconds", rule));
        }
        clock.advance_seconds(advance_seconds);
        Ok(json!({"now": clock.now().to_string()}))
    };
    answer(&request, work.await)
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
/// Which actor panics.
enum Fault {
    Account(Uuid),
    Provider(String),
    Journal {},
    Payment {},
    Webhook {},
    Pool(billing::class::SizeClass),
}

/// `POST /admin/v1/faults`: makes an actor panic, where `FAREBOX_FAULTS` allows it.
pub async fn fault(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        if !state.settings.faults {
            return Err(ApiError::forbidden("Faults are off."));
        }
        // One message a call of the operator's.
        match read(&state, body)? {
            Fault::Account(id) => state.gateway.accounts.tell(AccountId(id), account::Panic),
            Fault::Provider(name) => {
                let line = state.gateway.providers.get(&name);
                let actor = line
                    .and_then(provider::ProviderHandle::actor)
                    .ok_or_else(|| ApiError::not_found("the provider"))?;
                mailbox::tell(&actor, provider::Panic);
            }
            Fault::Pool(class) => {
                let post = state.gateway.pools.get(&class).ok_or_else(|| ApiError::not_found("the pool"))?;
                mailbox::tell(&post.address(), pool::Panic);
            }
            Fault::Journal {} => state.journal.panic(),
            Fault::Payment {} => mailbox::tell(&state.payments.address(), payment::Panic),
            Fault::Webhook {} => mailbox::tell(&state.webhooks.actor.address(), delivery::Panic),
        }
        Ok(json!({"done": true}))
    };
    answer(&request, work.await)
}
