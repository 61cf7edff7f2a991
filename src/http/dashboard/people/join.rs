//! Where links in mails lead: to become a person or a member, and to set another password. Looking at a link does nothing, as
//! programs look at mail too; its form uses it up.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode};
use askama::Template;
use serde::Deserialize;

use super::{
    super::{
        page::{Frame, failed},
        sign_in::{begin, by_issuer, device},
    },
    said,
};
use crate::{
    http::{
        attempts::Attempt,
        error::ApiError,
        pages::{form_of_stranger, whole},
        query::Query,
        respond::Body,
        state::Shared,
    },
    service::people::{
        joining::{self, Invited},
        sessions,
    },
};

#[derive(Template)]
#[template(path = "dashboard/join.html")]
struct Join {
    frame: Frame,
    message: Option<String>,
    invited: Invited,
    token: String,
    name: String,
    by_password: bool,
    /// Issuers: where each is begun with, and what it is called.
    issuers: Vec<(String, String)>,
}

/// A form behind a link.
#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    token: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    password: String,
}

fn token(request: &HttpRequest) -> Result<String, ApiError> {
    let query = Query::of_form(request, &["token"])?;
    query.get("token").map(str::to_owned).ok_or_else(|| ApiError::not_found("this link"))
}

async fn join_form(
    state: &Shared,
    request: &HttpRequest,
    Wanted { token, name, .. }: Wanted,
    wrong: Option<ApiError>,
) -> HttpResponse {
    match joining::look(&state.service, &token).await {
        Ok(invited) => {
            let status = wrong.as_ref().map_or(StatusCode::OK, ApiError::status);
            let message = wrong.map(|error| error.message().to_owned());
            let (frame, people) = (Frame::of_stranger("Join"), state.service.people());
            let by = |(name, label): (&str, &str)| (by_issuer(name, ("token", &token)), label.to_owned());
            let (by_password, issuers) = (people.opens_by_password(), people.issuers().map(by).collect());
            whole(request, status, &Join { frame, message, invited, token, name, by_password, issuers })
        }
        Err(error) => failed(request, &wrong.unwrap_or_else(|| error.into())),
    }
}

/// `GET /dashboard/join`.
pub(super) async fn join_page(state: Shared, request: HttpRequest) -> HttpResponse {
    match token(&request) {
        Ok(token) => {
            join_form(&state, &request, Wanted { token, name: String::new(), password: String::new() }, None).await
        }
        Err(error) => failed(&request, &error),
    }
}

/// `POST /dashboard/join`.
pub(super) async fn join(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let wanted: Wanted = match form_of_stranger(&request, body) {
        Ok(wanted) => wanted,
        Err(error) => return failed(&request, &error),
    };
    let work = async {
        state.attempts.count(Attempt::Link, state.addresses.of(&request), None).await?;
        let joined = joining::join(&state.service, &wanted.token, &wanted.name, &wanted.password).await?;
        if !joined.is_new {
            return Ok(said(&request, "Join", "You are a member now. Sign in to see the account."));
        }
        let begun = sessions::begin(&state.service, joined.person, &device(&request)).await?;
        Ok::<_, ApiError>(begin(&state, &request, &begun, "/dashboard").await)
    };
    match work.await {
        Ok(answer) => answer,
        Err(error) => join_form(&state, &request, wanted, Some(error)).await,
    }
}

#[derive(Template)]
#[template(path = "dashboard/reset.html")]
struct Reset {
    frame: Frame,
    message: Option<String>,
    token: String,
}

async fn reset_form(state: &Shared, request: &HttpRequest, token: String, wrong: Option<ApiError>) -> HttpResponse {
    match joining::look_at_reset(&state.service, &token).await {
        Ok(()) => {
            let status = wrong.as_ref().map_or(StatusCode::OK, ApiError::status);
            let message = wrong.map(|error| error.message().to_owned());
            whole(request, status, &Reset { frame: Frame::of_stranger("Another password"), message, token })
        }
        Err(error) => failed(request, &wrong.unwrap_or_else(|| error.into())),
    }
}

/// `GET /dashboard/reset`.
pub(super) async fn reset_page(state: Shared, request: HttpRequest) -> HttpResponse {
    match token(&request) {
        Ok(token) => reset_form(&state, &request, token, None).await,
        Err(error) => failed(&request, &error),
    }
}

/// `POST /dashboard/reset`.
pub(super) async fn reset(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let wanted: Wanted = match form_of_stranger(&request, body) {
        Ok(wanted) => wanted,
        Err(error) => return failed(&request, &error),
    };
    let work = async {
        state.attempts.count(Attempt::Link, state.addresses.of(&request), None).await?;
        let person = joining::reset(&state.service, &wanted.token, &wanted.password).await?;
        let begun = sessions::begin(&state.service, person, &device(&request)).await?;
        Ok::<_, ApiError>(begin(&state, &request, &begun, "/dashboard").await)
    };
    match work.await {
        Ok(answer) => answer,
        Err(error) => reset_form(&state, &request, wanted.token, Some(error)).await,
    }
}
