//! `/webhooks/stripe`: events of the card processor. A delivery is answered with success only when all its changes are
//! durable. A forged, stale or replayed one is refused and changes nothing. An event without effect here is
//! acknowledged.

use actix_web::{HttpRequest, HttpResponse};

use super::{
    error::ApiError,
    respond::{Body, answer},
    state::Shared,
    views::payments::EventApplied,
};
use crate::service::payments;

/// The header with a delivery's signature and its time.
pub(super) const SIGNATURE: &str = "stripe-signature";

/// `POST /webhooks/stripe`.
pub(super) async fn webhook(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        if !payments::is_stripe(&state.service) {
            return Err(ApiError::not_found("this path"));
        }
        let body = body.map_err(|_| ApiError::too_large(state.settings.limits.body_bytes))?;
        let header = request.headers().get(SIGNATURE).ok_or_else(|| ApiError::invalid(SIGNATURE, "is missing"))?;
        let header = header.to_str().map_err(|_| ApiError::invalid(SIGNATURE, "is not text"))?;
        Ok(EventApplied::from(payments::apply_stripe_event(&state.service, SIGNATURE, header, &body).await?))
    };
    answer(&request, work.await)
}
