//! CORS: browsers let pages of other origins call this gateway only where `http.cors_origins` names them. Keys travel
//! in a header, so pages don't need the browser's credentials, and don't get them.

use actix_cors::Cors;
use actix_web::{
    http::{Method, header::RETRY_AFTER},
    middleware::Condition,
};

/// The headers that a page may read beside those that browsers always show.
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
/// How long a browser may cache a preflight answer, in seconds.
const REMEMBERED: usize = 600;

/// Allows calls from pages of these origins; `*` allows all. Without origins there are no CORS headers.
pub fn cors(origins: &[String]) -> Condition<Cors> {
    let methods = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE];
    let mut cors = Cors::default()
        .allowed_methods(methods)
        // SDKs send many headers of their own.
        .allow_any_header()
        .expose_headers(EXPOSED)
        .expose_headers([RETRY_AFTER])
        .max_age(REMEMBERED);
    for origin in origins {
        cors = if origin == "*" { cors.allow_any_origin().send_wildcard() } else { cors.allowed_origin(origin) };
    }
    Condition::new(!origins.is_empty(), cors)
}
