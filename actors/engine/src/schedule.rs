//! Decides what a model's engine does next: which sequences have a place in the cache, and whether the next step reads
//! a piece of one prompt or writes a token of all that run. Pure: a function of its state, of what it is told, and of
//! the time. It knows neither the model nor threads; the worker and the simulation drive it alike.
//!
//! Sequences join and leave between any two steps. Those that write have the first places, one behind the other, so
//! that one run of the model takes them all. Prompts are read in pieces between these runs. Places are given by a
//! deficit round robin over accounts. Where memory is short, unused caches go first, then parked sequences, then the
//! youngest; they are read again later, and that is not billed. What a cache had whose place another needs is kept in
//! [`blocks`], as long as that is within its bound. The oldest is never sent away, so all come to an end.
//!
//! One or two sequences that run alone are written faster where their next tokens can be drafted from what they have
//! ([`lookup`]): a step verifies several at once, and the cache goes back to those that were right.
//!
//! A position's values do not depend on what else runs: a piece of a prompt is never one token alone, because the
//! kernels for one token round otherwise than those for several, and what others may share of a cache was read in
//! pieces, as it would be read again. What is verified is computed to the bit as token by token.

mod blocks;
mod clock;
mod fair;
mod idle;
mod layout;
mod lookup;
mod next;
mod verify;

use std::collections::BTreeMap;
use std::time::Duration;

pub use blocks::BlockId;
use blocks::Blocks;
pub use clock::ComputeClock;
use fair::Fair;
use lookup::Drafter;
use verify::Draft;

/// A sequence's name, in the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u64);

/// A job's name: the sequences of one request have one clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId(pub u64);

/// Whose a job is, and how large a share of the engine it has beside others'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The account, in any form that tells accounts apart.
    pub of: u128,
    /// The weight: an account with 2 gets twice as many tokens as one with 1 while both wait. 0 counts as 1.
    pub weight: u32,
}

/// Whose caches a prompt may begin with. What is shared shows in how soon an answer comes: who may begin with another's
/// cache can learn by it what another has asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CacheScope {
    /// Those of its own account.
    #[default]
    Account,
    /// Those of all accounts.
    All,
    /// None: nothing is kept.
    None,
}

impl CacheScope {
    /// Under which name an account's caches are found; `None` where they are not.
    const fn owner(self, of: u128) -> Option<u128> {
        match self {
            Self::Account => Some(of),
            Self::All => Some(0),
            Self::None => None,
        }
    }
}

/// What an engine can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most sequences with a place. 0 counts as 1.
    pub sequences: usize,
    /// The most positions of all places together. One sequence alone may have as many as it needs.
    pub positions: usize,
    /// Places have a multiple of this many positions.
    pub grain: usize,
    /// Prompt tokens read in one step while nobody writes; at least 2.
    pub chunk: usize,
    /// Prompt tokens read in one step while others write; at least 2.
    pub chunk_beside: usize,
    /// Whether a place can be copied, and can go back to a shorter length.
    pub reuses: bool,
    /// Whose caches a prompt may begin with.
    pub scope: CacheScope,
    /// The positions of a block.
    pub block: usize,
    /// The most positions of all blocks together, which count with those of places; 0 where caches have a place or are gone.
    pub blocks: usize,
    /// The positions that one [`Step::Verify`] writes, of which each may be a token; below 2 nothing is drafted.
    pub verified: usize,
    /// No step writes behind so many positions of a place.
    pub longest: usize,
}

/// A sequence that arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Its job.
    pub job: JobId,
    /// Whose it is.
    pub share: Share,
    /// The tokens to read; at least one.
    pub prompt: Vec<u32>,
    /// The sequence of the same job and prompt that reads the prompt for both.
    pub after: Option<SequenceId>,
    /// Where the scores after every token of the prompt are needed: the most tokens of a step.
    pub rows: Option<usize>,
    /// Whether its next tokens may be drafted.
    pub drafts: bool,
}

/// The form of the cache: so many places of so many positions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shape {
    /// Places.
    pub places: usize,
    /// Positions of each place.
    pub positions: usize,
}

