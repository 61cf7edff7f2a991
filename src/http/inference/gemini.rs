//! Google's routes: `POST /v1beta/models/{model}:generateContent` and its kin, which Google's SDKs also ask under `/v1`.
//! The model is all of the path up to the last colon: names of other providers' models have slashes.

mod asked;

use actix_web::{HttpRequest, HttpResponse, web};
use billing::key::Scope;
use serde_json::json;
use wire::{
    fields::BadRequest,
    format::{
        ClientFormat,
        gemini::{Embeddings, Generate, GenerateList, read_embedding, read_embeddings, read_generate, read_to_count},
    },
    inference::Request,
};

use super::{Body, count::counted, run_read, whole, with_headers};
use crate::http::{
    auth,
    error::ApiError,
    respond::{answer, refuse},
    state::Shared,
};
use asked::Alt;
pub(super) use asked::{at_route, query};

/// The model that a path names.
type Model = web::Path<String>;

/// `POST /v1beta/models/{model}:generateContent`.
pub async fn generate(state: Shared, request: HttpRequest, model: Model, body: Body) -> HttpResponse {
    let read = |body: &[u8]| read_generate(body, Some(&model), false);
    run::<Generate>(&state, &request, body, read).await.unwrap_or_else(|error| refuse(&request, &error))
}

/// `POST /v1beta/models/{model}:streamGenerateContent`: events with `alt=sse`, and the entries of one array without it.
pub async fn stream(state: Shared, request: HttpRequest, model: Model, body: Body) -> HttpResponse {
    let read = |body: &[u8]| read_generate(body, Some(&model), true);
    let answered = match query(&request) {
        Ok((Alt::Events, _)) => run::<Generate>(&state, &request, body, read).await,
        Ok((Alt::Json, _)) => run::<GenerateList>(&state, &request, body, read).await,
        Err(error) => Err(error),
    };
    answered.unwrap_or_else(|error| refuse(&request, &error))
}

/// `POST /v1beta/models/{model}:embedContent`.
pub async fn embed(state: Shared, request: HttpRequest, model: Model, body: Body) -> HttpResponse {
    let read = |body: &[u8]| read_embedding(body, &model);
    run::<Embeddings>(&state, &request, body, read).await.unwrap_or_else(|error| refuse(&request, &error))
}

/// `POST /v1beta/models/{model}:batchEmbedContents`.
pub async fn embed_many(state: Shared, request: HttpRequest, model: Model, body: Body) -> HttpResponse {
    let read = |body: &[u8]| read_embeddings(body, &model);
    run::<Embeddings>(&state, &request, body, read).await.unwrap_or_else(|error| refuse(&request, &error))
}

/// `POST /v1beta/models/{model}:countTokens`.
pub async fn count_tokens(state: Shared, request: HttpRequest, model: Model, body: Body) -> HttpResponse {
    let read = |body: &[u8]| given(&request, read_to_count(body, &model)?);
    answer(&request, counted(&state, &request, body, read, |tokens| json!({"totalTokens": tokens})).await)
}

async fn run<F: ClientFormat>(
    state: &Shared,
    request: &HttpRequest,
    body: Body,
    read: impl Fn(&[u8]) -> Result<Request, BadRequest>,
) -> Result<HttpResponse, ApiError> {
    let caller = auth::scoped(state, request, Scope::Inference).await?;
    let asked = given(request, read(&whole(state, request, body)?)?)?;
    run_read::<F>(state, request, caller, asked, None).await
}

/// A request that was read from its body, with the headers and the query that belong to it.
fn given(request: &HttpRequest, parsed: Request) -> Result<Request, ApiError> {
    let mut parsed = with_headers(request, parsed)?;
    parsed.source.query = query(request)?.1;
    Ok(parsed)
}
