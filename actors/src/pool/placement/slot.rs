//! What is known of one model, and of one life of it in memory.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use billing::class::SizeClass;
use wire::inference::Failure;

use super::{Import, InstanceId, JobId, Wanted};

/// The wait after the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST: Duration = Duration::from_mins(1);
/// An engine that lived so long before it panicked has nothing to do with the failures before.
const GOOD_LIFE: Duration = Duration::from_mins(1);

/// How long a model is left alone after so many failures in a row.
pub fn back_off(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    if failures == 0 { Duration::ZERO } else { FIRST.saturating_mul(doubled).min(LONGEST) }
}

/// A request that waits for its model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiter {
    pub(super) job: JobId,
    pub(super) since: Duration,
}

/// A model that was asked for.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) model: Wanted,
    /// The life that new requests run on, or wait for.
    pub(super) current: Option<InstanceId>,
    pub(super) waiting: VecDeque<Waiter>,
    pub(super) is_pinned: bool,
    /// Whether an operator took it out of service.
    pub(super) is_drained: bool,
    /// Since when it is to be loaded without a request.
    pub(super) asked_at: Option<Duration>,
    /// Failures in a row.
    pub(super) failures: u32,
    /// From when on it is loaded again.
    pub(super) retry_at: Option<Duration>,
    /// The last failure, until a load succeeds.
    pub(super) failure: Option<Failure>,
}

impl Slot {
    pub(super) fn new(model: &Wanted) -> Self {
        Self {
            model: model.clone(),
            current: None,
            waiting: VecDeque::new(),
            is_pinned: false,
            is_drained: false,
            asked_at: None,
            failures: 0,
            retry_at: None,
            failure: None,
        }
    }

    /// Since when the model waits to be loaded; `None` where it does not.
    pub(super) fn wants_since(&self, now: Duration) -> Option<Duration> {
        let may = self.current.is_none() && !self.is_drained && self.retry_at.is_none_or(|at| at <= now);
        let first = self.waiting.front().map(|waiter| waiter.since);
        let since = match (first, self.asked_at) {
            (Some(first), Some(asked)) => Some(first.min(asked)),
            (first, asked) => first.or(asked),
        };
        since.filter(|_| may)
    }

    /// Notes a failure. A pinned model is tried again without a request.
    pub(super) fn failed(&mut self, failure: Failure, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now + back_off(self.failures));
        self.failure = Some(failure);
        self.asked_at = self.is_pinned.then_some(now);
    }

    /// Notes that its engine ended by itself, after it was loaded at `since`. The first panic may be one request's: the
    /// next request loads it at once.
    pub(super) fn ended(&mut self, since: Duration, has_panicked: bool, now: Duration) {
        self.current = None;
        self.asked_at = self.is_pinned.then_some(now);
        if has_panicked {
            if now.saturating_sub(since) >= GOOD_LIFE {
                self.failures = 0;
            }
            self.failures = self.failures.saturating_add(1);
            self.retry_at = Some(now + back_off(self.failures - 1));
        }
    }

    /// Whether nothing is lost where it is forgotten.
    pub(super) fn is_forgettable(&self, now: Duration) -> bool {
        // The number of failures in a row outlives the wait: the next failure waits longer.
        let is_well = self.retry_at.is_none_or(|at| now > at + LONGEST);
        let is_wanted = self.is_pinned || self.is_drained || self.asked_at.is_some();
        self.current.is_none() && self.waiting.is_empty() && !is_wanted && is_well
    }
}

/// The state of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It loads, since then.
    Loading(Duration),
    /// It was loaded then.
    Ready(Duration),
    /// It ends. Its memory is not free yet.
    Leaving,
}

/// One life of a model in memory.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) model: Arc<str>,
    pub(super) import: Import,
    pub(super) class: SizeClass,
    pub(super) device: usize,
    pub(super) bytes: u64,
    pub(super) state: State,
    /// Requests that were given to it and have not ended.
    pub(super) running: usize,
    /// When it was last used.
    pub(super) used_at: Duration,
    /// Whether it ends once it is idle.
    pub(super) retires: bool,
    /// Whether it begins nothing new, as another waits for its memory.
    pub(super) yields: bool,
}

impl Instance {
    pub(super) const fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }

    pub(super) const fn is_loading(&self) -> bool {
        matches!(self.state, State::Loading(_))
    }

    pub(super) const fn ready_since(&self) -> Option<Duration> {
        match self.state {
            State::Ready(since) => Some(since),
            State::Loading(_) | State::Leaving => None,
        }
    }

    pub(super) const fn loading_since(&self) -> Option<Duration> {
        match self.state {
            State::Loading(since) => Some(since),
            State::Ready(_) | State::Leaving => None,
        }
    }

    /// Whether a new request runs on it at once.
    pub(super) const fn takes_work(&self) -> bool {
        self.is_ready() && !self.yields
    }
}
