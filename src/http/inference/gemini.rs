//! Google's routes: `POST /v1beta/models/{model}:generateContent` and its kin, which Google's SDKs also ask under `/v1`.
//! The model is all of the path up to the last colon: names of other providers' models have slashes.

mod asked;

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;
use wire::{
    format::gemini::{
        Embeddings, Generate, GenerateList, read_embedding, read_embeddings, read_generate, read_to_count,
    },
    inference::Request,
};

use super::{Body, count::counted, run_by, with_headers};
use crate::http::{
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
    let read = |body: &[u8]| given(&request, read_generate(body, Some(&model), false)?);
    run_by::<Generate>(&state, &request, body, read).await.unwrap_or_else(|error| refuse(&request, &error))
}

/// `POST /v1beta/models/{model}:streamGenerateContent`: events with `alt=sse`, and the entries of one array without it.
pub async fn stream(state: Shared, request: HttpRequest, model: Model, body: Body) -> HttpResponse {
    let read = |body: &[u8]| given(&request, read_generate(body, Some(&model), true)?);
    let answered = match query(&request) {
        Ok((Alt::Events, _)) => run_by::<Generate>(&state, &request, body, read).await,
        Ok((Alt::Json, _)) => run_by::<GenerateList>(&state, &request, body, read).await,
        Err(error) => Err(error),
    };
    answered.unwrap_or_else(|error| refuse(&request, &error))
}

/// `POST /v1beta/models/{model}:embedContent`.
pub async fn embed(state: Shared, request: HttpRequest, model: Model, body: Body) -> HttpResponse {
    let read = |body: &[u8]| given(&request, read_embedding(body, &model)?);
    run_by::<Embeddings>(&state, &request, body, read).await.unwrap_or_else(|error| refuse(&request, &error))
}

/// `POST /v1beta/models/{model}:batchEmbedContents`.
pub async fn embed_many(state: Shared, request: HttpRequest, model: Model, body: Body) -> HttpResponse {
    let read = |body: &[u8]| given(&request, read_embeddings(body, &model)?);
    run_by::<Embeddings>(&state, &request, body, read).await.unwrap_or_else(|error| refuse(&request, &error))
}

/// `POST /v1beta/models/{model}:countTokens`.
pub async fn count_tokens(state: Shared, request: HttpRequest, model: Model, body: Body) -> HttpResponse {
    let read = |body: &[u8]| given(&request, read_to_count(body, &model)?);
    answer(&request, counted(&state, &request, body, read, |tokens| json!({"totalTokens": tokens})).await)
}

/// A request that was read from its body, with the headers and the query that belong to it.
fn given(request: &HttpRequest, parsed: Request) -> Result<Request, ApiError> {
    let mut parsed = with_headers(request, parsed)?;
    parsed.source.query = query(request)?.1;
    Ok(parsed)
}
