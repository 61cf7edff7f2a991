//! What is known of actors. Of each kind: how many live, what they handled, how long that took, how they died. Of each that
//! has a name, also how it fares: a verdict with reasons, since when, restarts, and its last sign of life, which is not its
//! last message. Tests, `/metrics` and the operator's page read the same [`Observed`] and [`Seen`] pictures.

mod roster;
mod verdict;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use billing::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use roster::Roster;
pub use verdict::{BEAT_MS, Judged, Restart, Verdict};

/// How often actors give a sign of life.
pub const BEAT: Duration = Duration::from_millis(BEAT_MS.unsigned_abs());

/// The system's time: what happened to actors is told by it, whatever the ledger's clock shows.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Timestamp(i64::try_from(since).unwrap_or(i64::MAX))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn rfc_3339<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

/// Every kind of actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One per active account.
    Account,
    /// The only writer.
    Journal,
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
    pub const ALL: [Self; 9] = [
        Self::Account,
        Self::Journal,
        Self::Pool,
        Self::Engine,
        Self::Provider,
        Self::Payment,
        Self::Sweeper,
        Self::Webhook,
        Self::Supervisor,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Journal => "journal",
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
    /// It was asked to, or had nothing left to do. Never restarted.
    Stopped,
    /// It panicked.
    Panicked,
    /// What it stands on failed (a commit, a load); rebuilt from durable state.
    Failed,
}

impl ExitReason {
    /// What happened to it, after `it`.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Panicked => "panicked",
            Self::Failed => "failed",
        }
    }
}

/// An actor of a kind.
pub trait OfKind {
    /// Which.
    const KIND: Kind;
}

/// What is counted of a kind, or of one that has a name.
#[derive(Debug)]
struct Vitals {
    began: Instant,
    live: AtomicI64,
    /// Messages on their way.
    waiting: AtomicUsize,
    /// Of a queue that is no mailbox.
    queued: AtomicUsize,
    handled: AtomicU64,
    waited_us: AtomicU64,
    busy_us: AtomicU64,
    panics: AtomicU64,
    failures: AtomicU64,
    /// Microseconds from `began` to the last message; zero before the first.
    last_message_us: AtomicU64,
    last_exit: Mutex<Option<(String, ExitReason)>>,
}

impl Vitals {
    fn new(began: Instant) -> Self {
        Self {
            began,
            live: AtomicI64::default(),
            waiting: AtomicUsize::default(),
            queued: AtomicUsize::default(),
            handled: AtomicU64::default(),
            waited_us: AtomicU64::default(),
            busy_us: AtomicU64::default(),
            panics: AtomicU64::default(),
            failures: AtomicU64::default(),
            last_message_us: AtomicU64::default(),
            last_exit: Mutex::default(),
        }
    }

    fn handled(&self, count: usize, posted_at: Instant, began: Instant) {
        let (now, count) = (Instant::now(), count as u64);
        self.handled.fetch_add(count, Ordering::Relaxed);
        self.waited_us.fetch_add(count * micros(began.saturating_duration_since(posted_at)), Ordering::Relaxed);
        self.busy_us.fetch_add(micros(now.saturating_duration_since(began)), Ordering::Relaxed);
        self.last_message_us.store(micros(now.saturating_duration_since(self.began)).max(1), Ordering::Relaxed);
    }
}

/// A kind's picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Observed {
    /// Which.
    pub kind: Kind,
    /// How many live.
    pub live: i64,
    /// Messages posted and not yet handled.
    pub mailbox_depth: usize,
    /// Messages handled.
    pub handled: u64,
    /// Microseconds that messages waited, together.
    pub waited_us: u64,
    /// Microseconds that they took, together.
    pub busy_us: u64,
    /// Mean microseconds a message waited.
    pub mean_wait_us: u64,
    /// Mean microseconds a message took.
    pub mean_busy_us: u64,
    /// Restarts after a panic.
    pub panics: u64,
    /// Restarts after a failure below.
    pub failures: u64,
    /// Who ended last without being asked to, and how.
    pub last_exit: Option<(String, ExitReason)>,
    /// Milliseconds since one of them last handled something.
    pub last_message_ms: Option<u128>,
}

impl Observed {
    /// With what another saw.
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
        self.last_exit = self.last_exit.or_else(|| other.last_exit.clone());
        self.last_message_ms = match (self.last_message_ms, other.last_message_ms) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        self
    }
}

