//! Logs and metrics, installed once for the process before anything writes them. Logs go to standard error, so that the
//! output of commands stays clean. Metrics are recorded where their events happen; their descriptions are here, and so
//! are the metrics of the process itself.

pub mod actors;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{self, Log, LogFormat};

/// How often drained histograms are folded, so that a gateway without a scraper stays small.
const UPKEEP: Duration = Duration::from_secs(5);

/// Upper bounds of histograms whose name ends in `_seconds`.
const SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0, 300.0,
];

/// The description of each recorded metric.
const HELP: &[(&str, Kind, &str)] = &[
    ("farebox_requests_total", Kind::Counter, "Requests that ended, by how and at whom."),
    ("farebox_requests_running", Kind::Gauge, "Requests that run."),
    ("farebox_refusals_total", Kind::Counter, "Answers that refuse, by the pattern of the path and the status."),
    ("farebox_provider_unknown_events_total", Kind::Counter, "Events of providers that are of no known kind."),
    ("farebox_address_refused_total", Kind::Counter, "Requests refused because their address sent too many."),
    ("farebox_operator_guesses_total", Kind::Counter, "Wrong operator's tokens."),
    ("farebox_engine_not_finite_total", Kind::Counter, "Requests to open models whose scores were no numbers."),
    ("farebox_idempotent_requests_total", Kind::Counter, "Requests with an Idempotency-Key, run or replayed."),
    (
        "farebox_relayed_requests_total",
        Kind::Counter,
        "Requests that went to another node, which has their model: answered, not taken there, or lost with it.",
    ),
    ("farebox_admission_seconds", Kind::Histogram, "Waiting for the account's yes."),
    ("farebox_ttft_seconds", Kind::Histogram, "From admission to the first piece of a streamed answer."),
    ("farebox_upstream_seconds", Kind::Histogram, "A provider's time and the way to it."),
    ("farebox_load_seconds", Kind::Histogram, "Waiting until an open model was loaded."),
    ("farebox_queue_seconds", Kind::Histogram, "Waiting behind other requests to an open model."),
    ("farebox_compute_seconds", Kind::Histogram, "From an open model's first step to the end."),
    ("farebox_request_seconds", Kind::Histogram, "Requests from their admission to their end."),
    ("farebox_journal_commit_seconds", Kind::Histogram, "Appending a batch of the journal to the log."),
    ("farebox_journal_batch_transitions", Kind::Histogram, "Transitions in a batch of the journal."),
    ("farebox_projection_seconds", Kind::Histogram, "Making the tables from rows of the log, once."),
    ("farebox_projection_behind_transitions", Kind::Gauge, "Transitions that the tables are behind the log."),
    ("farebox_captures_waiting", Kind::Gauge, "Captures that wait in a file until the ledger can take them."),
    ("farebox_captures_replayed_total", Kind::Counter, "Captures that waited in a file, by what came of them."),
    ("farebox_payments_total", Kind::Counter, "Payments that ended, by how and what for."),
    ("farebox_webhooks_total", Kind::Counter, "Notices of the card processor, by what came of them."),
    ("farebox_webhook_deliveries_total", Kind::Counter, "Calls of owners' webhooks, by what came of them."),
    ("farebox_redis_hears", Kind::Gauge, "Whether all that other nodes tell by Redis is heard: 1 or 0."),
    ("farebox_redis_calls_total", Kind::Counter, "Calls to Redis, by whether it answered in time."),
    ("farebox_redis_untold_total", Kind::Counter, "Balances and revocations that were not told by Redis."),
    ("farebox_build_info", Kind::Gauge, "What runs: 1, with its version and machine."),
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Describes the metrics and this build.
fn describe() {
    for (name, kind, help) in HELP {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *help),
            Kind::Gauge => metrics::describe_gauge!(*name, *help),
            Kind::Histogram => metrics::describe_histogram!(*name, *help),
        }
    }
    let (system, processor) = config::machine();
    let build = metrics::gauge!("farebox_build_info", "version" => env!("CARGO_PKG_VERSION"), "os" => system, "arch" => processor);
    build.set(1.0);
}

/// Why telemetry could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log's level or directives are malformed.
    #[error("log.level: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// Another logger is installed.
    #[error("logs are already set up: {0}")]
    Logs(#[from] tracing_subscriber::util::TryInitError),
    /// Another recorder is installed, or the buckets are wrong.
    #[error("metrics cannot be set up: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// The thread for the upkeep of metrics could not be started.
    #[error("metrics cannot be kept: {0}")]
    Upkeep(#[from] io::Error),
}

/// Sends this process's logs to standard error.
///
/// # Errors
///
/// The filter of levels is invalid, or another logger is installed.
pub fn init_logs(log: &Log) -> Result<(), TelemetryError> {
    use tracing_subscriber::util::SubscriberInitExt as _;

    let filter = EnvFilter::try_new(&log.level)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match log.format {
        LogFormat::Text => builder.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).finish().try_init()?,
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).finish().try_init()?,
    }
    Ok(())
}

/// The process's metrics, as `/metrics` shows them. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    /// The process: memory, processor time, open files, threads.
    process: metrics_process::Collector,
}

impl Metrics {
    /// Makes this process's recorder, and the thread that maintains it.
    ///
    /// # Errors
    ///
    /// Another recorder is installed, or the thread can't be started.
    pub fn install() -> Result<Self, TelemetryError> {
        let handle = builder()?.install_recorder()?;
        let process = metrics_process::Collector::default();
        process.describe();
        describe();
        let kept = handle.clone();
        thread::Builder::new().name("metrics".to_owned()).spawn(move || {
            loop {
                thread::sleep(UPKEEP);
                kept.run_upkeep();
            }
        })?;
        Ok(Self { handle, process })
    }

    /// Everything recorded so far, in Prometheus's text format.
    pub fn render(&self) -> String {
        self.process.collect();
        self.handle.render()
    }

    /// The same as a function, for callers that need not know metrics.
    pub fn renderer(&self) -> Arc<dyn Fn() -> String + Send + Sync> {
        let metrics = self.clone();
        Arc::new(move || metrics.render())
    }
}

fn builder() -> Result<PrometheusBuilder, TelemetryError> {
    Ok(PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_rendered_with_buckets() {
        let recorder = builder().unwrap().build_recorder();
        let metrics = Metrics { handle: recorder.handle(), process: metrics_process::Collector::default() };
        metrics::with_local_recorder(&recorder, || {
            metrics::counter!("farebox_requests_total", "route" => "chat").increment(2);
            metrics::histogram!("farebox_queue_seconds").record(0.002);
        });
        let text = metrics::with_local_recorder(&recorder, || metrics.renderer()());
        assert!(text.contains("farebox_requests_total{route=\"chat\"} 2"), "{text}");
        assert!(text.contains("farebox_queue_seconds_bucket{le=\"0.0025\"} 1"), "{text}");
    }

    #[test]
    fn directives_that_mean_nothing_are_refused() {
        let log = Log { level: "farebox=loud".to_owned(), format: LogFormat::Text };
        assert!(matches!(init_logs(&log), Err(TelemetryError::Level(_))));
    }

    #[test]
    fn logs_are_set_up_once() {
        let log = Log { level: "error".to_owned(), format: LogFormat::Json };
        assert!(init_logs(&log).is_ok());
        assert!(matches!(init_logs(&log), Err(TelemetryError::Logs(_))));
    }
}
