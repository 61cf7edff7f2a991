//! Logs and metrics: installed once for the process, before anything that would write them. Logs go to standard error,
//! so that what commands print stays clean. It knows no names of metrics but how to present histograms of seconds.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// How often drained histograms are folded, so that a gateway nobody scrapes stays small.
const UPKEEP: Duration = Duration::from_secs(5);

/// Upper bounds of histograms whose name ends in `_seconds`.
const SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0, 300.0,
];

/// Why telemetry could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level or the directives of the log are not understood.
    #[error("log.level: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// Another logger is installed.
    #[error("logs are already set up: {0}")]
    Logs(#[from] tracing_subscriber::util::TryInitError),
    /// Another recorder is installed, or its buckets are wrong.
    #[error("metrics cannot be set up: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// No thread for the upkeep of metrics.
    #[error("metrics cannot be kept: {0}")]
    Upkeep(#[from] io::Error),
}

/// Sends this process's logs to standard error.
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
}

impl Metrics {
    /// Makes this process's recorder, and the thread that keeps it.
    pub fn install() -> Result<Self, TelemetryError> {
        let handle = builder()?.install_recorder()?;
        let kept = handle.clone();
        thread::Builder::new().name("metrics".to_owned()).spawn(move || {
            loop {
                thread::sleep(UPKEEP);
                kept.run_upkeep();
            }
        })?;
        Ok(Self { handle })
    }

    /// Everything recorded so far, in Prometheus's text format.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// The same as a function, for those who need not know what metrics are.
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
        let metrics = Metrics { handle: recorder.handle() };
        metrics::with_local_recorder(&recorder, || {
            metrics::counter!("farebox_requests_total", "route" => "chat").increment(2);
            metrics::histogram!("farebox_queue_seconds").record(0.002);
        });
        let text = metrics.renderer()();
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
