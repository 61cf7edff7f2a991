//! The task of an admitted request, which owns its money. It reads the run's events, has its [`Meter`] compute the
//! cost, sends updates to the watcher, and settles once, however the request ends. It ends early where its client
//! leaves or cancels, and where the money is used up. Differences between providers and engines are in their
//! [`Runner`]. No price is known here.

mod permit;
mod runner;

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use actors::{
    admission::{Admission, Metered},
    running::Stage,
};
use billing::{
    Nanos,
    account::Balance,
    entry::{Ending, UsageRecord},
};
use futures::{StreamExt, future::OptionFuture, stream::BoxStream};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use traces::{Kind, Span};
use wire::{
    inference::{Delta, Event, Failure, FinishReason, Header, Raw},
    usage::Report,
};

use super::{
    Gateway,
    drains::Drain,
    measure::{Measure, error_type, finish_name},
    meter::{Meter, Step},
    plan::Bounds,
    serve::{self, Begun, Done, ServeError, Update},
    stages::{Course, Stages},
    watch::Teller,
};
use permit::{Permit, Waits};
pub(super) use runner::Runner;

/// The most unknown events that wait for the first piece of an answer: unknown events alone are no answer.
const EARLY: usize = 16;

/// The task.
pub(super) struct Task {
    gateway: Arc<Gateway>,
    admission: Admission,
    meter: Meter,
    permit: Permit,
    runner: Runner,
    measure: Arc<Measure>,
    drain_of_provider: Arc<Drain>,
    cancel: Arc<Notify>,
    is_cancelled: bool,
    /// Whether that cut its answer short: the model had not finished.
    is_cut: bool,
    /// `None` once the client has left.
    updates: Option<Teller>,
    /// Held, until that time at most, while the rest of an unwatched stream is read for its usage.
    drain: Option<(OwnedSemaphorePermit, Instant)>,
    /// The answer's pieces, where it is sent whole.
    whole: Option<Vec<Delta>>,
    /// Whether a piece of the answer was sent.
    has_begun: bool,
    /// Unknown events before the first piece.
    early: Vec<Raw>,
    /// Headers of the provider's answer that the client gets.
    headers: Vec<Header>,
    finish: Option<FinishReason>,
    /// The rule of Farebox that ended the request, as its engine reports.
    farebox_stop: Option<String>,
    course: Course,
    spans: Spans,
}

/// The spans of a task's request.
#[derive(Debug, Default)]
pub(super) struct Spans {
    /// All of it.
    pub(super) request: Span,
    /// Its run: a provider's call, or a pool's work.
    pub(super) run: Span,
}

/// The event that woke the task.
#[expect(clippy::large_enum_variant, reason = "it lives for one turn of the loop")]
enum Woken {
    Event(Option<Event>),
    ClientLeft,
    Cancelled,
    Due,
}

impl Task {
    /// The task of a request whose run has begun.
    pub(super) fn boxed(
        (gateway, measure, drain_of_provider): (&Arc<Gateway>, Arc<Measure>, Arc<Drain>),
        admission: Admission,
        meter: Meter,
        runner: Runner,
        (updates, cancel): (Teller, Arc<Notify>),
        (course, spans): (Course, Spans),
    ) -> Box<Self> {
        admission.is_at(if runner.is_engine() { Stage::Waiting } else { Stage::Calling });
        Box::new(Self {
            gateway: Arc::clone(gateway),
            admission,
            measure,
            drain_of_provider,
            meter,
            whole: runner.keeps_whole().then(Vec::new),
            permit: Permit::of(runner.control()),
            runner,
            cancel,
            is_cancelled: false,
            is_cut: false,
            updates: Some(updates),
            drain: None,
            has_begun: false,
            early: Vec::new(),
            headers: Vec::new(),
            finish: None,
            farebox_stop: None,
            course,
            spans,
        })
    }

    /// Follows the run to its end, and settles.
    pub(super) async fn run(mut self: Box<Self>, events: BoxStream<'static, Event>) {
        let failure = self.follow(events).await;
        // Boxed, as the end is short, and what it takes would be kept from the beginning.
        Box::pin(self.end(failure)).await;
    }

