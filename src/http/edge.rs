//! Rules for all requests, before and after routing, so that no route can miss them. Before: HEAD becomes GET; a
//! request with a body is authenticated by its head, and its body is read within bounds; guesses of the operator's
//! token are limited. After: HTTP/1.0 gets no chunks, proxies don't buffer event streams, and a connection is closed whose
//! request was not read to its end, or whose process ends.

use actix_web::{
    Error, HttpMessage, HttpRequest,
    body::{self, BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        ConnectionType, Method, StatusCode, Version,
        header::{CONTENT_TYPE, HeaderName, HeaderValue, UPGRADE},
    },
    middleware::Next,
};
use std::{rc::Rc, sync::Arc, time::Duration};

use super::{
    auth,
    body::{Bounds, Fault, Incoming, announced, encoding, is_announced},
    connection::Inlet,
    error::ApiError,
    guesses::Verdict,
    relay::Relayed,
    respond::refuse,
    state::{Shared, Stage},
    trail,
};

/// Asks nginx, and other proxies that know this header, not to buffer the answer.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// The largest body of a request without a key: a processor's event, whose signature covers the body.
const STRANGERS_BODY: usize = 256 << 10;

/// The credential that a request must show on its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    Key,
    Token,
    /// None: the body is signed, or shows it itself.
    Nothing,
}

fn shows(path: &str) -> Shows {
    match path {
        path if path.starts_with("/admin/") => Shows::Token,
        // A form shows the session's token in its body.
        path if path.starts_with("/webhooks/") || path.starts_with("/dashboard") || path.starts_with("/operator") => {
            Shows::Nothing
        }
        _ => Shows::Key,
    }
}

/// The middleware around every request.
///
/// # Errors
///
/// The inner service failed. A refusal here is an answer, not an error.
pub async fn edge(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    // The answer is written without its body, whichever handler makes it.
    let is_head = request.method() == Method::HEAD;
    if is_head {
        request.head_mut().method = Method::GET;
        // What speaks another protocol has an answer with a body: no HEAD opens a socket.
        request.headers_mut().remove(UPGRADE);
    }
    let Some(state) = request.app_data::<Shared>().cloned() else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    let incoming = is_announced(request.headers()).then(|| {
        let held = request.conn_data::<Rc<Inlet>>().map(Inlet::hold);
        Incoming::new(request.take_payload(), held)
    });
    let mut response = match enter(&state, &mut request, incoming.as_ref()).await {
        Ok(()) => {
            let _counted = state.count_handled();
            let response = next.call(request).await?.map_into_boxed_body();
            trail::note(&state, &response).await;
            response
        }
        Err(error) => {
            let refusal = refuse(request.request(), &error);
            request.into_response(refusal)
        }
    };
    if let Some(incoming) = incoming {
        // This replaces the handler's answer to an incomplete body.
        if let Some(fault) = incoming.fault() {
            let refusal = refuse(response.request(), &fault.into());
            response = response.into_response(refusal);
        }
        response = response.map_body(|_, answer| incoming.before(answer));
    }
    if is_head && matches!(response.response().body().size(), BodySize::Stream) {
        // The body is not read, so it is not made.
        response = response.map_body(|_, _| BoxBody::new(body::None::new()));
    }
    finish(&mut response, state.stage());
    Ok(response)
}

/// Checks whether a request may go on to its handler, which then reads the body within bounds.
async fn enter(state: &Shared, request: &mut ServiceRequest, incoming: Option<&Incoming>) -> Result<(), ApiError> {
    // The path as the routes decode it: `%61dmin` is `admin`.
    let path = request.match_info().as_str().to_owned();
    let shows = shows(&path);
    // One that another node passed on was counted there.
    if !request.extensions().contains::<Relayed>() {
        state.addresses.count(request.request(), &path).await?;
    }
    if shows == Shows::Token {
        operator(state, request.request()).await?;
    }
    let Some(incoming) = incoming else { return Ok(()) };
    // An unknown path is answered without reading the body.
    if request.resource_map().match_pattern(&path).is_none() {
        return Ok(());
    }
    if shows == Shows::Key {
        auth::caller(state, request.request()).await?;
    }
    if let Some(encoding) = encoding(request.headers()) {
        return Err(ApiError::encoded(&encoding));
    }
    let limits = &state.settings.limits;
    let (bytes, room) = match shows {
        Shows::Key | Shows::Token => (limits.of_body(&path), Arc::clone(&state.bodies)),
        Shows::Nothing => {
            let address = state.addresses.of(request.request());
            (limits.body_bytes.min(STRANGERS_BODY), state.strangers.of(address))
        }
    };
    if announced(request.headers()).is_some_and(|announced| announced > bytes as u64) {
        return Err(Fault::TooLarge(bytes).into());
    }
    let bounds = Bounds { bytes, longest: Duration::from_secs(limits.body_seconds), share: room.share() };
    request.set_payload(incoming.within(bounds, state.clone()));
    Ok(())
}

/// Checks the operator's token, and limits guesses.
pub(super) async fn operator(state: &Shared, request: &HttpRequest) -> Result<(), ApiError> {
    let shown = auth::operator(state, request);
    // A request without a credential is no guess.
    if !auth::shows_something(request) {
        return shown;
    }
    guessed(state, request, shown).await
}

/// Limits guesses of the operator's token: what was shown is told once that is allowed.
pub(super) async fn guessed(
    state: &Shared,
    request: &HttpRequest,
    shown: Result<(), ApiError>,
) -> Result<(), ApiError> {
    let address = state.addresses.of(request);
    match state.guesses.judge(address, || shown.is_ok()).await {
        Verdict::Right | Verdict::Wrong => shown,
        Verdict::TooMany => Err(ApiError::slow_down("Too many wrong tokens came from here; try again in a moment.", 1)),
    }
}

fn finish(response: &mut ServiceResponse<BoxBody>, stage: Stage) {
    let is_old = response.request().version() < Version::HTTP_11;
    let is_stream = matches!(response.response().body().size(), BodySize::Stream);
    let head = response.response_mut().head_mut();
    let is_events =
        head.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if is_events {
        head.headers_mut().insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    }
    if is_old && is_stream {
        head.no_chunking(true);
        head.set_connection_type(ConnectionType::Close);
    }
    // An opened socket is no connection of requests any more.
    if stage > Stage::Serving && head.status != StatusCode::SWITCHING_PROTOCOLS {
        head.set_connection_type(ConnectionType::Close);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_shows_what() {
        for (path, what) in [
            ("/v1/chat/completions", Shows::Key),
            ("/admin/v1/accounts", Shows::Token),
            ("/webhooks/stripe", Shows::Nothing),
            ("/v1/webhooks", Shows::Key),
            ("/operator/sign-in", Shows::Nothing),
            ("/administration", Shows::Key),
        ] {
            assert_eq!(shows(path), what, "{path}");
        }
    }
}
