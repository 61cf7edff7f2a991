//! One thread for one loaded model: it takes jobs from a bounded queue and answers many at once, as its scheduler
//! decides. A job that fails or panics in its own part fails alone. A panic of the model ends the thread: a model that
//! panicked is not trusted again. At its end the thread gives back the jobs that it never began, and reports its exit.

mod run;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender as Queue, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;
use wire::inference::Event;

pub(crate) use self::run::words;
use super::model::Model;
use super::network::Network;
use super::prepare::Prepared;
pub use super::schedule::Share;
pub use super::sink::{Halt, Stop, StopSignal};

/// One request for a worker.
#[derive(Debug)]
pub struct Job {
    /// The prepared request.
    pub asked: Prepared,
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
}

impl Default for Settings {
    fn default() -> Self {
        Self { queue: 256, sequences: 8, cache_bytes: 2 << 30 }
    }
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
    /// The model panicked with this message.
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
    /// The number of jobs that were not begun.
    pub queued: usize,
    /// The number of jobs that were begun and have not ended.
    pub running: usize,
    /// Tokens written since the worker began.
    pub tokens: u64,
    /// Jobs that ended since the worker began, in any way.
    pub jobs: u64,
    /// Whether the worker takes jobs.
    pub alive: bool,
}

/// A running worker. Dropping the handle cancels the running jobs and ends the thread, without waiting for it.
#[derive(Debug)]
pub struct EngineHandle {
    shared: Arc<Shared>,
    capacity: usize,
}

#[derive(Debug)]
struct Shared {
    model: String,
    queue: Mutex<Option<Queue<Job>>>,
    queued: AtomicUsize,
    running: AtomicUsize,
    closing: AtomicBool,
    tokens: AtomicU64,
    jobs: AtomicU64,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Option<Queue<Job>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        let (sender, jobs) = channel();
        let shared = Arc::new(Shared {
            model: model.name.clone(),
            queue: Mutex::new(Some(sender)),
            queued: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            tokens: AtomicU64::new(0),
            jobs: AtomicU64::new(0),
        });
        let on_thread = Arc::clone(&shared);
        let name = format!("engine {}", shared.model);
        let work = move || on_exit(run::run(model, settings, clock, &jobs, &on_thread));
        std::thread::Builder::new().name(name).spawn(work)?;
        Ok(Self { shared, capacity: settings.queue.max(1) })
    }

    /// Queues a job, without waiting.
    ///
    /// # Errors
    ///
    /// Returns the job where the queue is full or the worker has ended. The caller must end the job's events itself.
    pub fn submit(&self, job: Job) -> Result<(), Refused> {
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
