//! One thread for one loaded model: it takes jobs from a bounded queue, one at a time, and answers them. A job that
//! panics fails alone, but ends the thread: a model that panicked is not trusted again. At its end the thread gives
//! back the jobs that it never began, and reports its exit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::Sender;
use wire::inference::{Event, Failure, Usage};

use super::prepare::Prepared;
pub use super::sink::{Halt, Sink, Stop, StopSignal};

/// Answers requests on a worker's thread: a model, or a test's stand-in.
pub trait Answer: Send + 'static {
    /// The model's name.
    fn name(&self) -> &str;

    /// Answers one request, and checks the sink before every engine step. Returns the tokens read and written.
    ///
    /// # Errors
    ///
    /// The model's step failed, or the request can't be run. The worker sends the failure as the job's last event.
    fn answer(&mut self, asked: &Prepared, sink: &mut Sink) -> Result<Usage, Failure>;
}

/// One request for a worker.
#[derive(Debug)]
pub struct Job {
    /// The prepared request.
    pub asked: Prepared,
    /// The channel of the job's events; closing it cancels the job.
    pub events: Sender<Event>,
    /// The signal that stops the job.
    pub stop: Arc<StopSignal>,
}

/// A job that was not queued, and why.
#[derive(Debug)]
pub enum Refused {
    /// The queue is full.
    Full(Box<Job>),
    /// The worker has ended.
    Ended(Box<Job>),
}

/// Why a worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitReason {
    /// Its handle was dropped.
    Stopped,
    /// A job panicked with this message.
    Panicked(String),
}

/// A worker's end.
#[derive(Debug)]
pub struct Exit {
    /// The reason.
    pub reason: ExitReason,
    /// The jobs that were never begun, in order.
    pub jobs: Vec<Job>,
}

/// A cheap picture of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The model's name.
    pub model: String,
    /// The number of waiting jobs.
    pub queued: usize,
    /// Whether a job is running.
    pub running: bool,
    /// Tokens written since the worker began.
    pub tokens: u64,
    /// Jobs that ended since the worker began, in any way.
    pub jobs: u64,
    /// Whether the worker takes jobs.
    pub alive: bool,
}

/// A running worker. Dropping the handle cancels the running job and ends the thread, without waiting for it.
#[derive(Debug)]
pub struct EngineHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    model: String,
    queue: Mutex<Option<SyncSender<Job>>>,
    queued: AtomicUsize,
    running: AtomicBool,
    closing: Arc<AtomicBool>,
    tokens: Arc<AtomicU64>,
    jobs: AtomicU64,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Option<SyncSender<Job>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EngineHandle {
    /// Starts a thread. `capacity` jobs may wait besides the running one. The thread calls `on_exit` once, as its last
    /// act.
    ///
    /// # Errors
    ///
    /// The system can't start a thread. `on_exit` is not called then.
    pub fn spawn<A: Answer>(
        answerer: A,
        capacity: usize,
        on_exit: impl FnOnce(Exit) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (sender, jobs) = sync_channel(capacity.max(1));
        let shared = Arc::new(Shared {
            model: answerer.name().to_owned(),
            queue: Mutex::new(Some(sender)),
            queued: AtomicUsize::new(0),
            running: AtomicBool::new(false),
            closing: Arc::default(),
            tokens: Arc::default(),
            jobs: AtomicU64::new(0),
        });
        let on_thread = Arc::clone(&shared);
        let name = format!("engine {}", shared.model);
        std::thread::Builder::new().name(name).spawn(move || on_exit(work(answerer, &jobs, &on_thread)))?;
        Ok(Self { shared })
    }

    /// Queues a job, without waiting.
    ///
    /// # Errors
    ///
    /// Returns the job where the queue is full or the worker has ended. The caller must end the job's events itself.
    pub fn submit(&self, job: Job) -> Result<(), Refused> {
        let queue = self.shared.queue();
        let Some(sender) = &*queue else { return Err(Refused::Ended(Box::new(job))) };
        self.shared.queued.fetch_add(1, Ordering::AcqRel);
        let refused = match sender.try_send(job) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(job)) => Refused::Full(Box::new(job)),
            Err(TrySendError::Disconnected(job)) => Refused::Ended(Box::new(job)),
        };
        self.shared.queued.fetch_sub(1, Ordering::AcqRel);
        Err(refused)
    }

    /// The worker's current picture.
    pub fn observe(&self) -> Observed {
        Observed {
            model: self.shared.model.clone(),
            queued: self.shared.queued.load(Ordering::Acquire),
            running: self.shared.running.load(Ordering::Acquire),
            tokens: self.shared.tokens.load(Ordering::Relaxed),
            jobs: self.shared.jobs.load(Ordering::Relaxed),
            alive: self.shared.queue().is_some(),
        }
    }
}

impl Drop for EngineHandle {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        self.shared.queue().take();
    }
}

fn work<A: Answer>(mut answerer: A, jobs: &Receiver<Job>, shared: &Shared) -> Exit {
    let mut reason = ExitReason::Stopped;
    while let Ok(job) = jobs.recv() {
        if shared.closing.load(Ordering::Acquire) {
            return exit(reason, Some(job), jobs, shared);
        }
        shared.running.store(true, Ordering::Release);
        shared.queued.fetch_sub(1, Ordering::AcqRel);
        let outcome = run(&mut answerer, job, shared);
        shared.jobs.fetch_add(1, Ordering::Relaxed);
        shared.running.store(false, Ordering::Release);
        if let Err(message) = outcome {
            tracing::error!(model = %shared.model, message, "a job panicked; its worker ends");
            reason = ExitReason::Panicked(message);
            break;
        }
    }
    // The model's memory is free before the exit is reported.
    let dropped = catch_unwind(AssertUnwindSafe(move || drop(answerer)));
    if dropped.is_err() {
        tracing::error!(model = %shared.model, "dropping a model panicked");
    }
    exit(reason, None, jobs, shared)
}

/// Closes the queue, and collects the jobs that were never begun. No job can slip in: the sender is taken under its
/// lock first.
fn exit(reason: ExitReason, first: Option<Job>, jobs: &Receiver<Job>, shared: &Shared) -> Exit {
    shared.queue().take();
    let jobs: Vec<Job> = first.into_iter().chain(std::iter::from_fn(|| jobs.try_recv().ok())).collect();
    shared.queued.store(0, Ordering::Release);
    Exit { reason, jobs }
}

/// Runs one job to its last event. The error is a panic's message.
fn run<A: Answer>(answerer: &mut A, job: Job, shared: &Shared) -> Result<(), String> {
    let mut sink = Sink::new(job.events, job.stop, Arc::clone(&shared.closing), Arc::clone(&shared.tokens));
    let outcome = catch_unwind(AssertUnwindSafe(|| answerer.answer(&job.asked, &mut sink)));
    let compute_ms = sink.close();
    match outcome {
        Ok(Ok(usage)) => {
            sink.send(Event::Usage(usage));
            if sink.was_cut() {
                sink.send(Event::Failed(Failure::Engine("its engine was ended".into())));
                return Ok(());
            }
            sink.send(Event::Finished { compute_ms });
            Ok(())
        }
        Ok(Err(failure)) => {
            sink.send(Event::Failed(failure));
            Ok(())
        }
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            let message = text.unwrap_or_else(|| "a panic without a message".to_owned());
            sink.send(Event::Failed(Failure::Engine(format!("the engine panicked: {message}"))));
            Err(message)
        }
    }
}

#[cfg(test)]
mod tests;
