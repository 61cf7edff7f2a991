//! The counts of actors: how many live, what they handled, how long that took, how they ended.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{ExitReason, Kind, Observed};

/// The counts of a kind, or of a named actor.
#[derive(Debug)]
pub(crate) struct Vitals {
    pub(super) began: Instant,
    pub(super) live: AtomicI64,
    /// Messages posted and not yet handled.
    pub(super) waiting: AtomicUsize,
    /// The length of a queue that is no mailbox.
    pub(super) queued: AtomicUsize,
    pub(super) handled: AtomicU64,
    pub(super) waited_us: AtomicU64,
    pub(super) busy_us: AtomicU64,
    pub(super) panics: AtomicU64,
    pub(super) failures: AtomicU64,
    /// Microseconds from `began` to the last message; zero before the first.
    pub(super) last_message_us: AtomicU64,
    pub(super) last_exit: Mutex<Option<(String, ExitReason)>>,
}

impl Vitals {
    pub(super) fn new(began: Instant) -> Self {
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

    /// Notes messages that were handled from `began` to now. Returns the time.
    pub(super) fn handled(&self, count: usize, posted_at: Instant, began: Instant) -> Instant {
        let (now, count) = (Instant::now(), count as u64);
        self.handled.fetch_add(count, Ordering::Relaxed);
        self.waited_us.fetch_add(count * micros(began.saturating_duration_since(posted_at)), Ordering::Relaxed);
        self.busy_us.fetch_add(micros(now.saturating_duration_since(began)), Ordering::Relaxed);
        self.last_message_us.store(micros(now.saturating_duration_since(self.began)).max(1), Ordering::Relaxed);
        now
    }

    pub(super) fn observed(&self, kind: Kind) -> Observed {
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

/// One life of an actor.
pub(crate) struct Life {
    pub(super) vitals: Arc<Vitals>,
    /// The life's number among the lives of its name; `None` for an unnamed actor.
    pub(super) place: Option<u64>,
}

/// The counter of messages to one actor, across all its lives.
#[derive(Debug, Clone)]
pub(crate) struct Counted(pub(super) Arc<Vitals>);

impl Counted {
    /// Counts a message that is posted now.
    pub(crate) fn posted(&self) -> Posted {
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        Posted { vitals: Arc::clone(&self.0), at: Instant::now() }
    }
}

/// A posted message. It counts as waiting until it is handled, or dropped with the mailbox it was in.
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

    /// Notes that the message was handled from `began` to now. Returns the time.
    pub fn handled(self, began: Instant) -> Instant {
        self.vitals.handled(1, self.at, began)
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        self.vitals.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
