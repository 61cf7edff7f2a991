//! API keys: an owner's own at `/v1/keys`, any account's for operators. Its text is shown once, when it is made. A key may
//! be limited: dollars per day, week, month or in all, models, until when, and what it may do. No key opens one that may do
//! more than itself.

use actix_web::{HttpRequest, HttpResponse, web};
use actors::account::{KeyUse, Look, Picture};
use billing::{
    Nanos, Timestamp,
    command::Command,
    ids::{AccountId, KeyId},
    key::{KeyLimits, KeyWindow, Scope, Scopes},
};
use bytes::Bytes;
use ledger::keys::{MOST_KEYS, StoredKey};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    account::amount,
    accounts::named,
    acts,
    admin::read,
    arrival::Arrival,
    auth::{self, NewKey, Opener, Sight},
    error::ApiError,
    query::text_fault,
    respond::answer,
    state::Shared,
};

type Body = Result<Bytes, actix_web::Error>;

/// Models a key may be limited to, at most.
const MOST_MODELS: usize = 100;
/// The most a limit can be: $1 million.
const LARGEST: Nanos = Nanos::dollars(1_000_000);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default = "unnamed")]
    name: String,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    models: Vec<String>,
    scopes: Option<Vec<String>>,
    expires_at: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    day: Option<Value>,
    week: Option<Value>,
    month: Option<Value>,
    total: Option<Value>,
}

fn unnamed() -> String {
    "default".to_owned()
}

fn limit(window: KeyWindow, value: Option<&Value>) -> Result<Option<Nanos>, ApiError> {
    let Some(value) = value else { return Ok(None) };
    let field = format!("limits.{}", window.name());
    let amount = amount(&field, value)?;
    if amount <= Nanos::ZERO || amount > LARGEST {
        return Err(ApiError::invalid(&field, "must be above $0 and at most $1,000,000"));
    }
    Ok(Some(amount))
}

impl Wanted {
    fn check(self, now: Timestamp) -> Result<NewKey, ApiError> {
        let Self { name, limits, models, scopes, expires_at } = self;
        if name.is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
            return Err(ApiError::invalid("name", "must have 1 to 100 characters, none of them a control character"));
        }
        if models.len() > MOST_MODELS {
            return Err(ApiError::invalid("models", format!("must have at most {MOST_MODELS} models")));
        }
        if let Some(fault) = models.iter().find_map(|model| text_fault(model)) {
            return Err(ApiError::invalid("models", format!("a name {fault}")));
        }
        let expires_at: Option<Timestamp> =
            expires_at.map(|text| text.parse().map_err(|error| ApiError::invalid("expires_at", error))).transpose()?;
        if expires_at.is_some_and(|at| at <= now) {
            return Err(ApiError::invalid("expires_at", "must be in the future"));
        }
        let amounts = [
            limit(KeyWindow::Day, limits.day.as_ref())?,
            limit(KeyWindow::Week, limits.week.as_ref())?,
            limit(KeyWindow::Month, limits.month.as_ref())?,
            limit(KeyWindow::Total, limits.total.as_ref())?,
        ];
        let limits = KeyLimits { amounts, models };
        let scopes = scopes.as_deref().map(|names| chosen(names, &limits)).transpose()?;
        Ok(NewKey { name, limits, scopes, expires_at })
    }
}

/// The scopes that are named.
fn chosen(names: &[String], limits: &KeyLimits) -> Result<Scopes, ApiError> {
    let mut scopes = Scopes::default();
    for (place, name) in names.iter().enumerate() {
        let scope = Scope::from_name(name).ok_or_else(|| {
            let known = Scope::ALL.map(Scope::name).join(", ");
            ApiError::invalid(&format!("scopes[{place}]"), format!("is no scope; there are {known}"))
        })?;
        scopes = scopes.with(scope);
    }
    if scopes == Scopes::default() {
        return Err(ApiError::invalid("scopes", "must name at least one; leave it out for the usual ones"));
    }
    if scopes.has(Scope::Keys) && !limits.is_unlimited() {
        return Err(ApiError::invalid("scopes", "a key with limits can't open keys: those could have none"));
    }
    Ok(scopes)
}

/// What a key is made with by one that may not do everything itself.
fn within(mut wanted: NewKey, opener: &Opener) -> Result<NewKey, ApiError> {
    let usual = Scopes::usual(&wanted.limits).within(opener.scopes);
    let scopes = *wanted.scopes.get_or_insert(usual);
    if let Some(beyond) = scopes.iter().find(|scope| !opener.scopes.has(*scope)) {
        return Err(ApiError::out_of_scope(beyond));
    }
    if let Some(until) = opener.expires_at
        && *wanted.expires_at.get_or_insert(until) > until
    {
        return Err(ApiError::invalid("expires_at", format!("must be at latest when this key expires, {until}")));
    }
    Ok(wanted)
}

/// Makes a key; its text is shown only now.
pub async fn open_key(state: &Shared, id: KeyId, account: AccountId, wanted: NewKey) -> Result<String, ApiError> {
    open(state, id, account, wanted, None).await
}

/// Makes a key in one statement, which counts the account's others, and tells its text once the account knows its limits:
/// before that nobody can use it. Without a secret of its request nobody can ask for the text again, and a key that was not
/// told is revoked.
async fn open(
    state: &Shared,
    id: KeyId,
    account: AccountId,
    wanted: NewKey,
    secret: Option<&str>,
) -> Result<String, ApiError> {
    let ledger = state.gateway.accounts.ledger();
    ledger.account(account).await?.ok_or_else(|| ApiError::not_found("the account"))?;
    let now = state.gateway.clock().now();
    let (text, stored) = auth::new_key(id, account, wanted, secret, now);
    if !ledger.create_key(&stored).await? {
        return Err(ApiError::conflict(format!("This account has {MOST_KEYS} working keys; revoke one first.")));
    }
    let limited = limit_key(state, &stored).await;
    if limited.is_err() && secret.is_none() {
        ledger.revoke_key(account, id, now).await?;
    }
    limited.map(|()| text)
}

