//! The key of whoever opens a connection that stays: of a header, or of a browser's session. A browser sends its session
//! whichever page asks it to, and the answers of a socket are not held back from pages of others as those of requests are;
//! so a session opens one for pages of this server's own origin, and of those that the settings name, and for nobody that
//! does not say its origin. A browser says none where a page asks its own server for a stream of events: there it says
//! whose page asks instead (`Sec-Fetch-Site`), which no page can.

use actix_web::{
    HttpRequest,
    http::header::{HOST, HeaderName, ORIGIN},
};

use uuid::Uuid;

use crate::http::{auth, error::ApiError, state::Shared};

/// What is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opens {
    /// A WebSocket.
    Socket,
    /// A stream of events.
    Stream,
}

/// The key, and the session by it that shows it, where it is one.
///
/// # Errors
///
/// There is none, or a session that this page may not use.
pub(super) async fn key(
    state: &Shared,
    request: &HttpRequest,
    opens: Opens,
) -> Result<(String, Option<Uuid>), ApiError> {
    let session = state.sessions.of(request, state.gateway.clock().now());
    let Some(session) = session.filter(|_| matches!(auth::shows_key(request), Ok(false))) else {
        return Ok((auth::key(state, request)?.into_owned(), None));
    };
    if is_own_stream(request, opens) || is_allowed(said(request)?, host(request), &state.settings.http.cors_origins) {
        let id = session.id();
        return Ok((auth::key_of_session(state, session).await?, id));
    }
    Err(ApiError::forbidden(
        "A session opens no socket for a page of another origin; http.cors_origins names those that may.",
    ))
}

/// Checks that a page of this server's own origin opens a connection by an operator's session.
///
/// # Errors
///
/// It is another's, or nobody says whose.
pub(super) fn is_ours(request: &HttpRequest) -> Result<(), ApiError> {
    if is_allowed(said(request)?, host(request), &[]) {
        return Ok(());
    }
    Err(ApiError::forbidden("An operator's session opens no socket for a page of another origin."))
}

/// The origin that a client says.
fn said(request: &HttpRequest) -> Result<&str, ApiError> {
    let silent = "A session opens no socket for a client that does not say its Origin.";
    text(request, &ORIGIN).ok_or_else(|| ApiError::forbidden(silent))
}

fn host(request: &HttpRequest) -> Option<&str> {
    text(request, &HOST)
}

fn text<'a>(request: &'a HttpRequest, name: &HeaderName) -> Option<&'a str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

/// Whether a page of ours asks for a stream of events, by the word of a browser that says no origin.
fn is_own_stream(request: &HttpRequest, opens: Opens) -> bool {
    let headers = request.headers();
    opens == Opens::Stream
        && !headers.contains_key(ORIGIN)
        && headers.get("sec-fetch-site").is_some_and(|site| site.as_bytes() == b"same-origin")
}

/// Whether a page of this origin may use a session here. That all origins may call with a key (`*`) says nothing of
/// sessions.
fn is_allowed(origin: &str, host: Option<&str>, listed: &[String]) -> bool {
    let own = origin.split_once("://").map(|(_, host)| host);
    (own.is_some() && own == host) || listed.iter().any(|other| other != "*" && other == origin)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_page_of_ours_or_one_that_is_named_may_and_no_other() {
        let listed = ["https://app.test".to_owned(), "*".to_owned()];
        let may = |origin: &str, host| is_allowed(origin, host, &listed);
        assert!(may("https://box.test", Some("box.test")) && may("http://box.test:8080", Some("box.test:8080")));
        assert!(may("https://app.test", Some("box.test")));
        for origin in ["https://evil.test", "null", "", "*", "https://box.test.evil.test", "https://box.test:1"] {
            assert!(!may(origin, Some("box.test")), "{origin}");
        }
        assert!(!may("https://box.test", None) && !may("null", None));
    }

    #[test]
    fn a_stream_of_events_is_also_opened_where_the_browser_says_that_the_page_is_ours() {
        let asks = |headers: &[(&'static str, &'static str)], opens| {
            let request = headers.iter().fold(TestRequest::default(), |request, header| request.append_header(*header));
            is_own_stream(&request.to_http_request(), opens)
        };
        let ours = ("sec-fetch-site", "same-origin");
        assert!(asks(&[ours], Opens::Stream) && !asks(&[ours], Opens::Socket));
        for headers in [
            &[][..],
            &[ours, ("origin", "https://evil.test")],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "cross-site")],
        ] {
            assert!(!asks(headers, Opens::Stream), "{headers:?}");
        }
    }
}
