//! The cost of a running request: a provider's model by its usage, our own model by its started seconds. The request's
//! task reports events to its [`Meter`], and learns the charge if the task died now, the accrual to report to the
//! account, and in the end the final charge (design, chapter 2.5). Pure: no I/O, no clock; time and the amount held are
//! passed in.

mod again;
pub mod report;
mod seconds;
#[cfg(test)]
mod tests;
mod usage;

use std::time::{Duration, Instant};

use actors::admission::Metered;
use billing::{
    Nanos,
    price::Parts,
    quantity::{Direction, Key, Kind},
};
use engine::worker::Stop;
use wire::{
    inference::{Delta, Failure, Usage},
    usage::Report,
};

use super::plan::{Bounds, Target};
use again::AgainMeter;
use seconds::SecondsMeter;
use usage::UsageMeter;

/// The meter of one request.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one a request, within its task, which is boxed")]
pub(super) enum Meter {
    /// The meter of a closed model.
    Usage(UsageMeter),
    /// The meter of an open model.
    Seconds(SecondsMeter),
    /// The meter of an answer that is given again.
    Again(AgainMeter),
}

/// The effect of an event on the money.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    /// The charge if the task dies now.
    pub(super) metered: Metered,
    /// The accrual for the account and for watchers, if one is due.
    pub(super) accrual: Option<Accrual>,
}

/// The cost so far, to be reported to the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accrual {
    /// The cost so far.
    pub(super) cost: Nanos,
    /// The amount to hold beyond the cost so far.
    pub(super) slice: Nanos,
}

impl Meter {
    /// The meter of a request to this target that runs since `began`.
    pub(super) fn new(target: Target, began: Instant) -> Self {
        match target {
            Target::Closed(terms) => Self::Usage(UsageMeter::new(terms, began)),
            Target::Open(terms) => Self::Seconds(SecondsMeter::new(terms)),
        }
    }

    /// The meter of an answer that is given again.
    pub(super) fn again() -> Self {
        Self::Again(AgainMeter::default())
    }

    /// Meters a delta of the answer.
    pub(super) fn delta(&mut self, delta: &Delta, held: Nanos, now: Instant) -> Option<Step> {
        match self {
            Self::Usage(meter) => Some(meter.delta(delta, held, now)),
            Self::Seconds(meter) => {
                meter.delta();
                None
            }
            Self::Again(_) => None,
        }
    }

    /// Meters the start of this second of compute.
    pub(super) fn second(&mut self, second: u64, bounds: Bounds, now: Instant) -> Option<Step> {
        match self {
            Self::Usage(_) | Self::Again(_) => None,
            Self::Seconds(meter) => Some(meter.second(second, bounds, now)),
        }
    }

    /// Takes a provider's report of usage. Returns whether all of it is plausible.
    pub(super) fn reported(&mut self, report: Report) -> bool {
        match self {
            Self::Usage(meter) => meter.reported(report),
            Self::Seconds(_) => true,
            Self::Again(meter) => {
                meter.reported(report);
                true
            }
        }
    }

    /// Whether what the provider may still report changes the charge.
    pub(super) fn learns(&self) -> bool {
        match self {
            Self::Usage(meter) => meter.learns(),
            Self::Seconds(_) | Self::Again(_) => false,
        }
    }

    /// Whether the provider reported any usage.
    pub(super) const fn is_told(&self) -> bool {
        match self {
            Self::Usage(meter) => meter.is_told(),
            Self::Seconds(_) | Self::Again(_) => false,
        }
    }

    /// Takes an engine's counts of tokens.
    pub(super) fn counted(&mut self, usage: Usage) {
        match self {
            Self::Usage(_) => {}
            Self::Seconds(meter) => meter.counted(usage),
            Self::Again(meter) => meter.counted(usage),
        }
    }

    /// Takes the compute time of an engine that ended well.
    pub(super) fn finished(&mut self, compute_ms: u64) {
        match self {
            Self::Usage(_) | Self::Again(_) => {}
            Self::Seconds(meter) => meter.finished(compute_ms),
        }
    }

    /// The time that an engine has computed, as far as it has told.
    pub(super) fn computed(&self) -> Duration {
        match self {
            Self::Usage(_) | Self::Again(_) => Duration::ZERO,
            Self::Seconds(meter) => meter.computed(),
        }
    }

    /// When the engine must be stopped, if ever. [`Meter::due`] is called at that time.
    pub(super) fn due_at(&self) -> Option<Instant> {
        match self {
            Self::Usage(_) | Self::Again(_) => None,
            Self::Seconds(meter) => meter.due_at(),
        }
    }

    /// Why the engine must be stopped now.
    pub(super) fn due(&mut self) -> Option<Stop> {
        match self {
            Self::Usage(_) | Self::Again(_) => None,
            Self::Seconds(meter) => meter.due(),
        }
    }

    /// The final use, by how the request ended. It may cost more than the hold.
    pub(super) fn used(&self, failure: Option<&Failure>, bounds: Bounds) -> Metered {
        match self {
            Self::Usage(meter) => meter.charged(failure, bounds.held),
            Self::Seconds(meter) => meter.charged(failure, bounds.claimed),
            Self::Again(_) => Metered::NOTHING,
        }
    }

    /// Bounds the cost of a final use: where debt may not arise, to the hold.
    pub(super) fn bound(used: &mut Metered, bounds: Bounds) {
        if bounds.overdraft_none {
            used.cost = used.cost.at_most(bounds.held);
        }
    }

    /// The first quantity charged at the rate of another one, because it has none.
    pub(super) fn unpriced(&self, metered: &Metered) -> Option<Key> {
        match self {
            Self::Usage(meter) => meter.unpriced(&metered.quantities),
            Self::Seconds(_) | Self::Again(_) => None,
        }
    }

    /// The usage reported to the client: the quantities charged, or an engine's counts.
    pub(super) fn told(&self, charged: &Parts) -> Usage {
        match self {
            Self::Usage(_) => Usage {
                input: charged.tokens(Direction::Input),
                cached_input: charged.cache_read(),
                cache_write: charged.cache_write(),
                output: charged.tokens(Direction::Output),
                reasoning: charged.reasoning(),
            },
            Self::Seconds(meter) => meter.usage(),
            Self::Again(meter) => meter.usage(),
        }
    }

    /// The units of search reported to the client.
    pub(super) fn search_units(&self, charged: &Parts) -> u64 {
        match self {
            Self::Usage(_) | Self::Seconds(_) => charged.sum(|key| key.kind == Kind::SearchUnits),
            Self::Again(meter) => meter.search_units(),
        }
    }

    /// The provider's own usage object, if it is plausible and covers the whole answer. Taken once.
    pub(super) fn take_own(&mut self) -> Option<Box<str>> {
        match self {
            Self::Usage(meter) => meter.take_own(),
            Self::Seconds(_) => None,
            Self::Again(meter) => meter.take_own(),
        }
    }
}
