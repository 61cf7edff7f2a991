//! What all pages have in common: who visits, the frame around the page, forms, and errors in words.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{CACHE_CONTROL, ContentType, LOCATION},
    },
};
use askama::Template;
use billing::{Timestamp, key::Scope};
use serde::de::DeserializeOwned;

use super::assets;
use crate::{
    gateway::serve::Caller,
    http::{
        arrival::Arrival,
        auth,
        error::{ApiError, Shape},
        respond::Body,
        session::{self, Session},
        state::Shared,
    },
};

/// What a page may load and do: our own styles, scripts and answers, and nothing else; it stands in no frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The pages, as they are listed on each.
pub(super) const PAGES: [(&str, &str); 8] = [
    ("/dashboard", "Overview"),
    ("/dashboard/playground", "Playground"),
    ("/dashboard/usage", "Usage"),
    ("/dashboard/requests", "Requests"),
    ("/dashboard/credits", "Credits"),
    ("/dashboard/keys", "Keys"),
    ("/dashboard/models", "Models"),
    ("/dashboard/events", "Events"),
];

/// Who visits a page.
pub(super) struct Visitor {
    pub(super) caller: Caller,
    /// When the key expires.
    pub(super) expires_at: Option<Timestamp>,
    session: Session,
}

/// The part of a page that frames it.
pub(super) struct Frame {
    pub(super) title: &'static str,
    pub(super) csrf: String,
    pub(super) version: &'static str,
    pub(super) style: &'static str,
    pub(super) script: &'static str,
}

impl Frame {
    /// Whether the page is of this name.
    pub(super) fn is(&self, name: &str) -> bool {
        self.title == name
    }

    /// The frame of a page for who has not signed in.
    pub(super) fn of_stranger(title: &'static str) -> Self {
        Self {
            title,
            csrf: String::new(),
            version: env!("CARGO_PKG_VERSION"),
            style: &assets::STYLE,
            script: &assets::SCRIPT,
        }
    }
}

impl Visitor {
    /// Who visits a page. Who has not signed in is led there, and back.
    ///
    /// # Errors
    ///
    /// The answer that leads there, or that says what is wrong.
    pub(super) async fn of(state: &Shared, request: &HttpRequest) -> Result<Self, HttpResponse> {
        let session = state.sessions.of(request, state.service.now());
        let Some(session) = session else { return Err(to_sign_in(request)) };
        match auth::by_key(state, &session.key).await {
            Ok((caller, expires_at)) => Ok(Self { caller, expires_at, session }),
            // The key was revoked, or has expired.
            Err(error) if error.status() == StatusCode::UNAUTHORIZED => Err(to_sign_in(request)),
            Err(error) => Err(failed(request, &error)),
        }
    }

    /// The visitor, who may do something.
    ///
    /// # Errors
    ///
    /// The key lacks the scope.
    pub(super) fn may(&self, scope: Scope) -> Result<Caller, ApiError> {
        if self.caller.scopes.has(scope) { Ok(self.caller) } else { Err(ApiError::out_of_scope(scope)) }
    }

    /// The frame of a page.
    pub(super) fn frame(&self, title: &'static str) -> Frame {
        Frame { csrf: self.session.csrf.clone(), ..Frame::of_stranger(title) }
    }

    /// Reads a form of this visitor's.
    ///
    /// # Errors
    ///
    /// It is not of a page of ours, or does not read.
    pub(super) fn form<T: DeserializeOwned>(&self, request: &HttpRequest, body: Body) -> Result<T, ApiError> {
        let body = body.map_err(|error| ApiError::invalid("body", error))?;
        let fields: Vec<(String, String)> =
            serde_urlencoded::from_bytes(&body).map_err(|error| ApiError::invalid("form", error))?;
        let shown = fields.iter().find(|(name, _)| name == "csrf").map(|(_, value)| value.as_str());
        if !session::is_ours(request)
            || !shown.is_some_and(|shown| session::is_same(shown.as_bytes(), &self.session.csrf))
        {
            return Err(ApiError::forbidden("This form is not from a page of this session: open the page again."));
        }
        read(fields)
    }
}

/// A form with the session's token alone.
#[derive(serde::Deserialize)]
pub(in crate::http) struct Empty {}

