//! Traces: which spans a request has, and where they go. A span is a value that ends where its last clone is dropped, so
//! that a request which fails, is left or panics has its spans all the same. Spans are told to an OTLP collector, in
//! batches, from a bounded queue: where the collector is away spans are lost, and nothing waits for it. Where nothing is
//! exported, or a trace is not sampled, a span is nothing and costs nothing.
//!
//! Names and attributes are those of OpenTelemetry's semantic conventions where there are such. What a request asks and what
//! is answered is never in a span.

// Callers of this crate learn from its rustdoc when a function fails; crates whose rustdoc lacks that do not warn yet.
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

mod export;

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use opentelemetry::{
    Context, InstrumentationScope, KeyValue, StringValue,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{
        BatchSpanProcessor, IdGenerator as _, RandomIdGenerator, Sampler, SamplingDecision, ShouldSample as _,
        SpanData, SpanEvents, SpanLinks, SpanProcessor as _,
    },
};

pub use export::{Options, Unusable};
pub use opentelemetry::Value;

/// The header that names a trace and the span which calls (W3C Trace Context, 3.2).
pub const TRACEPARENT: &str = "traceparent";
/// The header of what tracing systems add to that (W3C Trace Context, 3.3).
pub const TRACESTATE: &str = "tracestate";

/// Whether a header is one of those by which a trace is named.
pub fn is_of_context(header: &str) -> bool {
    header.eq_ignore_ascii_case(TRACEPARENT) || header.eq_ignore_ascii_case(TRACESTATE)
}

/// The longest that the end of the process waits for the last spans.
const FAREWELL: Duration = Duration::from_secs(5);

/// What a span stands for, as far as the conventions tell such apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request that came in.
    Server,
    /// A request that goes out.
    Client,
    /// Work here.
    Internal,
}

impl From<Kind> for SpanKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Server => Self::Server,
            Kind::Client => Self::Client,
            Kind::Internal => Self::Internal,
        }
    }
}

/// Where spans go, and which traces are kept. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<Tracer>>);

#[derive(Debug)]
struct Tracer {
    ends: BatchSpanProcessor,
    scope: InstrumentationScope,
    ids: RandomIdGenerator,
    sampler: Sampler,
}

/// What a request shows of the trace that it belongs to.
struct Shown<'a> {
    parent: Option<&'a str>,
    state: Option<&'a str>,
}

impl Extractor for Shown<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        match name {
            TRACEPARENT => self.parent,
            TRACESTATE => self.state,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

impl Traces {
    /// Sends spans to a collector from now on. To be called within a runtime, which sends them.
    ///
    /// # Errors
    ///
    /// The collector's address or a header means nothing.
    pub fn export(options: Options) -> Result<Self, Unusable> {
        let ratio = Sampler::TraceIdRatioBased(options.ratio);
        Ok(Self(Some(Arc::new(Tracer {
            scope: InstrumentationScope::builder("farebox").with_version(options.version.clone()).build(),
            ends: export::batches(options)?,
            ids: RandomIdGenerator::default(),
            sampler: Sampler::ParentBased(Box::new(ratio)),
        }))))
    }

    /// Whether spans go anywhere.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The first span here of a trace: of the one that the request's headers name, or of a new one. A trace that was begun
    /// elsewhere is kept where its beginner keeps it.
    pub fn begin<'a>(
        &self,
        name: impl Into<Cow<'static, str>>,
        kind: Kind,
        header: impl Fn(&str) -> Option<&'a str>,
    ) -> Span {
        let Some(tracer) = &self.0 else { return Span::default() };
        let shown = Shown { parent: header(TRACEPARENT), state: header(TRACESTATE) };
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &shown);
        let caller = parent.span().span_context().clone();
        let trace_id = if caller.is_valid() { caller.trace_id() } else { tracer.ids.new_trace_id() };
        let name = name.into();
        let sampled = tracer.sampler.should_sample(Some(&parent), trace_id, &name, &kind.into(), &[], &[]);
        if sampled.decision != SamplingDecision::RecordAndSample {
            return Span::default();
        }
        Span::open(Arc::clone(tracer), trace_id, &caller, name, kind)
    }

    /// Sends the spans that wait, and takes no more. It blocks its thread for [`FAREWELL`] at most.
    pub fn end(&self) {
        let ended = self.0.as_ref().map(|tracer| tracer.ends.shutdown_with_timeout(FAREWELL));
        if let Some(Err(error)) = ended {
            tracing::warn!(%error, "the last spans could not be exported");
        }
    }
}

