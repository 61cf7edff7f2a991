//! How long requests take and how they end, for `/metrics` and for operators' pages, by the names of OpenTelemetry's semantic conventions for
//! generative AI where they have one: to its clients the gateway is a server, to providers it is a client. The labels are
//! names of providers and of models of the catalogue, of which so many are told apart, and words of ours; nothing that a
//! client writes. A series is looked up by its name and labels when it is measured first, and not for each request.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::{Duration, Instant},
};

use billing::entry::Ending;
use metrics::{Counter, Histogram, Label, SharedString, counter, histogram};
use wire::inference::{Failure, FinishReason, Usage, Work};

use super::{
    lately::{Lately, Minute},
    stages::Stages,
};

/// The models that have series of their own: more are measured together, so that a large catalogue makes no endless page.
const MODELS: usize = 200;
/// The name of all others.
const OTHERS: &str = "_other";

/// The name of a request's operation (`gen_ai.operation.name`): the well-known ones, and ours where there is none.
pub(super) const fn operation(work: &Work) -> &'static str {
    match work {
        Work::Conversation(_) => "chat",
        Work::Text(_) => "text_completion",
        Work::Embedding(_) => "embeddings",
        Work::Rerank(_) => "rerank",
        Work::Image(_) => "image_generation",
        Work::Speech(_) => "speech",
        Work::Transcription(_) => "transcription",
        Work::Decision(_) => "decision",
        Work::Native(_) => "native",
    }
}

/// The name of a provider (`gen_ai.provider.name`): the well-known one, where it differs from ours.
pub(super) fn provider_name(provider: &str) -> SharedString {
    match provider {
        "google" => "gcp.gemini".into(),
        "mistral" => "mistral_ai".into(),
        other => other.to_owned().into(),
    }
}

/// The kind of a failure (`error.type`).
pub(super) const fn error_type(failure: &Failure) -> &'static str {
    match failure {
        Failure::Invalid { .. } => "invalid_request",
        Failure::ContextLength(_) => "context_length_exceeded",
        Failure::NotFinite | Failure::Engine(_) => "model_error",
        Failure::Provider(_) => "provider_error",
        Failure::Unserved(_) => "provider_refuses",
        Failure::Unreached(_) => "provider_unreached",
        Failure::Transport(_) => "provider_transport",
        Failure::TooLarge(_) => "answer_too_large",
        Failure::Timeout(_) => "timeout",
        Failure::LeftAlone { .. } => "provider_left_alone",
        Failure::Unavailable(_) => "unavailable",
        Failure::Overloaded(_) => "overloaded",
    }
}

/// The reason why an answer ended, as the conventions' examples write it; a provider's own word where it has one.
pub(super) fn finish_name(finish: &FinishReason) -> String {
    match finish {
        FinishReason::Stop | FinishReason::StopText(_) => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Other(word) => word,
    }
    .to_owned()
}

/// What is measured together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Of {
    provider: Arc<str>,
    model: Arc<str>,
    operation: &'static str,
}

/// The measures of all requests.
#[derive(Debug, Default)]
pub(super) struct Measures {
    measures: RwLock<HashMap<Of, Arc<Measure>>>,
    /// By provider, what became of all of its requests lately.
    lately: RwLock<HashMap<Arc<str>, Arc<Lately>>>,
}

impl Measures {
    /// The measure of an operation of a model at a provider, by its name in the catalogue.
    pub(super) fn get(&self, provider: &Arc<str>, model: &Arc<str>, operation: &'static str) -> Arc<Measure> {
        let mut of = Of { provider: Arc::clone(provider), model: Arc::clone(model), operation };
        if let Some(known) = self.measures.read().unwrap_or_else(PoisonError::into_inner).get(&of) {
            return Arc::clone(known);
        }
        let lately = {
            let mut all = self.lately.write().unwrap_or_else(PoisonError::into_inner);
            let begun = || Arc::new(Lately::new(Instant::now()));
            Arc::clone(all.entry(Arc::clone(provider)).or_insert_with(begun))
        };
        let mut all = self.measures.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MODELS && !all.contains_key(&of) {
            of.model = OTHERS.into();
        }
        Arc::clone(all.entry(of.clone()).or_insert_with(|| Arc::new(Measure::new(of, lately))))
    }

