//! What is known of each kind of actor: how many live, what they handled, how long that took, how they died. Tests,
//! `/metrics` and the operator's page read the same [`Observed`] pictures.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use uuid::Uuid;

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
    pub const ALL: [Self; 8] = [
        Self::Account,
        Self::Journal,
        Self::Pool,
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

/// An actor of a kind.
pub trait OfKind {
    /// Which.
    const KIND: Kind;
}

/// A kind's vitals. Each message on its way shares them, so that the count of those is how many wait.
#[derive(Debug)]
struct Vitals {
    began: Instant,
    live: AtomicI64,
    /// Of a queue that is no mailbox.
    queued: AtomicUsize,
    handled: AtomicU64,
    waited_us: AtomicU64,
    busy_us: AtomicU64,
    panics: AtomicU64,
    failures: AtomicU64,
    /// Microseconds from `began` to the last message; zero before the first.
    heartbeat_us: AtomicU64,
    last_exit: Mutex<Option<(String, ExitReason)>>,
}

impl Vitals {
    fn new(began: Instant) -> Self {
        Self {
            began,
            live: AtomicI64::default(),
            queued: AtomicUsize::default(),
            handled: AtomicU64::default(),
            waited_us: AtomicU64::default(),
            busy_us: AtomicU64::default(),
            panics: AtomicU64::default(),
            failures: AtomicU64::default(),
            heartbeat_us: AtomicU64::default(),
            last_exit: Mutex::default(),
        }
    }

    fn handled(&self, count: usize, posted_at: Instant, began: Instant) {
        let (now, count) = (Instant::now(), count as u64);
        self.handled.fetch_add(count, Ordering::Relaxed);
        self.waited_us.fetch_add(count * micros(began.saturating_duration_since(posted_at)), Ordering::Relaxed);
        self.busy_us.fetch_add(micros(now.saturating_duration_since(began)), Ordering::Relaxed);
        self.heartbeat_us.store(micros(now.saturating_duration_since(self.began)).max(1), Ordering::Relaxed);
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
    pub heartbeat_ms: Option<u128>,
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Every kind's vitals, shared by clones.
#[derive(Debug, Clone)]
pub struct Health(Arc<[Arc<Vitals>; Kind::ALL.len()]>);

impl Default for Health {
    fn default() -> Self {
        let began = Instant::now();
        Self(Arc::new(std::array::from_fn(|_| Arc::new(Vitals::new(began)))))
    }
}

impl Health {
    fn of(&self, kind: Kind) -> &Arc<Vitals> {
        &self.0[kind as usize]
    }

    /// Counts a message that is posted now.
    pub fn posted(&self, kind: Kind) -> Posted {
        Posted { vitals: Arc::clone(self.of(kind)), at: Instant::now() }
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

    /// All pictures.
    pub fn observe(&self) -> Vec<Observed> {
        Kind::ALL.into_iter().map(|kind| self.observe_kind(kind)).collect()
    }

    /// One kind's picture.
    pub fn observe_kind(&self, kind: Kind) -> Observed {
        let vitals = self.of(kind);
        let handled = vitals.handled.load(Ordering::Relaxed);
        let (waited_us, busy_us) = (vitals.waited_us.load(Ordering::Relaxed), vitals.busy_us.load(Ordering::Relaxed));
        let heartbeat = Some(vitals.heartbeat_us.load(Ordering::Relaxed)).filter(|us| *us > 0);
        let since = |us: u64| vitals.began.elapsed().saturating_sub(Duration::from_micros(us)).as_millis();
        Observed {
            kind,
            live: vitals.live.load(Ordering::Relaxed),
            mailbox_depth: Arc::strong_count(vitals) - 1 + vitals.queued.load(Ordering::Relaxed),
            handled,
            waited_us,
            busy_us,
            mean_wait_us: waited_us / handled.max(1),
            mean_busy_us: busy_us / handled.max(1),
            panics: vitals.panics.load(Ordering::Relaxed),
            failures: vitals.failures.load(Ordering::Relaxed),
            last_exit: vitals.last_exit.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            heartbeat_ms: heartbeat.map(since),
        }
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
        health.of(kind).live.fetch_add(1, Ordering::Relaxed);
        Self { health: health.clone(), kind, name, reason: ExitReason::Stopped, on_exit: Some(Box::new(on_exit)) }
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
        let vitals = self.health.of(self.kind);
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
        if let Some(on_exit) = self.on_exit.take() {
            on_exit(self.reason);
        }
    }
}
