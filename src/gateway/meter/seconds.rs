//! The meter of an open model: each started second of compute at the rate of its class, as long as `max_cost`, the
//! key's limits and, where debt may not arise, the credits pay for another.

use std::time::{Duration, Instant};

use actors::admission::Metered;
use billing::{
    Nanos, meter,
    quantity::{Key, Quantities},
};
use engine::worker::Stop;
use wire::inference::{Failure, Usage};

use super::{Accrual, Step};
use crate::gateway::plan::{Bounds, SLICE_SECONDS, SecondsTerms};

/// When to stop an engine within the last second that is paid for: the next token must not begin in another second.
pub(super) const LAST_SECOND: Duration = Duration::from_millis(900);

/// The meter of one request to an open model.
#[derive(Debug)]
pub(in crate::gateway) struct SecondsMeter {
    terms: SecondsTerms,
    /// The seconds started.
    seconds: u64,
    /// The compute time, once the engine ended well.
    compute_ms: u64,
    /// Whether any output came.
    has_output: bool,
    /// The tokens read and written, once the engine reports them.
    usage: Usage,
    /// When and why the engine must be stopped.
    stop_at: Option<(Instant, Stop)>,
}

impl SecondsMeter {
    pub(super) fn new(terms: SecondsTerms) -> Self {
        Self { terms, seconds: 0, compute_ms: 0, has_output: false, usage: Usage::default(), stop_at: None }
    }

    pub(super) const fn delta(&mut self) {
        self.has_output = true;
    }

    /// Meters and accrues a second that has begun, and decides whether another may follow.
    pub(super) fn second(&mut self, second: u64, bounds: Bounds, now: Instant) -> Step {
        self.seconds = self.seconds.max(second);
        let billed = self.billed(self.seconds, bounds.claimed);
        let metered = Metered::open(self.terms.model.class, billed, self.seconds * 1_000, &self.tokens());
        let cost_of = |seconds| self.terms.cost(seconds);
        let (cost, next) = (cost_of(billed), cost_of(self.seconds.saturating_add(1)));
        let end = now + LAST_SECOND;
        if self.terms.allowed.is_some_and(|allowed| self.seconds >= allowed) {
            self.stop_at = Some((end, Stop::MaxCost));
        } else if bounds.claimed.is_some_and(|claimed| next > claimed) {
            self.stop_at = Some((end, Stop::KeyLimit));
        } else if bounds.overdraft_none && next > bounds.held {
            self.stop_at = Some((end, Stop::Credits));
        }
        let slice = if self.stop_at.is_some() { Nanos::ZERO } else { cost_of(SLICE_SECONDS) };
        Step { metered, accrual: Some(Accrual { cost, slice }) }
    }

    pub(super) const fn counted(&mut self, usage: Usage) {
        self.usage = usage;
    }

    pub(super) const fn finished(&mut self, compute_ms: u64) {
        self.compute_ms = compute_ms;
    }

    pub(super) const fn computed(&self) -> Duration {
        Duration::from_millis(self.compute_ms)
    }

    pub(super) fn due_at(&self) -> Option<Instant> {
        self.stop_at.map(|(at, _)| at)
    }

    pub(super) fn due(&mut self) -> Option<Stop> {
        self.stop_at.take().map(|(_, stop)| stop)
    }

    pub(super) const fn usage(&self) -> Usage {
        self.usage
    }

    /// The tokens read and written. Their price is included in the seconds.
    fn tokens(&self) -> Quantities {
        let Usage { input, cached_input, cache_write: _, output, reasoning } = self.usage;
        let (read, thought) = (cached_input.min(input), reasoning.min(output));
        let parts = [
            (Key::INPUT, input - read),
            (Key::CACHE_READ, read),
            (Key::OUTPUT, output - thought),
            (Key::REASONING, thought),
        ];
        parts.into_iter().collect()
    }

    /// The seconds that are billed of those that began. One beyond the caller's or the key's limit began only because a token took
    /// long.
    fn billed(&self, began: u64, claimed: Option<Nanos>) -> u64 {
        let pays = claimed.map_or(u64::MAX, |claimed| self.terms.model.class.seconds_paid_by(claimed));
        began.min(self.terms.allowed.unwrap_or(u64::MAX)).min(pays)
    }

    /// The charge: nothing if compute never began, the engine failed before any output, or the scores were not finite
    /// numbers; at most the amount that the key's limits pay for.
    pub(super) fn charged(&self, failure: Option<&Failure>, claimed: Option<Nanos>) -> Metered {
        let is_broken = matches!(failure, Some(Failure::NotFinite));
        if self.seconds == 0 || is_broken || (failure.is_some() && !self.has_output) {
            return Metered::NOTHING;
        }
        let counted = if self.compute_ms > 0 { meter::billed_seconds(self.compute_ms) } else { self.seconds };
        let seconds = self.billed(counted, claimed);
        let compute_ms = if self.compute_ms > 0 { self.compute_ms } else { self.seconds * 1_000 };
        Metered::open(self.terms.model.class, seconds, compute_ms, &self.tokens())
    }
}
