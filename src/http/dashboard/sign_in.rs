//! Signing in by an API key, and out.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode};
use askama::Template;
use serde::Deserialize;

use super::page::{Empty, Frame, Visitor, failed, to, whole};
use crate::http::{
    auth,
    error::ApiError,
    query::Query,
    respond::Body,
    session::{self, Sessions},
    state::Shared,
};

#[derive(Template)]
#[template(path = "dashboard/sign_in.html")]
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
        let rest = path.strip_prefix("/dashboard");
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
            && path.bytes().all(|b| b.is_ascii_graphic())
    };
    next.filter(is_ours).unwrap_or("/dashboard")
}

/// `GET /dashboard/sign-in`.
pub(super) async fn page(request: HttpRequest) -> HttpResponse {
    match Query::of_form(&request, &["next"]) {
        Ok(query) => shown(&request, StatusCode::OK, None, ours(query.get("next")).to_owned()),
        Err(error) => failed(&request, &error),
    }
}

/// A key to sign in with.
#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    key: String,
    next: Option<String>,
}

/// `POST /dashboard/sign-in`.
pub(super) async fn sign_in(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let wanted = body.map_err(|error| ApiError::invalid("body", error)).and_then(|body| {
        let wanted: Wanted = serde_urlencoded::from_bytes(&body).map_err(|error| ApiError::invalid("form", error))?;
        // A page of another origin would sign its reader in to somebody else's account.
        if session::is_ours(&request) {
            Ok(wanted)
        } else {
            Err(ApiError::forbidden("This form is not from our page."))
        }
    });
    let Wanted { key, next } = match wanted {
        Ok(wanted) => wanted,
        Err(error) => return failed(&request, &error),
    };
    let next = ours(next.as_deref()).to_owned();
    let key = key.trim();
    match auth::by_key(&state, key).await {
        Ok(_) => match state.sessions.begin(&request, key, state.service.now()) {
            Some(cookie) => {
                let mut response = to(&next);
                // Its characters are those of cookies.
                let _ = response.add_cookie(&cookie);
                response
            }
            None => failed(&request, &ApiError::internal(&"a session could not be sealed")),
        },
        Err(error) => shown(&request, error.status(), Some(error.message().to_owned()), next),
    }
}

/// `POST /dashboard/sign-out`.
pub(super) async fn sign_out(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let visitor = match Visitor::of(&state, &request).await {
        Ok(visitor) => visitor,
        Err(answer) => return answer,
    };
    match visitor.form::<Empty>(&request, body) {
        Ok(Empty {}) => {
            let mut response = to("/dashboard/sign-in");
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
        for path in ["/dashboard", "/dashboard/keys", "/dashboard?x=1", "/dashboard/requests?model=a%20b"] {
            assert_eq!(ours(Some(path)), path);
        }
        for path in
            ["", "//evil.test", "https://evil.test", "/dashboards", "/v1/keys", "/dashboard\r\nx: y", "/dashboard/ x"]
        {
            assert_eq!(ours(Some(path)), "/dashboard", "{path}");
        }
    }
}
