//! Speech, transcriptions and images. A transcription comes as a form with a recording of up to 25 MB: reading it and
//! measuring how long it lasts takes too long for the thread of a connection.

use actix_web::{HttpRequest, HttpResponse, http::header::CONTENT_TYPE, web};
use billing::key::Scope;
use bytes::Bytes;
use wire::{
    format::openai::media::{
        images::Drawing,
        speech::Speaking,
        transcriptions::{Transcribing, read_form},
    },
    inference::Request,
};

use super::{Body, run, run_read, whole, with_headers};
use crate::http::{auth, error::ApiError, respond::refuse, state::Shared};

/// `POST /v1/audio/speech`.
pub async fn speech(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    run::<Speaking>(&state, &request, body).await.unwrap_or_else(|error| refuse(&request, &error))
}

/// `POST /v1/images/generations`.
pub async fn images(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    run::<Drawing>(&state, &request, body).await.unwrap_or_else(|error| refuse(&request, &error))
}

/// `POST /v1/audio/transcriptions`.
pub async fn transcriptions(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    transcribe(&state, &request, body, false).await.unwrap_or_else(|error| refuse(&request, &error))
}

/// `POST /v1/audio/translations`.
pub async fn translations(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    transcribe(&state, &request, body, true).await.unwrap_or_else(|error| refuse(&request, &error))
}

async fn transcribe(
    state: &Shared,
    request: &HttpRequest,
    body: Body,
    translate: bool,
) -> Result<HttpResponse, ApiError> {
    let caller = auth::scoped(state, request, Scope::Inference).await?;
    let asked = form(request, whole(state, request, body)?, translate).await?;
    run_read::<Transcribing>(state, request, caller, asked, None).await
}

/// Reads a form and the headers that belong to it.
async fn form(request: &HttpRequest, body: Bytes, translate: bool) -> Result<Request, ApiError> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
    let read = web::block(move || read_form(&kind, &body, translate)).await;
    let read = read.map_err(|error| ApiError::internal(&error))?;
    with_headers(request, read?)
}
