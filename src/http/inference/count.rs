//! The tokens of a prompt, for nothing: `POST /v1/messages/count_tokens`, and Google's `countTokens`. It takes no hold, no
//! permit and no part of a rate limit: agents ask it in bursts.

use actix_web::{HttpRequest, HttpResponse};
use billing::key::Scope;
use serde_json::{Value, json, value::RawValue};
use wire::{format::anthropic::read_to_count, inference::Request};

use super::{Body, forward, own_key, whole};
use crate::{
    gateway::count::{Counted, count},
    http::{arrival::Arrival, auth, error::ApiError, respond::answer, state::Shared},
};

/// `POST /v1/messages/count_tokens`.
pub async fn count_tokens(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let read = |body: &[u8]| {
        let mut parsed = read_to_count(body)?;
        forward(&request, &mut parsed);
        Ok(parsed)
    };
    let counted = counted(&state, &request, body, read, |tokens| json!({"input_tokens": tokens})).await;
    answer(&request, counted)
}

/// The answer to a count: its provider's own, or `here` of the tokens that were counted here.
///
/// # Errors
///
/// The caller has no right to ask, the request is invalid, or the provider refuses to count.
pub(super) async fn counted(
    state: &Shared,
    request: &HttpRequest,
    body: Body,
    read: impl Fn(&[u8]) -> Result<Request, ApiError>,
    here: impl Fn(u64) -> Value,
) -> Result<Box<RawValue>, ApiError> {
    auth::scoped(state, request, Scope::Inference).await?;
    let parsed = read(&whole(state, request, body)?)?;
    let counted = count(&state.gateway, parsed, own_key(request)?, Arrival::of(request).id).await?;
    let json = match counted {
        Counted::Told(json) => json.into_string(),
        Counted::Here(tokens) => here(tokens).to_string(),
    };
    RawValue::from_string(json).map_err(|error| ApiError::internal(&error))
}