    /// Follows the run to its end, or until it is not worth following. The run is cut when this returns. Returns the
    /// failure, if there was one.
    async fn follow(&mut self, mut events: BoxStream<'static, Event>) -> Option<Failure> {
        let cancel = Arc::clone(&self.cancel);
        let mut left = pin!(OptionFuture::from(self.updates.as_ref().map(Teller::closed)));
        let mut cancelled = pin!(cancel.notified());
        while self.is_worth_following() {
            let due_at = self.drain.as_ref().map(|(_, until)| *until).or(self.meter.due_at());
            let woken = tokio::select! {
                biased;
                event = events.next() => Woken::Event(event),
                _ = &mut left, if self.updates.is_some() => Woken::ClientLeft,
                () = &mut cancelled, if !self.is_cancelled => Woken::Cancelled,
                () = due(due_at) => Woken::Due,
                never = self.permit.look_after(&self.admission, Waits::ForEvents) => match never {},
            };
            match woken {
                Woken::ClientLeft => self.client_left(),
                Woken::Cancelled => {
                    self.is_cancelled = true;
                    self.is_cut = self.finish.is_none();
                    self.admission.is_at(Stage::Draining);
                    self.runner.cancel();
                }
                Woken::Due => match self.meter.due() {
                    Some(stop) => self.runner.stop(stop),
                    // The drain's time is over.
                    None => return None,
                },
                Woken::Event(Some(Event::Delta(delta))) => self.delta(delta).await,
                Woken::Event(Some(Event::Second(second))) => {
                    let step = self.meter.second(second.into(), self.bounds(), Instant::now());
                    self.take(step.as_ref()).await;
                }
                Woken::Event(Some(Event::Unknown(said))) => self.unknown(said).await,
                Woken::Event(Some(Event::Reported(report))) => self.reported(*report),
                Woken::Event(Some(Event::Usage(usage))) => {
                    self.runner.counted(usage.output);
                    self.meter.counted(usage);
                }
                Woken::Event(Some(Event::Loaded)) => {
                    self.admission.is_at(Stage::Queued);
                    self.course.loaded(Instant::now());
                }
                Woken::Event(Some(Event::Headers(headers))) => self.headers = headers,
                Woken::Event(Some(Event::Started)) => {
                    self.admission.is_at(Stage::Computing);
                    self.course.started(Instant::now());
                }
                Woken::Event(Some(Event::Finished { compute_ms })) => {
                    self.meter.finished(compute_ms);
                    self.runner.finished(compute_ms);
                    return None;
                }
                Woken::Event(Some(Event::Failed(failure))) => return Some(failure),
                Woken::Event(None) => return Some(self.runner.gone()),
            }
        }
        None
    }

    /// Whether to follow the run further. A provider's stream without a watcher is followed while its usage may come and
    /// changes the charge, unless too many are already. A whole answer is followed where it does: the provider makes it, and
    /// it is paid for.
    fn is_worth_following(&mut self) -> bool {
        let is_watched = self.updates.is_some() && !self.is_cancelled;
        if is_watched || self.runner.is_engine() || self.drain.is_some() {
            return true;
        }
        if !self.meter.learns() {
            return false;
        }
        let until = || Instant::now() + Duration::from_secs(self.gateway.rules.drain_seconds);
        self.drain =
            if self.whole.is_some() { None } else { self.drain_of_provider.begin().map(|permit| (permit, until())) };
        self.whole.is_some() || self.drain.is_some()
    }

    fn bounds(&self) -> Bounds {
        serve::bounds(&self.admission, self.gateway.rules)
    }

    /// Notes what is charged if this task dies, and tells the cost so far where it is time to.
    async fn take(&mut self, step: Option<&Step>) {
        let Some(Step { metered, accrual }) = step else { return };
        self.admission.meter(*metered);
        let Some(accrual) = accrual else { return };
        let (accrued, slice) = self.bounds().accrued(accrual.cost, accrual.slice);
        self.admission.accrue(accrued, slice);
        if self.whole.is_none() {
            self.tell(Update::Cost { cost: accrual.cost, billed_seconds: metered.billed_seconds }).await;
        }
    }

