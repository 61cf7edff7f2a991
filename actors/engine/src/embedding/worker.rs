//! One thread for one loaded encoder: it takes jobs from a bounded queue, and reads texts of several jobs in one run
//! where their lengths allow. Jobs take turns, so that one with many texts does not keep the others waiting. A failed run
//! fails the jobs that were in it. An encoder that panicked is not trusted again: the thread ends, gives back the jobs
//! that it never began, and reports its exit.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender as Queue, channel},
    },
    time::{Duration, Instant},
};

use tokio::sync::mpsc::Sender;
use wire::inference::{Delta, Event, Failure, FinishReason, Made, Usage};

use super::{
    encoder::{Encoder, fits, runs},
    tokenizer::PreparedTexts,
};
use crate::{
    network::NetworkError,
    sink::{Halt, PAUSE, Sink, StopSignal, send_last},
    worker::{ExitReason, Observed, words},
};

/// One request for an encoder.
#[derive(Debug)]
pub struct TextJob {
    /// The prepared request.
    pub asked: PreparedTexts,
    /// The channel of the job's events; closing it cancels the job.
    pub events: Sender<Event>,
    /// The signal that stops the job.
    pub stop: Arc<StopSignal>,
}

/// A job that was not queued, and why.
#[derive(Debug)]
pub enum RefusedTexts {
    /// The queue is full.
    Full(Box<TextJob>),
    /// The worker has ended.
    Ended(Box<TextJob>),
}

/// A worker's end.
#[derive(Debug)]
pub struct EncoderExit {
    /// The reason.
    pub reason: ExitReason,
    /// The jobs that were never begun, in order.
    pub jobs: Vec<TextJob>,
}

/// Makes vectors of texts on a worker's thread: an encoder, or a test's stand-in.
pub trait Encode: Send + 'static {
    /// The vectors of texts that fit one run, in their order. Of `dimensions`, only so many numbers of each.
    ///
    /// # Errors
    ///
    /// The run failed, or computed numbers that are not finite.
    fn encode(&mut self, texts: &[&[u32]], dimensions: Option<usize>) -> Result<Vec<Vec<f32>>, NetworkError>;
}

impl Encode for Encoder {
    fn encode(&mut self, texts: &[&[u32]], dimensions: Option<usize>) -> Result<Vec<Vec<f32>>, NetworkError> {
        self.vectors(texts, dimensions)
    }
}

/// A running worker. Dropping the handle ends the thread after its current run, without waiting for it.
#[derive(Debug)]
pub struct EncoderHandle {
    shared: Arc<Shared>,
    capacity: usize,
}

#[derive(Debug)]
struct Shared {
    model: String,
    queue: Mutex<Option<Queue<TextJob>>>,
    queued: AtomicUsize,
    running: AtomicUsize,
    closing: AtomicBool,
    tokens: AtomicU64,
    jobs: AtomicU64,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Option<Queue<TextJob>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EncoderHandle {
    /// Starts a thread for an encoder. `queue` jobs may wait. The thread calls `on_exit` once, as its last act.
    ///
    /// # Errors
    ///
    /// The system can't start a thread. `on_exit` is not called then.
    pub fn spawn(
        model: &str,
        encoder: impl Encode,
        queue: usize,
        on_exit: impl FnOnce(EncoderExit) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (sender, jobs) = channel();
        let shared = Arc::new(Shared {
            model: model.to_owned(),
            queue: Mutex::new(Some(sender)),
            queued: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            tokens: AtomicU64::new(0),
            jobs: AtomicU64::new(0),
        });
        let on_thread = Arc::clone(&shared);
        let name = format!("engine {model}");
        std::thread::Builder::new().name(name).spawn(move || on_exit(work(encoder, &jobs, &on_thread)))?;
        Ok(Self { shared, capacity: queue.max(1) })
    }

    /// Queues a job, without waiting.
    ///
    /// # Errors
    ///
    /// Returns the job where the queue is full or the worker has ended. The caller must end the job's events itself.
    pub fn submit(&self, job: TextJob) -> Result<(), RefusedTexts> {
        let queue = self.shared.queue();
        let Some(sender) = &*queue else { return Err(RefusedTexts::Ended(Box::new(job))) };
        // Only submissions raise the number, and they hold the lock.
        if self.shared.queued.load(Ordering::Acquire) >= self.capacity {
            return Err(RefusedTexts::Full(Box::new(job)));
        }
        self.shared.queued.fetch_add(1, Ordering::AcqRel);
        sender.send(job).map_err(|unsent| {
            self.shared.queued.fetch_sub(1, Ordering::AcqRel);
            RefusedTexts::Ended(Box::new(unsent.0))
        })
    }

    /// The worker's current picture. Its tokens are those read.
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

impl Drop for EncoderHandle {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        self.shared.queue().take();
    }
}

/// A job that was taken from the queue.
struct Taken {
    asked: PreparedTexts,
    sink: Sink,
    /// The runs that are left, the shortest texts last.
    runs: Vec<Vec<usize>>,
    vectors: Vec<Vec<f32>>,
    /// The tokens read.
    input: u64,
    /// The time of the runs that its texts were in.
    compute: Duration,
    failed: Option<Failure>,
}

impl Taken {
    fn new(job: TextJob) -> Self {
        let mut runs = runs(&job.asked.texts);
        runs.reverse();
        let vectors = vec![Vec::new(); job.asked.texts.len()];
        let sink = Sink::new(job.events, job.stop);
        Self { asked: job.asked, sink, runs, vectors, input: 0, compute: Duration::ZERO, failed: None }
    }