/// A change of the cache before a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Gives the cache this form. The first positions of each place keep their values, as far as both forms have them.
    Arrange(Shape),
    /// Puts the first positions of a place into another one. The first one's values need not stay.
    Move {
        /// From this place.
        from: usize,
        /// To this one.
        to: usize,
        /// So many positions.
        positions: usize,
    },
    /// Exchanges the first positions of two places.
    Swap {
        /// One place.
        one: usize,
        /// The other.
        other: usize,
        /// So many positions.
        positions: usize,
    },
    /// Copies the first positions of a place to another one.
    Copy {
        /// From this place.
        from: usize,
        /// To this one.
        to: usize,
        /// So many positions.
        positions: usize,
    },
    /// Makes a block of positions of a place.
    Save {
        /// The place.
        place: usize,
        /// The new block.
        block: BlockId,
        /// The first position.
        at: usize,
        /// So many positions.
        positions: usize,
    },
    /// Copies the first positions of a block to a place.
    Load {
        /// The block.
        block: BlockId,
        /// The place.
        place: usize,
        /// To this position and those behind it.
        at: usize,
        /// So many positions.
        positions: usize,
    },
    /// Forgets a block.
    Drop(BlockId),
}

/// One row of a step that writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The sequence.
    pub id: SequenceId,
    /// The token to read.
    pub token: u32,
    /// The positions read before.
    pub past: usize,
}

/// One run of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Reads tokens of one sequence.
    Read {
        /// The sequence.
        id: SequenceId,
        /// Its place.
        place: usize,
        /// The positions read before.
        past: usize,
        /// The tokens.
        tokens: Vec<u32>,
        /// Whether the scores after each of the tokens are needed.
        rows: bool,
    },
    /// Reads the last token of each sequence: row n is of place n.
    Write(Vec<Row>),
    /// Reads the last token of one sequence, and those that are drafted behind it. The scores after each are needed.
    Verify {
        /// The sequence.
        id: SequenceId,
        /// Its place.
        place: usize,
        /// The positions read before.
        past: usize,
        /// The tokens.
        tokens: Vec<u32>,
    },
}

/// A sequence that got a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    /// The sequence.
    pub id: SequenceId,
    /// Positions that it need not read, because a cache has them.
    pub reused: usize,
    /// Whether it stands behind its prompt, where the sequence that it came after stood. It needs no step before its
    /// first token: the scores are the same.
    pub is_forked: bool,
}

/// What to do next, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Sequences that got a place.
    pub joined: Vec<Joined>,
    /// Changes of the cache.
    pub changes: Vec<Change>,
    /// The step. `None` where all that can run were forked just now, or nothing can run.
    pub step: Option<Step>,
}

#[derive(Debug)]
struct Sequence {
    job: JobId,
    share: Share,
    /// The prompt, and what was written behind it.
    tokens: Vec<u32>,
    prompt: usize,
    /// The positions in the cache.
    read: usize,
    /// The first of them, which were read in pieces.
    in_pieces: usize,
    /// The most positions that were ever read: up to there, reading is reading again.
    furthest: usize,
    place: Option<usize>,
    is_parked: bool,
    is_computing: bool,
    after: Option<SequenceId>,
    rows: Option<usize>,
    /// `None`: nothing is drafted for it.
    drafter: Option<Drafter>,
}

impl Sequence {
    /// Whether its next step is a row among others: its last token was written, and all before it is read.
    fn writes(&self) -> bool {
        self.tokens.len() > self.prompt && self.tokens.len() == self.read + 1
    }

    /// Up to where it is read in pieces: the last token that was written is read in its row.
    fn end(&self) -> usize {
        if self.tokens.len() > self.prompt { self.tokens.len() - 1 } else { self.prompt }
    }

    /// Notes that what is read now was read. Returns how much of it is new.
    fn read_further(&mut self) -> usize {
        let new = self.read.saturating_sub(self.furthest);
        self.furthest += new;
        new
    }

    /// The positions to read in pieces.
    fn to_read(&self) -> usize {
        self.end().saturating_sub(self.read)
    }

    /// The positions that it needs now.
    fn needs(&self) -> usize {
        if self.is_parked { self.read } else { self.tokens.len() }
    }
}

#[derive(Debug, Default)]
struct Job {
    clock: ComputeClock,
    /// Its sequences that compute.
    computing: usize,
}

