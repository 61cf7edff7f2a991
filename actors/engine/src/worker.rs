//! One thread for one loaded model, and the bounded queue before it. A language model answers many jobs at once, as its
//! scheduler decides ([`run`]); an encoder reads texts of several in one run ([`crate::embedding::worker`]). A job that
//! fails or panics in its own part fails alone. A panic of the model ends the thread, as the loss of its device does: it
//! is not trusted again. At its end the thread gives back the jobs that it never began, and reports its exit.

mod run;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender as Queue, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;
use wire::inference::Event;

use super::model::Model;
use super::network::Network;
use super::prepare::Prepared;
pub use super::schedule::{CacheScope, Share};
pub use super::sink::{Halt, Stop, StopSignal};

/// One request for a worker.
#[derive(Debug)]
pub struct Job<A = Prepared> {
    /// The prepared request.
    pub asked: A,
    /// Whose it is.
    pub share: Share,
    /// The channel of the job's events; closing it cancels the job. Where it is full the job is parked until half of it
    /// is free.
    pub events: Sender<Event>,
    /// The signal that stops the job.
    pub stop: Arc<StopSignal>,
}

/// What a worker may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The most jobs that wait.
    pub queue: usize,
    /// The most sequences that run at once.
    pub sequences: usize,
    /// The most bytes of all sequences' caches together. One sequence alone gets what it needs.
    pub cache_bytes: usize,
    /// Whose caches a prompt may begin with.
    pub cache_scope: CacheScope,
}

impl Default for Settings {
    fn default() -> Self {
        Self { queue: 256, sequences: 8, cache_bytes: 2 << 30, cache_scope: CacheScope::Account }
    }
}

/// A job that was not queued, and why.
#[derive(Debug)]
pub enum Refused<A = Prepared> {
    /// The queue is full.
    Full(Box<Job<A>>),
    /// The worker has ended.
    Ended(Box<Job<A>>),
}

/// Why a worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitReason {
    /// Its handle was dropped.
    Stopped,
    /// The model panicked with this message.
    Panicked(String),
    /// The model's memory can't be reached, for this reason: its device is gone.
    Lost(String),
}

impl ExitReason {
    /// Why the jobs that were begun have failed.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Stopped => "its engine was ended".to_owned(),
            Self::Panicked(message) => format!("the engine panicked: {message}"),
            Self::Lost(message) => format!("the engine's device is lost: {message}"),
        }
    }
}

/// A worker's end.
#[derive(Debug)]
pub struct Exit<A = Prepared> {
    /// The reason.
    pub reason: ExitReason,
    /// The jobs that were never begun, in order.
    pub jobs: Vec<Job<A>>,
}

/// A cheap picture of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The model's name.
    pub model: String,
    /// The number of jobs that were not begun.
    pub queued: usize,
    /// The number of jobs that were begun and have not ended.
    pub running: usize,
    /// Tokens written, or read by an encoder, since the worker began.
    pub tokens: u64,
    /// Those of them that were drafted, and verified behind another token.
    pub drafted: u64,
    /// Jobs that ended since the worker began, in any way.
    pub jobs: u64,
    /// Signs of life since the worker began: one between any two steps. One that stands still while there are jobs is stuck
    /// in a step.
    pub beats: u64,
    /// Whether the worker takes jobs.
    pub alive: bool,
}

/// Looks at a worker from anywhere, and keeps it no longer alive.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn() -> Observed + Send + Sync>);

impl Observer {
    /// The worker's current picture.
    pub fn observe(&self) -> Observed {
        (self.0)()
    }
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Observer").field(&self.observe()).finish()
    }
}

/// A running worker. Dropping the handle cancels the running jobs and ends the thread, without waiting for it.
#[derive(Debug)]
pub struct Handle<A> {
    shared: Arc<Shared<A>>,
    capacity: usize,
}

/// A running language model.
pub type EngineHandle = Handle<Prepared>;

/// What a handle and its thread share.
#[derive(Debug)]
pub(crate) struct Shared<A> {
    pub(crate) model: String,
    queue: Mutex<Option<Queue<Job<A>>>>,
    queued: AtomicUsize,
    running: AtomicUsize,
    closing: AtomicBool,
    tokens: AtomicU64,
    drafted: AtomicU64,
    jobs: AtomicU64,
    beats: AtomicU64,
}

impl<A> Shared<A> {
    fn queue(&self) -> MutexGuard<'_, Option<Queue<Job<A>>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the handle was dropped.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Takes no more jobs.
    pub(crate) fn close(&self) {
        self.queue().take();
    }

    /// A job begins.
    pub(crate) fn begins(&self) {
        self.running.fetch_add(1, Ordering::AcqRel);
        self.queued.fetch_sub(1, Ordering::AcqRel);
    }

    /// A job has ended, begun or not.
    pub(crate) fn ends(&self, has_begun: bool) {
        let count = if has_begun { &self.running } else { &self.queued };
        count.fetch_sub(1, Ordering::AcqRel);
        self.jobs.fetch_add(1, Ordering::Relaxed);
    }

    /// Tokens were written, or read by an encoder.
    pub(crate) fn count_tokens(&self, tokens: u64) {
        self.tokens.fetch_add(tokens, Ordering::Relaxed);
    }

