//! Headers of a provider's answer that a client of its format gets beside ours. What is left out belongs to the
//! connection or the body's form, is ours to say, or tells of the operator's account.

use http::{HeaderMap, header::CONTENT_TYPE};
use wire::inference::Header;

const LEFT_OUT: [&str; 33] = [
    "alt-svc",
    "anthropic-organization-id",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-security-policy",
    "content-type",
    "date",
    "etag",
    "expires",
    "keep-alive",
    "nel",
    "openai-model",
    "openai-organization",
    "openai-project",
    "proxy-authenticate",
    "report-to",
    "retry-after",
    "server",
    "server-timing",
    "set-cookie",
    "strict-transport-security",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "via",
    "www-authenticate",
    "x-accel-buffering",
    "x-content-type-options",
    "x-request-id",
    "x-should-retry",
];
const BEGINNINGS: [&str; 6] = ["access-control-", "anthropic-ratelimit-", "cf-", "sec-", "x-farebox-", "x-ratelimit-"];
/// The most headers and the longest value that pass.
const MOST: usize = 64;
const LONGEST: usize = 8 << 10;

/// The headers that pass.
pub(super) fn of(headers: &HeaderMap) -> Vec<Header> {
    let passes = |name: &str| {
        LEFT_OUT.binary_search(&name).is_err() && !BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
    };
    let passed = headers.iter().filter(|(name, _)| passes(name.as_str())).filter_map(|(name, value)| {
        let value = value.to_str().ok().filter(|value| value.len() <= LONGEST)?;
        Some((name.as_str().into(), value.into()))
    });
    passed.take(MOST).collect()
}

/// The headers of a sound: its media type, and those that pass.
pub(super) fn of_sound(headers: &HeaderMap) -> Vec<Header> {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.filter(|value| !value.is_empty() && value.len() <= LONGEST);
    let media_type = media_type.map(|value| (Box::from(CONTENT_TYPE.as_str()), value.into()));
    media_type.into_iter().chain(of(headers)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_the_connection_or_to_the_operator_stays_here() {
        assert!(LEFT_OUT.is_sorted(), "it is searched by halves");
        let mut headers = HeaderMap::new();
        for name in
            LEFT_OUT.into_iter().chain(["x-ratelimit-limit-requests", "cf-ray", "x-codex-turn-state", "request-id"])
        {
            headers.insert(name, "v".parse().unwrap());
        }
        let mut passed: Vec<_> = of(&headers).into_iter().map(|(name, _)| name).collect();
        passed.sort();
        assert_eq!(passed.iter().map(|name| &**name).collect::<Vec<_>>(), ["request-id", "x-codex-turn-state"]);
    }
}
