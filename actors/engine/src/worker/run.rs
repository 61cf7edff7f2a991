//! The thread of a worker: between any two steps of the model it takes new jobs, looks after the running ones and asks
//! the scheduler what comes next.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use wire::inference::Failure;

use super::{Exit, ExitReason, Halt, Job, Settings, Shared, words};
use crate::answer::Answer;
use crate::model::Model;
use crate::network::{Network, NetworkError, finite};
use crate::prepare::Prepared;
use crate::schedule::{Arrival, Change, JobId, Joined, Limits, Scheduler, SequenceId, Step};
use crate::sink::{PAUSE, send_last};

/// Prompt tokens read in one step while nobody writes.
const CHUNK: usize = 128;
/// Prompt tokens read in one step while others write: their next token waits for it.
const CHUNK_BESIDE: usize = 16;
/// Places have a multiple of this many positions.
const GRAIN: usize = 256;
/// The positions of a block.
const BLOCK: usize = 64;
/// Blocks take at most this part of the memory for caches, so that places can grow by doubling.
const KEPT_IN_BLOCKS: usize = 2;

struct Engine<'a, N, C> {
    model: Model<N>,
    scheduler: Scheduler,
    answers: BTreeMap<JobId, Answer>,
    /// The job of each sequence.
    sequences: HashMap<SequenceId, JobId>,
    begun: u64,
    /// Why the thread must end.
    lost: Option<ExitReason>,
    clock: C,
    shared: &'a Shared<Prepared>,
}

/// Runs jobs until the handle is dropped or the model panics.
pub(super) fn run<N: Network, C: Fn() -> Duration>(
    model: Model<N>,
    settings: Settings,
    clock: C,
    jobs: &Receiver<Job>,
    shared: &Shared<Prepared>,
) -> Exit {
    let abilities = model.network.abilities();
    let positions = settings.cache_bytes / abilities.position_bytes.max(1);
    let scheduler = Scheduler::new(Limits {
        sequences: settings.sequences.min(abilities.most_places),
        positions,
        grain: GRAIN,
        chunk: CHUNK,
        chunk_beside: CHUNK_BESIDE,
        reuses: abilities.reuses,
        scope: settings.cache_scope,
        block: BLOCK,
        blocks: if abilities.keeps_blocks { positions / KEPT_IN_BLOCKS } else { 0 },
        verified: abilities.verified,
        longest: model.tokenizer.context(),
    });
    let (answers, sequences) = (BTreeMap::new(), HashMap::new());
    let mut engine = Engine { model, scheduler, answers, sequences, begun: 0, lost: None, clock, shared };
    let reason = loop {
        shared.beat();
        match catch_unwind(AssertUnwindSafe(|| engine.turn(jobs))) {
            Ok(true) => {
                if let Some(reason) = engine.lost.take() {
                    break reason;
                }
            }
            Ok(false) => break ExitReason::Stopped,
            Err(panic) => break shared.panicked(&*panic),
        }
    };
    let now = (engine.clock)();
    let Engine { model, scheduler, mut answers, .. } = engine;
    for (job, answer) in answers.iter_mut().filter(|(_, answer)| !answer.has_ended) {
        answer.sink.report(scheduler.compute_time(*job, now));
    }
    shared.free(model);
    exit(reason, answers, jobs, shared)
}

/// Closes the queue, fails what was begun and collects the jobs that were not. No job can slip in: the sender is taken
/// under its lock first.
fn exit(reason: ExitReason, answers: BTreeMap<JobId, Answer>, jobs: &Receiver<Job>, shared: &Shared<Prepared>) -> Exit {
    shared.close();
    let (mut waiting, mut cut) = (Vec::new(), Vec::new());
    for mut answer in answers.into_values() {
        if !answer.has_ended && !answer.sink.has_started() {
            waiting.push(answer.into_job());
            continue;
        }
        if !answer.has_ended {
            if reason == ExitReason::Stopped {
                answer.sink.send(wire::inference::Event::Usage(answer.usage));
            }
            // The seconds are told already.
            answer.fail(Failure::Engine(reason.told()), Duration::ZERO);
            shared.ends(true);
        }
        cut.push(answer);
    }
    send_last(cut, |answer| &mut answer.sink);
    shared.exit(reason, waiting, jobs)
}

