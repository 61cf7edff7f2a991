//! `/v1/webhooks`: endpoints that an account's events are sent to, and the results of deliveries. All routes of the
//! account require the scope "billing": a key that may change an endpoint, or see an endpoint's answers, could read all events.

use actix_web::{HttpRequest, HttpResponse, web};
use billing::{event::EventKind, ids::KeyId, key::Scope};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::history::kind;
use crate::{
    http::{
        arrival::Arrival,
        auth,
        error::ApiError,
        query::Query,
        respond::{Body, answer, read, read_nothing},
        state::Shared,
        trail, values,
        views::{
            List, Page,
            webhooks::{DeletedWebhook, Delivery, NewWebhook, Webhook, WebhookTest},
        },
    },
    service::webhooks::{self, NewEndpoint},
};

/// A webhook to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WantedWebhook)]
pub struct Wanted {
    url: String,
    /// The kinds of events to send; all kinds by default.
    events: Option<Vec<String>>,
    /// Of events about a key, those about these keys alone; about all keys by default. Events about no key are sent in any case:
    /// `events` leaves them out.
    #[schema(max_items = 100)]
    key_ids: Option<Vec<Uuid>>,
    #[serde(default)]
    #[schema(max_length = 200)]
    description: String,
    #[serde(default = "yes")]
    enabled: bool,
}

const fn yes() -> bool {
    true
}

impl TryFrom<Wanted> for NewEndpoint {
    type Error = ApiError;

    fn try_from(wanted: Wanted) -> Result<Self, ApiError> {
        let Wanted { url, events, key_ids, description, enabled } = wanted;
        let keys = key_ids.map(|ids| ids.into_iter().map(KeyId).collect());
        Ok(Self { url, kinds: events.as_deref().map(kinds).transpose()?, keys, description, enabled })
    }
}

fn kinds(names: &[String]) -> Result<Vec<EventKind>, ApiError> {
    let mut kinds = Vec::new();
    for (place, name) in names.iter().enumerate() {
        let field = format!("events[{place}]");
        let kind = kind(&field, name)?;
        if kinds.contains(&kind) {
            return Err(ApiError::invalid(&field, "is named twice"));
        }
        kinds.push(kind);
    }
    Ok(kinds)
}

/// `POST /v1/webhooks`: the answer has the secret.
pub async fn create(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let wanted: NewEndpoint = read::<Wanted>(&state, body)?.try_into()?;
        trail::about(&request, None, &wanted.url);
        let origin = Arrival::origin(&request);
        Ok(NewWebhook::from(webhooks::create(&state.service, origin, caller.account_id, wanted).await?))
    };
    answer(&request, work.await)
}

/// `GET /v1/webhooks`, and under an account an operator's view of them: oldest first.
pub async fn list(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = match auth::operated(&state, &request).await? {
            Some(caller) => caller,
            None => auth::scoped(&state, &request, Scope::Billing).await?,
        };
        Query::of(&request, &[])?;
        Ok(List::<Webhook>::of(webhooks::list(&state.service, caller.account_id).await?))
    };
    answer(&request, work.await)
}

fn webhook_id(text: &str) -> Result<Uuid, ApiError> {
    values::id("id", text, "must be a webhook's id")
}

/// `GET /v1/webhooks/{id}`.
pub async fn endpoint(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        Ok(Webhook::from(webhooks::endpoint(&state.service, caller.account_id, webhook_id(&id)?).await?))
    };
    answer(&request, work.await)
}

/// Whether events are sent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TurnWebhook)]
pub struct Turn {
    enabled: bool,
}

/// `PUT /v1/webhooks/{id}`: enables or disables it. Waiting deliveries to a disabled webhook are not sent any more.
pub async fn turn(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let (id, Turn { enabled }) = (webhook_id(&id)?, read(&state, body)?);
        let (endpoint, is_changed) = webhooks::turn(&state.service, caller.account_id, id, enabled).await?;
        trail::unless_changed(&request, is_changed);
        Ok(Webhook::from(endpoint))
    };
    answer(&request, work.await)
}

/// `DELETE /v1/webhooks/{id}`: deletes it and its deliveries.
pub async fn delete(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let id = webhook_id(&id)?;
        webhooks::delete(&state.service, caller.account_id, id).await?;
        Ok(DeletedWebhook { id, deleted: true })
    };
    answer(&request, work.await)
}

/// `POST /v1/webhooks/{id}/test`: calls it once, now, and returns the result.
pub async fn test(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        read_nothing(&state, body)?;
        let (id, origin) = (webhook_id(&id)?, Arrival::origin(&request));
        Ok(WebhookTest::from(webhooks::test(&state.service, origin, caller.account_id, id).await?))
    };
    answer(&request, work.await)
}

/// `GET /v1/webhooks/{id}/deliveries`: newest event first.
pub async fn deliveries(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let (id, page) = (webhook_id(&id)?, Query::of(&request, &["limit", "cursor"])?.page()?);
        Ok(Page::<Delivery>::from(webhooks::deliveries(&state.service, caller.account_id, id, page).await?))
    };
    answer(&request, work.await)
}