/// The cache of a sequence that has ended.
#[derive(Debug)]
struct Kept {
    job: JobId,
    of: u128,
    tokens: Vec<u32>,
    in_pieces: usize,
    /// Caches are given up in the order of this number.
    since: u64,
}

#[derive(Debug)]
enum Place {
    Free,
    Held(SequenceId),
    Kept(Kept),
}

/// The scheduler of one engine.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    sequences: BTreeMap<SequenceId, Sequence>,
    jobs: BTreeMap<JobId, Job>,
    fair: Fair,
    places: Vec<Place>,
    blocks: Blocks,
    shape: Shape,
    /// The step on its way: its sequences, each with the number of its tokens.
    planned: Option<Vec<(SequenceId, usize)>>,
    /// What the last step verifies, while its tokens are chosen.
    draft: Option<Draft>,
    /// The sequence that was verified last.
    verified: Option<SequenceId>,
    /// Since when there is no sequence.
    idle_since: Option<Duration>,
    arrived: u64,
    /// Counts caches kept.
    kept: u64,
    /// Counts pieces of prompts.
    pieces: u64,
    /// Whether the last step read a prompt.
    has_read: bool,
}

impl Scheduler {
    /// A scheduler without sequences.
    pub fn new(limits: Limits) -> Self {
        let sequences = limits.sequences.max(1);
        let (grain, chunk, beside) = (limits.grain.max(1), limits.chunk.max(2), limits.chunk_beside.max(2));
        Self {
            limits: Limits { sequences, grain, chunk, chunk_beside: beside, ..limits },
            sequences: BTreeMap::new(),
            jobs: BTreeMap::new(),
            fair: Fair::default(),
            places: (0..sequences).map(|_| Place::Free).collect(),
            blocks: Blocks::new(limits.block, limits.blocks),
            shape: Shape::default(),
            planned: None,
            draft: None,
            verified: None,
            idle_since: None,
            arrived: 0,
            kept: 0,
            pieces: 0,
            has_read: false,
        }
    }

    /// Takes a sequence. It waits for a place.
    pub fn arrive(&mut self, arrival: Arrival) -> SequenceId {
        let Arrival { job, share, prompt, after, rows, drafts } = arrival;
        self.idle_since = None;
        self.arrived += 1;
        let id = SequenceId(self.arrived);
        self.jobs.entry(job).or_default();
        let sequence = Sequence {
            job,
            share,
            prompt: prompt.len(),
            tokens: prompt,
            read: 0,
            in_pieces: 0,
            furthest: 0,
            place: None,
            is_parked: false,
            is_computing: false,
            after,
            rows,
            drafter: drafts.then(Drafter::default),
        };
        self.sequences.insert(id, sequence);
        self.fair.arrive(share, id);
        id
    }

    /// The planned step was done. Returns the sequences that need a token now, in the step's order: each must be told
    /// [`Self::written`] or [`Self::leave`] before the next step.
    pub fn completed(&mut self) -> Vec<SequenceId> {
        let mut standing = Vec::new();
        for (id, count) in self.planned.take().unwrap_or_default() {
            let Some(sequence) = self.sequences.get_mut(&id) else { continue };
            let before = sequence.read;
            sequence.read += count;
            if sequence.in_pieces == before && (count > 1 || sequence.tokens.len() == sequence.prompt) {
                sequence.in_pieces = sequence.read;
            }
            let new = sequence.read_further();
            self.fair.charge(sequence.share.of, new);
            if sequence.read == sequence.tokens.len() {
                standing.push(id);
            }
        }
        standing
    }

    /// The planned step failed. Its sequences have left, and are returned.
    pub fn failed(&mut self, now: Duration) -> Vec<SequenceId> {
        let ids: Vec<SequenceId> = self.planned.take().unwrap_or_default().into_iter().map(|(id, _)| id).collect();
        for id in &ids {
            self.leave(*id, false, now);
        }
        ids
    }

    /// The cache is lost. The sequences with a place have left, and are returned.
    pub fn lost(&mut self, now: Duration) -> Vec<SequenceId> {
        (self.planned, self.draft) = (None, None);
        let ids: Vec<SequenceId> =
            self.sequences.iter().filter(|(_, it)| it.place.is_some()).map(|(id, _)| *id).collect();
        for id in &ids {
            self.leave(*id, false, now);
        }
        self.forget();
        ids
    }

