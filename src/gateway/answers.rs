//! Answers that are given again: where an account asks the same thing once more, and allows an answer of some age, it gets
//! the one that was made before, for nothing. Requests that wait for the same answer share one run. Both are asked for by
//! each request, and only a deterministic one is served so. Answers are an account's own, and are gone with the process.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use billing::ids::AccountId;
use quick_cache::{Weighter, unsync::Cache};
use wire::inference::{Delta, Event, FinishReason, Raw, Request, Work};

use super::{
    plan::{Plan, Target},
    room::{Room, Share},
};
use crate::{
    catalogue::Model,
    single_flight::{Joined, Leader, SingleFlight, Wait},
};

/// The provider's name in the records of answers that are given again.
pub const PROVIDER: &str = "farebox-cache";
/// The highest age that a request may allow, in seconds.
pub const LONGEST_SECONDS: u64 = 86_400;
/// One answer takes at most this part of the memory.
const PART: usize = 8;
/// All that are being recorded take at most this part of it.
const RECORDING: usize = 4;
/// The most runs whose answers are awaited, and the most requests that wait for one.
const MOST_RUNS: usize = 4_096;
const MOST_WAITING: usize = 1_024;
/// How long a request waits for another one's answer. Then it runs by itself.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// The usual size of an answer in memory, for the first size of the table.
const USUAL: usize = 8 << 10;
/// The beginnings of headers that change what a provider answers.
const MEANINGFUL: [&str; 3] = ["anthropic-", "openai-", "x-goog-"];

/// The hash of all that an answer depends on.
type Key = [u8; 32];

/// The runs by what their answers depend on. They publish nothing: those that wait find the answer here.
type Runs = SingleFlight<Key, (), ()>;

/// An answer as its run made it.
#[derive(Debug)]
pub(super) struct Recorded {
    /// The pieces, the usage, and the end.
    events: Box<[Event]>,
    /// Whether the provider answered in the client's format.
    pub(super) speaks_as_client: bool,
    made_at: Instant,
    bytes: usize,
}

impl Recorded {
    /// The events one by one, each copied when it is asked for.
    pub(super) fn again(self: Arc<Self>) -> impl Iterator<Item = Event> {
        (0..self.events.len()).map_while(move |place| self.events.get(place).cloned())
    }
}

/// Weighs answers.
#[derive(Debug, Clone, Copy)]
struct ByBytes;

impl Weighter<Key, Arc<Recorded>> for ByBytes {
    fn weight(&self, _: &Key, answer: &Arc<Recorded>) -> u64 {
        answer.bytes as u64
    }
}

/// The answers of all accounts, shared by clones.
#[derive(Clone)]
pub(super) struct Answers(Arc<Mutex<Inner>>);

struct Inner {
    answers: Cache<Key, Arc<Recorded>, ByBytes>,
    /// The runs whose answers are awaited.
    runs: Runs,
    largest: usize,
    /// The memory for answers that are being recorded.
    recording: Arc<Room>,
}

/// What became of a request's wish for an earlier answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reused {
    /// It got one of this age.
    Hit(Duration),
    /// There was none.
    Miss,
    /// The request is not deterministic, or its answer is kept.
    Bypass,
}

/// What is there for a request.
pub(super) enum Found {
    /// An answer, and its age.
    Answer(Arc<Recorded>, Duration),
    /// None: the request's own answer is to be recorded.
    Nothing(Recorder),
}

