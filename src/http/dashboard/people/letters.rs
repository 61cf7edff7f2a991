//! Having a link mailed: to sign up, and to set another password. What is answered does not depend on whose address it is.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode};
use askama::Template;
use serde::Deserialize;

use super::{super::page::Frame, said};
use crate::{
    http::{
        attempts::Attempt,
        error::ApiError,
        pages::{form_of_stranger, whole},
        respond::Body,
        state::Shared,
    },
    service::people::{SignUp, joining},
};

#[derive(Template)]
#[template(path = "dashboard/letter.html")]
struct Letter {
    frame: Frame,
    action: &'static str,
    says: &'static str,
    button: &'static str,
    message: Option<String>,
    /// Whether there is a form at all.
    is_open: bool,
}

/// An address.
#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    email: String,
}

const SIGN_UP: &str = "Sign up";
const FORGOT: &str = "Forgotten password";

fn sign_up_form(state: &Shared, request: &HttpRequest, wrong: Option<&ApiError>) -> HttpResponse {
    let page = Letter {
        frame: Frame::of_stranger(SIGN_UP),
        action: "/dashboard/sign-up",
        says: match state.service.people().sign_up() {
            SignUp::Open => "We mail you a link that goes on.",
            SignUp::Invited | SignUp::Closed => {
                "People come in here by an invitation: ask a member of your account, or whoever runs this."
            }
        },
        button: "Mail me a link",
        message: wrong.map(|error| error.message().to_owned()),
        is_open: state.service.people().sign_up() == SignUp::Open,
    };
    whole(request, wrong.map_or(StatusCode::OK, ApiError::status), &page)
}

/// `GET /dashboard/sign-up`.
pub(super) async fn sign_up_page(state: Shared, request: HttpRequest) -> HttpResponse {
    sign_up_form(&state, &request, None)
}

/// `POST /dashboard/sign-up`.
pub(super) async fn sign_up(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        let Wanted { email } = form_of_stranger(&request, body)?;
        state.attempts.count(Attempt::Letter, state.addresses.of(&request), Some(&email)).await?;
        joining::sign_up(&state.service, &email).await?;
        Ok::<_, ApiError>(email)
    };
    match work.await {
        Ok(email) => {
            said(&request, SIGN_UP, format!("A letter is on its way to {email}: open the link in it within a day."))
        }
        Err(error) => sign_up_form(&state, &request, Some(&error)),
    }
}

fn forgot_form(request: &HttpRequest, wrong: Option<&ApiError>) -> HttpResponse {
    let page = Letter {
        frame: Frame::of_stranger(FORGOT),
        action: "/dashboard/forgot",
        says: "We mail you a link that sets another password.",
        button: "Mail me a link",
        message: wrong.map(|error| error.message().to_owned()),
        is_open: true,
    };
    whole(request, wrong.map_or(StatusCode::OK, ApiError::status), &page)
}

/// `GET /dashboard/forgot`.
pub(super) async fn forgot_page(request: HttpRequest) -> HttpResponse {
    forgot_form(&request, None)
}

/// `POST /dashboard/forgot`.
pub(super) async fn forgot(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        let Wanted { email } = form_of_stranger(&request, body)?;
        state.attempts.count(Attempt::Letter, state.addresses.of(&request), Some(&email)).await?;
        joining::forgot(&state.service, &email).await?;
        Ok::<_, ApiError>(email)
    };
    match work.await {
        Ok(email) => {
            let says = format!(
                "If {email} has signed up here, a letter is on its way: open the link in it within half an hour."
            );
            said(&request, FORGOT, says)
        }
        Err(error) => forgot_form(&request, Some(&error)),
    }
}
