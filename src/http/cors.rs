//! Pages of other origins, which a browser lets call this gateway only where it says so: those of `http.cors_origins`.
//! Keys travel in a header, so no page needs the browser's own credentials, and none gets to use them.

use actix_cors::Cors;
use actix_web::{
    http::{Method, header::RETRY_AFTER},
    middleware::Condition,
};

/// What a page may read of an answer, beside what browsers show anyway.
const EXPOSED: [&str; 12] = [
    "idempotency-replayed",
    "server-timing",
    "x-farebox-balance",
    "x-farebox-billed-seconds",
    "x-farebox-cost",
    "x-farebox-queue-place",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-request-id",
    "x-should-retry",
    "www-authenticate",
];
/// How long a browser may remember what it was told, in seconds.
const REMEMBERED: usize = 600;

/// Lets pages of these origins call; `*` is any. Nothing is said of it where there are none.
pub fn cors(origins: &[String]) -> Condition<Cors> {
    let methods = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE];
    let mut cors = Cors::default()
        .allowed_methods(methods)
        // SDKs send many of their own.
        .allow_any_header()
        .expose_headers(EXPOSED)
        .expose_headers([RETRY_AFTER])
        .max_age(REMEMBERED);
    for origin in origins {
        cors = if origin == "*" { cors.allow_any_origin().send_wildcard() } else { cors.allowed_origin(origin) };
    }
    Condition::new(!origins.is_empty(), cors)
}