/// The text of a key that an earlier life of its request made.
async fn opened(state: &Shared, id: KeyId, account: AccountId, secret: Option<&str>) -> Result<String, ApiError> {
    let stored = state.gateway.accounts.ledger().key_of(account, id).await?;
    let stored = stored.ok_or_else(|| ApiError::not_found("the key"))?;
    let text = secret.map(|secret| auth::key_text(&stored.public, secret));
    // Not with another operator's token.
    let text = text.filter(|text| auth::key_hash(text) == stored.hash);
    let text = text.ok_or_else(|| ApiError::conflict("The key was made, and can't be shown again; revoke it."))?;
    limit_key(state, &stored).await?;
    Ok(text)
}

/// Has the account know what a key that nobody has used may spend.
async fn limit_key(state: &Shared, key: &StoredKey) -> Result<(), ApiError> {
    if key.limits.is_unlimited() || key.revoked_at.is_some() {
        return Ok(());
    }
    let limits = Some(key.limits.clone());
    let limited = Command::LimitKey { key_id: key.id, limits, spent: [Nanos::ZERO; 4] };
    state.gateway.accounts.decide(key.account_id, limited).await?;
    Ok(())
}

/// A key as people read it. What a key without limits has spent is in the usage.
fn key_json(key: &StoredKey, used: Option<&KeyUse>) -> Value {
    let limits: serde_json::Map<String, Value> = KeyWindow::ALL
        .into_iter()
        .filter_map(|window| {
            let limit = key.limits.of(window)?;
            let used = used.map(|used| used.amounts[window as usize]);
            Some((window.name().to_owned(), json!({"amount": limit, "used": used})))
        })
        .collect();
    json!({
        "id": key.id, "name": key.name, "public": key.public, "limits": limits, "models": key.limits.models,
        "scopes": key.scopes.iter().map(Scope::name).collect::<Vec<_>>(),
        "created_at": key.created_at.to_string(), "expires_at": key.expires_at.map(|at| at.to_string()),
        "revoked_at": key.revoked_at.map(|at| at.to_string()),
    })
}

/// An account's keys, newest first.
pub async fn keys_json(state: &Shared, account: AccountId, picture: &Picture) -> Result<Vec<Value>, ApiError> {
    let keys = state.gateway.accounts.ledger().keys(account).await?;
    Ok(keys.iter().map(|key| key_json(key, picture.keys.iter().find(|used| used.id == key.id))).collect())
}

async fn make(state: &Shared, request: &HttpRequest, opener: &Opener, body: Body) -> Result<Value, ApiError> {
    let wanted: Wanted = read(state, body)?;
    let (id, name) = (KeyId(Arrival::of(request).id.0), wanted.name.clone());
    let secret = acts::secret(state, request);
    let text = if acts::is_done(request) {
        opened(state, id, opener.account_id, secret.as_deref()).await?
    } else {
        let wanted = within(wanted.check(state.gateway.clock().now())?, opener)?;
        open(state, id, opener.account_id, wanted, secret.as_deref()).await?
    };
    Ok(json!({"id": id, "name": name, "key": text}))
}

async fn revoke(state: &Shared, account: AccountId, key: &str) -> Result<Value, ApiError> {
    let key = Uuid::parse_str(key).map(KeyId).map_err(|_| ApiError::invalid("key", "must be a key's id"))?;
    let now = state.gateway.clock().now();
    let public = state.gateway.accounts.ledger().revoke_key(account, key, now).await?;
    let public = public.ok_or_else(|| ApiError::not_found("a working key with that id"))?;
    state.keys.forget(&public);
    Ok(json!({"id": key, "revoked": true}))
}

/// `GET /v1/keys`: a key that may not read all sees itself.
pub async fn list(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let Sight { caller, only } = auth::sight(&state, &request).await?;
        let picture = state.gateway.accounts.ask(caller.account_id, Look).await?;
        let mut data = keys_json(&state, caller.account_id, &picture).await?;
        data.retain(|key| only.is_none_or(|only| key["id"] == only.to_string()));
        Ok(json!({"object": "list", "data": data}))
    };
    answer(&request, work.await)
}

/// `POST /v1/keys`.
pub async fn create(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        let opener = auth::opener(&state, &request).await?;
        make(&state, &request, &opener, body).await
    };
    answer(&request, work.await)
}

/// `DELETE /v1/keys/{key}`.
pub async fn delete(state: Shared, request: HttpRequest, key: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Keys).await?;
        revoke(&state, caller.account_id, &key).await
    };
    answer(&request, work.await)
}

/// `POST /admin/v1/accounts/{id}/keys`.
pub async fn operator_create(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let opener = Opener { account_id: named(&state, &id).await?, scopes: Scopes::ALL, expires_at: None };
        make(&state, &request, &opener, body).await
    };
    answer(&request, work.await)
}

/// `DELETE /admin/v1/accounts/{id}/keys/{key}`.
pub async fn operator_delete(state: Shared, request: HttpRequest, path: web::Path<(String, String)>) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let (account, key) = path.into_inner();
        revoke(&state, named(&state, &account).await?, &key).await
    };
    answer(&request, work.await)
}
