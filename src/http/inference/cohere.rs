//! Cohere's routes, version 2: chats, vectors, and documents in the order in which they answer a query.

use actix_web::{HttpRequest, HttpResponse};
use wire::format::{
    cohere::{Chat, Embed},
    rerank::CohereReranking,
};

use super::{Body, run};
use crate::http::{respond::refuse, state::Shared};

/// `POST /v2/chat`.
pub async fn chat(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    run::<Chat>(&state, &request, body).await.unwrap_or_else(|error| refuse(&request, &error))
}

/// `POST /v2/embed`.
pub async fn embed(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    run::<Embed>(&state, &request, body).await.unwrap_or_else(|error| refuse(&request, &error))
}

/// `POST /v2/rerank`.
pub async fn rerank(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    run::<CohereReranking>(&state, &request, body).await.unwrap_or_else(|error| refuse(&request, &error))
}
