//! `POST /v1/quote`: what a request would cost.

use actix_web::{HttpRequest, HttpResponse};
use billing::key::Scope;
use serde_json::json;
use wire::{
    fields::Fields,
    format::openai::{Chat, Completions},
};

use super::{Body, own_key, read, whole};
use crate::{
    gateway::{plan::Payer, quote},
    http::{
        arrival::Arrival,
        auth,
        error::{ApiError, Shape},
        respond::answer,
        state::Shared,
    },
};

/// `POST /v1/quote`: the body of a chat completion, or with `prompt` of a completion.
pub async fn quote(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Inference).await?;
        let body = whole(&state, body)?;
        let fields = Fields::parse(&body)?;
        let is_completion = fields.present("prompt").is_some() && fields.present("messages").is_none();
        let parsed = if is_completion { read::<Completions>(&request, &body) } else { read::<Chat>(&request, &body) }?;
        let payer = Payer::of(own_key(&request)?.as_ref());
        let quoted = quote::quote(&state.gateway, caller, &parsed, payer).await?;
        let (held, refusal) = match quoted.admission {
            Ok(held) => (Some(held), None),
            Err(refusal) => {
                let error = ApiError::from(refusal);
                (None, Some(error.body(Shape::Native, &Arrival::of(&request).id.to_string())))
            }
        };
        Ok(json!({
            "object": "quote", "model": quoted.model, "currency": "USD",
            "prompt_tokens": quoted.tokens.map(|(input, _)| input),
            "max_output_tokens": quoted.tokens.map(|(_, output)| output),
            "cost": {"least": quoted.least, "expected": quoted.expected, "most": quoted.most},
            "admitted": held.is_some(), "hold": held, "refusal": refusal, "available": quoted.balance.available,
        }))
    };
    answer(&request, work.await)
}
