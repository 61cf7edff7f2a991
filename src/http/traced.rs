//! The span of each request, around everything that is done about it, and to the end of its answer's body. Where nothing is
//! exported this does nothing. Pages' files and what probes ask are not traced.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    Error, HttpMessage as _, HttpRequest,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::HeaderMap,
    middleware::Next,
    web::Bytes,
};
use traces::{Kind, Span};

use super::{arrival::Arrival, state::Shared};

/// The beginnings of paths that are not traced.
const UNTRACED: &[&str] = &["/healthz", "/readyz", "/metrics", "/dashboard/assets/"];

/// The middleware around every request.
///
/// # Errors
///
/// The inner service failed.
pub(super) async fn traced(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let span = begin(&request);
    if !span.is_kept() {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    request.extensions_mut().insert(span.clone());
    let response = next.call(request).await?;
    let status = response.status();
    span.note("http.response.status_code", i64::from(status.as_u16()));
    span.note("farebox.request.id", Arrival::of(response.request()).id.to_string());
    if status.is_server_error() {
        span.fails(status.as_str().to_owned());
    }
    Ok(response.map_body(|_, body| BoxBody::new(Traced { body: BoxBody::new(body), span })))
}

/// The span of a request; nothing where it is not traced.
pub(super) fn span(request: &HttpRequest) -> Span {
    request.extensions().get::<Span>().cloned().unwrap_or_default()
}

fn begin(request: &ServiceRequest) -> Span {
    let Some(state) = request.app_data::<Shared>() else { return Span::default() };
    if !state.traces.is_on() || UNTRACED.iter().any(|beginning| request.path().starts_with(beginning)) {
        return Span::default();
    }
    // A path that has no route is what its client likes.
    let route = request.resource_map().match_pattern(request.path()).unwrap_or_default();
    let name = format!("{} {route}", request.method());
    let span = state.traces.begin(name.trim_end().to_owned(), Kind::Server, |name| shown(request.headers(), name));
    span.note("http.request.method", request.method().to_string());
    span.note("http.route", route);
    span
}

fn shown<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A body that holds its request's span until it is sent, or left.
struct Traced {
    body: BoxBody,
    span: Span,
}

impl MessageBody for Traced {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        let Self { body, span } = self;
        body.try_into_bytes().map_err(|body| Self { body, span })
    }
}
