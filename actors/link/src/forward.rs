//! A whole HTTP request for another node, and its answer. Headers that belong to one connection stay behind; what the node
//! where the request came in knows of it (the client's address, the host that was asked for) travels in headers of the
//! link's own, which no client can set.

use std::net::IpAddr;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri,
    header::{self, CONNECTION, CONTENT_LENGTH, HOST},
    uri::PathAndQuery,
};

use crate::{body::Sent, error::NotSent, path};

/// Headers of one connection, by RFC 9110 (7.6.1) and RFC 9113 (8.2.2), and what a proxy on the way was told.
const OF_A_CONNECTION: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
];
const OLD_NAMES: [&str; 3] = ["keep-alive", "proxy-connection", "http2-settings"];

/// The beginning of the link's own headers.
const OWN: &str = "x-farebox-link";
const HOPS: HeaderName = HeaderName::from_static("x-farebox-link-hops");
const CLIENT: HeaderName = HeaderName::from_static("x-farebox-link-client");
const ASKED_HOST: HeaderName = HeaderName::from_static("x-farebox-link-host");
/// In an answer: that the request was carried out, or that it was not begun and why.
const OUTCOME: HeaderName = HeaderName::from_static(OWN);

/// A request that another node passes on.
#[derive(Debug)]
pub struct Forwarded {
    /// The request, as it came in there.
    pub request: Request<Bytes>,
    /// Who asked there.
    pub client: Option<IpAddr>,
    /// How many nodes have passed it on, that one among them.
    pub hops: u8,
}

/// What became of a request that was passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered,
    Loops,
    Busy,
    TooLarge,
    Broken,
}

impl Outcome {
    const ALL: [(Self, &str); 5] = [
        (Self::Answered, "answered"),
        (Self::Loops, "loops"),
        (Self::Busy, "busy"),
        (Self::TooLarge, "too-large"),
        (Self::Broken, "broken"),
    ];

    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(outcome, _)| *outcome == self).map_or("", |(_, word)| word)
    }

    /// What an answer says of itself; none where it is no answer of a link.
    pub(crate) fn take(headers: &mut HeaderMap) -> Option<Self> {
        let word = headers.remove(OUTCOME)?;
        Self::ALL.iter().find(|(_, known)| word.as_bytes() == known.as_bytes()).map(|(outcome, _)| *outcome)
    }

    /// An answer for a request that was not carried out.
    pub(crate) fn response(self) -> Response<Sent> {
        let mut response = Response::new(Sent::Whole(Bytes::new()));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response.headers_mut().insert(OUTCOME, HeaderValue::from_static(self.word()));
        response
    }
}

/// Leaves out the headers of a connection, and those that only the link may set.
fn clean(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let own = headers.keys().filter(|name| name.as_str().starts_with(OWN)).cloned();
    let own: Vec<HeaderName> = own.collect();
    for name in named.iter().chain(&own).chain(&OF_A_CONNECTION) {
        headers.remove(name);
    }
    for name in OLD_NAMES {
        headers.remove(name);
    }
}

/// A request as it goes to another node.
pub(crate) fn outgoing(
    request: Request<Bytes>,
    client: Option<IpAddr>,
    hops: u8,
    authority: &str,
) -> Result<Request<Sent>, NotSent> {
    let unsendable = |error: &dyn std::fmt::Display| NotSent::Unsendable(error.to_string());
    let (mut head, body) = request.into_parts();
    let asked = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let host = head
        .headers
        .remove(HOST)
        .or_else(|| head.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok()));
    clean(&mut head.headers);
    head.headers.remove(CONTENT_LENGTH);
    head.headers.insert(HOPS, HeaderValue::from(u16::from(hops)));
    if let Some(host) = host {
        head.headers.insert(ASKED_HOST, host);
    }
    if let Some(client) = client {
        head.headers.insert(CLIENT, HeaderValue::from_str(&client.to_string()).map_err(|error| unsendable(&error))?);
    }
    head.uri = uri(authority, &format!("{}{asked}", path::FORWARD)).map_err(|error| unsendable(&error))?;
    head.version = http::Version::HTTP_2;
    Ok(Request::from_parts(head, Sent::Whole(body)))
}

