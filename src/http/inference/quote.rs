//! `POST /v1/quote`: the cost of a request before it runs.

use actix_web::{HttpRequest, HttpResponse};
use billing::key::Scope;
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
        views::models::Quote,
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
        let refusal =
            quoted.admission.as_ref().err().map(|refusal| {
                ApiError::from(refusal.clone()).body(Shape::Native, &Arrival::of(&request).id.to_string())
            });
        Ok(Quote::of(&quoted, refusal))
    };
    answer(&request, work.await)
}
