//! API keys: an owner's own at `/v1/keys`, any account's for operators. Its text is shown once, when it is made. A key may
//! be limited: dollars per day, week, month or in all, models, and until when.

use actix_web::{HttpRequest, HttpResponse, web};
use billing::{
    Nanos, Timestamp,
    command::Command,
    ids::{AccountId, KeyId},
    key::{KeyLimits, KeyWindow},
};
use bytes::Bytes;
use farebox_actors::{
    account::{KeyUse, Look, Picture},
    ledger::keys::StoredKey,
};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Arrival, Shared,
    account::amount,
    admin::{account_id, read},
    answer,
    auth::{self, NewKey},
    error::ApiError,
    query::text_fault,
};

type Body = Result<Bytes, actix_web::Error>;

/// Working keys of one account, at most.
const MOST_KEYS: u64 = 1_000;
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
        let Self { name, limits, models, expires_at } = self;
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
        Ok(NewKey { name, limits: KeyLimits { amounts, models }, expires_at })
    }
}

/// Makes a key; its text is shown only now. The account knows its limits before anyone can use it.
pub async fn open_key(state: &Shared, id: KeyId, account: AccountId, wanted: NewKey) -> Result<String, ApiError> {
    let directory = &state.gateway.directory;
    let ledger = directory.ledger();
    ledger.account(account).await?.ok_or_else(|| ApiError::not_found("the account"))?;
    if ledger.working_keys(account).await? >= MOST_KEYS {
        return Err(ApiError::conflict(format!("This account has {MOST_KEYS} working keys; revoke one first.")));
    }
    let now = state.gateway.clock().now();
    let (text, stored) = auth::new_key(id, account, wanted, now);
    ledger.create_key(&stored).await?;
    if stored.limits.is_unlimited() {
        return Ok(text);
    }
    let limited = Command::LimitKey { key_id: id, limits: Some(stored.limits), spent: [Nanos::ZERO; 4] };
    match directory.decide(account, limited).await {
        Ok(_) => Ok(text),
        Err(error) => {
            // Its text was told to nobody.
            ledger.revoke_key(account, id, now).await?;
            Err(error.into())
        }
    }
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
        "created_at": key.created_at.to_string(), "expires_at": key.expires_at.map(|at| at.to_string()),
        "revoked_at": key.revoked_at.map(|at| at.to_string()),
    })
}

/// An account's keys, newest first.
pub async fn keys_json(state: &Shared, account: AccountId, picture: &Picture) -> Result<Vec<Value>, ApiError> {
    let keys = state.gateway.directory.ledger().keys(account).await?;
    Ok(keys.iter().map(|key| key_json(key, picture.keys.iter().find(|used| used.id == key.id))).collect())
}

async fn make(state: &Shared, request: &HttpRequest, account: AccountId, body: Body) -> Result<Value, ApiError> {
    let wanted: Wanted = read(state, body)?;
    let wanted = wanted.check(state.gateway.clock().now())?;
    let id = KeyId(Arrival::of(request).id.0);
    let name = wanted.name.clone();
    let text = open_key(state, id, account, wanted).await?;
    Ok(json!({"id": id, "name": name, "key": text}))
}

async fn revoke(state: &Shared, account: AccountId, key: &str) -> Result<Value, ApiError> {
    let key = Uuid::parse_str(key).map(KeyId).map_err(|_| ApiError::invalid("key", "must be a key's id"))?;
    let now = state.gateway.clock().now();
    let public = state.gateway.directory.ledger().revoke_key(account, key, now).await?;
    let public = public.ok_or_else(|| ApiError::not_found("a working key with that id"))?;
    state.keys.forget(&public);
    Ok(json!({"id": key, "revoked": true}))
}

/// `GET /v1/keys`.
pub async fn list(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::caller(&state, &request).await?;
        let picture = state.gateway.directory.ask(caller.account_id, Look).await?;
        Ok(json!({"object": "list", "data": keys_json(&state, caller.account_id, &picture).await?}))
    };
    answer(&request, work.await)
}

/// `POST /v1/keys`.
pub async fn create(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        let caller = auth::owner(&state, &request).await?;
        make(&state, &request, caller.account_id, body).await
    };
    answer(&request, work.await)
}

/// `DELETE /v1/keys/{key}`.
pub async fn delete(state: Shared, request: HttpRequest, key: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::owner(&state, &request).await?;
        revoke(&state, caller.account_id, &key).await
    };
    answer(&request, work.await)
}

/// `POST /admin/v1/accounts/{id}/keys`.
pub async fn operator_create(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        make(&state, &request, account_id(&id)?, body).await
    };
    answer(&request, work.await)
}

/// `DELETE /admin/v1/accounts/{id}/keys/{key}`.
pub async fn operator_delete(state: Shared, request: HttpRequest, path: web::Path<(String, String)>) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let (account, key) = path.into_inner();
        revoke(&state, account_id(&account)?, &key).await
    };
    answer(&request, work.await)
}
