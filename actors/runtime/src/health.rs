//! What is known of actors. For each kind: how many live, what they handled, how long that took, how they ended. For
//! each named actor also a verdict with reasons, its restarts, and its last sign of life, which is not its last
//! message. All times are the system's, not the ledger's clock. Tests, `/metrics` and the operator's page read the same
//! [`Observed`] and [`Seen`] pictures.

mod messages;
mod roster;
mod verdict;
mod vitals;

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use billing::Timestamp;
use serde::Serialize;
use uuid::Uuid;

pub use messages::{MessageTimes, Spread};
pub use verdict::{BEAT_MS, Judged, Part, Restart, SeenPart, Verdict};
pub(crate) use vitals::{Counted, Life};
pub use vitals::{Posted, Waiting};

use crate::{clock::system as now, executors::Executors};
use messages::Messages;
use roster::Roster;
use vitals::Vitals;

/// The name of what is handled together, or unasked.
const TOGETHER: &str = "work";

/// How often actors give a sign of life.
pub const BEAT: Duration = Duration::from_millis(BEAT_MS.unsigned_abs());

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn rfc_3339<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn maybe_rfc_3339<S: serde::Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}

/// Every kind of actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One per active account.
    Account,
    /// The only writer of the ledger's log.
    Journal,
    /// Makes the ledger's tables from its log.
    Projector,
    /// One per size class.
    Pool,
    /// One per loaded model: a thread.
    Engine,
    /// One per provider.
    Provider,
    /// Card charges.
    Payment,
    /// Expiry and abandoned holds.
    Sweeper,
    /// Deliveries to webhooks.
    Webhook,
    /// Starts and restarts the others.
    Supervisor,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Account,
        Self::Journal,
        Self::Projector,
        Self::Pool,
        Self::Engine,
        Self::Provider,
        Self::Payment,
        Self::Sweeper,
        Self::Webhook,
        Self::Supervisor,
    ];

    /// The kind's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Journal => "journal",
            Self::Projector => "projector",
            Self::Pool => "pool",
            Self::Engine => "engine",
            Self::Provider => "provider",
            Self::Payment => "payment",
            Self::Sweeper => "sweeper",
            Self::Webhook => "webhook",
            Self::Supervisor => "supervisor",
        }
    }
}

/// How an actor ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitReason {
    /// The actor was asked to stop, or had nothing left to do. It is never restarted.
    Stopped,
    /// The actor panicked.
    Panicked,
    /// A commit or a load below the actor failed. The actor is rebuilt from durable state.
    Failed,
}

impl ExitReason {
    /// The exit in words, to follow `it`.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Panicked => "panicked",
            Self::Failed => "failed",
        }
    }
}

/// A type of actor with a kind.
pub trait OfKind {
    /// The kind.
    const KIND: Kind;
    /// The most questions that wait for one such actor: who asks then is refused.
    const MAILBOX: usize = 1_024;
}

/// The picture of a kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Observed {
    /// The kind.
    pub kind: Kind,
    /// How many actors live.
    pub live: i64,
    /// Messages posted and not yet handled.
    pub mailbox_depth: usize,
    /// Messages handled.
    pub handled: u64,
    /// Microseconds that messages waited, in total.
    pub waited_us: u64,
    /// Microseconds that handling took, in total.
    pub busy_us: u64,
    /// Mean microseconds a message waited.
    pub mean_wait_us: u64,
    /// Mean microseconds a message took.
    pub mean_busy_us: u64,
    /// Restarts after a panic.
    pub panics: u64,
    /// Restarts after a failure of a commit or a load.
    pub failures: u64,
    /// Messages that found a full mailbox.
    pub refused: u64,
    /// Milliseconds since a message last found one.
    pub last_refused_ms: Option<u128>,
    /// Messages that were posted and that nobody handled, because their actor was gone or died: dead letters.
    pub lost: u64,
    /// The name of the last actor that ended without being asked to, and how it ended.
    pub last_exit: Option<(String, ExitReason)>,
    /// Milliseconds since an actor of the kind last handled a message.
    pub last_message_ms: Option<u128>,
}

impl Observed {
    /// Adds the counts of another picture.
    fn and(mut self, other: &Self) -> Self {
        self.live += other.live;
        self.mailbox_depth += other.mailbox_depth;
        self.handled += other.handled;
        self.waited_us = self.waited_us.saturating_add(other.waited_us);
        self.busy_us = self.busy_us.saturating_add(other.busy_us);
        self.mean_wait_us = self.waited_us / self.handled.max(1);
        self.mean_busy_us = self.busy_us / self.handled.max(1);
        self.panics += other.panics;
        self.failures += other.failures;
        self.refused += other.refused;
        self.lost += other.lost;
        self.last_exit = self.last_exit.or_else(|| other.last_exit.clone());
        let latest = |one: Option<u128>, two: Option<u128>| one.into_iter().chain(two).min();
        self.last_message_ms = latest(self.last_message_ms, other.last_message_ms);
        self.last_refused_ms = latest(self.last_refused_ms, other.last_refused_ms);
        self
    }
}

