//! `/v1/payment-methods`: saved cards. No card number ever reaches this server.

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
        respond::{Body, answer, read, read_nothing},
        state::Shared,
        values,
        views::cards::{RemovedCard, Saved, SavedCard, SavedCards},
    },
    service::cards,
};

/// A card to save.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SaveCard)]
pub struct Save {
    /// A test card of the sandbox.
    card: Option<String>,
    /// The id of a finished setup at Stripe.
    setup_intent: Option<String>,
    /// Whether the card becomes the default card. The first card always does.
    #[serde(default)]
    default: bool,
}

/// `POST /v1/payment-methods`: saves a test card of the sandbox. With Stripe, begins a setup, or finishes the one in
/// `setup_intent`.
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
pub async fn set_default(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        read_nothing(&state, body)?;
        Ok(SavedCard::from(cards::set_default(&state.service, caller.account_id, card_id(&id)?).await?))
    };
    answer(&request, work.await)
}

/// `DELETE /v1/payment-methods/{id}`: the card is not charged any more. No other card becomes the default card.
pub async fn remove(state: Shared, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let id = card_id(&id)?;
        cards::remove(&state.service, caller.account_id, id).await?;
        Ok(RemovedCard { id, removed: true })
    };
    answer(&request, work.await)
}