    /// What became of a provider's requests in the last minute.
    pub(super) fn minute(&self, provider: &str) -> Minute {
        let all = self.lately.read().unwrap_or_else(PoisonError::into_inner);
        all.get(provider).map_or_else(Minute::default, |lately| lately.minute(Instant::now()))
    }
}

/// The measure of one kind of request.
#[derive(Debug)]
pub(super) struct Measure {
    of: Of,
    admission: OnceLock<Histogram>,
    first_piece: OnceLock<Histogram>,
    piece: OnceLock<Histogram>,
    upstream: OnceLock<Histogram>,
    whole: OnceLock<Histogram>,
    input: OnceLock<Histogram>,
    output: OnceLock<Histogram>,
    unknown: OnceLock<Counter>,
    /// That of the provider.
    lately: Arc<Lately>,
    /// By ending.
    ended: [OnceLock<Counter>; Ending::WrittenOff as usize + 1],
}

impl Measure {
    fn new(of: Of, lately: Arc<Lately>) -> Self {
        Self {
            of,
            admission: OnceLock::new(),
            first_piece: OnceLock::new(),
            piece: OnceLock::new(),
            upstream: OnceLock::new(),
            whole: OnceLock::new(),
            input: OnceLock::new(),
            output: OnceLock::new(),
            unknown: OnceLock::new(),
            lately,
            ended: Default::default(),
        }
    }

    fn provider(&self) -> SharedString {
        self.of.provider.to_string().into()
    }

    /// The labels by the conventions.
    fn labels(&self) -> Vec<Label> {
        vec![
            Label::from_static_parts("gen_ai_operation_name", self.of.operation),
            Label::new("gen_ai_provider_name", provider_name(&self.of.provider)),
            Label::new("gen_ai_request_model", self.of.model.to_string()),
        ]
    }

    /// Requests that failed are few, and looked up each.
    fn timed(&self, name: &'static str, series: &OnceLock<Histogram>, failure: Option<&Failure>, took: Duration) {
        match failure {
            None => series.get_or_init(|| histogram!(name, self.labels())).record(took),
            Some(failure) => {
                let mut labels = self.labels();
                labels.push(Label::from_static_parts("error_type", error_type(failure)));
                histogram!(name, labels).record(took);
            }
        }
    }

    /// The time until the account admits a request, including waits in line or for credits.
    pub(super) fn admission(&self, took: Duration) {
        let series = || histogram!("farebox_admission_seconds", "provider" => self.provider());
        self.admission.get_or_init(series).record(took);
    }

    /// From a request's admission to the first piece of its streamed answer.
    pub(super) fn first_piece(&self, took: Duration) {
        self.timed("gen_ai_server_time_to_first_token_seconds", &self.first_piece, None, took);
        self.lately.first_piece(took, Instant::now());
    }

    /// An event of a kind that is not known.
    pub(super) fn unknown(&self) {
        let series = || counter!("farebox_provider_unknown_events_total", "provider" => self.provider());
        self.unknown.get_or_init(series).increment(1);
    }

    /// A request that is over: its stages, and the whole time since its admission.
    pub(super) fn stages(&self, stages: Stages, whole: Duration, failure: Option<&Failure>) {
        match stages {
            Stages::Closed { upstream } => {
                self.timed("gen_ai_client_operation_duration_seconds", &self.upstream, failure, upstream);
            }
            Stages::Open { load, queue, compute } => {
                histogram!("farebox_load_seconds").record(load);
                histogram!("farebox_queue_seconds").record(queue);
                histogram!("farebox_compute_seconds").record(compute);
            }
        }
        self.timed("gen_ai_server_request_duration_seconds", &self.whole, failure, whole);
        self.lately.whole(whole, Instant::now());
    }

