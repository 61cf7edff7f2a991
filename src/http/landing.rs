//! `GET /`: a page for people who open the address in a browser. It names the server and links to its health.

use actix_web::{HttpRequest, HttpResponse, http::header::ContentType};
use askama::Template;

use super::{arrival::Arrival, error::ApiError, respond::refuse};

#[derive(Template)]
#[template(path = "landing.html")]
struct Landing {
    version: &'static str,
}

/// `GET /`.
pub(super) async fn landing(request: HttpRequest) -> HttpResponse {
    match (Landing { version: env!("CARGO_PKG_VERSION") }).render() {
        Ok(page) => HttpResponse::Ok()
            .insert_header(("x-request-id", Arrival::of(&request).id.to_string()))
            .content_type(ContentType::html())
            .body(page),
        Err(error) => refuse(&request, &ApiError::internal(&error)),
    }
}