/// The picture of one that has a name, or of all accounts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Seen {
    /// Its name: a pool's class, an engine's model, a provider, or its kind where there is one.
    pub name: String,
    /// How it fares.
    pub verdict: Verdict,
    /// Since when.
    #[serde(serialize_with = "rfc_3339")]
    pub since: Timestamp,
    /// Why, in words; nothing where all is well.
    pub reasons: Vec<String>,
    /// Restarts in all.
    pub restarts: u64,
    /// The last of them, oldest first.
    pub last_restarts: Vec<Restart>,
    /// Milliseconds since its last sign of life; none where it gives none.
    pub heartbeat_ms: Option<i64>,
    /// What it handled.
    #[serde(flatten)]
    pub observed: Observed,
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Vitals by kind, and who has a name; shared by clones.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    began: Instant,
    began_at: Timestamp,
    kinds: [Arc<Vitals>; Kind::ALL.len()],
    roster: Roster,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

impl Default for Health {
    fn default() -> Self {
        let began = Instant::now();
        let kinds = std::array::from_fn(|_| Arc::new(Vitals::new(began)));
        Self(Arc::new(Inner { began, began_at: now(), kinds, roster: Roster::default() }))
    }
}

impl Health {
    fn of(&self, kind: Kind) -> &Arc<Vitals> {
        &self.0.kinds[kind as usize]
    }

    /// The vitals that one of this name begins with: its kind's, where it is the only one.
    fn fresh(&self, kind: Kind, name: &str) -> Arc<Vitals> {
        if name == kind.name() { Arc::clone(self.of(kind)) } else { Arc::new(Vitals::new(self.0.began)) }
    }

    /// Where messages to the actor of this name are counted.
    pub(crate) fn ledger_of(&self, kind: Kind, name: &str) -> Counted {
        let vitals = self.0.roster.vitals((kind, name), || self.fresh(kind, name));
        Counted(vitals.unwrap_or_else(|| Arc::clone(self.of(kind))))
    }

    /// Counts a message that is posted now to the one of its kind, or to one of many without a name.
    pub fn posted(&self, kind: Kind) -> Posted {
        Counted(Arc::clone(self.of(kind))).posted()
    }

    /// Says how many wait in a queue that is no mailbox.
    pub fn queued(&self, kind: Kind, count: usize) {
        self.of(kind).queued.store(count, Ordering::Relaxed);
    }

    /// Notes what an actor did of itself from `began` to now: nothing had waited for it.
    pub fn acted(&self, kind: Kind, began: Instant) {
        self.handled(kind, 1, began, began);
    }

    /// Notes that many messages, of which the oldest waited since `posted_at`, were handled together from `began` to now.
    pub fn handled(&self, kind: Kind, count: usize, posted_at: Instant, began: Instant) {
        self.of(kind).handled(count, posted_at, began);
    }

    /// A sign of life of the actor of this name.
    pub fn beats(&self, kind: Kind, name: &str) {
        self.0.roster.beats((kind, name), now());
    }

    /// What is wrong with the actor of this name, and how bad that is; none where nothing is any more.
    pub fn trouble(&self, kind: Kind, name: &str, trouble: Option<(Verdict, String)>) {
        self.0.roster.trouble((kind, name), || self.fresh(kind, name), trouble, now());
    }

    /// All who have a name, in the order in which they came, and all accounts together.
    pub fn seen(&self) -> Vec<Seen> {
        let now = now();
        let accounts = Seen {
            name: Kind::Account.name().to_owned(),
            verdict: Verdict::Ok,
            since: self.0.began_at,
            reasons: Vec::new(),
            restarts: 0,
            last_restarts: Vec::new(),
            heartbeat_ms: None,
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
                restarts: member.restarts,
                last_restarts: facts.restarts,
                heartbeat_ms: facts.beat_at.map(|at| now.ms_since(at)),
                observed: member.vitals.observed(member.kind),
            }
        });
        std::iter::once(accounts).chain(named).collect()
    }

    /// All kinds' pictures.
    pub fn observe(&self) -> Vec<Observed> {
        Kind::ALL.into_iter().map(|kind| self.observe_kind(kind)).collect()
    }

    /// One kind's picture: of all of that kind together.
    pub fn observe_kind(&self, kind: Kind) -> Observed {
        let own = self.of(kind);
        let members = self.0.roster.members();
        let others = members.iter().filter(|member| member.kind == kind && !Arc::ptr_eq(&member.vitals, own));
        others.fold(own.observed(kind), |sum, member| sum.and(&member.vitals.observed(kind)))
    }
}