impl Answers {
    /// With room for so many bytes of answers.
    pub(super) fn new(bytes: usize) -> Self {
        // Answers that run take their share of the memory before they are whole.
        let (recording, kept) = (bytes / RECORDING, bytes - bytes / RECORDING);
        let answers = Cache::with_weighter(kept / USUAL, kept as u64, ByBytes);
        let (largest, recording) = (bytes / PART, Room::new(recording));
        Self(Arc::new(Mutex::new(Inner { answers, runs: Runs::new(MOST_RUNS, MOST_WAITING), largest, recording })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer of at most this age; `None` where the request is not served so. Waits for a request that runs and asks
    /// the same.
    pub(super) async fn find(&self, asks: &Asks<'_>, max_age: Duration) -> Option<Found> {
        if !asks.is_deterministic() {
            return None;
        }
        let key = asks.key();
        let ends = asks.ends();
        let running = match self.look(key, ends, max_age) {
            Ok(found) => return Some(found),
            Err(running) => running,
        };
        running.until_published(LONGEST_WAIT).await;
        // The other request may have failed. This one waits no further.
        Some(self.look(key, ends, max_age).unwrap_or_else(|_| Found::Nothing(self.recorder(key, ends, None))))
    }

    /// What is there; the error is the run whose answer will be.
    fn look(&self, key: Key, ends: usize, max_age: Duration) -> Result<Found, Wait<()>> {
        let inner = self.lock();
        if let Some(answer) = inner.answers.get(&key) {
            let age = answer.made_at.elapsed();
            if age <= max_age {
                return Ok(Found::Answer(Arc::clone(answer), age));
            }
        }
        let run = match inner.runs.join(&key, ()) {
            Joined::Follower(running) => return Err(running),
            Joined::Leader(run) => Some(run),
            // It runs by itself, and nobody waits for it.
            Joined::Full | Joined::Reused => None,
        };
        drop(inner);
        Ok(Found::Nothing(self.recorder(key, ends, run)))
    }

    fn recorder(&self, key: Key, ends: usize, run: Option<Leader<Key, (), ()>>) -> Recorder {
        let inner = self.lock();
        let (largest, taken) = (inner.largest, inner.recording.share());
        drop(inner);
        Recorder {
            answers: self.clone(),
            key,
            run,
            events: Vec::new(),
            taken,
            largest,
            is_sound: true,
            ends,
            ended: Vec::new(),
            speaks_as_client: false,
        }
    }
}

/// All that an answer depends on.
pub(super) struct Asks<'a> {
    pub(super) account: AccountId,
    pub(super) model: &'a Model,
    pub(super) plan: &'a Plan,
    pub(super) request: &'a Request,
    pub(super) own_key: Option<&'a str>,
}

impl Asks<'_> {
    /// Whether the same request gets the same answer, as far as its model can: it takes the likeliest tokens, or names
    /// the seed; and no tool of the provider looks at the world. An answer that is kept has an id of its own.
    fn is_deterministic(&self) -> bool {
        let Self { request, plan, .. } = self;
        let source = &request.source;
        if source.is_kept || source.is_background || source.continues.is_some() {
            return false;
        }
        // The tools of a caller who pays the provider itself are not looked at: any may search.
        let searches = match &plan.target {
            Target::Closed(terms) => terms.turns > 1 || terms.searches > 0 || terms.fetches > 0,
            Target::Open(_) => false,
        };
        match &request.work {
            Work::Embedding(_) | Work::Rerank(_) => true,
            Work::Conversation(_) | Work::Text(_) => request.generation().is_some_and(|generation| {
                let is_determined = generation.sampling.temperature == Some(0.0) || generation.sampling.seed.is_some();
                is_determined && !searches
            }),
            Work::Image(_) | Work::Speech(_) | Work::Transcription(_) | Work::Decision(_) | Work::Native(_) => false,
        }
    }

    /// How many choices say that they ended, before the answer is whole.
    fn ends(&self) -> usize {
        self.request.generation().map_or(0, |generation| generation.n.max(1) as usize)
    }

    fn key(&self) -> Key {
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        };
        part(self.account.0.as_bytes());
        match self.model {
            Model::Closed(model) => {
                part(model.provider.as_bytes());
                part(model.id.as_bytes());
            }
            // A folder that was imported anew is another model.
            Model::Open(model) => part(format!("{} {:?}", model.id, model.import).as_bytes()),
        }
        let source = &self.request.source;
        part(format!("{:?} {}", source.format, self.request.stream).as_bytes());
        part(source.query.as_deref().unwrap_or_default().as_bytes());
        part(self.own_key.unwrap_or_default().as_bytes());
        for (name, value) in &source.headers {
            if MEANINGFUL.iter().any(|beginning| name.starts_with(beginning)) {
                part(name.as_bytes());
                part(value.as_bytes());
            }
        }
        part(source.body.to_json().as_bytes());
        hasher.finalize().into()
    }
}

