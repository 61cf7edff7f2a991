//! A request to an open model: admitted for its class and a permit, run by its pool, billed second by second while it runs
//! and captured once at its end (design, chapters 2.5 and 2.7).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actors::{
    admission::{Admission, Admitted, Metered},
    pool::{ModelFolder, Run},
};
use billing::{
    Nanos,
    class::SizeClass,
    entry::Ending,
    hold::{HoldRequest, Work},
    meter,
    price::Tokens,
};
use engine::{
    prepare::Prepared,
    worker::{Stop, StopSignal},
};
use runtime::mailbox;
use tokio::sync::{Notify, mpsc};
use wire::inference::{Event, Failure, TextRequest, Usage};

use super::{
    Gateway, Rules, capability, measure, quote,
    serve::{self, Done, Job, ServeError, Started, Update},
    stages::Course,
    watch::{self, Teller},
};
use crate::catalogue::OpenModel;

/// The provider of what runs here.
const OURS: &str = "farebox";
/// Events that wait for the task, at most.
const EVENTS: usize = 256;
/// Seconds beyond the running one that are kept set aside.
const SLICE_SECONDS: i64 = 5;
/// How far into a second that may not be followed by another its engine is stopped: the next token must not begin in the
/// next second.
const LAST_SECOND: Duration = Duration::from_millis(900);

/// On what terms an open model runs a request.
pub(super) struct Terms {
    /// Seconds the caller's `max_cost` pays.
    pub(super) allowed: Option<u64>,
    pub(super) hold: HoldRequest,
    pub(super) work: Work,
}

/// The terms of a request, where the model can do what it asks.
pub(super) fn terms(request: &TextRequest, model: &OpenModel, rules: Rules) -> Result<Terms, ServeError> {
    capability::check_open(request)?;
    let rate = model.class.per_second();
    let allowed = match quote::max_cost(request)? {
        Some(most) if most < rate => {
            let message = format!("one second of class {} costs ${rate}", model.class.name());
            return Err(ServeError::Invalid { field: "max_cost".into(), message });
        }
        most => most.map(|most| u64::try_from(most.get() / rate.get()).unwrap_or(u64::MAX)),
    };
    let seconds = allowed.and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or(SLICE_SECONDS);
    let slice = rate.times(seconds.min(SLICE_SECONDS));
    let hold = HoldRequest { minimum: rate, expected: slice, worst_case: slice };
    Ok(Terms { allowed, hold, work: Work::Open { class: model.class, units: model.class.weight(rules.weighting) } })
}

/// Admits a request and starts its task.
pub(super) async fn start(
    gateway: &Arc<Gateway>,
    job: Job,
    model: Arc<OpenModel>,
    version: i64,
) -> Result<Started, ServeError> {
    if job.provider_key.is_some() {
        let message = "is only for closed models".to_owned();
        return Err(ServeError::Invalid { field: "provider-key".into(), message });
    }
    let unavailable = || ServeError::Failed(Failure::Unavailable(format!("{} has no pool here", model.id)));
    let pool = gateway.pools.get(&model.class).ok_or_else(unavailable)?.clone();
    let Terms { allowed, hold, work } = terms(&job.request, &model, gateway.rules)?;
    // What can't run is refused here, before anything is held.
    let Job { request_id, caller, request, provider_key, max_wait } = job;
    let (Prepared { request, prompt }, tokenizer) = gateway.tokenizer_cache.prepare(&model, request).await?;
    let job = Job { request_id, caller, request, provider_key, max_wait };
    let asks = serve::Asks { work, hold, output: None };
    let (admitted, took) = serve::admit(gateway, &job, asks, &model.id, &OURS.into(), version).await?;
    let Admitted { admission, balance, rate_remaining, place } = admitted;
    let cancel = Arc::new(Notify::new());
    let (updates, watcher) = watch::channel(&gateway.unread);
    let (sender, events) = mpsc::channel(EVENTS);
    let stop = StopSignal::new();
    let folder = model.folder.clone();
    let folder = ModelFolder { id: model.id.to_string(), folder, import: model.import, tokenizer };
    let asked = Prepared { request: job.request, prompt };
    let run = Run::new(&admission, folder, asked, sender, Arc::clone(&stop), pool.posted());
    let task = OpenTask {
        class: model.class,
        overdraft_none: gateway.rules.overdraft_none,
        allowed,
        stop,
        stop_at: None,
        seconds: 0,
        compute_ms: 0,
        has_output: false,
        farebox_stop: None,
        usage: None,
        cancel: Arc::clone(&cancel),
        cancelled: false,
        updates: Some(updates),
        course: Course::new(Instant::now()),
    };
    if mailbox::offer(&pool.address(), run) {
        actix_rt::spawn(task.run(admission, events));
    } else {
        // Also where its client leaves meanwhile.
        let full = Failure::Overloaded("too many requests wait for this class".into());
        actix_rt::spawn(task.end(admission, Some(full)));
    }
    Ok(Started { balance, rate_remaining, admission: took, place, updates: watcher, cancel })
}