impl Vitals {
    fn observed(&self, kind: Kind) -> Observed {
        let handled = self.handled.load(Ordering::Relaxed);
        let (waited_us, busy_us) = (self.waited_us.load(Ordering::Relaxed), self.busy_us.load(Ordering::Relaxed));
        let last_message = Some(self.last_message_us.load(Ordering::Relaxed)).filter(|us| *us > 0);
        let since = |us: u64| self.began.elapsed().saturating_sub(Duration::from_micros(us)).as_millis();
        Observed {
            kind,
            live: self.live.load(Ordering::Relaxed),
            mailbox_depth: self.waiting.load(Ordering::Relaxed) + self.queued.load(Ordering::Relaxed),
            handled,
            waited_us,
            busy_us,
            mean_wait_us: waited_us / handled.max(1),
            mean_busy_us: busy_us / handled.max(1),
            panics: self.panics.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            last_exit: self.last_exit.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            last_message_ms: last_message.map(since),
        }
    }
}

/// Where messages to one actor are counted, whichever of its lives they reach.
#[derive(Debug, Clone)]
pub(crate) struct Counted(Arc<Vitals>);

impl Counted {
    /// Counts a message that is posted now.
    pub(crate) fn posted(&self) -> Posted {
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        Posted { vitals: Arc::clone(&self.0), at: Instant::now() }
    }
}

/// A message on its way: it counts among those that wait until it was handled, or is dropped with the mailbox it was in.
pub struct Posted {
    vitals: Arc<Vitals>,
    at: Instant,
}

impl std::fmt::Debug for Posted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Posted").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Posted {
    /// When it was posted.
    pub const fn at(&self) -> Instant {
        self.at
    }

    /// Notes that it was handled until now, having begun at `began`.
    pub fn handled(self, began: Instant) {
        self.vitals.handled(1, self.at, began);
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        self.vitals.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who an actor is, in words only once it is asked for: there may be an actor for each of very many accounts.
#[derive(Debug, Clone)]
pub enum Name {
    /// The one of its kind, or of its class.
    Text(String),
    /// One of many.
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

/// A field of every actor: its drop tells how the actor ended, also while a panic unwinds.
pub struct Obituary {
    health: Health,
    kind: Kind,
    name: Name,
    vitals: Arc<Vitals>,
    /// Its place among the lives of its name; none for one of many.
    life: Option<u64>,
    reason: ExitReason,
    on_exit: Option<Box<dyn FnOnce(ExitReason) + Send>>,
}

impl std::fmt::Debug for Obituary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Obituary").field("kind", &self.kind).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Obituary {
    /// For a new actor; `on_exit` runs when it is gone, on its thread, and must not panic.
    pub fn new(health: &Health, kind: Kind, name: Name, on_exit: impl FnOnce(ExitReason) + Send + 'static) -> Self {
        let (vitals, life) = match &name {
            Name::Id(_) => (Arc::clone(health.of(kind)), None),
            Name::Text(text) => {
                let vitals = health.ledger_of(kind, text).0;
                let life = health.0.roster.born((kind, text), || health.fresh(kind, text), now());
                (vitals, life)
            }
        };
        vitals.live.fetch_add(1, Ordering::Relaxed);
        let on_exit: Option<Box<dyn FnOnce(ExitReason) + Send>> = Some(Box::new(on_exit));
        Self { health: health.clone(), kind, name, vitals, life, reason: ExitReason::Stopped, on_exit }
    }

    /// Where it is noted.
    pub const fn health(&self) -> &Health {
        &self.health
    }

    /// Says beforehand that the end to come is a panic, which was caught.
    pub const fn panicked(&mut self) {
        self.reason = ExitReason::Panicked;
    }

    /// Says beforehand that the end to come is a failure.
    pub const fn failed(&mut self) {
        self.reason = ExitReason::Failed;
    }
}

impl Drop for Obituary {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.reason = ExitReason::Panicked;
        }
        let vitals = &self.vitals;
        vitals.live.fetch_sub(1, Ordering::Relaxed);
        match self.reason {
            ExitReason::Stopped => {}
            ExitReason::Panicked => {
                vitals.panics.fetch_add(1, Ordering::Relaxed);
            }
            ExitReason::Failed => {
                vitals.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
        if self.reason != ExitReason::Stopped {
            tracing::error!(actor = self.kind.name(), name = %self.name, reason = ?self.reason, "actor ended");
            let exit = Some((self.name.to_string(), self.reason));
            *vitals.last_exit.lock().unwrap_or_else(PoisonError::into_inner) = exit;
        }
        if let (Name::Text(name), Some(life)) = (&self.name, self.life) {
            self.health.0.roster.died((self.kind, name), life, self.reason, now());
        }
        if let Some(on_exit) = self.on_exit.take() {
            on_exit(self.reason);
        }
    }
}
