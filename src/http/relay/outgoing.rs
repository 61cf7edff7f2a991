//! A request as it goes to another node, and that node's answer as it comes back: untouched, but for the end of a stream
//! whose node is gone, which is an event that says so.

use actix_web::{
    HttpRequest, HttpResponse,
    body::SizedStream,
    error::ErrorBadGateway,
    http::{StatusCode, header::CONTENT_LENGTH},
};
use actors::cluster::Pieces;
use bytes::Bytes;
use futures::{Stream, stream};

use super::lost;
use crate::http::{error::ApiError, formats::cut, traced};

/// The same request, for another node.
///
/// # Errors
///
/// It can't be written.
pub(super) fn request(request: &HttpRequest, body: Bytes) -> Result<::http::Request<Bytes>, ApiError> {
    let asked = request.uri().path_and_query().map_or("/", |asked| asked.as_str());
    let mut same = ::http::Request::builder().method(request.method().as_str()).uri(asked);
    // The other node's spans are parts of this one's, where there is one.
    let context = traced::span(request).headers();
    for (name, value) in request.headers() {
        if context.is_empty() || !traces::is_of_context(name.as_str()) {
            same = same.header(name.as_str(), value.as_bytes());
        }
    }
    for (name, value) in context {
        same = same.header(name, value);
    }
    same.body(body).map_err(|error| ApiError::internal(&error))
}

/// The answer of another node.
pub(super) fn answer(
    request: &HttpRequest,
    node: impl std::fmt::Display + 'static,
    answer: ::http::Response<Pieces>,
) -> HttpResponse {
    let (head, pieces) = answer.into_parts();
    let status = StatusCode::from_u16(head.status.as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut same = HttpResponse::build(status);
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    for (name, value) in head.headers.iter().filter(|(name, _)| name.as_str() != CONTENT_LENGTH.as_str()) {
        same.append_header((name.as_str(), value.as_bytes()));
    }
    let length = text("content-length").and_then(|length| length.parse().ok());
    let is_events = text("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
    let (request, id) = (request.clone(), text("x-request-id").unwrap_or_default().to_owned());
    let ending = move |why: &str| {
        let error = lost(&node, why);
        is_events.then(|| cut(&request, &error, &id))
    };
    match length {
        Some(length) => same.body(SizedStream::new(length, body(pieces, ending))),
        None => same.streaming(body(pieces, ending)),
    }
}

/// The pieces of an answer. Where the rest does not come, `ending` says so in the answer's own form, where it has one.
fn body(
    pieces: Pieces,
    ending: impl Fn(&str) -> Option<String> + 'static,
) -> impl Stream<Item = Result<Bytes, actix_web::Error>> + 'static {
    stream::unfold(Some((pieces, ending)), |left| async {
        let (mut pieces, ending) = left?;
        match pieces.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some((pieces, ending)))),
            Ok(None) => None,
            Err(why) => match ending(&why.0) {
                Some(last) => Some((Ok(Bytes::from(last)), None)),
                None => Some((Err(ErrorBadGateway("the answer broke off")), None)),
            },
        }
    })
}
