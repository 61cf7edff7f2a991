//! What a running request costs: a provider's model by its usage, a model of ours by its started seconds. The request's task
//! tells its [`Meter`] what happens, and learns what is charged if it died now, what its account is told, and in the end what
//! is charged (design, chapter 2.5). Pure: no I/O, no clock; time and what the account has set aside are passed in.

pub mod report;
mod seconds;
#[cfg(test)]
mod tests;
mod usage;

use std::time::Instant;

use actors::admission::Metered;
use billing::{
    Nanos,
    price::Parts,
    quantity::{Direction, Key},
};
use engine::worker::Stop;
use wire::{
    inference::{Delta, Failure, Usage},
    usage::Report,
};

use super::plan::{Bounds, Target};
use seconds::SecondsMeter;
use usage::UsageMeter;

/// The meter of one request.
#[derive(Debug)]
pub(super) enum Meter {
    /// A closed model's.
    Usage(UsageMeter),
    /// An open one's.
    Seconds(SecondsMeter),
}

/// What something that happened means for the money.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    /// What is charged if the task dies now.
    pub(super) metered: Metered,
    /// What the account and whoever watches are told, where it is time to.
    pub(super) accrual: Option<Accrual>,
}

/// The cost so far, for the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accrual {
    /// What it costs so far.
    pub(super) cost: Nanos,
    /// How much more than that shall be held.
    pub(super) slice: Nanos,
}

impl Meter {
    /// The meter of a request that runs by this plan since `began`.
    pub(super) fn new(target: Target, began: Instant) -> Self {
        match target {
            Target::Closed(terms) => Self::Usage(UsageMeter::new(terms, began)),
            Target::Open(terms) => Self::Seconds(SecondsMeter::new(terms)),
        }
    }

    /// A piece of the answer came.
    pub(super) fn delta(&mut self, delta: &Delta, held: Nanos, now: Instant) -> Option<Step> {
        match self {
            Self::Usage(meter) => Some(meter.delta(delta, held, now)),
            Self::Seconds(meter) => {
                meter.delta();
                None
            }
        }
    }

    /// So many seconds of compute were started.
    pub(super) fn second(&mut self, second: u64, bounds: Bounds, now: Instant) -> Option<Step> {
        match self {
            Self::Usage(_) => None,
            Self::Seconds(meter) => Some(meter.second(second, bounds, now)),
        }
    }

    /// A provider reported usage. Whether all of it is believed.
    pub(super) fn reported(&mut self, report: Report) -> bool {
        match self {
            Self::Usage(meter) => meter.reported(report),
            Self::Seconds(_) => true,
        }
    }

    /// An engine said what it read and wrote.
    pub(super) fn counted(&mut self, usage: Usage) {
        match self {
            Self::Usage(_) => {}
            Self::Seconds(meter) => meter.counted(usage),
        }
    }

    /// It ended well, after so much compute.
    pub(super) fn finished(&mut self, compute_ms: u64) {
        match self {
            Self::Usage(_) => {}
            Self::Seconds(meter) => meter.finished(compute_ms),
        }
    }

    /// When what runs must be stopped, if it must: [`Meter::due`] is asked then.
    pub(super) fn due_at(&self) -> Option<Instant> {
        match self {
            Self::Usage(_) => None,
            Self::Seconds(meter) => meter.due_at(),
        }
    }

    /// What runs must be stopped now, and why.
    pub(super) fn due(&mut self) -> Option<Stop> {
        match self {
            Self::Usage(_) => None,
            Self::Seconds(meter) => meter.due(),
        }
    }

    /// What is charged in the end, by how it ended. Where debt may not arise, at most the hold.
    pub(super) fn charged(&self, failure: Option<&Failure>, bounds: Bounds) -> Metered {
        let mut metered = match self {
            Self::Usage(meter) => meter.charged(failure, bounds.held),
            Self::Seconds(meter) => meter.charged(failure, bounds.claimed),
        };
        if bounds.overdraft_none {
            metered.cost = metered.cost.at_most(bounds.held);
        }
        metered
    }

    /// What was charged at the rate of something else, for want of its own.
    pub(super) fn unpriced(&self, metered: &Metered) -> Option<Key> {
        match self {
            Self::Usage(meter) => meter.unpriced(&metered.quantities),
            Self::Seconds(_) => None,
        }
    }

    /// What its client is told that it read and wrote, where that was charged.
    pub(super) fn told(&self, charged: &Parts) -> Usage {
        match self {
            Self::Usage(_) => Usage {
                input: charged.tokens(Direction::Input),
                cached_input: charged.cache_read(),
                output: charged.tokens(Direction::Output),
                reasoning: charged.reasoning(),
            },
            Self::Seconds(meter) => meter.usage(),
        }
    }

    /// The provider's own usage object, where it sent one that is believed and is of all of the answer. Taken once.
    pub(super) fn take_own(&mut self) -> Option<Box<str>> {
        match self {
            Self::Usage(meter) => meter.take_own(),
            Self::Seconds(_) => None,
        }
    }
}
