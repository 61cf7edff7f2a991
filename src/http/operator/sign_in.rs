//! Signing in by the operator's token, whose guesses are limited as the API's are, and out.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode};
use askama::Template;
use serde::Deserialize;

use super::{
    page::{Frame, Operator, failed},
    session::Sessions,
};
use crate::http::{
    auth,
    dashboard::page::{Empty, to, whole},
    edge,
    error::ApiError,
    query::Query,
    respond::Body,
    session,
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

/// A page of ours that a path names. Others are none: who signs in is led nowhere else.
fn ours(next: Option<&str>) -> &str {
    let is_ours = |path: &&str| {
        let rest = path.strip_prefix("/operator");
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
            && path.bytes().all(|b| b.is_ascii_graphic())
    };
    next.filter(is_ours).unwrap_or("/operator")
}

/// `GET /operator/sign-in`.
pub(super) async fn page(request: HttpRequest) -> HttpResponse {
    match Query::of(&request, &["next"]) {
        Ok(query) => shown(&request, StatusCode::OK, None, ours(query.get("next")).to_owned()),
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

fn wanted(request: &HttpRequest, body: Body) -> Result<Wanted, ApiError> {
    let body = body.map_err(|error| ApiError::invalid("body", error))?;
    // A page of another origin would have its reader's browser guess.
    if !session::is_ours(request) {
        return Err(ApiError::forbidden("This form is not from our page."));
    }
    serde_urlencoded::from_bytes(&body).map_err(|error| ApiError::invalid("form", error))
}

/// `POST /operator/sign-in`.
pub(super) async fn sign_in(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let Wanted { token, next } = match wanted(&request, body) {
        Ok(wanted) => wanted,
        Err(error) => return failed(&request, &error),
    };
    let next = ours(next.as_deref()).to_owned();
    let judged = edge::guessed(&state, &request, auth::token_is_right(&state, token.trim())).await;
    if let Err(error) = judged {
        return shown(&request, error.status(), Some(error.message().to_owned()), next);
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
            let mut response = to("/operator/sign-in");
            let _ = response.add_cookie(&Sessions::end(&request));
            response
        }
        Err(error) => failed(&request, &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_signs_in_is_led_to_pages_of_ours_alone() {
        for path in ["/operator", "/operator/actors", "/operator?x=1", "/operator/actors/pool/7B"] {
            assert_eq!(ours(Some(path)), path);
        }
        for path in ["", "//evil.test", "https://evil.test", "/operators", "/dashboard", "/operator\r\nx: y"] {
            assert_eq!(ours(Some(path)), "/operator", "{path}");
        }
    }
}