    /// The tokens of an answer that came to its end, and the time that each of its tokens but the first took, where it was
    /// streamed.
    pub(super) fn tokens(&self, usage: &Usage, writing: Option<Duration>) {
        let counts = [("input", &self.input, usage.input), ("output", &self.output, usage.output)];
        for (kind, series, count) in counts.into_iter().filter(|(.., count)| *count > 0) {
            let labelled = || {
                let mut labels = self.labels();
                labels.push(Label::from_static_parts("gen_ai_token_type", kind));
                histogram!("gen_ai_client_token_usage", labels)
            };
            #[expect(clippy::cast_precision_loss, reason = "a histogram of counts has buckets, not digits")]
            series.get_or_init(labelled).record(count as f64);
        }
        let later = u32::try_from(usage.output.saturating_sub(1)).ok().filter(|later| *later > 0);
        if let Some((writing, later)) = writing.zip(later) {
            self.timed("gen_ai_server_time_per_output_token_seconds", &self.piece, None, writing / later);
        }
    }

    /// A request that is settled, or could not be.
    pub(super) fn ended(&self, ending: Ending) {
        let series = || counter!("farebox_requests_total", "ending" => ending.name(), "provider" => self.provider());
        self.ended[ending as usize].get_or_init(series).increment(1);
        self.lately.ended(ending, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn what_is_measured_again_counts_in_the_same_series_and_models_beyond_the_most_in_one() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let (handle, second) = (recorder.handle(), Duration::from_secs(1));
        metrics::with_local_recorder(&recorder, || {
            let measures = Measures::default();
            for provider in ["openai", "openai", "farebox", "google"] {
                let measure = measures.get(&provider.into(), &"m".into(), "chat");
                measure.admission(second);
                measure.stages(Stages::Closed { upstream: second }, second, None);
                measure.tokens(&Usage { input: 5, output: 3, ..Usage::default() }, Some(second));
                measure.ended(Ending::Completed);
            }
            let failed = measures.get(&"openai".into(), &"m".into(), "chat");
            failed.ended(Ending::Failed);
            failed.stages(Stages::Closed { upstream: second }, second, Some(&Failure::Timeout("idle")));
            for model in 0..MODELS + 50 {
                measures.get(&"openai".into(), &model.to_string().into(), "chat").first_piece(second);
            }
        });
        let shown = handle.render();
        let of = |provider: &str, model: &str| {
            format!(r#"gen_ai_operation_name="chat",gen_ai_provider_name="{provider}",gen_ai_request_model="{model}""#)
        };
        for line in [
            r#"farebox_admission_seconds_count{provider="openai"} 2"#.to_owned(),
            format!("gen_ai_server_request_duration_seconds_count{{{}}} 1", of("gcp.gemini", "m")),
            format!("gen_ai_client_operation_duration_seconds_count{{{}}} 2", of("openai", "m")),
            format!("gen_ai_client_operation_duration_seconds_count{{{},error_type=\"timeout\"}} 1", of("openai", "m")),
            format!("gen_ai_client_token_usage_sum{{{},gen_ai_token_type=\"input\"}} 10", of("openai", "m")),
            format!("gen_ai_server_time_per_output_token_seconds_sum{{{}}} 0.5", of("gcp.gemini", "m")),
            format!("gen_ai_server_time_to_first_token_seconds_count{{{}}} 53", of("openai", OTHERS)),
            r#"farebox_requests_total{ending="completed",provider="openai"} 2"#.to_owned(),
            r#"farebox_requests_total{ending="failed",provider="openai"} 1"#.to_owned(),
            r#"farebox_requests_total{ending="completed",provider="farebox"} 1"#.to_owned(),
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
        }
    }
}