/// An address on another node.
pub(crate) fn uri(authority: &str, path: &str) -> Result<Uri, http::Error> {
    Uri::builder().scheme("http").authority(authority).path_and_query(path).build()
}

/// A request as it came from another node; none where it is not written as the link writes it.
pub(crate) fn incoming(request: Request<Bytes>) -> Option<Forwarded> {
    let (mut head, body) = request.into_parts();
    let asked = head.uri.path_and_query()?.as_str().strip_prefix(path::FORWARD)?;
    let asked = if asked.starts_with('/') { asked.to_owned() } else { format!("/{asked}") };
    let text = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let hops = text(HOPS)?.parse().ok()?;
    let client = match text(CLIENT) {
        Some(address) => Some(address.parse().ok()?),
        None => None,
    };
    let host = head.headers.get(ASKED_HOST).cloned();
    clean(&mut head.headers);
    if let Some(host) = host {
        head.headers.insert(HOST, host);
    }
    head.uri = asked.parse().ok()?;
    Some(Forwarded { request: Request::from_parts(head, body), client, hops })
}

/// An answer as it goes back.
pub(crate) fn answered(response: Response<Sent>) -> Response<Sent> {
    let (mut head, body) = response.into_parts();
    clean(&mut head.headers);
    head.headers.insert(OUTCOME, HeaderValue::from_static(Outcome::Answered.word()));
    Response::from_parts(head, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&'static str, &'static str)]) -> Request<Bytes> {
        let mut request = Request::post("/v1/balance?at=1%202").body(Bytes::from_static(b"{}")).unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        request
    }

    fn passed_on(request: Request<Bytes>, client: Option<IpAddr>) -> Forwarded {
        let (head, body) = outgoing(request, client, 1, "node").unwrap().into_parts();
        let Sent::Whole(body) = body else { panic!("its body is whole") };
        incoming(Request::from_parts(head, body)).unwrap()
    }

    #[test]
    fn a_request_comes_out_as_it_came_in_without_what_is_of_its_connection() {
        let request = request(&[
            ("host", "api.example"),
            ("authorization", "Bearer k"),
            ("x-two", "a"),
            ("x-two", "b"),
            ("connection", "close, X-Of-Connection"),
            ("x-of-connection", "1"),
            ("keep-alive", "5"),
            ("transfer-encoding", "chunked"),
            ("content-length", "2"),
            ("upgrade", "h2c"),
        ]);
        let client = "2001:db8::7".parse().unwrap();
        let forwarded = passed_on(request, Some(client));
        assert_eq!((forwarded.client, forwarded.hops), (Some(client), 1));
        let (head, body) = forwarded.request.into_parts();
        assert_eq!((head.method.as_str(), head.uri.to_string().as_str()), ("POST", "/v1/balance?at=1%202"));
        assert_eq!(body, "{}");
        let mut left: Vec<(&str, &[u8])> =
            head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        left.sort_unstable();
        let expected: [(&str, &[u8]); 4] =
            [("authorization", b"Bearer k"), ("host", b"api.example"), ("x-two", b"a"), ("x-two", b"b")];
        assert_eq!(left, expected);
    }

    #[test]
    fn a_client_can_set_no_header_of_the_link() {
        let forwarded = passed_on(
            request(&[("x-farebox-link-client", "10.0.0.1"), ("x-farebox-link-hops", "200"), ("x-farebox-link", "x")]),
            None,
        );
        assert_eq!((forwarded.client, forwarded.hops), (None, 1));
        assert!(forwarded.request.headers().is_empty(), "{:?}", forwarded.request.headers());
    }

    #[test]
    fn an_answer_says_that_it_is_one() {
        let mut response = Response::new(Sent::Whole(Bytes::new()));
        response.headers_mut().insert(OUTCOME, HeaderValue::from_static("broken"));
        let mut response = answered(response);
        assert_eq!(Outcome::take(response.headers_mut()), Some(Outcome::Answered));
        assert_eq!(Outcome::take(response.headers_mut()), None);
        for (outcome, _) in Outcome::ALL {
            assert_eq!(Outcome::take(outcome.response().headers_mut()), Some(outcome));
        }
    }
}
