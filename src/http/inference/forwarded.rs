//! The client's headers that a provider of the client's own format gets. A list of those that are left out stays true
//! longer than one of those that pass: providers and agents invent headers, connections do not.

use actix_web::http::header::{CONNECTION, HeaderMap};
use wire::inference::Header;

/// Headers of one connection, of the body's form, of this gateway, of proxies and browsers, and credentials.
const LEFT_OUT: [&str; 38] = [
    "accept",
    "accept-encoding",
    "api-key",
    "authorization",
    "cdn-loop",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "dnt",
    "expect",
    "forwarded",
    "from",
    "host",
    "http2-settings",
    "idempotency-key",
    "keep-alive",
    "max-forwards",
    "origin",
    "prefer",
    "provider-key",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "referer",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-api-key",
    "x-goog-api-key",
    "x-max-cost",
    "x-real-ip",
    "x-request-id",
    "x-requested-with",
];
/// Headers that choose an organisation or a project at a provider: they belong to the one whose key is used.
const OF_THE_PAYER: [&str; 3] = ["openai-organization", "openai-project", "x-goog-user-project"];
/// The beginnings of such headers.
const BEGINNINGS: [&str; 6] = ["x-forwarded-", "sec-", "cf-", "x-farebox-", "x-amzn-", "access-control-"];
/// The most headers and the longest value that pass.
const MOST: usize = 64;
const LONGEST: usize = 8 << 10;

/// The headers of a request that its provider gets, with the gateway's key or with the caller's own.
pub(super) fn of(headers: &HeaderMap, is_own_key: bool) -> Vec<Header> {
    // RFC 9110, 7.6.1: the headers that it names belong to the connection too.
    let named: Vec<String> = headers
        .get_all(CONNECTION)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(',').map(|name| name.trim().to_ascii_lowercase()))
        .collect();
    let passes = |name: &str| {
        LEFT_OUT.binary_search(&name).is_err()
            && (is_own_key || !OF_THE_PAYER.contains(&name))
            && !BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
            && !named.iter().any(|other| other == name)
    };
    let text = |(name, value): (&actix_web::http::header::HeaderName, &actix_web::http::header::HeaderValue)| {
        let value = value.to_str().ok().filter(|value| value.len() <= LONGEST)?;
        passes(name.as_str()).then(|| (name.as_str().into(), value.into()))
    };
    headers.iter().filter_map(text).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn what_belongs_to_the_connection_or_is_a_secret_stays_here() {
        assert!(LEFT_OUT.is_sorted(), "it is searched by halves");
        let request = TestRequest::default()
            .insert_header(("authorization", "Bearer fb_x"))
            .insert_header(("X-Api-Key", "fb_x"))
            .insert_header(("cookie", "a=b"))
            .insert_header(("connection", "keep-alive, X-Hop"))
            .insert_header(("x-hop", "1"))
            .insert_header(("x-forwarded-for", "10.0.0.1"))
            .insert_header(("accept-encoding", "zstd, br"))
            .insert_header(("anthropic-beta", "a,b"))
            .insert_header(("openai-project", "p"))
            .insert_header(("session-id", "s"))
            .insert_header(("user-agent", "agent/1"))
            .to_http_request();
        let mut passed: Vec<_> = of(request.headers(), false).into_iter().map(|(name, _)| name).collect();
        passed.sort();
        assert_eq!(
            passed.iter().map(|name| &**name).collect::<Vec<_>>(),
            ["anthropic-beta", "session-id", "user-agent"]
        );
    }
}
