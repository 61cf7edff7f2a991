//! Routes for monitoring: liveness, readiness, metrics.

use std::net::TcpListener;

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    dev::Server,
    http::header::{CACHE_CONTROL, HeaderValue},
    web,
};
use actors::{cluster::Cluster, spool::Spool};
use hints::Hints;

use super::{
    edge,
    error::ApiError,
    respond::{answer, refuse},
    state::{Shared, Stage},
    views::{operations::Status, signed::Jwks},
};
use crate::{config::MetricsAt, service::operations, telemetry};

/// `GET /healthz`: the process lives.
pub async fn healthz(request: HttpRequest) -> HttpResponse {
    answer(&request, Ok(Status { status: "ok" }))
}

/// `GET /readyz`: new work is accepted, its changes can be committed to the ledger that a restart will find, and open models
/// that have work make progress.
pub async fn readyz(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        if state.stage() >= Stage::Leaving {
            return Err(ApiError::not_ready("stopping"));
        }
        operations::ready(&state.service).await?;
        if let Some(why) = state.cluster.as_deref().and_then(Cluster::fault) {
            return Err(ApiError::not_ready(why));
        }
        if let Some(why) = state.gateway.stalled() {
            return Err(ApiError::not_ready(why));
        }
        Ok(Status { status: "ready" })
    };
    answer(&request, work.await)
}

/// `GET /.well-known/jwks.json`: the public keys of receipts and checkpoints, also of those that sign no more.
pub async fn jwks(state: Shared, request: HttpRequest) -> HttpResponse {
    let mut answered = answer(&request, Ok(Jwks::of(state.signer.keys())));
    answered.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    answered
}

/// `GET /metrics` on the address of requests, for the clients that the settings allow.
pub async fn metrics(state: Shared, request: HttpRequest) -> HttpResponse {
    let allowed = match state.settings.http.metrics {
        MetricsAt::Open => Ok(()),
        MetricsAt::Token => edge::operator(&state, &request).await,
        MetricsAt::Address(_) => Err(ApiError::not_found("this path")),
    };
    match allowed {
        Ok(()) => exposition(state).await,
        Err(error) => refuse(&request, &error),
    }
}

/// Serves `GET /metrics` alone, to all clients that reach the address.
///
/// # Errors
///
/// The server can't listen on the socket.
pub fn serve_metrics(socket: TcpListener, state: &Shared) -> std::io::Result<Server> {
    let state = state.clone();
    let app = move || {
        let app = App::new().app_data(state.clone());
        app.route("/metrics", web::get().to(exposition)).route("/metrics", web::head().to(exposition))
    };
    Ok(HttpServer::new(app).workers(1).disable_signals().listen(socket)?.run())
}

/// All metrics, in Prometheus' text format.
#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
async fn exposition(state: Shared) -> HttpResponse {
    let waiting = state.gateway.accounts.spool().map_or(0, Spool::count);
    metrics::gauge!("farebox_captures_waiting").set(waiting as f64);
    metrics::gauge!("farebox_requests_running").set(state.gateway.accounts.running().count() as f64);
    if let Some(health) = state.hints.as_ref().map(Hints::health) {
        metrics::gauge!("farebox_redis_hears").set(if health.is_sighted { 1.0 } else { 0.0 });
        metrics::counter!("farebox_redis_calls_total", "outcome" => "answered").absolute(health.answered);
        metrics::counter!("farebox_redis_calls_total", "outcome" => "failed").absolute(health.failed);
        metrics::counter!("farebox_redis_untold_total").absolute(health.untold);
    }
    let text = state.metrics.render() + &telemetry::actors::text(state.gateway.accounts.health());
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(text)
}
