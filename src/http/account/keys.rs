//! `/v1/keys`: API keys, created and revoked by their account's owner, and by operators under `/admin`. A key's text is
//! shown once, when it is created.

use actix_web::{HttpRequest, HttpResponse, web};
use billing::{
    Nanos,
    ids::{AccountId, KeyId},
    key::{KeyLimits, KeyWindow, Scope, Scopes},
};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use wire::object::Object;

use crate::{
    http::{
        arrival::{self, Arrival},
        auth::{self, Sight},
        error::ApiError,
        query::Query,
        respond::{Body, answer, read},
        state::Shared,
        trail,
        values::{amount, id, text_fault},
        views::{
            Page,
            keys::{Key, NewKey, RevokedKey},
            scalar::Amount,
        },
    },
    service::keys::{self, Opener},
};

/// An API key to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WantedKey)]
pub struct Wanted {
    #[serde(default = "unnamed")]
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// The spending limits.
    #[serde(default)]
    #[schema(value_type = Limits)]
    limits: Object<Limits>,
    /// The models that the key may use; all models by default. A bare name is any provider's model of the name, one behind a
    /// provider's name and a slash that provider's alone, an alias what it stands for where a request names it.
    #[serde(default)]
    #[schema(max_items = 100)]
    models: Vec<String>,
    /// The scopes: `inference`, `read`, `billing`, `keys`. By default those that fit the limits.
    scopes: Option<Vec<String>>,
    /// When the key expires.
    expires_at: Option<String>,
}

/// Spending limits in dollars by window; no limit by default.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WantedLimits)]
pub struct Limits {
    #[schema(value_type = Option<Amount>)]
    day: Option<Value>,
    #[schema(value_type = Option<Amount>)]
    week: Option<Value>,
    #[schema(value_type = Option<Amount>)]
    month: Option<Value>,
    #[schema(value_type = Option<Amount>)]
    total: Option<Value>,
}

fn unnamed() -> String {
    "default".to_owned()
}

fn limit(window: KeyWindow, value: Option<&Value>) -> Result<Option<Nanos>, ApiError> {
    let Some(value) = value else { return Ok(None) };
    let field = format!("limits.{}", window.name());
    Ok(Some(keys::check_limit(&field, amount(&field, value)?)?))
}

impl TryFrom<Wanted> for keys::NewKey {
    type Error = ApiError;

    fn try_from(wanted: Wanted) -> Result<Self, ApiError> {
        let Wanted { name, limits: Object(limits), models, scopes, expires_at } = wanted;
        if let Some(fault) = models.iter().find_map(|model| text_fault(model)) {
            return Err(ApiError::invalid("models", format!("a name {fault}")));
        }
        let expires_at =
            expires_at.map(|text| text.parse().map_err(|error| ApiError::invalid("expires_at", error))).transpose()?;
        let amounts = [
            limit(KeyWindow::Day, limits.day.as_ref())?,
            limit(KeyWindow::Week, limits.week.as_ref())?,
            limit(KeyWindow::Month, limits.month.as_ref())?,
            limit(KeyWindow::Total, limits.total.as_ref())?,
        ];
        let scopes = scopes.as_deref().map(chosen).transpose()?;
        Ok(Self { name, limits: KeyLimits { amounts, models }, scopes, expires_at })
    }
}

/// The scopes with these names.
fn chosen(names: &[String]) -> Result<Scopes, ApiError> {
    let mut scopes = Scopes::default();
    for (place, name) in names.iter().enumerate() {
        let scope = Scope::from_name(name).ok_or_else(|| {
            let known = Scope::ALL.map(Scope::name).join(", ");
            ApiError::invalid(&format!("scopes[{place}]"), format!("is no scope; there are {known}"))
        })?;
        scopes = scopes.with(scope);
    }
    Ok(scopes)
}

/// `GET /v1/keys`: newest first. A key without the scope `read` sees only itself.
pub async fn list(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let Sight { caller, only } = auth::sight(&state, &request).await?;
        let page = Query::of(&request, &["limit", "cursor"])?.page()?;
        Ok(Page::<Key>::from(keys::list(&state.service, caller.account_id, only, page).await?))
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

/// Creates a key for a checked opener.
pub(in crate::http) async fn make(
    state: &Shared,
    request: &HttpRequest,
    opener: &Opener,
    body: Body,
) -> Result<NewKey, ApiError> {
    let wanted: keys::NewKey = read::<Wanted>(state, body)?.try_into()?;
    if !Arrival::origin(request).is_done() {
        check_models(state, &wanted.limits.models).await?;
    }
    let (name, secret) = (wanted.name.clone(), arrival::secret(state, request));
    trail::about(request, None, &name);
    let (id, key) = keys::create(&state.service, Arrival::origin(request), opener, wanted, secret.as_deref()).await?;
    Ok(NewKey { id: id.0, name, key })
}

/// Refuses a list of models with a name that means nothing here: a key with a misspelt one could do less than its owner
/// believes.
pub(in crate::http) async fn check_models(state: &Shared, models: &[String]) -> Result<(), ApiError> {
    for (place, name) in models.iter().enumerate() {
        if let Err(nearest) = state.gateway.models.knows(name).await {
            let hint =
                if nearest.is_empty() { String::new() } else { format!("; the nearest: {}", nearest.join(", ")) };
            let error = ApiError::invalid(&format!("models[{place}]"), format!("names no model or alias here{hint}"));
            return Err(error.with("nearest", nearest));
        }
    }
    Ok(())
}

/// `DELETE /v1/keys/{key}`.
pub async fn delete(state: Shared, request: HttpRequest, key: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Keys).await?;
        revoke(&state, caller.account_id, &key).await
    };
    answer(&request, work.await)
}

/// Revokes a key for a checked caller. The key is refused from now on.
pub(in crate::http) async fn revoke(state: &Shared, account: AccountId, key: &str) -> Result<RevokedKey, ApiError> {
    let id = id("key", key, "must be a key's id")?;
    let public = keys::revoke(&state.service, account, KeyId(id)).await?;
    state.keys.forget(&public);
    Ok(RevokedKey { id, revoked: true })
}