/// Records the answer of a run. Dropped before the end, it records nothing; those that wait look again.
pub(super) struct Recorder {
    answers: Answers,
    key: Key,
    /// Dropped with the recorder, or once the answer can't be kept: then those that wait look again.
    run: Option<Leader<Key, (), ()>>,
    events: Vec<Event>,
    /// The memory of the events.
    taken: Share,
    largest: usize,
    /// Whether the answer is one to be given again, as far as it came.
    is_sound: bool,
    /// How many choices must say that they ended.
    ends: usize,
    /// The choices that did.
    ended: Vec<u32>,
    speaks_as_client: bool,
}

impl Recorder {
    /// A recorder of an answer that comes in the client's format, or in another.
    pub(super) const fn of(mut self, speaks_as_client: bool) -> Self {
        self.speaks_as_client = speaks_as_client;
        self
    }

    /// Notes an event. The end of a complete answer has it kept.
    pub(super) fn note(&mut self, event: &Event) {
        if !self.is_sound {
            return;
        }
        let more = match event {
            Event::Delta(delta) => {
                self.is_sound = is_sound(delta);
                if delta.finish.is_some() && !self.ended.contains(&delta.choice) {
                    self.ended.push(delta.choice);
                }
                delta.weight()
            }
            Event::Unknown(raw) => size_of::<Event>() + weight(raw),
            Event::Reported(report) => {
                size_of::<Event>() + size_of_val(&**report) + report.own.as_ref().map_or(0, |own| own.len())
            }
            Event::Usage(_) => size_of::<Event>(),
            Event::Finished { .. } => return self.keep(),
            Event::Failed(_) => return self.give_up(),
            // They tell of the run, not of the answer.
            Event::Loaded | Event::Headers(_) | Event::Started | Event::Second(_) => return,
        };
        self.is_sound &= self.taken.grow(more) && self.taken.bytes() <= self.largest;
        if self.is_sound {
            self.events.push(event.clone());
        } else {
            self.give_up();
        }
    }

    /// Has it kept, if it is complete. An engine whose reader left ends well, in the midst of its answer.
    fn keep(&mut self) {
        let counted = |event: &Event| match event {
            Event::Reported(report) => report.input.is_some() || report.search_units.is_some(),
            Event::Usage(_) => true,
            _ => false,
        };
        let is_said = self.events.iter().any(|event| matches!(event, Event::Delta(_)));
        if !is_said || !self.events.iter().any(counted) || self.ended.len() < self.ends {
            return;
        }
        let mut events = std::mem::take(&mut self.events);
        events.push(Event::Finished { compute_ms: 0 });
        let bytes = self.taken.bytes() + size_of::<Recorded>();
        let (events, made_at) = (events.into_boxed_slice(), Instant::now());
        let recorded = Recorded { events, speaks_as_client: self.speaks_as_client, made_at, bytes };
        self.answers.lock().answers.insert(self.key, Arc::new(recorded));
    }

    /// Records no more. Nobody waits any longer for what is not kept.
    fn give_up(&mut self) {
        self.is_sound = false;
        self.events = Vec::new();
        self.taken.shrink(self.taken.bytes());
        self.run = None;
    }
}

/// Whether a piece may be a part of an answer that is given again: neither a filter nor a rule of Farebox ended it.
fn is_sound(delta: &Delta) -> bool {
    use FinishReason::{Length, Stop, StopText, ToolCalls};
    let is_ended_well = matches!(delta.finish, None | Some(Stop | StopText(_) | Length | ToolCalls));
    is_ended_well && delta.farebox_stop.is_none()
}

fn weight(raw: &Raw) -> usize {
    match raw {
        Raw::Own(_, fields) => fields.weight(),
        Raw::None | Raw::Before(_) => 0,
    }
}

#[cfg(test)]
mod tests;