    /// A token was chosen for a sequence that stands at its end. Returns whether it was drafted so: the sequence stands at
    /// its end again, and the step's next row has its scores.
    pub fn written(&mut self, id: SequenceId, token: u32) -> bool {
        let Some(sequence) = self.sequences.get_mut(&id) else { return false };
        sequence.tokens.push(token);
        self.compare(id, token)
    }

    /// A sequence has ended, in any way. `keeps` says whether its cache is good, and may be of use for later ones.
    pub fn leave(&mut self, id: SequenceId, keeps: bool, now: Duration) {
        self.compute(id, false, now);
        let Some(sequence) = self.sequences.remove(&id) else { return };
        self.fair.leave(sequence.share.of, id);
        if self.sequences.is_empty() {
            self.idle_since = Some(now);
        }
        self.draft.take_if(|draft| draft.is_of(id));
        if let Some(planned) = &mut self.planned {
            planned.retain(|(other, _)| *other != id);
        }
        let Some(place) = sequence.place else { return };
        let is_shared = self.limits.reuses && self.limits.scope != CacheScope::None;
        let is_kept = keeps && is_shared && sequence.in_pieces >= next::LEAST_REUSED;
        self.places[place] = if is_kept {
            self.kept += 1;
            let Sequence { job, share, mut tokens, in_pieces, read, .. } = sequence;
            tokens.truncate(read);
            Place::Kept(Kept { job, of: share.of, tokens, in_pieces, since: self.kept })
        } else {
            Place::Free
        };
    }

    /// Forgets all caches, and their form.
    fn forget(&mut self) {
        self.places.iter_mut().for_each(|place| *place = Place::Free);
        self.blocks.clear();
        self.shape = Shape::default();
    }

    /// A sequence's reader is slow: it takes no part until [`Self::resume`], and its clock stands.
    pub fn park(&mut self, id: SequenceId, now: Duration) {
        self.compute(id, false, now);
        if let Some(sequence) = self.sequences.get_mut(&id) {
            sequence.is_parked = true;
        }
    }

    /// A sequence's reader reads again. Its clock goes on with its next step.
    pub fn resume(&mut self, id: SequenceId) {
        if let Some(sequence) = self.sequences.get_mut(&id) {
            sequence.is_parked = false;
        }
    }

    /// Compute time of a job so far.
    pub fn compute_time(&self, job: JobId, now: Duration) -> Duration {
        self.jobs.get(&job).map_or(Duration::ZERO, |job| job.clock.at(now))
    }

    /// Forgets a job whose sequences have left, and returns its compute time.
    pub fn close(&mut self, job: JobId, now: Duration) -> Duration {
        self.jobs.remove(&job).map_or(Duration::ZERO, |job| job.clock.at(now))
    }

    /// Positions of a sequence's prompt that were ever read, by it or for it.
    pub fn prompt_read(&self, id: SequenceId) -> usize {
        self.sequences.get(&id).map_or(0, |sequence| sequence.furthest.min(sequence.prompt))
    }

    /// Whether a sequence has a place.
    pub fn is_placed(&self, id: SequenceId) -> bool {
        self.sequences.get(&id).is_some_and(|sequence| sequence.place.is_some())
    }

    /// The form of the cache after the last plan.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Sequences that wait for a place or have one.
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Whether there is no sequence.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Notes whether a sequence computes; its job's clock runs while any of its sequences does.
    fn compute(&mut self, id: SequenceId, is_computing: bool, now: Duration) {
        let Some(sequence) = self.sequences.get_mut(&id) else { return };
        if std::mem::replace(&mut sequence.is_computing, is_computing) == is_computing {
            return;
        }
        let Some(job) = self.jobs.get_mut(&sequence.job) else { return };
        if is_computing {
            job.computing += 1;
            job.clock.start(now);
        } else {
            job.computing -= 1;
            if job.computing == 0 {
                job.clock.stop(now);
            }
        }
    }

    /// The sequences with a place, in the order of arrival.
    fn placed(&self) -> impl DoubleEndedIterator<Item = (SequenceId, &Sequence)> {
        self.sequences.iter().filter(|(_, it)| it.place.is_some()).map(|(id, it)| (*id, it))
    }
}