    /// The texts of the next run.
    fn next_texts(&self) -> impl Iterator<Item = &[u32]> {
        self.runs.last().into_iter().flatten().map(|&place| self.asked.texts[place].as_slice())
    }

    /// Takes the vectors of the next run.
    fn read(&mut self, vectors: &mut impl Iterator<Item = Vec<f32>>) {
        for (place, vector) in self.runs.pop().unwrap_or_default().into_iter().zip(vectors) {
            self.input += self.asked.texts[place].len() as u64;
            self.vectors[place] = vector;
        }
    }

    /// Bills the time of a run.
    fn took(&mut self, time: Duration) {
        self.compute += time;
        self.sink.report(self.compute);
    }

    /// Ends the job.
    fn end(&mut self, last: Result<(), Failure>) {
        self.sink.report(self.compute);
        self.sink.send(Event::Usage(Usage { input: self.input, ..Usage::default() }));
        self.sink.send(match last {
            Ok(()) => Event::Finished { compute_ms: u64::try_from(self.compute.as_millis()).unwrap_or(u64::MAX) },
            Err(failure) => Event::Failed(failure),
        });
    }

    /// Sends the vectors, all of which are made.
    fn finish(&mut self) {
        let made = Some(Box::new(Made::Vectors(std::mem::take(&mut self.vectors))));
        self.sink.send(Event::Delta(Delta { made, finish: Some(FinishReason::Stop), ..Delta::default() }));
        self.end(Ok(()));
    }

