//! The counts of actors: how many live, what they handled, how long that took, how they ended.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{ExitReason, Kind, Observed, messages::Messages};

/// The message that an actor handles, and since when.
pub(super) type Current = (&'static str, Instant);

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
    /// Messages that found a full mailbox.
    pub(super) refused: AtomicU64,
    /// Microseconds from `began` to the last of them; zero before the first.
    pub(super) last_refused_us: AtomicU64,
    /// Messages that were posted, and that no life of the actor handled.
    pub(super) lost: AtomicU64,
    /// The times of the kind's messages.
    pub(super) messages: Arc<Messages>,
    /// What a named actor handles just now. Accounts, of which there are many, would wait for each other here.
    current: Option<Mutex<Option<Current>>>,
    /// Unnamed actors by the depth of their mailboxes.
    depths: [AtomicI64; DEPTHS],
    /// Microseconds from `began` to the last message; zero before the first.
    pub(super) last_message_us: AtomicU64,
    pub(super) last_exit: Mutex<Option<(String, ExitReason)>>,
}

impl Vitals {
    pub(super) fn new(kind: Kind, began: Instant, messages: Arc<Messages>) -> Self {
        Self {
            began,
            messages,
            current: (kind != Kind::Account).then(Mutex::default),
            depths: Default::default(),
            refused: AtomicU64::default(),
            last_refused_us: AtomicU64::default(),
            lost: AtomicU64::default(),
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

    fn handles(&self, current: Option<Current>) {
        if let Some(known) = &self.current {
            *known.lock().unwrap_or_else(PoisonError::into_inner) = current;
        }
    }

    /// An actor's mailbox is as deep as that now, and was as deep as this.
    fn is_deep(&self, before: usize, now: usize) {
        let (before, now) = (place_of(before), place_of(now));
        if before == now {
            return;
        }
        if let Some(place) = before {
            self.depths[place].fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(place) = now {
            self.depths[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Unnamed actors by the depth of their mailboxes.
    pub(super) fn depths(&self) -> Vec<i64> {
        self.depths.iter().map(|depth| depth.load(Ordering::Relaxed)).collect()
    }

    /// The message that is handled just now, and since when.
    pub(super) fn current(&self) -> Option<Current> {
        *self.current.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes messages of a name that were handled from `began` to now. Returns the time.
    pub(super) fn handled(&self, name: &'static str, count: usize, posted_at: Instant, began: Instant) -> Instant {
        let (now, count) = (Instant::now(), count as u64);
        let (waited, took) =
            (micros(began.saturating_duration_since(posted_at)), micros(now.saturating_duration_since(began)));
        self.handled.fetch_add(count, Ordering::Relaxed);
        self.waited_us.fetch_add(count * waited, Ordering::Relaxed);
        self.busy_us.fetch_add(took, Ordering::Relaxed);
        self.messages.note(name, count, waited, took);
        self.last_message_us.store(micros(now.saturating_duration_since(self.began)).max(1), Ordering::Relaxed);
        now
    }

    pub(super) fn observed(&self, kind: Kind) -> Observed {
        let handled = self.handled.load(Ordering::Relaxed);
        let (waited_us, busy_us) = (self.waited_us.load(Ordering::Relaxed), self.busy_us.load(Ordering::Relaxed));
        let at = |us: &AtomicU64| Some(us.load(Ordering::Relaxed)).filter(|us| *us > 0);
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
            refused: self.refused.load(Ordering::Relaxed),
            last_refused_ms: at(&self.last_refused_us).map(since),
            lost: self.lost.load(Ordering::Relaxed),
            last_exit: self.last_exit.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            last_message_ms: at(&self.last_message_us).map(since),
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
        let vitals = Arc::clone(&self.0);
        Posted { vitals, at: Instant::now(), name: UNNAMED, fate: Fate::Waits, waiting: None }
    }

    /// Counts a message that is posted now to one of many actors.
    pub(crate) fn posted_to(&self, waiting: &Waiting) -> Posted {
        let before = waiting.0.fetch_add(1, Ordering::Relaxed);
        self.0.is_deep(before, before + 1);
        let mut posted = self.posted();
        posted.waiting = Some(waiting.clone());
        posted
    }
}

/// How many depths of mailboxes are told apart: the last one begins at 2^11 messages.
const DEPTHS: usize = 11;

/// The place of a depth; none for what is usual: no message, or one.
fn place_of(depth: usize) -> Option<usize> {
    depth.checked_ilog2().and_then(|power| (power as usize).checked_sub(1)).map(|place| place.min(DEPTHS - 1))
}

/// How many messages wait for one actor of many.
#[derive(Debug, Clone, Default)]
pub struct Waiting(Arc<AtomicUsize>);

/// The name of a message that has none.
const UNNAMED: &str = "message";

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Waits,
    Begun,
    Handled,
    /// Its sender has it again.
    Returned,
    /// The mailbox was full.
    Refused,
}

/// A posted message. It counts as waiting until it is handled, or dropped with the mailbox it was in: then it is lost.
pub struct Posted {
    vitals: Arc<Vitals>,
    at: Instant,
    name: &'static str,
    fate: Fate,
    /// The mailbox that it is in, where it is that of one actor of many.
    waiting: Option<Waiting>,
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

    /// How many messages wait in its mailbox, this one among them.
    pub(crate) fn depth(&self) -> usize {
        self.waiting.as_ref().map_or(&self.vitals.waiting, |waiting| &waiting.0).load(Ordering::Relaxed)
    }

    /// The message by its name, under which its times are summed. There are few names of a kind.
    #[must_use]
    pub const fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Notes that a named actor begins to handle the message, and returns the time. Until it is handled, or the actor dies of
    /// it, that is what the actor does.
    pub fn begins(&mut self) -> Instant {
        let now = Instant::now();
        self.fate = Fate::Begun;
        self.vitals.handles(Some((self.name, now)));
        now
    }

    /// Notes that the message was handled from `began` to now. Returns the time.
    pub fn handled(mut self, began: Instant) -> Instant {
        let now = self.vitals.handled(self.name, 1, self.at, began);
        if self.fate == Fate::Begun {
            self.vitals.handles(None);
        }
        self.fate = Fate::Handled;
        now
    }

    /// Notes that the message goes back to who sent it, as its actor ended before it came to it.
    pub(crate) fn goes_back(mut self) {
        self.fate = Fate::Returned;
    }

    /// Notes that the message found a full mailbox.
    pub(crate) fn refused(mut self) {
        self.fate = Fate::Refused;
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        self.vitals.waiting.fetch_sub(1, Ordering::Relaxed);
        if let Some(Waiting(waiting)) = &self.waiting {
            let before = waiting.fetch_sub(1, Ordering::Relaxed);
            self.vitals.is_deep(before, before - 1);
        }
        match self.fate {
            Fate::Handled | Fate::Returned => {}
            Fate::Refused => {
                self.vitals.refused.fetch_add(1, Ordering::Relaxed);
                let at = micros(self.vitals.began.elapsed()).max(1);
                self.vitals.last_refused_us.store(at, Ordering::Relaxed);
            }
            Fate::Waits => {
                self.vitals.lost.fetch_add(1, Ordering::Relaxed);
            }
            Fate::Begun => {
                self.vitals.handles(None);
                // Its actor died of it; one that lives was done with it at once.
                if std::thread::panicking() {
                    self.vitals.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
