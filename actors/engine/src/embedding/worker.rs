//! The thread of an encoder: it reads texts of several jobs in one run where their lengths allow. Jobs take turns, so that
//! one with many texts does not keep the others waiting. A failed run fails the jobs that were in it.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use wire::inference::{Delta, Event, Failure, FinishReason, Made, Usage};

use super::{
    encoder::{Encode, fits, runs},
    tokenizer::PreparedTexts,
};
use crate::{
    sink::{Halt, PAUSE, Sink, send_last},
    worker::{Exit, ExitReason, Handle, Job, Share, Shared},
};

/// A running encoder.
pub type EncoderHandle = Handle<PreparedTexts>;

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
        on_exit: impl FnOnce(Exit<PreparedTexts>) + Send + 'static,
    ) -> std::io::Result<Self> {
        Self::start(model.to_owned(), queue, move |jobs, shared| work(encoder, jobs, shared), on_exit)
    }
}

/// A job that was taken from the queue.
struct Taken {
    asked: PreparedTexts,
    share: Share,
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
    fn new(job: Job<PreparedTexts>) -> Self {
        let Job { asked, share, events, stop } = job;
        let mut runs = runs(&asked.texts);
        runs.reverse();
        let vectors = vec![Vec::new(); asked.texts.len()];
        let sink = Sink::new(events, stop);
        Self { asked, share, sink, runs, vectors, input: 0, compute: Duration::ZERO, failed: None }
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
fn work(
    mut encoder: impl Encode,
    jobs: &Receiver<Job<PreparedTexts>>,
    shared: &Shared<PreparedTexts>,
) -> Exit<PreparedTexts> {
    let mut taken: VecDeque<Taken> = VecDeque::new();
    // Ended jobs whose readers have no room.
    let mut ended: Vec<Taken> = Vec::new();
    let reason = loop {
        shared.beat();
        ended.retain_mut(|job| !job.sink.flush());
        if taken.is_empty() && ended.is_empty() {
            let Ok(job) = jobs.recv() else { break ExitReason::Stopped };
            taken.push_back(Taken::new(job));
        } else if taken.is_empty() {
            std::thread::sleep(PAUSE);
        }
        taken.extend(jobs.try_iter().map(Taken::new));
        if shared.is_closing() {
            break ExitReason::Stopped;
        }
        take_out(&mut taken, &mut ended, shared);
        let turn = catch_unwind(AssertUnwindSafe(|| turn(&mut encoder, &mut taken, shared)));
        if let Err(panic) = turn {
            break shared.panicked(&*panic);
        }
        for mut job in drain(&mut taken, |job| job.runs.is_empty() || job.failed.is_some()) {
            match job.failed.take() {
                Some(failure) => job.end(Err(failure)),
                None => job.finish(),
            }
            close(job, &mut ended, shared);
        }
    };
    shared.free(encoder);
    exit(reason, taken, ended, jobs, shared)
}

/// Ends jobs that must stop.
fn take_out(taken: &mut VecDeque<Taken>, ended: &mut Vec<Taken>, shared: &Shared<PreparedTexts>) {
    for mut job in drain(taken, |job| job.sink.check().is_err()) {
        if let Err(halt) = job.sink.check() {
            job.halt(halt);
        }
        close(job, ended, shared);
    }
}

/// Counts a job that has ended, and keeps it until its reader has everything.
fn close(mut job: Taken, ended: &mut Vec<Taken>, shared: &Shared<PreparedTexts>) {
    shared.ends(job.sink.has_started());
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
fn turn(encoder: &mut impl Encode, taken: &mut VecDeque<Taken>, shared: &Shared<PreparedTexts>) {
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
            shared.begins();
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
    shared.count_tokens(read as u64);
    let mut vectors = match outcome {
        Ok(vectors) => vectors.into_iter(),
        Err(error) => {
            for &place in &chosen {
                taken[place].took(took);
                taken[place].failed = Some(error.failure(&shared.model));
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

/// Closes the queue, fails what was begun and collects the jobs that were not. No job can slip in: the sender is taken
/// under its lock first.
fn exit(
    reason: ExitReason,
    taken: VecDeque<Taken>,
    mut ended: Vec<Taken>,
    jobs: &Receiver<Job<PreparedTexts>>,
    shared: &Shared<PreparedTexts>,
) -> Exit<PreparedTexts> {
    shared.close();
    let mut waiting = Vec::new();
    for mut job in taken {
        if !job.sink.has_started() {
            let (events, stop) = job.sink.into_parts();
            waiting.push(Job { asked: job.asked, share: job.share, events, stop });
            continue;
        }
        job.end(Err(Failure::Engine(reason.told())));
        shared.ends(true);
        ended.push(job);
    }
    send_last(ended, |job| &mut job.sink);
    shared.exit(reason, waiting, jobs)
}

#[cfg(test)]
mod tests;