    /// A token was written whose scores were computed behind a draft.
    fn count_drafted(&self) {
        self.drafted.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives a sign of life.
    pub(crate) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// The current picture.
    fn observe(&self) -> Observed {
        Observed {
            model: self.model.clone(),
            queued: self.queued.load(Ordering::Acquire),
            running: self.running.load(Ordering::Acquire),
            tokens: self.tokens.load(Ordering::Relaxed),
            drafted: self.drafted.load(Ordering::Relaxed),
            jobs: self.jobs.load(Ordering::Relaxed),
            beats: self.beats.load(Ordering::Relaxed),
            alive: self.queue().is_some(),
        }
    }

    /// The model panicked.
    pub(crate) fn panicked(&self, panic: &(dyn Any + Send)) -> ExitReason {
        let message = words(panic);
        tracing::error!(model = %self.model, message, "the model panicked; its worker ends");
        ExitReason::Panicked(message)
    }

    /// Frees a model's memory, before the exit is reported.
    pub(crate) fn free(&self, model: impl Sized) {
        if catch_unwind(AssertUnwindSafe(move || drop(model))).is_err() {
            tracing::error!(model = %self.model, "dropping a model panicked");
        }
    }

    /// The worker's end: with the jobs that were taken and not begun, and those that were not taken.
    pub(crate) fn exit(&self, reason: ExitReason, mut jobs: Vec<Job<A>>, rest: &Receiver<Job<A>>) -> Exit<A> {
        jobs.extend(rest.try_iter());
        self.running.store(0, Ordering::Release);
        self.queued.store(0, Ordering::Release);
        Exit { reason, jobs }
    }
}

/// A panic's message.
pub(crate) fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a message".to_owned())
}

impl EngineHandle {
    /// Starts a thread for a model. The thread calls `on_exit` once, as its last act.
    ///
    /// # Errors
    ///
    /// The system can't start a thread. `on_exit` is not called then.
    pub fn spawn<N: Network>(
        model: Model<N>,
        settings: Settings,
        on_exit: impl FnOnce(Exit) + Send + 'static,
    ) -> std::io::Result<Self> {
        let began = Instant::now();
        Self::spawn_at(model, settings, move || began.elapsed(), on_exit)
    }

    /// The same, by a clock: the time since any moment, which never runs backwards. All that is billed is measured by it.
    ///
    /// # Errors
    ///
    /// As for [`Self::spawn`].
    pub fn spawn_at<N: Network>(
        model: Model<N>,
        settings: Settings,
        clock: impl Fn() -> Duration + Send + 'static,
        on_exit: impl FnOnce(Exit) + Send + 'static,
    ) -> std::io::Result<Self> {
        let name = model.name.clone();
        Self::start(name, settings.queue, move |jobs, shared| run::run(model, settings, clock, jobs, shared), on_exit)
    }
}

impl<A: Send + 'static> Handle<A> {
    /// Starts a thread that does this work. `capacity` jobs may wait.
    pub(crate) fn start(
        model: String,
        capacity: usize,
        work: impl FnOnce(&Receiver<Job<A>>, &Shared<A>) -> Exit<A> + Send + 'static,
        on_exit: impl FnOnce(Exit<A>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (sender, jobs) = channel();
        let name = format!("engine {model}");
        let shared = Arc::new(Shared {
            model,
            queue: Mutex::new(Some(sender)),
            queued: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            tokens: AtomicU64::new(0),
            drafted: AtomicU64::new(0),
            jobs: AtomicU64::new(0),
            beats: AtomicU64::new(0),
        });
        let on_thread = Arc::clone(&shared);
        std::thread::Builder::new().name(name).spawn(move || on_exit(work(&jobs, &on_thread)))?;
        Ok(Self { shared, capacity: capacity.max(1) })
    }
}

impl<A> Handle<A> {
    /// Queues a job, without waiting.
    ///
    /// # Errors
    ///
    /// Returns the job where the queue is full or the worker has ended. The caller must end the job's events itself.
    pub fn submit(&self, job: Job<A>) -> Result<(), Refused<A>> {
        let queue = self.shared.queue();
        let Some(sender) = &*queue else { return Err(Refused::Ended(Box::new(job))) };
        // Only submissions raise the number, and they hold the lock.
        if self.shared.queued.load(Ordering::Acquire) >= self.capacity {
            return Err(Refused::Full(Box::new(job)));
        }
        self.shared.queued.fetch_add(1, Ordering::AcqRel);
        sender.send(job).map_err(|unsent| {
            self.shared.queued.fetch_sub(1, Ordering::AcqRel);
            Refused::Ended(Box::new(unsent.0))
        })
    }

    /// The worker's current picture.
    pub fn observe(&self) -> Observed {
        self.shared.observe()
    }
}

impl<A: Send + 'static> Handle<A> {
    /// Looks at the worker from elsewhere.
    pub fn observer(&self) -> Observer {
        let shared = Arc::clone(&self.shared);
        Observer(Arc::new(move || shared.observe()))
    }
}

impl<A> Drop for Handle<A> {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        self.shared.close();
    }
}