impl<N: Network, C: Fn() -> Duration> Engine<'_, N, C> {
    /// One step, or a wait for something to do. Returns whether there is another.
    fn turn(&mut self, jobs: &Receiver<Job>) -> bool {
        if !self.take_jobs(jobs) || self.shared.is_closing() {
            return false;
        }
        let now = (self.clock)();
        self.look_after(now);
        let Some(plan) = self.scheduler.next(now) else { return self.wait(jobs) };
        for joined in &plan.joined {
            self.joined(*joined);
        }
        if let Err(error) = self.change(&plan.changes) {
            tracing::error!(model = %self.shared.model, %error, "the cache is lost");
            let lost = self.scheduler.lost((self.clock)());
            self.fail_all(&lost, &error);
            return true;
        }
        for joined in plan.joined.iter().filter(|joined| joined.is_forked) {
            self.fork(joined.id);
        }
        match plan.step {
            None if plan.joined.is_empty() => return self.wait(jobs),
            None => {}
            Some(Step::Read { id, place, past, tokens, rows }) => self.read(id, place, past, &tokens, rows),
            Some(Step::Write(rows)) => {
                let ids: Vec<SequenceId> = rows.iter().map(|row| row.id).collect();
                for id in &ids {
                    self.start(*id);
                }
                match self.model.network.write(&rows) {
                    Ok(()) => {
                        let standing = self.scheduler.completed();
                        for (row, id) in ids.iter().enumerate().filter(|(_, id)| standing.contains(id)) {
                            self.take(*id, row, row);
                        }
                    }
                    Err(error) => self.step_failed(&error, 0..ids.len()),
                }
            }
            Some(Step::Verify { id, place, past, tokens }) => self.verify(id, place, past, &tokens),
        }
        true
    }

    /// Takes the jobs that wait in the queue, and waits for one where there is nothing else to do. Returns whether the
    /// handle still lives.
    fn take_jobs(&mut self, jobs: &Receiver<Job>) -> bool {
        if self.answers.is_empty() {
            let Some(job) = self.wait_for_job(jobs) else { return false };
            self.take_job(job);
        }
        loop {
            match jobs.try_recv() {
                Ok(job) => self.take_job(job),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Waits for a job where there is none. `None`: the handle is dropped.
    fn wait_for_job(&mut self, jobs: &Receiver<Job>) -> Option<Job> {
        while let Some(idle) = self.scheduler.shrinks_in((self.clock)()) {
            match jobs.recv_timeout(idle) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => self.shrink(),
            }
        }
        jobs.recv().ok()
    }

    /// Gives the memory of caches back that nobody has used for a while.
    fn shrink(&mut self) {
        let change = self.scheduler.shrink((self.clock)());
        if let Some(Err(error)) = change.map(|change| self.model.network.change(change)) {
            // It is given back all the same: what could not be changed is forgotten.
            tracing::warn!(model = %self.shared.model, %error, "a cache that is not used was lost");
        }
    }

    /// Waits a moment while all readers are slow.
    fn wait(&mut self, jobs: &Receiver<Job>) -> bool {
        if self.answers.is_empty() {
            return true;
        }
        match jobs.recv_timeout(PAUSE) {
            Ok(job) => {
                self.take_job(job);
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => false,
        }
    }

    fn take_job(&mut self, job: Job) {
        self.begun += 1;
        let id = JobId(self.begun);
        let mut answer = Answer::new(&self.model.tokenizer, job);
        let mut first = None;
        for _ in 0..answer.needed() {
            let arrival = Arrival {
                job: id,
                share: answer.share(),
                prompt: answer.prompt().to_vec(),
                after: first,
                // Only the first reads the prompt for its own sake.
                rows: answer.rows(&self.model.tokenizer).filter(|_| first.is_none()),
                drafts: answer.may_be_drafted(),
            };
            let sequence = self.scheduler.arrive(arrival);
            self.sequences.insert(sequence, id);
            answer.has_sequence(sequence);
            first = first.or(Some(sequence));
        }
        if first.is_none() {
            answer.end_without_text();
        }
        self.answers.insert(id, answer);
    }

    /// Sends what was held back, parks and resumes, stops what must stop, and reports seconds.
    fn look_after(&mut self, now: Duration) {
        let ids: Vec<JobId> = self.answers.keys().copied().collect();
        for id in ids {
            let Some(answer) = self.answers.get_mut(&id) else { continue };
            let is_sent = answer.sink.flush();
            if answer.has_ended {
                if is_sent {
                    self.answers.remove(&id);
                }
                continue;
            }
            if answer.is_written() {
                self.conclude(id, now);
                continue;
            }
            if let Err(halt) = answer.sink.check() {
                self.halt(id, halt, now);
                continue;
            }
            answer.sink.report(self.scheduler.compute_time(id, now));
            let parks = answer.sink.is_clogged();
            if parks && !answer.is_parked {
                answer.is_parked = true;
                answer.sequences().for_each(|sequence| self.scheduler.park(sequence, now));
                answer.sink.park();
            } else if answer.is_parked && answer.sink.may_go_on() {
                answer.is_parked = false;
                answer.sequences().for_each(|sequence| self.scheduler.resume(sequence));
            }
        }
    }

    /// Notes what a sequence that got a place need not read.
    fn joined(&mut self, joined: Joined) {
        let Some(answer) = self.sequences.get(&joined.id).and_then(|job| self.answers.get_mut(job)) else { return };
        if answer.first() == Some(joined.id) && answer.usage.input == 0 {
            answer.usage.cached_input = joined.reused as u64;
            answer.usage.input = joined.reused as u64;
        }
    }

    fn change(&mut self, changes: &[Change]) -> Result<(), NetworkError> {
        changes.iter().try_for_each(|change| self.model.network.change(*change))
    }

    /// Tells that a sequence's job begins, if this is its first step.
    fn start(&mut self, id: SequenceId) {
        let Some(answer) = self.sequences.get(&id).and_then(|job| self.answers.get_mut(job)) else { return };
        if !answer.sink.has_started() {
            answer.sink.start();
            self.shared.begins();
        }
    }

    fn read(&mut self, id: SequenceId, place: usize, past: usize, tokens: &[u32], wants_rows: bool) {
        self.start(id);
        let mut rows = wants_rows.then(Vec::new);
        let network = &mut self.model.network;
        let read = network.read(place, past, tokens, rows.as_mut());
        if let Err(error) = read {
            return self.step_failed(&error, place..place + 1);
        }
        let rows = rows.unwrap_or_default();
        let checked = finite(network.scores(0)).and_then(|()| rows.iter().try_for_each(|row| finite(row)));
        let standing = self.scheduler.completed();
        if checked.is_err() {
            return self.not_finite(id, place);
        }
        let Some(answer) = self.sequences.get(&id).and_then(|job| self.answers.get_mut(job)) else { return };
        if answer.first() == Some(id) {
            answer.usage.input = answer.usage.input.max(self.scheduler.prompt_read(id) as u64);
        }
        if wants_rows {
            let tokenizer = &self.model.tokenizer;
            let listed = catch_unwind(AssertUnwindSafe(|| answer.list(tokenizer, tokens, rows)));
            if let Err(panic) = listed {
                return self.panicked(id, &words(&*panic));
            }
        }
        if standing.contains(&id) {
            self.take(id, 0, place);
        }
    }

    /// Runs a sequence's last token and those drafted behind it. Each is taken while it is the one that is chosen.
    fn verify(&mut self, id: SequenceId, place: usize, past: usize, tokens: &[u32]) {
        self.start(id);
        if let Err(error) = self.model.network.verify(place, past, tokens) {
            return self.step_failed(&error, place..place + 1);
        }
        if !self.scheduler.completed().contains(&id) {
            return;
        }
        for row in 0..tokens.len() {
            if row > 0 {
                self.shared.count_drafted();
            }
            if !self.take(id, row, place) || self.must_halt(id) {
                return;
            }
        }
    }

    /// Whether a sequence's job must end, for a reason from outside.
    fn must_halt(&self, id: SequenceId) -> bool {
        let answer = self.sequences.get(&id).and_then(|job| self.answers.get(job));
        answer.is_none_or(|answer| answer.sink.check().is_err())
    }

    /// Chooses a sequence's next token by the scores of a row. Returns whether the next row's are its own too.
    fn take(&mut self, id: SequenceId, row: usize, place: usize) -> bool {
        let Some(answer) = self.sequences.get(&id).and_then(|job| self.answers.get_mut(job)) else { return false };
        let (tokenizer, scores) = (&self.model.tokenizer, self.model.network.scores(row));
        if finite(scores).is_err() {
            self.not_finite(id, place);
            return false;
        }
        let before = answer.usage.output;
        let taken = catch_unwind(AssertUnwindSafe(|| answer.take(tokenizer, id, scores)));
        let tokens = answer.usage.output - before;
        self.took(id, tokens, taken)
    }

    fn fork(&mut self, id: SequenceId) {
        let Some(answer) = self.sequences.get(&id).and_then(|job| self.answers.get_mut(job)) else { return };
        let (tokenizer, before) = (&self.model.tokenizer, answer.usage.output);
        let taken = catch_unwind(AssertUnwindSafe(|| answer.fork(tokenizer, id)));
        let tokens = answer.usage.output - before;
        self.took(id, tokens, taken);
    }

    /// What came of a sequence's scores: so many tokens, and one to go on behind. Returns whether that was drafted.
    fn took(&mut self, id: SequenceId, tokens: u64, taken: std::thread::Result<Result<Option<u32>, Failure>>) -> bool {
        let now = (self.clock)();
        self.shared.count_tokens(tokens);
        match taken {
            Ok(Ok(Some(token))) => return self.scheduler.written(id, token),
            Ok(Err(failure)) => self.fail(id, failure),
            Ok(Ok(None)) => {
                self.scheduler.leave(id, true, now);
                if let Some(job) = self.sequences.remove(&id)
                    && self.answers.get(&job).is_some_and(Answer::is_written)
                {
                    self.conclude(job, now);
                }
            }
            Err(panic) => self.panicked(id, &words(&*panic)),
        }
        false
    }

    /// A job's own part panicked: it fails alone.
    fn panicked(&mut self, id: SequenceId, message: &str) {
        tracing::error!(model = %self.shared.model, message, "a job panicked");
        self.fail(id, Failure::Engine(format!("the engine panicked: {message}")));
    }

    /// A sequence's scores are no numbers. Its place must not spoil a later one.
    fn not_finite(&mut self, id: SequenceId, place: usize) {
        let error = NetworkError::NotFinite;
        self.fail(id, error.failure(&self.shared.model));
        self.clear(place..place + 1);
    }

    /// The step failed with all that were in it.
    fn step_failed(&mut self, error: &NetworkError, places: std::ops::Range<usize>) {
        let failed = self.scheduler.failed((self.clock)());
        self.fail_all(&failed, error);
        self.clear(places);
    }

    fn clear(&mut self, mut places: std::ops::Range<usize>) {
        if let Err(error) = places.try_for_each(|place| self.model.network.clear(place)) {
            tracing::error!(model = %self.shared.model, %error, "the model's device is lost; its worker ends");
            let lost = self.scheduler.lost((self.clock)());
            self.fail_all(&lost, &error);
            self.lost = Some(ExitReason::Lost(error.to_string()));
        }
    }

    fn fail_all(&mut self, ids: &[SequenceId], error: &NetworkError) {
        for id in ids {
            self.fail(*id, error.failure(&self.shared.model));
        }
    }

    /// The job of a sequence fails, with all its sequences.
    fn fail(&mut self, id: SequenceId, failure: Failure) {
        let now = (self.clock)();
        if let Some(job) = self.sequences.remove(&id)
            && let Some(compute) = self.leave(job, false, now)
            && let Some(answer) = self.answers.get_mut(&job)
        {
            answer.fail(failure, compute);
        }
    }

    /// A job must end, for a reason from outside.
    fn halt(&mut self, job: JobId, halt: Halt, now: Duration) {
        let Some(compute) = self.leave(job, true, now) else { return };
        if let Some(answer) = self.answers.get_mut(&job) {
            answer.halt(halt);
            answer.finish(compute);
        }
    }

    /// All choices of a job are written.
    fn conclude(&mut self, job: JobId, now: Duration) {
        let Some(compute) = self.leave(job, true, now) else { return };
        if let Some(answer) = self.answers.get_mut(&job) {
            answer.finish(compute);
        }
    }

    /// Takes a job's sequences out. Returns its compute time, unless it has ended before.
    fn leave(&mut self, job: JobId, keeps: bool, now: Duration) -> Option<Duration> {
        let answer = self.answers.get(&job).filter(|answer| !answer.has_ended)?;
        for id in answer.sequences() {
            self.scheduler.leave(id, keeps, now);
            self.sequences.remove(&id);
        }
        self.shared.ends(answer.sink.has_started());
        Some(self.scheduler.close(job, now))
    }
}

#[cfg(test)]
mod tests;