/// Reads fields of a form. What was left empty was not given.
pub(in crate::http) fn read<T: DeserializeOwned>(fields: Vec<(String, String)>) -> Result<T, ApiError> {
    let given = fields.into_iter().filter(|(name, value)| name != "csrf" && !value.trim().is_empty());
    let text = serde_urlencoded::to_string(given.collect::<Vec<_>>());
    let text = text.map_err(|error| ApiError::invalid("form", error))?;
    serde_urlencoded::from_str(&text).map_err(|error| ApiError::invalid("form", error))
}

/// Answers with a page that is made for its visitor.
pub(super) async fn visited<T: Template>(
    state: &Shared,
    request: &HttpRequest,
    make: impl AsyncFnOnce(&Visitor) -> Result<T, ApiError>,
) -> HttpResponse {
    let visitor = match Visitor::of(state, request).await {
        Ok(visitor) => visitor,
        Err(answer) => return answer,
    };
    match make(&visitor).await {
        Ok(made) => page(state, request, &visitor, StatusCode::OK, &made),
        Err(error) => failed(request, &error),
    }
}

/// Carries out a form of a visitor who may do that. Where it can't be, its page is shown again, with the reason.
pub(super) async fn sent<T: DeserializeOwned>(
    state: &Shared,
    request: &HttpRequest,
    body: Body,
    scope: Scope,
    act: impl AsyncFnOnce(&Visitor, T) -> Result<HttpResponse, ApiError>,
    again: impl AsyncFnOnce(&Visitor, ApiError) -> HttpResponse,
) -> HttpResponse {
    let visitor = match Visitor::of(state, request).await {
        Ok(visitor) => visitor,
        Err(answer) => return answer,
    };
    let work = async {
        visitor.may(scope)?;
        act(&visitor, visitor.form(request, body)?).await
    };
    match work.await {
        Ok(answer) => answer,
        Err(error) => again(&visitor, error).await,
    }
}

fn to_sign_in(request: &HttpRequest) -> HttpResponse {
    let next = if request.method() == actix_web::http::Method::GET { request.uri().to_string() } else { String::new() };
    let next = serde_urlencoded::to_string([("next", next)]).unwrap_or_default();
    to(&format!("/dashboard/sign-in?{next}"))
}

/// Leads to another page.
pub(in crate::http) fn to(path: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, path)).insert_header((CACHE_CONTROL, "no-store")).finish()
}

/// A page for a visitor. A session that is getting old is renewed with it.
pub(super) fn page(
    state: &Shared,
    request: &HttpRequest,
    visitor: &Visitor,
    status: StatusCode,
    page: &impl Template,
) -> HttpResponse {
    let mut response = whole(request, status, page);
    let now = state.service.now();
    if visitor.session.is_old(now)
        && let Some(renewed) = state.sessions.begin(request, &visitor.session.key, now)
    {
        // A cookie that can't be written leaves the session as it is.
        let _ = response.add_cookie(&renewed);
    }
    response
}

/// A page.
pub(in crate::http) fn whole(request: &HttpRequest, status: StatusCode, page: &impl Template) -> HttpResponse {
    let id = Arrival::of(request).id.to_string();
    match page.render() {
        Ok(text) => HttpResponse::build(status)
            .insert_header(("x-request-id", id))
            .insert_header(("content-security-policy", POLICY))
            .insert_header(("referrer-policy", "same-origin"))
            .insert_header(("x-content-type-options", "nosniff"))
            .insert_header((CACHE_CONTROL, "no-store"))
            .content_type(ContentType::html())
            .body(text),
        Err(error) => ApiError::internal(&error).response(Shape::Native, &id),
    }
}

#[derive(Template)]
#[template(path = "dashboard/error.html")]
struct Failed {
    frame: Frame,
    message: String,
    request_id: String,
}

/// A page that says what is wrong.
pub(super) fn failed(request: &HttpRequest, error: &ApiError) -> HttpResponse {
    let page = Failed {
        frame: Frame::of_stranger("That did not work"),
        message: error.message().to_owned(),
        request_id: Arrival::of(request).id.to_string(),
    };
    whole(request, error.status(), &page)
}
