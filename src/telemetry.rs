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

/// Upper bounds of the histograms that OpenTelemetry's semantic conventions for generative AI name, as they advise.
const GEN_AI: &[(&str, &[f64])] = &[
    ("gen_ai_server_request_duration_seconds", OPERATION),
    ("gen_ai_client_operation_duration_seconds", OPERATION),
    (
        "gen_ai_server_time_to_first_token_seconds",
        &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0],
    ),
    (
        "gen_ai_server_time_per_output_token_seconds",
        &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5],
    ),
    (
        "gen_ai_client_token_usage",
        &[
            1.0,
            4.0,
            16.0,
            64.0,
            256.0,
            1_024.0,
            4_096.0,
            16_384.0,
            65_536.0,
            262_144.0,
            1_048_576.0,
            4_194_304.0,
            16_777_216.0,
            67_108_864.0,
        ],
    ),
];
const OPERATION: &[f64] = &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

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
    (
        "gen_ai_server_time_to_first_token_seconds",
        Kind::Histogram,
        "From admission to a streamed answer's first piece.",
    ),
    (
        "gen_ai_server_time_per_output_token_seconds",
        Kind::Histogram,
        "Of streamed answers, for each token but the first.",
    ),
    ("gen_ai_server_request_duration_seconds", Kind::Histogram, "Requests from their admission to their end."),
    ("gen_ai_client_operation_duration_seconds", Kind::Histogram, "A provider's time and the way to it."),
    ("gen_ai_client_token_usage", Kind::Histogram, "Tokens of requests that came to their end, as they are billed."),
    ("farebox_load_seconds", Kind::Histogram, "Waiting until an open model was loaded."),
    ("farebox_queue_seconds", Kind::Histogram, "Waiting behind other requests to an open model."),
    ("farebox_compute_seconds", Kind::Histogram, "From an open model's first step to the end."),
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
    ("farebox_spans_total", Kind::Counter, "Spans of traces: ended, and exported or lost."),
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
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?;
    let built = GEN_AI.iter().try_fold(builder, |builder, (name, bounds)| {
        builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), bounds)
    });
    Ok(built?)
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

    /// The words of an expression that are names of metrics: those before a selector, and those that only we use.
    fn metrics_in(text: &str) -> Vec<&str> {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let is_name = |word: &&str| {
            ["farebox_", "actors_", "gen_ai_", "process_"].iter().any(|beginning| word.starts_with(beginning))
        };
        // Labels by the conventions.
        let is_label = |word: &&str| {
            ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_token_type"]
                .contains(word)
        };
        words.filter(is_name).filter(|word| !is_label(word)).collect()
    }

    #[test]
    fn alerts_and_dashboards_ask_for_metrics_that_there_are() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let recorder = builder().unwrap().build_recorder();
        let process = metrics_process::Collector::default();
        let all = metrics::with_local_recorder(&recorder, || {
            process.describe();
            process.collect();
            recorder.handle().render()
        });
        let of_process: Vec<_> = all.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let of_actors = actors::text(&runtime::health::Health::default());
        let known = |name: &str| {
            let base = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            HELP.iter().any(|(known, kind, _)| {
                *known == name || (*known == base && matches!(kind, Kind::Histogram) && base != name)
            }) || of_actors.contains(&format!("# TYPE {name} "))
                || of_process.iter().any(|line| line.split(' ').next() == Some(name))
        };
        for file in ["config/prometheus/farebox.yaml", "config/prometheus/tests.yaml", "config/grafana/farebox.json"] {
            let text = std::fs::read_to_string(root.join(file)).unwrap();
            let expressions =
                text.lines().filter(|line| ["expr", "series", "query"].iter().any(|key| line.contains(key)));
            let asked: Vec<_> = expressions.flat_map(metrics_in).collect();
            assert!(asked.len() > 5, "{file}");
            for name in asked {
                assert!(known(name), "{file} asks for {name}");
            }
        }
        assert!(!known("farebox_captures_waiting_total") && !known("process_open_files"));
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
