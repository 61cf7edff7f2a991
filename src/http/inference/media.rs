//! Speech, transcriptions and images. Recordings and images come as forms of many megabytes: reading them, and measuring how
//! long a recording lasts, takes too long for the thread of a connection.

use actix_web::{HttpRequest, HttpResponse, http::header::CONTENT_TYPE, web};
use billing::key::Scope;
use bytes::Bytes;
use wire::{
    fields::BadRequest,
    format::openai::media::{
        edits::{Editing, read_edit_form},
        images::Drawing,
        speech::Speaking,
        transcriptions::{Transcribing, read_form},
    },
    inference::Request,
    multipart,
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

/// `POST /v1/images/edits`: a form, or an object.
pub async fn image_edits(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    edit(&state, &request, body).await.unwrap_or_else(|error| refuse(&request, &error))
}

/// `POST /v1/images/variations`, which its provider retired together with the models that made them.
pub async fn image_variations(state: Shared, request: HttpRequest) -> HttpResponse {
    let says = "varies no image any more: OpenAI retired variations with the models that made them. \
                POST /v1/images/edits takes an image and a prompt.";
    let refusal = match auth::scoped(&state, &request, Scope::Inference).await {
        Ok(_) => ApiError::invalid("model", says),
        Err(error) => error,
    };
    refuse(&request, &refusal)
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
    let body = whole(state, request, body)?;
    let asked = form(request, body, move |kind, body| read_form(kind, body, translate)).await?;
    run_read::<Transcribing>(state, request, caller, asked, None).await
}

async fn edit(state: &Shared, request: &HttpRequest, body: Body) -> Result<HttpResponse, ApiError> {
    if multipart::boundary(kind(request)).is_none() {
        return run::<Editing>(state, request, body).await;
    }
    let caller = auth::scoped(state, request, Scope::Inference).await?;
    let asked = form(request, whole(state, request, body)?, read_edit_form).await?;
    run_read::<Editing>(state, request, caller, asked, None).await
}

/// The media type of a request's body.
fn kind(request: &HttpRequest) -> &str {
    request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default()
}

/// Reads a form and the headers that belong to it.
async fn form(
    request: &HttpRequest,
    body: Bytes,
    read: impl FnOnce(&str, &Bytes) -> Result<Request, BadRequest> + Send + 'static,
) -> Result<Request, ApiError> {
    let kind = kind(request).to_owned();
    let read = web::block(move || read(&kind, &body)).await;
    let read = read.map_err(|error| ApiError::internal(&error))?;
    with_headers(request, read?)
}
