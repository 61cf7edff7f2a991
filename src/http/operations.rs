//! For whatever watches the process: alive, ready, metrics.

use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::{Shared, answer, error::ApiError, refuse, scrape};

/// `GET /healthz`: the process lives.
pub async fn healthz(request: HttpRequest) -> HttpResponse {
    answer(&request, Ok(json!({"status": "ok"})))
}

/// `GET /readyz`: new work is taken, and the ledger answers.
pub async fn readyz(state: Shared, request: HttpRequest) -> HttpResponse {
    if !state.is_ready() {
        return refuse(&request, &ApiError::not_ready("stopping"));
    }
    match state.gateway.directory.ledger().ping().await {
        Ok(()) => answer(&request, Ok(json!({"status": "ready"}))),
        Err(error) => refuse(&request, &error.into()),
    }
}

/// `GET /metrics`: Prometheus' text format.
#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
pub async fn metrics(state: Shared) -> HttpResponse {
    metrics::gauge!("farebox_requests_running").set(state.gateway.directory.running().count() as f64);
    let text = state.metrics.render() + &scrape::actors(state.gateway.directory.health());
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(text)
}