/// The picture of one named actor, or of all accounts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Seen {
    /// The actor's name: a pool's class, an engine's model, a provider, or the kind where there is only one actor of
    /// it.
    pub name: String,
    /// How the actor fares.
    pub verdict: Verdict,
    /// Since when the verdict holds.
    #[serde(serialize_with = "rfc_3339")]
    pub since: Timestamp,
    /// The reasons in words; empty where all is well.
    pub reasons: Vec<String>,
    /// The actor's parts that are in trouble: a provider's models.
    pub parts: Vec<SeenPart>,
    /// Restarts in all.
    pub restarts: u64,
    /// The latest restarts, oldest first.
    pub last_restarts: Vec<Restart>,
    /// Milliseconds since the last sign of life; `None` where the actor gives none.
    pub heartbeat_ms: Option<i64>,
    /// The message that the actor handles just now, and for how many milliseconds already. Accounts do not tell it.
    pub current: Option<(&'static str, u128)>,
    /// What the actor handled.
    #[serde(flatten)]
    pub observed: Observed,
}

/// Vitals by kind, and the actors that have names; shared by clones.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    began: Instant,
    began_at: Timestamp,
    kinds: [Arc<Vitals>; Kind::ALL.len()],
    roster: Roster,
    executors: Executors,
    /// How a new life takes the place of an actor, of those where that can be.
    replaceable: Mutex<Vec<Replaceable>>,
}

/// An actor whose place a new life may take, and how: whether that was done.
type Replaceable = (Kind, String, Arc<dyn Fn() -> bool + Send + Sync>);

/// Why no new life has taken an actor's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotReplaced {
    /// There is no such actor, or it is none that can be replaced while it works.
    #[error("no actor that can be replaced")]
    Unknown,
    /// The actor has died, and is started again.
    #[error("the actor is started again already")]
    Dead,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

impl Default for Health {
    fn default() -> Self {
        let began = Instant::now();
        let kinds = Kind::ALL.map(|kind| Arc::new(Vitals::new(kind, began, Arc::new(Messages::default()))));
        let (roster, executors) = (Roster::default(), Executors::new(began));
        Self(Arc::new(Inner { began, began_at: now(), kinds, roster, executors, replaceable: Mutex::default() }))
    }
}

impl Health {
    fn of(&self, kind: Kind) -> &Arc<Vitals> {
        &self.0.kinds[kind as usize]
    }

    /// The vitals with which a named actor begins: its kind's, where it is the only actor of the kind.
    fn fresh(&self, kind: Kind, name: &str) -> Arc<Vitals> {
        let own = self.of(kind);
        if name == kind.name() {
            Arc::clone(own)
        } else {
            Arc::new(Vitals::new(kind, self.0.began, Arc::clone(&own.messages)))
        }
    }

    /// Notes that a life of an actor began.
    pub(crate) fn born(&self, kind: Kind, name: &Name) -> Life {
        let life = match name {
            Name::Id(_) => Life { vitals: Arc::clone(self.of(kind)), place: None },
            Name::Text(text) => {
                let vitals = self.ledger_of(kind, text).0;
                let place = self.0.roster.born((kind, text), || self.fresh(kind, text), now());
                Life { vitals, place }
            }
        };
        life.vitals.live.fetch_add(1, Ordering::Relaxed);
        life
    }