    async fn delta(&mut self, delta: Delta) {
        if let Some(finish) = &delta.finish {
            self.finish = Some(finish.clone());
        }
        if delta.farebox_stop.is_some() {
            self.farebox_stop.clone_from(&delta.farebox_stop);
        }
        let step = self.meter.delta(&delta, self.admission.held(), Instant::now());
        self.take(step.as_ref()).await;
        if let Some(pieces) = &mut self.whole {
            pieces.push(delta);
        } else if std::mem::replace(&mut self.has_begun, true) {
            self.tell(Update::Delta(Box::new(delta))).await;
        } else {
            let now = Instant::now();
            self.admission.is_at(Stage::Answering);
            self.measure.first_piece(self.course.elapsed(now));
            self.course.answered(now);
            let stages = self.stages(now);
            self.runner.begun(stages);
            let begun = Begun { stages, headers: std::mem::take(&mut self.headers) };
            self.tell(Update::Begun(Box::new(begun))).await;
            // The first piece names the answer: events before it have no name, or a wrong one.
            self.tell(Update::Delta(Box::new(delta))).await;
            for said in std::mem::take(&mut self.early) {
                self.pass_on(said).await;
            }
        }
    }

    /// Counts an unknown event, and in a stream passes it on unchanged, after the first piece.
    async fn unknown(&mut self, said: Raw) {
        self.measure.unknown();
        match said {
            Raw::None | Raw::Before(_) => {}
            // A client of another format can't read it.
            Raw::Own(..) if !self.runner.speaks_as_client() => {}
            said if self.has_begun => self.pass_on(said).await,
            said if self.whole.is_none() && self.early.len() < EARLY => self.early.push(said),
            Raw::Own(..) => {}
        }
    }

    async fn pass_on(&mut self, said: Raw) {
        self.tell(Update::Delta(Box::new(Delta { raw: said, ..Delta::default() }))).await;
    }

    /// Notes a provider's report, as far as it is believed.
    fn reported(&mut self, report: Report) {
        let (input, output) = (report.input, report.output);
        if !self.meter.reported(report) {
            tracing::error!(request.id = %self.admission.request_id(), input, output, "a provider reports nonsense");
        }
    }

    /// Sends an update to the watcher. A reader that does not read counts as gone.
    async fn tell(&mut self, update: Update) {
        if self.is_cancelled && !self.runner.is_engine() {
            // The rest of a provider's stream is read only for its usage: only the end is sent.
            return;
        }
        let Some(teller) = &mut self.updates else { return };
        let is_read = tokio::select! {
            biased;
            is_read = teller.tell(update) => is_read,
            never = self.permit.look_after(&self.admission, Waits::ForReader) => match never {},
        };
        if !is_read {
            self.client_left();
        }
    }

    fn client_left(&mut self) {
        self.updates = None;
        self.admission.is_at(Stage::Draining);
        self.runner.cancel();
    }

    fn stages(&self, now: Instant) -> Stages {
        self.runner.stages(&self.course, now)
    }

    /// The rule of Farebox that ended the request, if one did.
    fn stop(&mut self) -> Option<String> {
        let stop = self.farebox_stop.take();
        stop.or_else(|| self.runner.ended_by(self.finish.as_ref(), self.is_cancelled, self.is_cut).map(str::to_owned))
    }

    /// The final charge. Where debt may not arise, a cost beyond the hold draws on what is available, and no further.
    async fn charged(&self, failure: Option<&Failure>) -> Metered {
        let bounds = self.bounds();
        let mut used = self.meter.used(failure, bounds);
        if bounds.overdraft_none
            && let Ok(cost) = used.cost.charged()
            && cost > bounds.held
        {
            let (accrued, slice) = bounds.accrued(cost, Nanos::ZERO);
            self.admission.grow(accrued, slice).await;
        }
        Meter::bound(&mut used, self.bounds());
        used
    }

