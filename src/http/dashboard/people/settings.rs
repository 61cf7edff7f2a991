//! What is a person's own: the name, the ways in, and the sessions.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use askama::Template;
use serde::{Deserialize, de::DeserializeOwned};
use uuid::Uuid;

use super::super::{
    page::{Frame, Signed, failed},
    sign_in::by_issuer,
    text::{Minute, minute},
};
use crate::{
    http::{
        attempts::Attempt,
        error::ApiError,
        pages::{Empty, said, to},
        query::Query,
        respond::Body,
        session::Sessions,
        state::Shared,
        values,
    },
    service::people::{
        sessions,
        sign_on::{self, WayIn},
    },
};

struct Row {
    id: Uuid,
    device: String,
    began: Minute,
    used: Minute,
    is_this: bool,
}

/// A way in by an issuer.
struct Way {
    id: Uuid,
    label: String,
    email: String,
    since: Minute,
    used: Minute,
}

impl From<WayIn> for Way {
    fn from(WayIn { id, label, email, linked_at, used_at }: WayIn) -> Self {
        Self { id, label, email: email.unwrap_or_default(), since: minute(linked_at), used: minute(used_at) }
    }
}

#[derive(Template)]
#[template(path = "dashboard/settings.html")]
struct Settings {
    frame: Frame,
    message: Option<String>,
    said: Option<&'static str>,
    name: String,
    email: String,
    /// Whether passwords open anything.
    by_password: bool,
    has_password: bool,
    ways: Vec<Way>,
    /// Issuers: where each is begun with, and what it is called.
    issuers: Vec<(String, String)>,
    sessions: Vec<Row>,
}

/// What a page says after a form was carried out, by a word in its address.
const SAID: [(&str, &str); 5] = [
    ("name", "The name is changed."),
    ("password", "The password is changed; all other sessions have ended."),
    ("linked", "You sign in by this too."),
    ("unlinked", "It signs you in no more."),
    ("session", "The session has ended."),
];

/// `GET /dashboard/settings`.
pub(super) async fn settings(state: Shared, request: HttpRequest) -> HttpResponse {
    match Signed::of(&state, &request).await {
        Ok(signed) => shown(&state, &request, &signed, None).await,
        Err(answer) => answer,
    }
}

async fn shown(state: &Shared, request: &HttpRequest, signed: &Signed, wrong: Option<ApiError>) -> HttpResponse {
    let status = wrong.as_ref().map_or(StatusCode::OK, ApiError::status);
    match made(state, request, signed, wrong.map(|error| error.message().to_owned())).await {
        Ok(settings) => signed.page(state, request, status, &settings).await,
        Err(error) => failed(request, &error),
    }
}

async fn made(
    state: &Shared,
    request: &HttpRequest,
    signed: &Signed,
    message: Option<String>,
) -> Result<Settings, ApiError> {
    let query = Query::of_form(request, &["said"])?;
    let person = &signed.open.person;
    let listed = sessions::list(&state.service, person.id).await?;
    let (people, ways) = (state.service.people(), sign_on::ways(&state.service, person.id).await?);
    Ok(Settings {
        frame: signed.frame("Settings"),
        message,
        said: said(&query, &SAID),
        name: person.name.clone(),
        email: person.email.clone(),
        by_password: people.opens_by_password(),
        has_password: people.opens_by_password() && person.password.is_some(),
        ways: ways.into_iter().map(Way::from).collect(),
        issuers: people.issuers().map(|(name, label)| (by_issuer(name, ("for", "link")), label.to_owned())).collect(),
        sessions: listed
            .into_iter()
            .map(|session| Row {
                id: session.id,
                is_this: session.id == signed.open.session.id,
                began: minute(session.created_at),
                used: minute(session.seen_at),
                device: session.device,
            })
            .collect(),
    })
}

/// Carries out a form of this page.
async fn carried_out<T: DeserializeOwned>(
    state: &Shared,
    request: &HttpRequest,
    body: Body,
    act: impl AsyncFnOnce(&Signed, T) -> Result<HttpResponse, ApiError>,
) -> HttpResponse {
    let signed = match Signed::of(state, request).await {
        Ok(signed) => signed,
        Err(answer) => return answer,
    };
    let work = async { act(&signed, signed.form(request, body)?).await };
    match work.await {
        Ok(answer) => answer,
        Err(error) => shown(state, request, &signed, Some(error)).await,
    }
}

fn done(said: &str) -> HttpResponse {
    to(&format!("/dashboard/settings?said={said}"))
}

/// Another name.
#[derive(Deserialize)]
struct Name {
    #[serde(default)]
    name: String,
}

/// `POST /dashboard/settings/name`.
pub(super) async fn rename(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    carried_out(&state, &request, body, async |signed, Name { name }| {
        sessions::rename(&state.service, signed.open.person.id, &name).await?;
        Ok(done("name"))
    })
    .await
}

/// Another password.
#[derive(Deserialize)]
struct Password {
    #[serde(default)]
    old: String,
    #[serde(default)]
    password: String,
}

/// `POST /dashboard/settings/password`.
pub(super) async fn change_password(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    carried_out(&state, &request, body, async |signed, Password { old, password }| {
        let email = &signed.open.person.email;
        state.attempts.count(Attempt::SignIn, state.addresses.of(&request), Some(email)).await?;
        if !sessions::change_password(&state.service, &signed.open, &old, &password).await? {
            return Err(ApiError::forbidden("The old password is wrong."));
        }
        Ok(done("password"))
    })
    .await
}

/// `POST /dashboard/settings/identities/{id}/remove`.
pub(super) async fn unlink(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    carried_out(&state, &request, body, async |signed, Empty {}| {
        let id = values::id("id", &id, "must be an id")?;
        sign_on::unlink(&state.service, &signed.open.person, id).await?;
        Ok(done("unlinked"))
    })
    .await
}

/// `POST /dashboard/settings/sessions/{id}/end`.
pub(super) async fn end_session(
    state: Shared,
    request: HttpRequest,
    id: web::Path<String>,
    body: Body,
) -> HttpResponse {
    carried_out(&state, &request, body, async |signed, Empty {}| {
        let id = values::id("id", &id, "must be an id")?;
        sessions::end(&state.service, signed.open.person.id, id).await?;
        Ok(done("session"))
    })
    .await
}

/// `POST /dashboard/settings/sign-out-everywhere`.
pub(super) async fn end_all(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    carried_out(&state, &request, body, async |signed, Empty {}| {
        sessions::end_all(&state.service, signed.open.person.id).await?;
        let mut response = to("/dashboard/sign-in");
        // Without it the browser shows a session that has ended.
        let _ = response.add_cookie(&Sessions::end(&request));
        Ok(response)
    })
    .await
}