    /// Notes that a life ended.
    pub(crate) fn died(&self, kind: Kind, name: &Name, Life { vitals, place }: &Life, reason: ExitReason) {
        vitals.live.fetch_sub(1, Ordering::Relaxed);
        match reason {
            ExitReason::Stopped => {}
            ExitReason::Panicked => {
                vitals.panics.fetch_add(1, Ordering::Relaxed);
            }
            ExitReason::Failed => {
                vitals.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
        if reason != ExitReason::Stopped {
            *vitals.last_exit.lock().unwrap_or_else(PoisonError::into_inner) = Some((name.to_string(), reason));
        }
        if let (Name::Text(name), Some(life)) = (name, place) {
            self.0.roster.died((kind, name), *life, reason, now());
        }
    }

    /// The counter of messages to a named actor.
    pub(crate) fn ledger_of(&self, kind: Kind, name: &str) -> Counted {
        let vitals = self.0.roster.vitals((kind, name), || self.fresh(kind, name));
        Counted(vitals.unwrap_or_else(|| Arc::clone(self.of(kind))))
    }

    /// Counts a message that is posted now to one of many unnamed actors, in whose mailbox so many wait.
    pub fn posted_to(&self, kind: Kind, waiting: &Waiting) -> Posted {
        Counted(Arc::clone(self.of(kind))).posted_to(waiting)
    }

    /// How many unnamed actors of a kind have messages that wait: those that have two or three, four to seven, and so on.
    pub fn depths(&self, kind: Kind) -> Vec<i64> {
        self.of(kind).depths()
    }

    /// Counts a message that is posted now to the only actor of a kind, or to one of many unnamed actors.
    pub fn posted(&self, kind: Kind) -> Posted {
        Counted(Arc::clone(self.of(kind))).posted()
    }

    /// Sets the length of a queue that is no mailbox.
    pub fn queued(&self, kind: Kind, count: usize) {
        self.of(kind).queued.store(count, Ordering::Relaxed);
    }

    /// Notes work that an actor did unasked, from `began` to now: no message had waited.
    pub fn acted(&self, kind: Kind, began: Instant) {
        self.handled(kind, 1, began, began);
    }

    /// Notes that `count` messages were handled together from `began` to now. The oldest waited since `posted_at`.
    pub fn handled(&self, kind: Kind, count: usize, posted_at: Instant, began: Instant) {
        self.of(kind).handled(TOGETHER, count, posted_at, began);
    }

    /// A new life may take the place of this actor, as `replace` does it: it returns whether it was done, and waits for nothing.
    pub fn is_replaceable(&self, kind: Kind, name: &str, replace: impl Fn() -> bool + Send + Sync + 'static) {
        let mut known = self.0.replaceable.lock().unwrap_or_else(PoisonError::into_inner);
        known.push((kind, name.to_owned(), Arc::new(replace)));
    }

    /// Has a new life take the place of an actor while it works. The old one handles what it was asked before, and ends.
    ///
    /// # Errors
    ///
    /// There is no such actor, it is none that can be replaced, or it is being started again already.
    pub fn replace(&self, kind: Kind, name: &str) -> Result<(), NotReplaced> {
        let known = self.0.replaceable.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().find(|(its, named, _)| *its == kind && named == name);
        // Under the lock: one replacement at a time.
        let (.., replace) = found.ok_or(NotReplaced::Unknown)?;
        if replace() { Ok(()) } else { Err(NotReplaced::Dead) }
    }

    /// The threads that run tasks.
    pub fn executors(&self) -> &Executors {
        &self.0.executors
    }

    /// The times of a kind's messages, by their names.
    pub fn messages(&self, kind: Kind) -> Vec<MessageTimes> {
        self.of(kind).messages.seen()
    }

    /// Since when this process runs.
    pub fn since(&self) -> Timestamp {
        self.0.began_at
    }

    /// Notes a sign of life of a named actor.
    pub fn beats(&self, kind: Kind, name: &str) {
        self.0.roster.beats((kind, name), now());
    }

    /// Sets the trouble of a named actor and how bad it is; `None` clears it.
    pub fn trouble(&self, kind: Kind, name: &str, trouble: Option<(Verdict, String)>) {
        self.0.roster.trouble((kind, name), || self.fresh(kind, name), trouble, now());
    }

    /// Sets the parts of a named actor that are in trouble.
    pub fn parts(&self, kind: Kind, name: &str, parts: Vec<Part>) {
        self.0.roster.parts((kind, name), || self.fresh(kind, name), parts, now());
    }

    /// All named actors in the order in which they came, and all accounts together.
    pub fn seen(&self) -> Vec<Seen> {
        let now = now();
        let accounts = Seen {
            name: Kind::Account.name().to_owned(),
            verdict: Verdict::Ok,
            since: self.0.began_at,
            reasons: Vec::new(),
            parts: Vec::new(),
            restarts: 0,
            last_restarts: Vec::new(),
            heartbeat_ms: None,
            current: None,
            observed: self.observe_kind(Kind::Account),
        };
        let members = self.0.roster.members();
        let named = members.iter().map(|member| {
            let facts = member.facts();
            let Judged { verdict, since, reasons } = verdict::judge(&facts, now);
            Seen {
                name: member.name.clone(),
                verdict,
                since,
                reasons,
                parts: member.parts.clone(),
                restarts: member.restarts,
                last_restarts: facts.restarts,
                heartbeat_ms: facts.beat_at.map(|at| now.ms_since(at)),
                current: member.vitals.current().map(|(name, since)| (name, since.elapsed().as_millis())),
                observed: member.vitals.observed(member.kind),
            }
        });
        std::iter::once(accounts).chain(named).collect()
    }

    /// All kinds' pictures.
    pub fn observe(&self) -> Vec<Observed> {
        Kind::ALL.into_iter().map(|kind| self.observe_kind(kind)).collect()
    }

    /// The picture of all actors of one kind together.
    pub fn observe_kind(&self, kind: Kind) -> Observed {
        let own = self.of(kind);
        let members = self.0.roster.members();
        let others = members.iter().filter(|member| member.kind == kind && !Arc::ptr_eq(&member.vitals, own));
        others.fold(own.observed(kind), |sum, member| sum.and(&member.vitals.observed(kind)))
    }
}

/// An actor's name. Text is made only when it is read, because there may be an actor for each of very many accounts.
#[derive(Debug, Clone)]
pub enum Name {
    /// The only actor of a kind or of a class.
    Text(String),
    /// One of many actors.
    Id(Uuid),
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Id(id) => id.fmt(f),
        }
    }
}
