//! What all of the operator's pages have in common: who visits, the frame around the page, forms, and errors in words.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, StatusCode, header::CACHE_CONTROL},
};
use askama::Template;
use serde::de::DeserializeOwned;

use super::{
    assets,
    kit::{Content, Part},
    session::Session,
};
use crate::http::{
    arrival::Arrival,
    dashboard::assets as common,
    error::ApiError,
    pages::{after, fields, form, to, to_sign_in, whole},
    respond::Body,
    session::is_same,
    state::Shared,
};

/// The path of these pages.
pub(super) const ROOT: &str = "/operator";

/// The pages, as they are listed on each.
pub(super) const PAGES: [(&str, &str); 9] = [
    ("/operator", "Overview"),
    ("/operator/actors", "Actors"),
    ("/operator/pools", "Pools"),
    ("/operator/providers", "Providers"),
    ("/operator/money", "Money"),
    ("/operator/nodes", "Nodes"),
    ("/operator/accounts", "Accounts"),
    ("/operator/requests", "Requests"),
    ("/operator/prices", "Prices"),
];

/// An operator who has signed in.
pub(super) struct Operator {
    session: Session,
}

/// The part of a page that frames it.
pub(super) struct Frame {
    pub(super) title: String,
    pub(super) csrf: String,
    /// Where the page is, where its own address takes a form alone.
    pub(super) page: String,
    pub(super) version: &'static str,
    pub(super) common: &'static str,
    pub(super) style: &'static str,
    pub(super) script: &'static str,
}

impl Frame {
    /// The frame of a page for who has not signed in.
    pub(super) fn of_stranger(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            csrf: String::new(),
            page: String::new(),
            version: env!("CARGO_PKG_VERSION"),
            common: &common::STYLE,
            style: &assets::STYLE,
            script: &assets::SCRIPT,
        }
    }

    /// Whether the page is of this name.
    pub(super) fn is(&self, name: &str) -> bool {
        self.title == name
    }
}

#[derive(Template)]
#[template(path = "operator/page.html")]
struct Page {
    frame: Frame,
    content: Content,
}

#[derive(Template)]
#[template(path = "operator/error.html")]
struct Failed {
    frame: Frame,
    message: String,
    request_id: String,
}

impl Operator {
    /// Who visits a page. Who has not signed in is led there, and back.
    ///
    /// # Errors
    ///
    /// The answer that leads there.
    pub(super) fn of(state: &Shared, request: &HttpRequest) -> Result<Self, HttpResponse> {
        let session = state.operators.of(request, state.service.now());
        session.map(|session| Self { session }).ok_or_else(|| to_sign_in(request, ROOT))
    }

    /// The session.
    pub(super) const fn session(&self) -> &Session {
        &self.session
    }

    /// Reads a form of this operator's.
    ///
    /// # Errors
    ///
    /// It is not of a page of ours, or does not read.
    pub(super) fn form<T: DeserializeOwned>(&self, request: &HttpRequest, body: Body) -> Result<T, ApiError> {
        form(request, body, |shown| is_same(shown.as_bytes(), &self.session.csrf))
    }
}

/// Answers with a page that is made for an operator.
pub(super) async fn visited(
    state: &Shared,
    request: &HttpRequest,
    title: &str,
    make: impl AsyncFnOnce() -> Result<Content, ApiError>,
) -> HttpResponse {
    let operator = match Operator::of(state, request) {
        Ok(operator) => operator,
        Err(answer) => return answer,
    };
    match make().await {
        Ok(content) => page(state, request, &operator, title, StatusCode::OK, content),
        Err(error) => failed(request, &error),
    }
}

/// Carries out a form of an operator's, and leads to a page. Where it can't be, the page is made again, below the reason.
pub(super) async fn sent<T: DeserializeOwned>(
    state: &Shared,
    request: &HttpRequest,
    title: &str,
    body: Body,
    act: impl AsyncFnOnce(T) -> Result<String, ApiError>,
    again: impl AsyncFnOnce() -> Result<Content, ApiError>,
) -> HttpResponse {
    let operator = match Operator::of(state, request) {
        Ok(operator) => operator,
        Err(answer) => return answer,
    };
    let typed = body.as_ref().ok().cloned();
    let work = async { act(operator.form(request, body)?).await };
    let error = match work.await {
        Ok(path) => return to(&path),
        Err(error) => error,
    };
    match again().await {
        Ok(content) => {
            // What does not read as a form has typed nothing.
            let typed = typed.and_then(|typed| fields(Ok(typed)).ok()).unwrap_or_default();
            let content = content.typed(request.path(), &typed);
            after(page(state, request, &operator, title, error.status(), content.after(Some(&error))), &error)
        }
        Err(_) => failed(request, &error),
    }
}

/// A page for an operator. A session that is getting old is renewed with it.
fn page(
    state: &Shared,
    request: &HttpRequest,
    operator: &Operator,
    title: &str,
    status: StatusCode,
    content: Content,
) -> HttpResponse {
    let csrf = operator.session.csrf.clone();
    let frame = Frame { csrf, page: page_of(request).unwrap_or_default(), ..Frame::of_stranger(title) };
    let mut response = whole(request, status, &Page { frame, content });
    let now = state.service.now();
    if operator.session.is_old(now)
        && let Some(renewed) = state.operators.renewed(request, &operator.session, now)
    {
        // A cookie that can't be written leaves the session as it is.
        let _ = response.add_cookie(&renewed);
    }
    debug_assert!(response.headers().contains_key(CACHE_CONTROL), "nothing of it is kept");
    response
}

/// The page that a form is on, where the address of the form is below that of the page: `/operator/accounts/{account}/grant`.
fn page_of(request: &HttpRequest) -> Option<String> {
    let pattern = request.match_pattern().filter(|_| request.method() == Method::POST)?;
    // Another page takes its forms itself.
    let (page, _) = request.path().rsplit_once('/').filter(|_| pattern.matches('/').count() > 2)?;
    Some(page.to_owned())
}

/// A page that says what is wrong.
pub(in crate::http) fn failed(request: &HttpRequest, error: &ApiError) -> HttpResponse {
    let page = Failed {
        frame: Frame::of_stranger("That did not work"),
        message: error.message().to_owned(),
        request_id: Arrival::of(request).id.to_string(),
    };
    after(whole(request, error.status(), &page), error)
}
