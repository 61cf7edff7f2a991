//! How long the stages of a request take and how it ended, for `/metrics` and for operators' pages. The only labels are providers' names, of
//! which there are few, and endings. A series is looked up by its name and labels when it is measured first, and not
//! for each request.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use billing::entry::Ending;
use metrics::{Counter, Histogram, SharedString, counter, histogram};

use super::{
    lately::{Lately, Minute},
    stages::Stages,
};

/// The measures of all providers, and of our own models.
#[derive(Debug)]
pub(super) struct Measures(HashMap<Arc<str>, Arc<Measure>>);

impl Measures {
    /// Measures of these providers.
    pub(super) fn of<'a>(providers: impl Iterator<Item = &'a str>) -> Self {
        let measures = providers.map(Arc::<str>::from);
        Self(measures.map(|provider| (Arc::clone(&provider), Arc::new(Measure::new(provider)))).collect())
    }

    /// A provider's measure.
    pub(super) fn get(&self, provider: &Arc<str>) -> Arc<Measure> {
        self.0.get(provider).map_or_else(|| Arc::new(Measure::new(Arc::clone(provider))), Arc::clone)
    }
}

/// The measure of one provider's requests; `farebox` for an engine's.
#[derive(Debug)]
pub(super) struct Measure {
    provider: SharedString,
    admission: OnceLock<Histogram>,
    first_piece: OnceLock<Histogram>,
    upstream: OnceLock<Histogram>,
    whole: OnceLock<Histogram>,
    unknown: OnceLock<Counter>,
    lately: Lately,
    /// By ending.
    ended: [OnceLock<Counter>; Ending::WrittenOff as usize + 1],
}

impl Measure {
    fn new(provider: Arc<str>) -> Self {
        Self {
            provider: provider.into(),
            admission: OnceLock::new(),
            first_piece: OnceLock::new(),
            upstream: OnceLock::new(),
            whole: OnceLock::new(),
            unknown: OnceLock::new(),
            lately: Lately::new(Instant::now()),
            ended: Default::default(),
        }
    }

    fn label(&self) -> SharedString {
        self.provider.clone()
    }

    /// The time until the account admits a request, including waits in line or for credits.
    pub(super) fn admission(&self, took: Duration) {
        let series = || histogram!("farebox_admission_seconds", "provider" => self.label());
        self.admission.get_or_init(series).record(took);
    }

    /// From a request's admission to the first piece of its streamed answer.
    pub(super) fn first_piece(&self, took: Duration) {
        let series = || histogram!("farebox_ttft_seconds", "provider" => self.label());
        self.first_piece.get_or_init(series).record(took);
        self.lately.first_piece(took, Instant::now());
    }

    /// An event of a kind that is not known.
    pub(super) fn unknown(&self) {
        let series = || counter!("farebox_provider_unknown_events_total", "provider" => self.label());
        self.unknown.get_or_init(series).increment(1);
    }

    /// A request that is over: its stages, and the whole time since its admission.
    pub(super) fn stages(&self, stages: Stages, whole: Duration) {
        match stages {
            Stages::Closed { upstream } => {
                self.upstream.get_or_init(|| histogram!("farebox_upstream_seconds")).record(upstream);
            }
            Stages::Open { load, queue, compute } => {
                histogram!("farebox_load_seconds").record(load);
                histogram!("farebox_queue_seconds").record(queue);
                histogram!("farebox_compute_seconds").record(compute);
            }
        }
        let series = || histogram!("farebox_request_seconds", "provider" => self.label());
        self.whole.get_or_init(series).record(whole);
        self.lately.whole(whole, Instant::now());
    }

    /// A request that is settled, or could not be.
    pub(super) fn ended(&self, ending: Ending) {
        let series = || counter!("farebox_requests_total", "ending" => ending.name(), "provider" => self.label());
        self.ended[ending as usize].get_or_init(series).increment(1);
        self.lately.ended(ending, Instant::now());
    }

    /// What became of its requests in the last minute.
    pub(super) fn minute(&self) -> Minute {
        self.lately.minute(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn what_is_measured_again_counts_in_the_same_series() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let (handle, second) = (recorder.handle(), Duration::from_secs(1));
        metrics::with_local_recorder(&recorder, || {
            let measures = Measures::of(["openai", "farebox"].into_iter());
            for provider in ["openai", "openai", "farebox", "elsewhere"] {
                let measure = measures.get(&provider.into());
                measure.admission(second);
                measure.stages(Stages::Closed { upstream: second }, second);
                measure.ended(Ending::Completed);
            }
            measures.get(&"openai".into()).ended(Ending::Failed);
        });
        let shown = handle.render();
        for line in [
            r#"farebox_admission_seconds_count{provider="openai"} 2"#,
            r#"farebox_request_seconds_count{provider="elsewhere"} 1"#,
            "farebox_upstream_seconds_count 4",
            r#"farebox_requests_total{ending="completed",provider="openai"} 2"#,
            r#"farebox_requests_total{ending="failed",provider="openai"} 1"#,
            r#"farebox_requests_total{ending="completed",provider="farebox"} 1"#,
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
        }
    }
}