/// The task of an open request.
struct OpenTask {
    class: SizeClass,
    overdraft_none: bool,
    /// Seconds the caller's `max_cost` pays.
    allowed: Option<u64>,
    stop: Arc<StopSignal>,
    /// When the engine must be stopped, and why.
    stop_at: Option<(Instant, Stop)>,
    seconds: u64,
    compute_ms: u64,
    has_output: bool,
    farebox_stop: Option<String>,
    usage: Option<Usage>,
    cancel: Arc<Notify>,
    cancelled: bool,
    /// None once the client has left.
    updates: Option<Teller>,
    course: Course,
}

/// What the task woke up for.
enum Woken {
    Event(Option<Event>),
    ClientLeft,
    Cancelled,
    Due(Stop),
}

impl OpenTask {
    async fn next(&self, events: &mut mpsc::Receiver<Event>) -> Woken {
        let left = async {
            match &self.updates {
                Some(updates) => updates.closed().await,
                None => std::future::pending().await,
            }
        };
        let due = async {
            match self.stop_at {
                Some((at, stop)) => {
                    tokio::time::sleep_until(at.into()).await;
                    stop
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            event = events.recv() => Woken::Event(event),
            () = left => Woken::ClientLeft,
            () = self.cancel.notified() => Woken::Cancelled,
            stop = due => Woken::Due(stop),
        }
    }

    async fn run(mut self, mut admission: Admission, mut events: mpsc::Receiver<Event>) {
        let failure = loop {
            match self.next(&mut events).await {
                Woken::ClientLeft => self.client_left(),
                Woken::Cancelled => {
                    self.cancelled = true;
                    self.stop.set(Stop::Cancelled);
                }
                Woken::Due(stop) => {
                    self.stop_at = None;
                    self.stop.set(stop);
                }
                Woken::Event(Some(Event::Loaded)) => self.course.loaded(Instant::now()),
                Woken::Event(Some(Event::Started)) => self.course.started(Instant::now()),
                Woken::Event(Some(Event::Second(second))) => self.second(u64::from(second), &mut admission).await,
                Woken::Event(Some(Event::Delta(delta))) => {
                    let is_first = !std::mem::replace(&mut self.has_output, true);
                    if delta.farebox_stop.is_some() {
                        self.farebox_stop.clone_from(&delta.farebox_stop);
                    }
                    if is_first {
                        let now = Instant::now();
                        measure::first_piece(OURS, self.course.elapsed(now));
                        let stages = self.course.stages(now);
                        self.tell(Update::Begun(Box::new(stages))).await;
                    }
                    self.tell(Update::Delta(Box::new(delta))).await;
                }
                // What only providers say.
                Woken::Event(Some(Event::Unknown(_) | Event::Reported(_))) => {}
                Woken::Event(Some(Event::Usage(usage))) => self.usage = Some(usage),
                Woken::Event(Some(Event::Finished { compute_ms })) => {
                    self.compute_ms = compute_ms;
                    break None;
                }
                Woken::Event(Some(Event::Failed(failure))) => break Some(failure),
                Woken::Event(None) => break Some(Failure::Engine("the engine is gone".into())),
            }
        };
        self.end(admission, failure).await;
    }

    /// A second of compute has begun: it is metered, accrued, and looked at whether another may follow.
    async fn second(&mut self, second: u64, admission: &mut Admission) {
        self.seconds = self.seconds.max(second);
        admission.meter(Metered::open(self.class, self.seconds, self.seconds * 1_000, self.tokens()));
        let rate = self.class.per_second();
        let cost = rate.checked_times(i64::try_from(self.seconds).unwrap_or(i64::MAX)).unwrap_or(Nanos::new(i64::MAX));
        let end = Instant::now() + LAST_SECOND;
        if self.allowed.is_some_and(|allowed| self.seconds >= allowed) {
            self.stop_at = Some((end, Stop::MaxCost));
        } else if admission.claimed().is_some_and(|claimed| cost + rate > claimed) {
            self.stop_at = Some((end, Stop::KeyLimit));
        } else if self.overdraft_none && cost + rate > admission.held() {
            self.stop_at = Some((end, Stop::Credits));
        }
        admission.accrue(cost, if self.stop_at.is_some() { Nanos::ZERO } else { rate.times(SLICE_SECONDS) });
        self.tell(Update::Cost { cost, billed_seconds: self.seconds }).await;
    }

    /// Tells whoever watches. A reader that does not read has left.
    async fn tell(&mut self, update: Update) {
        if let Some(teller) = &mut self.updates
            && !teller.tell(update).await
        {
            self.client_left();
        }
    }

    /// The engine ends within a token and says what it used.
    fn client_left(&mut self) {
        self.updates = None;
        self.stop.set(Stop::Cancelled);
    }

    fn tokens(&self) -> Tokens {
        let usage = self.usage.unwrap_or_default();
        Tokens { cached_input: usage.cached_input, ..Tokens::plain(usage.input, usage.output) }
    }

    /// What is charged: nothing where compute never began, the engine failed before any output, or what it wrote was made of
    /// scores that are no numbers; never more than the key's limits pay for.
    fn final_meter(&self, failure: Option<&Failure>, claimed: Option<Nanos>) -> Metered {
        let is_broken = matches!(failure, Some(Failure::NotFinite));
        if self.seconds == 0 || is_broken || (failure.is_some() && !self.has_output) {
            return Metered::NOTHING;
        }
        let counted = if self.compute_ms > 0 { meter::billed_seconds(self.compute_ms) } else { self.seconds };
        // A second beyond what the caller or the hold allows began only because a token was long: it is not billed.
        let pays = claimed.map(|claimed| claimed.get() / self.class.per_second().get().max(1));
        let pays = pays.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(u64::MAX);
        let seconds = counted.min(self.allowed.unwrap_or(u64::MAX)).min(pays);
        let compute_ms = if self.compute_ms > 0 { self.compute_ms } else { self.seconds * 1_000 };
        Metered::open(self.class, seconds, compute_ms, self.tokens())
    }

    async fn end(mut self, mut admission: Admission, failure: Option<Failure>) {
        let now = Instant::now();
        let stages = self.course.stages(now);
        measure::ended(OURS, stages, self.course.elapsed(now));
        let mut metered = self.final_meter(failure.as_ref(), admission.claimed());
        if self.overdraft_none {
            metered.cost = metered.cost.at_most(admission.held());
        }
        admission.meter(metered);
        let left = self.cancelled || self.updates.as_ref().is_none_or(Teller::is_closed);
        let ending = match (&failure, left) {
            (Some(_), _) => Ending::Failed,
            (None, true) => Ending::ClientLeft,
            (None, false) => Ending::Completed,
        };
        let update = match (admission.settle(ending).await, failure) {
            (Err(error), _) => Update::Failed(Box::new(error.into())),
            (Ok(_), Some(failure)) => Update::Failed(Box::new(failure.into())),
            (Ok((record, answer)), None) => Update::Done(Box::new(Done {
                whole: Vec::new(),
                usage: self.usage.unwrap_or_default(),
                reported: None,
                record,
                balance: answer.balance,
                stop: self.farebox_stop.take().or_else(|| self.cancelled.then(|| serve::CANCELLED.to_owned())),
                stages,
            })),
        };
        metrics::counter!("farebox_requests_total", "ending" => ending.name(), "provider" => OURS).increment(1);
        if let Some(mut teller) = self.updates.take() {
            teller.tell(update).await;
        }
    }
}
