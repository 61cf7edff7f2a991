//! `/v1/payment-methods`: saved cards. No card number ever comes here.

use actix_web::{HttpRequest, HttpResponse, web};
use billing::key::Scope;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    http::{
        arrival::Arrival,
        auth,
        error::ApiError,
        respond::{Body, answer, read},
        state::Shared,
        values,
        views::cards::{RemovedCard, Saved, SavedCard, SavedCards},
    },
    service::cards,
};

/// A card to be saved.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SaveCard)]
pub struct Save {
    /// A test card of the sandbox.
    card: Option<String>,
    /// A finished setup of Stripe's.
    setup_intent: Option<String>,
    /// Whether it becomes the default card; the first one always does.
    #[serde(default)]
    default: bool,
}

/// `POST /v1/payment-methods`: saves a test card, or begins (without `setup_intent`) or finishes to save one with Stripe.
pub async fn save(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let Save { card, setup_intent, default } = read(&state, body)?;
        let wanted = cards::Save { card, setup_intent, default };
        let origin = Arrival::origin(&request);
        Ok(Saved::from(cards::save(&state.service, origin, caller.account_id, &wanted).await?))
    };
    answer(&request, work.await)
}

/// `GET /v1/payment-methods`: saved cards, newest first.
pub async fn list(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Read).await?;
        Ok(SavedCards::from(cards::list(&state.service, caller.account_id).await?))
    };
    answer(&request, work.await)
}

fn card_id(text: &str) -> Result<Uuid, ApiError> {
    values::id("id", text, "must be a saved card's id")
}

/// `PUT /v1/payment-methods/{id}/default`.
pub async fn set_default(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        Ok(SavedCard::from(cards::set_default(&state.service, caller.account_id, card_id(&id)?).await?))
    };
    answer(&request, work.await)
}

/// `DELETE /v1/payment-methods/{id}`: no purchase is charged to it any more, and no other card takes its place by itself.
pub async fn remove(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let id = card_id(&id)?;
        cards::remove(&state.service, caller.account_id, id).await?;
        Ok(RemovedCard { id, removed: true })
    };
    answer(&request, work.await)
}
