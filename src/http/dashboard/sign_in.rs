//! Signing in by a password, by an issuer elsewhere or by an API key, and out.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode};
use askama::Template;
use serde::Deserialize;

use super::page::{Frame, ROOT, failed};
use crate::{
    http::{
        attempts::Attempt,
        auth, ended,
        error::ApiError,
        pages::{Empty, after, form, form_of_stranger, ours, to, whole},
        query::Query,
        respond::Body,
        session::{Session, Sessions, Shown},
        state::Shared,
    },
    service::{
        ServiceError,
        people::{
            SignUp,
            sessions::{self, Begun, LASTS_MS},
            sign_on,
        },
    },
};

#[derive(Template)]
#[template(path = "dashboard/sign_in.html")]
struct SignIn {
    frame: Frame,
    message: Option<String>,
    email: String,
    next: String,
    is_open: bool,
    by_password: bool,
    /// Issuers: where each is begun with, and what it is called.
    issuers: Vec<(String, String)>,
}

/// Where a sign-in by an issuer begins, with one more parameter.
pub(super) fn by_issuer(name: &str, parameter: (&str, &str)) -> String {
    let query = serde_urlencoded::to_string([parameter]).unwrap_or_default();
    format!("/dashboard/oidc/{name}?{query}")
}

fn shown(
    state: &Shared,
    request: &HttpRequest,
    (status, message): (StatusCode, Option<String>),
    email: String,
    next: String,
) -> HttpResponse {
    let people = state.service.people();
    let (is_open, by_password) = (people.sign_up() == SignUp::Open, people.opens_by_password());
    let issuers = people.issuers().map(|(name, label)| (by_issuer(name, ("next", &next)), label.to_owned())).collect();
    let frame = Frame::of_stranger("Sign in");
    whole(request, status, &SignIn { frame, message, email, next, is_open, by_password, issuers })
}

/// The page with the reason why somebody was not signed in.
pub(super) fn refused(state: &Shared, request: &HttpRequest, error: &ApiError, next: &str) -> HttpResponse {
    let wrong = (error.status(), Some(error.message().to_owned()));
    after(shown(state, request, wrong, String::new(), next.to_owned()), error)
}

/// `GET /dashboard/sign-in`.
pub(super) async fn page(state: Shared, request: HttpRequest) -> HttpResponse {
    match Query::of_form(&request, &["next"]) {
        Ok(query) => {
            let next = ours(ROOT, query.get("next")).to_owned();
            shown(&state, &request, (StatusCode::OK, None), String::new(), next)
        }
        Err(error) => failed(&request, &error),
    }
}

/// A key to sign in with, or an address and a password.
#[derive(Deserialize)]
struct Wanted {
    key: Option<String>,
    email: Option<String>,
    #[serde(default)]
    password: String,
    next: Option<String>,
}

/// `POST /dashboard/sign-in`.
pub(super) async fn sign_in(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let wanted: Wanted = match form_of_stranger(&request, body) {
        Ok(wanted) => wanted,
        Err(error) => return failed(&request, &error),
    };
    let next = ours(ROOT, wanted.next.as_deref()).to_owned();
    let email = wanted.email.clone().unwrap_or_default();
    let signed = match &wanted.email {
        Some(email) => by_password(&state, &request, email, &wanted.password, &next).await,
        None => by_key(&state, &request, wanted.key.as_deref().unwrap_or_default().trim(), &next).await,
    };
    signed.unwrap_or_else(|error| {
        let wrong = (error.status(), Some(error.message().to_owned()));
        after(shown(&state, &request, wrong, email, next), &error)
    })
}

async fn by_key(state: &Shared, request: &HttpRequest, key: &str, next: &str) -> Result<HttpResponse, ApiError> {
    auth::by_key(state, key).await?;
    let cookie = state.sessions.begin(request, key, state.service.now());
    let cookie = cookie.ok_or_else(|| ApiError::internal(&"a session could not be sealed"))?;
    end_before(state, request).await;
    let mut response = to(next);
    // Its characters are those of cookies.
    let _ = response.add_cookie(&cookie);
    Ok(response)
}

async fn by_password(
    state: &Shared,
    request: &HttpRequest,
    email: &str,
    password: &str,
    next: &str,
) -> Result<HttpResponse, ApiError> {
    state.attempts.count(Attempt::SignIn, state.addresses.of(request), Some(email)).await?;
    let begun = sessions::sign_in(&state.service, email, password, &device(request)).await?;
    // One word for all that may be wrong.
    let begun = begun.ok_or_else(|| ApiError::unauthorized("The address or the password is wrong."))?;
    Ok(begin(state, request, &begun, next).await)
}

/// What a browser calls itself.
pub(super) fn device(request: &HttpRequest) -> String {
    let said = request.headers().get("user-agent").and_then(|said| said.to_str().ok());
    said.unwrap_or("an unknown browser").to_owned()
}

/// Leads to a page with a session that was just begun. The one before of this browser ends: nothing of it is taken over.
pub(super) async fn begin(state: &Shared, request: &HttpRequest, begun: &Begun, next: &str) -> HttpResponse {
    end_before(state, request).await;
    let mut response = to(next);
    // Its characters are those of cookies.
    let _ = response.add_cookie(&Sessions::of_person(request, begun.id, &begun.token, LASTS_MS));
    response
}

/// Ends the session that a browser has before it gets another one.
async fn end_before(state: &Shared, request: &HttpRequest) {
    let Some(before) = state.sessions.of(request, state.service.now()) else { return };
    if let Err(error) = end(state, &before).await {
        tracing::warn!(%error, "a session before another one could not be ended");
    }
}

/// Ends a session. Returns the issuer by whose word it had begun.
async fn end(state: &Shared, session: &Session) -> Result<Option<String>, ServiceError> {
    match &session.shown {
        Shown::Key(_) => {
            state.sessions.sign_out(session, state.service.now());
            ended::write(state).await;
            Ok(None)
        }
        Shown::Person(id, token) => {
            let Some(open) = sessions::open(&state.service, *id, token).await? else { return Ok(None) };
            sessions::end(&state.service, open.person.id, *id).await?;
            Ok(open.session.issuer)
        }
    }
}

/// `POST /dashboard/sign-out`.
pub(super) async fn sign_out(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let Some(session) = state.sessions.of(&request, state.service.now()) else { return to("/dashboard/sign-in") };
    let end = async {
        let Empty {} = form(&request, body, |shown| session.is_shown(shown))?;
        Ok::<_, ApiError>(end(&state, &session).await?)
    };
    match end.await {
        Ok(issuer) => {
            let mut response = out(&state, &request, issuer.as_deref()).await;
            let _ = response.add_cookie(&Sessions::end(&request));
            response
        }
        Err(error) => failed(&request, &error),
    }
}

#[derive(Template)]
#[template(path = "dashboard/signed_out.html")]
struct SignedOut {
    frame: Frame,
    label: String,
    address: String,
}

/// Where somebody is who has signed out: who came by an issuer may end the session there too, by a link, as our forms lead
/// nowhere else.
async fn out(state: &Shared, request: &HttpRequest, issuer: Option<&str>) -> HttpResponse {
    let Some(issuer) = issuer else { return to("/dashboard/sign-in") };
    let Some((address, label)) = sign_on::end(&state.service, issuer).await else { return to("/dashboard/sign-in") };
    whole(request, StatusCode::OK, &SignedOut { frame: Frame::of_stranger("Signed out"), label, address })
}