    /// Ends the job before its vectors are made.
    fn halt(&mut self, halt: Halt) {
        self.end(match halt {
            Halt::Silent => Ok(()),
            Halt::Said(why) => {
                let field = if why == "max_cost" { why } else { "input" };
                let message = format!("has more to read than was paid for ({why}); nothing is charged");
                Err(Failure::Invalid { field: field.to_owned(), message })
            }
        });
    }
}

/// Runs jobs until the handle is dropped or the encoder panics.
fn work(mut encoder: impl Encode, jobs: &Receiver<TextJob>, shared: &Shared) -> EncoderExit {
    let mut taken: VecDeque<Taken> = VecDeque::new();
    // Ended jobs whose readers have no room.
    let mut ended: Vec<Taken> = Vec::new();
    let reason = loop {
        ended.retain_mut(|job| !job.sink.flush());
        if taken.is_empty() && ended.is_empty() {
            let Ok(job) = jobs.recv() else { break ExitReason::Stopped };
            taken.push_back(Taken::new(job));
        } else if taken.is_empty() {
            std::thread::sleep(PAUSE);
        }
        taken.extend(jobs.try_iter().map(Taken::new));
        if shared.closing.load(Ordering::Acquire) {
            break ExitReason::Stopped;
        }
        take_out(&mut taken, &mut ended, shared);
        let turn = catch_unwind(AssertUnwindSafe(|| turn(&mut encoder, &mut taken, shared)));
        if let Err(panic) = turn {
            let message = words(&*panic);
            tracing::error!(model = %shared.model, message, "the model panicked; its worker ends");
            break ExitReason::Panicked(message);
        }
        for mut job in drain(&mut taken, |job| job.runs.is_empty() || job.failed.is_some()) {
            match job.failed.take() {
                Some(failure) => job.end(Err(failure)),
                None => job.finish(),
            }
            close(job, &mut ended, shared);
        }
    };
    // The model's memory is free before the exit is reported.
    if catch_unwind(AssertUnwindSafe(move || drop(encoder))).is_err() {
        tracing::error!(model = %shared.model, "dropping a model panicked");
    }
    exit(reason, taken, ended, jobs, shared)
}

/// Ends jobs that must stop.
fn take_out(taken: &mut VecDeque<Taken>, ended: &mut Vec<Taken>, shared: &Shared) {
    for mut job in drain(taken, |job| job.sink.check().is_err()) {
        if let Err(halt) = job.sink.check() {
            job.halt(halt);
        }
        close(job, ended, shared);
    }
}

/// Counts a job that has ended, and keeps it until its reader has everything.
fn close(mut job: Taken, ended: &mut Vec<Taken>, shared: &Shared) {
    let count = if job.sink.has_started() { &shared.running } else { &shared.queued };
    count.fetch_sub(1, Ordering::AcqRel);
    shared.jobs.fetch_add(1, Ordering::Relaxed);
    if !job.sink.flush() {
        ended.push(job);
    }
}

fn drain(jobs: &mut VecDeque<Taken>, is_out: impl Fn(&Taken) -> bool) -> Vec<Taken> {
    let (out, stay): (Vec<_>, Vec<_>) = std::mem::take(jobs).into_iter().partition(is_out);
    jobs.extend(stay);
    out
}

/// One run: the next of the job whose turn it is, filled up with those of others that fit.
fn turn(encoder: &mut impl Encode, taken: &mut VecDeque<Taken>, shared: &Shared) {
    let Some(first) = taken.front() else { return };
    let dimensions = first.asked.dimensions;
    let (mut count, mut longest) = (0, 0);
    let mut chosen = Vec::new();
    for (place, job) in taken.iter().enumerate() {
        if job.asked.dimensions != dimensions {
            continue;
        }
        let (more, length) = (job.next_texts().count(), job.next_texts().map(<[u32]>::len).max().unwrap_or(0));
        if chosen.is_empty() || fits(count + more, longest.max(length)) {
            (count, longest) = (count + more, longest.max(length));
            chosen.push(place);
        }
    }
    for &place in &chosen {
        let sink = &mut taken[place].sink;
        if !sink.has_started() {
            sink.start();
            shared.running.fetch_add(1, Ordering::AcqRel);
            shared.queued.fetch_sub(1, Ordering::AcqRel);
        }
    }
    let mut texts: Vec<&[u32]> = Vec::with_capacity(count);
    for &place in &chosen {
        texts.extend(taken[place].next_texts());
    }
    let began = Instant::now();
    let outcome = encoder.encode(&texts, dimensions);
    let took = began.elapsed();
    let read: usize = texts.iter().map(|text| text.len()).sum();
    shared.tokens.fetch_add(read as u64, Ordering::Relaxed);
    let mut vectors = match outcome {
        Ok(vectors) => vectors.into_iter(),
        Err(error) => {
            for &place in &chosen {
                taken[place].took(took);
                taken[place].failed = Some(failure(&error, shared));
            }
            return;
        }
    };
    for &place in &chosen {
        taken[place].took(took);
        taken[place].read(&mut vectors);
    }
    // The next turn is another's.
    taken.rotate_left(1);
}

fn failure(error: &NetworkError, shared: &Shared) -> Failure {
    match error {
        NetworkError::NotFinite => {
            let model = &shared.model;
            tracing::error!(%model, "the model's vectors are not finite numbers: import it anew");
            metrics::counter!("farebox_engine_not_finite_total", "model" => model.clone()).increment(1);
            Failure::NotFinite
        }
        NetworkError::Runtime(_) | NetworkError::Form(_) => Failure::Engine(error.to_string()),
    }
}

/// Closes the queue, fails what was begun and collects the jobs that were not. No job can slip in: the sender is taken
/// under its lock first.
fn exit(
    reason: ExitReason,
    taken: VecDeque<Taken>,
    mut ended: Vec<Taken>,
    jobs: &Receiver<TextJob>,
    shared: &Shared,
) -> EncoderExit {
    shared.queue().take();
    let mut waiting = Vec::new();
    for mut job in taken {
        if !job.sink.has_started() {
            let (events, stop) = job.sink.into_parts();
            waiting.push(TextJob { asked: job.asked, events, stop });
            continue;
        }
        let why = match &reason {
            ExitReason::Stopped => "its engine was ended".to_owned(),
            ExitReason::Panicked(message) => format!("the engine panicked: {message}"),
        };
        job.end(Err(Failure::Engine(why)));
        shared.jobs.fetch_add(1, Ordering::Relaxed);
        ended.push(job);
    }
    send_last(ended, |job| &mut job.sink);
    waiting.extend(jobs.try_iter());
    shared.running.store(0, Ordering::Release);
    shared.queued.store(0, Ordering::Release);
    EncoderExit { reason, jobs: waiting }
}

#[cfg(test)]
mod tests;
