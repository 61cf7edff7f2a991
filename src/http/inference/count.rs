//! `POST /v1/messages/count_tokens`: the tokens of a prompt, for nothing. It takes no hold, no permit and no part of a
//! rate limit: agents ask it in bursts.

use actix_web::{HttpRequest, HttpResponse};
use billing::key::Scope;
use serde_json::{json, value::RawValue};
use wire::format::anthropic::read_to_count;

use super::{Body, forward, own_key, whole};
use crate::{
    gateway::count::{Counted, count},
    http::{arrival::Arrival, auth, error::ApiError, respond::answer, state::Shared},
};

/// `POST /v1/messages/count_tokens`.
pub async fn count_tokens(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        auth::scoped(&state, &request, Scope::Inference).await?;
        let mut parsed = read_to_count(&whole(&state, &request, body)?)?;
        forward(&request, &mut parsed);
        let counted = count(&state.gateway, parsed, own_key(&request)?, Arrival::of(&request).id).await?;
        let json = match counted {
            Counted::Told(json) => json.into_string(),
            Counted::Here(tokens) => json!({"input_tokens": tokens}).to_string(),
        };
        RawValue::from_string(json).map_err(|error| ApiError::internal(&error))
    };
    answer(&request, work.await)
}
