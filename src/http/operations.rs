//! For whatever watches the process: alive, ready, metrics.

use std::fmt::Write as _;

use actix_web::{HttpRequest, HttpResponse};
use farebox_actors::health::Observed;
use serde_json::json;

use super::{Shared, answer, error::ApiError, refuse};

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
    let observed = state.gateway.directory.health().observe();
    for seen in &observed {
        let kind = seen.kind.name();
        metrics::gauge!("farebox_actors_live", "kind" => kind).set(seen.live as f64);
        metrics::gauge!("farebox_actor_last_heartbeat_seconds", "kind" => kind)
            .set(seen.heartbeat_ms.map_or(-1.0, |ms| ms as f64 / 1_000.0));
        metrics::gauge!("farebox_actor_mailbox_messages", "kind" => kind).set(seen.mailbox_depth as f64);
        metrics::counter!("farebox_actor_messages_total", "kind" => kind).absolute(seen.handled);
        metrics::counter!("farebox_actor_restarts_total", "kind" => kind, "reason" => "panicked").absolute(seen.panics);
        metrics::counter!("farebox_actor_restarts_total", "kind" => kind, "reason" => "failed").absolute(seen.failures);
    }
    metrics::gauge!("farebox_requests_running").set(state.gateway.directory.running().count() as f64);
    let text = state.metrics.render() + &seconds(&observed);
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(text)
}

/// What messages of each kind waited and took: counters with a fraction, which the recorder does not have.
fn seconds(observed: &[Observed]) -> String {
    let mut text = String::new();
    let waited: fn(&Observed) -> u64 = |seen| seen.waited_us;
    for (name, of) in
        [("farebox_actor_waited_seconds_total", waited), ("farebox_actor_busy_seconds_total", |seen| seen.busy_us)]
    {
        // Writing to a text never fails.
        let _ = writeln!(text, "# TYPE {name} counter");
        for seen in observed {
            let (kind, us) = (seen.kind.name(), of(seen));
            let _ = writeln!(text, "{name}{{kind=\"{kind}\"}} {}.{:06}", us / 1_000_000, us % 1_000_000);
        }
    }
    text
}
