//! Webhooks of card processors. A delivery is answered with success only when everything it changes is durable; one that
//! is forged, stale or replayed is refused and changes nothing. What matters nothing here is acknowledged.

use actix_web::{HttpRequest, HttpResponse};
use actors::{
    accounts::DEADLINE,
    payment::{Applied, ApplyEvent},
};
use bytes::Bytes;
use cards::{Processor, webhook};
use serde_json::json;

use super::{error::ApiError, respond::answer, state::Shared};

/// The header with a delivery's signature and its time.
const SIGNATURE: &str = "stripe-signature";

/// `POST /webhooks/stripe`.
pub async fn stripe(state: Shared, request: HttpRequest, body: Result<Bytes, actix_web::Error>) -> HttpResponse {
    let work = async {
        let accounts = &state.gateway.accounts;
        let Processor::Stripe(stripe) = accounts.processor() else { return Err(ApiError::not_found("this path")) };
        let body = body.map_err(|_| ApiError::too_large(state.settings.limits.body_bytes))?;
        let header = request.headers().get(SIGNATURE).ok_or_else(|| ApiError::invalid(SIGNATURE, "is missing"))?;
        let header = header.to_str().map_err(|_| ApiError::invalid(SIGNATURE, "is not text"))?;
        let signed_at = webhook::verify(stripe.webhook_secret(), header, &body, state.gateway.clock().now())
            .map_err(|error| ApiError::invalid(SIGNATURE, error))?;
        let told = webhook::parse(&body, signed_at).map_err(|error| ApiError::invalid("body", error))?;
        let heard: Applied = state.payments.ask(ApplyEvent(told), DEADLINE).await??;
        Ok(
            json!({"received": true, "ignored": heard.payments.is_empty() && !heard.repeated, "repeated": heard.repeated}),
        )
    };
    answer(&request, work.await)
}