    /// Tells the spans of the run's stages, which end now.
    fn trace_run(&self, stages: Stages, failure: Option<&Failure>, now: Instant) {
        let run = &self.spans.run;
        if !run.is_kept() {
            return;
        }
        if let Stages::Open { load, queue, compute } = stages {
            let computing = now.checked_sub(compute).unwrap_or(now);
            let queued = computing.checked_sub(queue).unwrap_or(computing);
            let loading = queued.checked_sub(load).unwrap_or(queued);
            run.past("load", loading, queued);
            run.past("queue", queued, computing);
            run.past("compute", computing, now);
        }
        match (failure, &self.finish) {
            (Some(failure), _) => run.fails(error_type(failure)),
            (None, Some(finish)) => run.note_list("gen_ai.response.finish_reasons", finish_name(finish)),
            (None, None) => {}
        }
    }

    async fn end(mut self: Box<Self>, failure: Option<Failure>) {
        let now = Instant::now();
        let stages = self.stages(now);
        self.measure.stages(stages, self.course.elapsed(now), failure.as_ref());
        self.trace_run(stages, failure.as_ref(), now);
        self.admission.took(self.course.timings(stages, self.meter.computed()));
        let charged = self.charged(failure.as_ref()).await;
        if let Some(key) = self.meter.unpriced(&charged) {
            tracing::error!(request.id = %self.admission.request_id(), %key, "a provider reports what has no price");
        }
        self.admission.meter(charged);
        // Who pays the provider itself may not have asked for usage.
        if failure.is_none() && self.finish.is_some() && self.whole.is_none() && self.meter.learns() {
            self.drain_of_provider.ended(self.meter.is_told());
        }
        let left = self.is_cancelled || self.updates.as_ref().is_none_or(Teller::is_closed);
        let ending = match (&failure, left) {
            (Some(_), _) => Ending::Failed,
            (None, true) => Ending::ClientLeft,
            (None, false) => Ending::Completed,
        };
        let stop = self.stop();
        let writing = self.course.writing(now);
        let Self { admission, mut meter, runner, measure, updates, whole, headers, spans, .. } = *self;
        let settling = spans.request.child("settle", Kind::Internal);
        let done = |record: UsageRecord, balance: Balance| {
            Box::new(Done {
                whole: whole.unwrap_or_default(),
                usage: meter.told(&record.parts),
                search_units: meter.search_units(&record.parts),
                reported: meter.take_own().filter(|_| runner.speaks_as_client()),
                record,
                balance,
                stop,
                stages,
                headers,
            })
        };
        let update = match (admission.settle(ending).await, failure) {
            (Err(error), _) => Update::Failed(Box::new(error.into())),
            (Ok((record, answer)), Some(failure)) if record.charged > Nanos::ZERO => {
                let charge = Some(done(record, answer.balance));
                Update::Failed(Box::new(ServeError::FailedAndCharged { failure, charge }))
            }
            (Ok(_), Some(failure)) => Update::Failed(Box::new(failure.into())),
            (Ok((record, answer)), None) => Update::Done(done(record, answer.balance)),
        };
        measure.ended(ending);
        if let Update::Done(done) = &update {
            measure.tokens(&done.usage, writing);
        }
        note_charge(&settling, &spans, &update);
        drop(settling);
        if let Some(mut teller) = updates {
            teller.tell(update).await;
        }
    }
}

/// Notes on a request's spans what it used and what it cost, and whether its settlement failed.
fn note_charge(settling: &Span, spans: &Spans, update: &Update) {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    match update {
        Update::Done(done) => {
            spans.run.note("gen_ai.usage.input_tokens", count(done.usage.input));
            spans.run.note("gen_ai.usage.output_tokens", count(done.usage.output));
            spans.request.note("farebox.cost.nanos", done.record.charged.get());
        }
        Update::Failed(error) => match &**error {
            ServeError::FailedAndCharged { charge: Some(done), .. } => {
                spans.request.note("farebox.cost.nanos", done.record.charged.get());
            }
            ServeError::Unsettled(_) => settling.fails("not_settled"),
            _ => {}
        },
        Update::Begun(_) | Update::Delta(_) | Update::Cost { .. } => {}
    }
}

/// Completes at that time; never without one.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
