//! The line of requests that wait to be admitted: for credits or permits that are being bought, or, where their client
//! asked for it, for a permit or the rate limit. First come, first served: who needs a permit is not overtaken by who needs
//! one too. The line knows no rule; it says who may be tried again, and the actor tries.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use billing::{
    command::{Admit, Refusal, Scale},
    hold::Work,
};
use tokio::sync::oneshot;

use super::{AccountError, Entered};

/// Requests of one account that wait, at most.
pub const LINE: usize = 256;
/// How long a purchase in flight is waited for (design, chapter 2.8).
pub const PURCHASE: Duration = Duration::from_secs(10);

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// Credits.
    Credits,
    /// Permits.
    Permits,
    /// The rate limit, which has room again after so long.
    Rate(Duration),
}

/// A request at the door.
pub(super) struct Visitor {
    pub(super) admit: Admit,
    pub(super) reply: oneshot::Sender<Result<Entered, AccountError>>,
    pub(super) came_at: Instant,
    /// How long its client lets it wait.
    pub(super) max_wait: Duration,
    /// Its place in the line when it joined it.
    pub(super) place: Option<usize>,
}

impl Visitor {
    /// What a refused request may wait for, and until when.
    pub(super) fn waits(&self, refusal: &Refusal) -> Option<(For, Instant)> {
        let patient = |what| (!self.max_wait.is_zero()).then_some((what, self.came_at + self.max_wait));
        let purchase = self.came_at + PURCHASE.max(self.max_wait);
        match refusal {
            Refusal::InsufficientCredits { reload_due: true, .. } => Some((For::Credits, purchase)),
            Refusal::ConcurrencyLimit { scale: Scale::Buying, .. } => Some((For::Permits, purchase)),
            Refusal::ConcurrencyLimit { .. } => patient(For::Permits),
            Refusal::RateLimit { retry_after_ms, .. } => {
                patient(For::Rate(Duration::from_millis(retry_after_ms.unsigned_abs())))
            }
            _ => None,
        }
    }

    /// Whether it would take a permit.
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.admit.work, Work::Open { .. })
    }
}

struct Waiting {
    visitor: Visitor,
    what: For,
    until: Instant,
}

/// The line.
#[derive(Default)]
pub(super) struct Queue(VecDeque<Waiting>);

impl Queue {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether someone waits for a permit.
    pub(super) fn has_permits_wanted(&self) -> bool {
        self.0.iter().any(|waiting| waiting.what == For::Permits)
    }

    /// Joins at the end; given back where the line is full.
    pub(super) fn join(&mut self, mut visitor: Visitor, what: For, until: Instant) -> Result<(), Visitor> {
        if self.0.len() >= LINE {
            return Err(visitor);
        }
        visitor.place.get_or_insert(self.0.len() + 1);
        self.0.push_back(Waiting { visitor, what, until });
        Ok(())
    }

    /// Takes everyone out, in order, to be tried again.
    pub(super) fn call(&mut self) -> Trial {
        Trial { left: std::mem::take(&mut self.0), blocked: Vec::new() }
    }
}

/// The line while its visitors are tried.
pub(super) struct Trial {
    left: VecDeque<Waiting>,
    blocked: Vec<For>,
}

/// The next of a trial.
pub(super) enum Next {
    /// To be tried; refused again, it waits on.
    Try(Visitor),
    /// Its time is up: refused as it would be now.
    Late(Visitor),
}

impl Trial {
    /// The next one to be tried. Those behind one that was refused for the same thing keep their places untried.
    pub(super) fn next(&mut self, line: &mut Queue, now: Instant) -> Option<Next> {
        while let Some(waiting) = self.left.pop_front() {
            if waiting.visitor.reply.is_closed() {
                // Its client has left.
            } else if now >= waiting.until {
                return Some(Next::Late(waiting.visitor));
            } else if self.is_blocked(waiting.what) {
                line.0.push_back(waiting);
            } else {
                return Some(Next::Try(waiting.visitor));
            }
        }
        None
    }

    /// Puts one back that was refused again.
    pub(super) fn keep(&mut self, line: &mut Queue, visitor: Visitor, what: For, until: Instant) {
        self.blocked.push(what);
        line.0.push_back(Waiting { visitor, what, until });
    }

    fn is_blocked(&self, what: For) -> bool {
        self.blocked.iter().any(|blocked| std::mem::discriminant(blocked) == std::mem::discriminant(&what))
    }
}
