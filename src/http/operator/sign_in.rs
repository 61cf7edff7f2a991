//! Signing in by the operator's token, whose guesses are limited as the API's are, and out.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode};
use askama::Template;
use serde::Deserialize;

use super::{
    page::{Frame, Operator, ROOT, failed},
    session::Sessions,
};
use crate::http::{
    auth, edge, ended,
    error::ApiError,
    pages::{Empty, after, form_of_stranger, ours, to, whole},
    query::Query,
    respond::Body,
    state::Shared,
};

#[derive(Template)]
#[template(path = "operator/sign_in.html")]
struct SignIn {
    frame: Frame,
    message: Option<String>,
    next: String,
}

fn shown(request: &HttpRequest, status: StatusCode, message: Option<String>, next: String) -> HttpResponse {
    whole(request, status, &SignIn { frame: Frame::of_stranger("Sign in"), message, next })
}

/// `GET /operator/sign-in`.
pub(super) async fn page(request: HttpRequest) -> HttpResponse {
    match Query::of_form(&request, &["next"]) {
        Ok(query) => shown(&request, StatusCode::OK, None, ours(ROOT, query.get("next")).to_owned()),
        Err(error) => failed(&request, &error),
    }
}

/// A token to sign in with.
#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    token: String,
    next: Option<String>,
}

/// `POST /operator/sign-in`.
pub(super) async fn sign_in(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let Wanted { token, next } = match form_of_stranger(&request, body) {
        Ok(wanted) => wanted,
        Err(error) => return failed(&request, &error),
    };
    let next = ours(ROOT, next.as_deref()).to_owned();
    let judged = edge::guessed(&state, &request, auth::token_is_right(&state, token.trim())).await;
    if let Err(error) = judged {
        return after(shown(&request, error.status(), Some(error.message().to_owned()), next), &error);
    }
    match state.operators.begin(&request, state.service.now()) {
        Some(cookie) => {
            let mut response = to(&next);
            // Its characters are those of cookies.
            let _ = response.add_cookie(&cookie);
            response
        }
        None => failed(&request, &ApiError::internal(&"a session could not be sealed")),
    }
}

/// `POST /operator/sign-out`.
pub(super) async fn sign_out(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let operator = match Operator::of(&state, &request) {
        Ok(operator) => operator,
        Err(answer) => return answer,
    };
    match operator.form::<Empty>(&request, body) {
        Ok(Empty {}) => {
            state.operators.sign_out(operator.session(), state.service.now());
            ended::write(&state).await;
            let mut response = to("/operator/sign-in");
            let _ = response.add_cookie(&Sessions::end(&request));
            response
        }
        Err(error) => failed(&request, &error),
    }
}
