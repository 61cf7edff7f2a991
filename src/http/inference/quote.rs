//! `POST /v1/quote`: the cost of a request before it runs.

use actix_web::{HttpRequest, HttpResponse};
use billing::{ids::AccountId, key::Scope};
use wire::{
    fields::Fields,
    format::{
        anthropic::Messages,
        cohere::{self, Embed},
        openai::{
            Chat, Completions, Embeddings, Responses,
            media::{edits::Editing, images::Drawing, speech::Speaking},
        },
        rerank::{CohereReranking, Reranking},
    },
    inference::Request,
};

use super::{Body, gemini, own_key, read, responses::continued, whole, with_headers};
use crate::{
    gateway::{plan::Payer, quote, race::Intent, ways},
    http::{
        arrival::Arrival,
        auth,
        error::{ApiError, Shape},
        query::Query,
        respond::answer,
        state::Shared,
        views::models::Quote,
    },
};

/// The routes whose bodies can be quoted.
const ROUTES: [&str; 13] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/embeddings",
    "/v1/rerank",
    "/v1/audio/speech",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v2/chat",
    "/v2/embed",
    "/v2/rerank",
    "/v1beta/models/MODEL:generateContent",
];

/// Reads a body as the route would that `route` names. Without it, a body with `prompt` is a completion's, and any other
/// a chat's.
async fn asked(state: &Shared, request: &HttpRequest, account: AccountId, body: &[u8]) -> Result<Request, ApiError> {
    let query = Query::of(request, &["route"])?;
    match query.get("route") {
        None => {
            let fields = Fields::of_client(body)?;
            let is_completion = fields.present("prompt").is_some() && fields.present("messages").is_none();
            if is_completion { read::<Completions>(request, body) } else { read::<Chat>(request, body) }
        }
        Some("/v1/chat/completions") => read::<Chat>(request, body),
        Some("/v1/completions") => read::<Completions>(request, body),
        Some("/v1/responses") if own_key(request)?.is_some() => read::<Responses>(request, body),
        Some("/v1/responses") => {
            let most = state.settings.limits.of_body("/v1/responses");
            Ok(continued(state, account, most, body, |body| read::<Responses>(request, body)).await?.0)
        }
        Some("/v1/messages") => read::<Messages>(request, body),
        Some("/v1/embeddings") => read::<Embeddings>(request, body),
        Some("/v1/rerank") => read::<Reranking>(request, body),
        Some("/v1/audio/speech") => read::<Speaking>(request, body),
        Some("/v1/images/generations") => read::<Drawing>(request, body),
        Some("/v1/images/edits") => read::<Editing>(request, body),
        Some("/v2/chat") => read::<cohere::Chat>(request, body),
        Some("/v2/embed") => read::<Embed>(request, body),
        Some("/v2/rerank") => read::<CohereReranking>(request, body),
        Some(route) => match gemini::at_route(route, body) {
            Some(read) => with_headers(request, read?),
            None => Err(ApiError::invalid("route", format!("must be one of {}", ROUTES.join(", ")))),
        },
    }
}

/// `POST /v1/quote?route=ROUTE`: the body of a request to that route.
pub async fn quote(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        let caller = auth::scoped(&state, &request, Scope::Inference).await?;
        let body = whole(&state, &request, body)?;
        let parsed = asked(&state, &request, caller.account_id, &body).await?;
        let payer = Payer::of(own_key(&request)?.as_ref());
        let first = ways::first(&state.gateway, parsed, payer, caller.account_id, Intent::Quote).await;
        let quoted = quote::quote(&state.gateway, caller, &first, payer).await?;
        let refusal =
            quoted.admission.as_ref().err().map(|refusal| {
                ApiError::from(refusal.clone()).body(Shape::Native, &Arrival::of(&request).id.to_string())
            });
        Ok(Quote::of(&quoted, refusal))
    };
    answer(&request, work.await)
}
