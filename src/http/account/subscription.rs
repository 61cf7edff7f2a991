//! `/v1/subscription`: subscribing to the pay-as-you-go plan, showing and cancelling the subscription.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode};
use billing::key::Scope;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::payments::status_of;
use crate::{
    http::{
        arrival::Arrival,
        auth,
        respond::{Body, answer, answer_with, read},
        state::Shared,
        trail,
        views::{account::Standing, payments::Purchase},
    },
    service::subscription::{self, SubscribeOutcome},
};

/// A subscription to begin or resume.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// A saved card's id, or the processor's id of the card; the default card by default.
    payment_method: Option<String>,
}

/// The result of subscribing.
#[derive(Serialize)]
#[serde(untagged)]
enum Subscribed {
    Stands(Standing),
    Pending(Purchase),
}

/// `POST /v1/subscription`: pays the first cycle, or resumes a cancelled subscription. 202 where the payment is
/// pending.
pub async fn subscribe(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let Subscribe { payment_method } = read(&state, body)?;
        let (origin, card) = (Arrival::origin(&request), payment_method.as_deref());
        let subscribed = subscription::subscribe(&state.service, origin, caller.account_id, card).await;
        Ok(match trail::begun(&request, subscribed)? {
            SubscribeOutcome::Stands(standing) => (StatusCode::OK, Subscribed::Stands(Standing::from(&*standing))),
            SubscribeOutcome::Pending(bought) => (status_of(true), Subscribed::Pending(Purchase::from(*bought))),
        })
    };
    answer_with(&request, work.await)
}

/// `DELETE /v1/subscription`: cancels at the end of the paid cycle.
pub async fn cancel(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Billing).await?;
        let (standing, is_changed) = subscription::cancel(&state.service, caller.account_id).await?;
        trail::unless_changed(&request, is_changed);
        Ok(Standing::from(&standing))
    };
    answer(&request, work.await)
}

/// `GET /v1/subscription`.
pub async fn subscription(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Read).await?;
        Ok(Standing::from(&subscription::standing(&state.service, caller.account_id).await?))
    };
    answer(&request, work.await)
}
