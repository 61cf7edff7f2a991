//! The live socket of operators' pages: opened by their session, where `GET /v1/live` takes the token.

use actix_web::{HttpRequest, HttpResponse, web};

use super::page::Operator;
use crate::http::{live::of_operator, state::Shared};

/// `GET /operator/live`.
pub(super) async fn live(state: Shared, request: HttpRequest, body: web::Payload) -> HttpResponse {
    match Operator::of(&state, &request) {
        Ok(operator) => {
            let session = operator.session();
            of_operator(state, &request, body, (session.id, session.ends_at()))
        }
        Err(answer) => answer,
    }
}
