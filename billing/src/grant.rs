//! Grants: credits from one source, with an amount and an expiry. Invariant 1 (funded = available + held + spent +
//! expired + voided, each not negative) is checked by [`Grant::assert_sound`] after every change.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    ids::GrantId,
    nanos::Nanos,
    time::{DAY_MS, FOUR_WEEKS_MS, Timestamp},
};

/// How many days before they expire an owner is told of credits.
pub const NOTICE_DAYS: [i64; 3] = [7, 3, 1];

/// Where credits came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Bought by hand.
    Purchase,
    /// Bought by auto-reload.
    AutoReload,
    /// Bought to run more at once.
    AutoScale,
    /// A plan's cycle.
    Plan,
    /// The free plan's dollar.
    Free,
    /// A promotion.
    Promo,
    /// An operator's kindness.
    Goodwill,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 7] =
        [Self::Purchase, Self::AutoReload, Self::AutoScale, Self::Plan, Self::Free, Self::Promo, Self::Goodwill];

    /// Paid credits are drawn after granted ones of the same expiry.
    pub const fn is_paid(self) -> bool {
        match self {
            Self::Purchase | Self::AutoReload | Self::AutoScale => true,
            Self::Plan | Self::Free | Self::Promo | Self::Goodwill => false,
        }
    }

    /// Its name: `auto_reload`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Purchase => "purchase",
            Self::AutoReload => "auto_reload",
            Self::AutoScale => "auto_scale",
            Self::Plan => "plan",
            Self::Free => "free",
            Self::Promo => "promo",
            Self::Goodwill => "goodwill",
        }
    }

    /// The source of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.name() == name)
    }
}

/// What refunds and disputes of a grant's payment took of it, by what it was then. Together it is what stands of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// Was left: voided.
    pub unused: Nanos,
    /// Was gone already: expired, or voided by an operator.
    pub gone: Nanos,
    /// Is held by running requests: recalled as they end.
    pub held: Nanos,
    /// Was spent: owed again.
    pub spent: Nanos,
}

impl Taken {
    /// All of it.
    pub fn total(&self) -> Nanos {
        self.unused + self.gone + self.held + self.spent
    }
}

/// Credits from one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// Where it came from.
    pub source: Source,
    /// What makes it unique: the payment's id, or the cycle's start. Two grants never share one.
    pub source_key: Arc<str>,
    /// Money paid for it, less reversals: what counts for tiers.
    pub paid: Nanos,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it can't be drawn.
    pub expires_at: Timestamp,
    /// Its amount.
    pub funded: Nanos,
    /// Free to be held.
    pub available: Nanos,
    /// Set aside for running requests.
    pub held: Nanos,
    /// Charged.
    pub spent: Nanos,
    /// Lost to time.
    pub expired: Nanos,
    /// Taken back.
    pub voided: Nanos,
    /// What was taken back while it was held: taken when its hold ends.
    pub recall: Nanos,
    /// What refunds and disputes of its payment took.
    pub taken: Taken,
    /// How many of [`NOTICE_DAYS`] have passed.
    pub notices: u8,
}

impl Grant {
    /// Whether it can't be drawn any more.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.expires_at
    }

    /// Whether it still matters to its account's rules: something is left or held, or it counts for the tier.
    pub fn is_live(&self, now: Timestamp) -> bool {
        let counts = self.paid.is_positive() && now < self.created_at.plus_ms(FOUR_WEEKS_MS);
        !self.is_expired(now) || self.available.is_positive() || self.held.is_positive() || counts
    }

    /// When its owner is to be told that it expires, if that is still to come. The free plan's dollar is replaced: nothing
    /// to tell.
    pub fn next_notice(&self) -> Option<Timestamp> {
        let days = NOTICE_DAYS.get(usize::from(self.notices)).filter(|_| self.source != Source::Free)?;
        Some(self.expires_at.plus_ms(-days * DAY_MS))
    }

    /// Lets the notices pass that are due; how many days the last of them speaks of.
    pub(crate) fn pass_notices(&mut self, now: Timestamp) -> Option<i64> {
        let mut passed = None;
        while self.next_notice().is_some_and(|at| at <= now) {
            passed = NOTICE_DAYS.get(usize::from(self.notices)).copied();
            self.notices += 1;
        }
        passed
    }

    /// Where it stands in the draw order: soonest expiry, granted before paid, oldest, id.
    pub fn draw_order(&self) -> (Timestamp, bool, Timestamp, GrantId) {
        (self.expires_at, self.source.is_paid(), self.created_at, self.id)
    }

    /// What of it was lost otherwise than by refunds and disputes, or will be when requests end.
    pub(crate) fn gone(&self) -> Nanos {
        self.expired + (self.voided - self.taken.unused - self.taken.spent) + (self.recall - self.taken.held)
    }

    /// Invariant 1. Panics where it does not hold: the account stops and is looked at.
    pub fn assert_sound(&self) {
        let buckets = [self.available, self.held, self.spent, self.expired, self.voided];
        assert!(
            buckets.iter().all(|bucket| *bucket >= Nanos::ZERO),
            "a bucket of grant {} is negative: {self:?}",
            self.id
        );
        assert!(buckets.into_iter().sum::<Nanos>() == self.funded, "grant {} does not add up: {self:?}", self.id);
        let recallable = self.recall >= Nanos::ZERO && self.recall <= self.held;
        assert!(recallable, "grant {} is to give back what it does not hold: {self:?}", self.id);
        let Taken { unused, gone, held, spent } = self.taken;
        let is_taken = [unused, gone, held, spent].iter().all(|part| *part >= Nanos::ZERO)
            && held <= self.recall
            && unused + spent <= self.voided
            && gone <= self.gone();
        assert!(is_taken, "more was taken of grant {} than it had: {self:?}", self.id);
    }
}