/// A span that is open. Its clones are the same span, which ends when the last of them is dropped.
#[derive(Clone, Default)]
pub struct Span(Option<Arc<Open>>);

struct Open {
    tracer: Arc<Tracer>,
    context: SpanContext,
    /// The span that this one is a part of; invalid where there is none.
    parent: SpanContext,
    name: Cow<'static, str>,
    kind: Kind,
    /// The same instant by both clocks.
    began: (SystemTime, Instant),
    noted: Mutex<Noted>,
}

#[derive(Default)]
struct Noted {
    attributes: Vec<KeyValue>,
    status: Status,
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&self.0.as_ref().map(|open| &open.name)).finish()
    }
}

impl Span {
    fn open(tracer: Arc<Tracer>, trace_id: TraceId, parent: &SpanContext, name: Cow<'static, str>, kind: Kind) -> Self {
        let id = tracer.ids.new_span_id();
        let context = SpanContext::new(trace_id, id, TraceFlags::SAMPLED, false, parent.trace_state().clone());
        let began = (SystemTime::now(), Instant::now());
        Self(Some(Arc::new(Open {
            tracer,
            context,
            parent: parent.clone(),
            name,
            kind,
            began,
            noted: Mutex::default(),
        })))
    }

    /// Whether it is told to anybody.
    pub const fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// A span that is a part of this one, from now on.
    #[must_use]
    pub fn child(&self, name: impl Into<Cow<'static, str>>, kind: Kind) -> Self {
        let Some(open) = &self.0 else { return Self::default() };
        Self::open(Arc::clone(&open.tracer), open.context.trace_id(), &open.context, name.into(), kind)
    }

    /// Tells a part of this span that is over.
    pub fn past(&self, name: &'static str, from: Instant, until: Instant) {
        let Some(open) = &self.0 else { return };
        let id = open.tracer.ids.new_span_id();
        let context = SpanContext::new(open.context.trace_id(), id, TraceFlags::SAMPLED, false, TraceState::default());
        let times = (open.at(from), open.at(until));
        open.tracer.tell(context, &open.context, (name.into(), Kind::Internal), times, Noted::default());
    }

    /// Notes an attribute.
    pub fn note(&self, key: &'static str, value: impl Into<Value>) {
        if let Some(open) = &self.0 {
            open.noted().attributes.push(KeyValue::new(key, value));
        }
    }

    /// Notes an attribute that is a list, of one text.
    pub fn note_list(&self, key: &'static str, only: String) {
        self.note(key, Value::Array(vec![StringValue::from(only)].into()));
    }

    /// Notes that what it stands for failed, by the kind of failure (`error.type`).
    pub fn fails(&self, kind: impl Into<Cow<'static, str>>) {
        if let Some(open) = &self.0 {
            let kind = kind.into();
            let mut noted = open.noted();
            noted.status = Status::error("");
            noted.attributes.push(KeyValue::new("error.type", StringValue::from(kind)));
        }
    }

    /// The headers by which a server that is called learns of this span.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let Some(open) = &self.0 else { return Vec::new() };
        let parent = format!("00-{}-{}-01", open.context.trace_id(), open.context.span_id());
        let state = open.context.trace_state().header();
        let state = (!state.is_empty()).then_some((TRACESTATE, state));
        [(TRACEPARENT, parent)].into_iter().chain(state).collect()
    }
}

impl Open {
    fn noted(&self) -> std::sync::MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An instant by the clock of the calendar.
    fn at(&self, instant: Instant) -> SystemTime {
        let (calendar, began) = self.began;
        match instant.checked_duration_since(began) {
            Some(after) => calendar + after,
            None => calendar - began.duration_since(instant),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let noted = std::mem::take(&mut *self.noted());
        let what = (std::mem::take(&mut self.name), self.kind);
        let times = (self.began.0, self.at(Instant::now()));
        self.tracer.tell(self.context.clone(), &self.parent, what, times, noted);
    }
}

impl Tracer {
    fn tell(
        &self,
        span_context: SpanContext,
        parent: &SpanContext,
        (name, kind): (Cow<'static, str>, Kind),
        (start_time, end_time): (SystemTime, SystemTime),
        Noted { attributes, status }: Noted,
    ) {
        metrics::counter!("farebox_spans_total", "outcome" => "ended").increment(1);
        let parent_span_id = if parent.is_valid() { parent.span_id() } else { SpanId::INVALID };
        self.ends.on_end(SpanData {
            span_context,
            parent_span_id,
            parent_span_is_remote: parent.is_remote(),
            span_kind: kind.into(),
            name,
            start_time,
            end_time,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: self.scope.clone(),
        });
    }
}

#[cfg(test)]
mod tests;
