//! For whatever watches the process: alive, ready, metrics.

use actix_web::{HttpRequest, HttpResponse};
use farebox_actors::ledger::LedgerError;
use serde_json::json;

use super::{Shared, answer, error::ApiError, refuse, scrape};

/// `GET /healthz`: the process lives.
pub async fn healthz(request: HttpRequest) -> HttpResponse {
    answer(&request, Ok(json!({"status": "ok"})))
}

/// `GET /readyz`: new work is taken, and what it changes can be committed to what a restart will find.
pub async fn readyz(state: Shared, request: HttpRequest) -> HttpResponse {
    if !state.is_ready() {
        return refuse(&request, &ApiError::not_ready("stopping"));
    }
    match state.gateway.directory.ledger().ready().await {
        Ok(()) => answer(&request, Ok(json!({"status": "ready"}))),
        // A full disk is said to be one.
        Err(LedgerError::Writer(why)) => {
            refuse(&request, &ApiError::not_ready(format!("Nothing can be committed: {why}.")))
        }
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
