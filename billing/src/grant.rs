//! Grants: credits from one source, with an amount and an expiry. Invariant 1 (funded = available + held + spent +
//! expired + voided, and none is negative) is checked by [`Grant::assert_sound`] after every change.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    ids::GrantId,
    nanos::Nanos,
    time::{DAY_MS, FOUR_WEEKS_MS, Timestamp},
};

/// The days before expiry on which the owner is notified.
pub const NOTICE_DAYS: [i64; 3] = [7, 3, 1];

/// The source of credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A purchase by hand.
    Purchase,
    /// An auto-reload.
    AutoReload,
    /// A purchase of permits (autoScale).
    AutoScale,
    /// A cycle of a plan.
    Plan,
    /// The free plan's dollar.
    Free,
    /// A promotion.
    Promo,
    /// A gift of an operator.
    Goodwill,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 7] =
        [Self::Purchase, Self::AutoReload, Self::AutoScale, Self::Plan, Self::Free, Self::Promo, Self::Goodwill];

    /// Whether the credits were paid for. Paid credits are drawn after granted ones of the same expiry.
    pub const fn is_paid(self) -> bool {
        match self {
            Self::Purchase | Self::AutoReload | Self::AutoScale => true,
            Self::Plan | Self::Free | Self::Promo | Self::Goodwill => false,
        }
    }

    /// The source's name: `auto_reload`.
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

    /// Finds a source by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.name() == name)
    }
}

/// The credits that refunds and disputes of the payment took from the grant, by the bucket they were in. The total
/// equals the reversals in force.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Taken {
    /// Taken from available credits: voided.
    pub unused: Nanos,
    /// Already lost: expired, or voided by an operator.
    pub gone: Nanos,
    /// Held by running requests: taken when those end.
    pub held: Nanos,
    /// Already spent: became debt.
    pub spent: Nanos,
}

impl Taken {
    /// The sum of all four.
    pub fn total(&self) -> Nanos {
        self.unused + self.gone + self.held + self.spent
    }
}

/// Credits from one source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// The grant's id.
    pub id: GrantId,
    /// The source of the credits.
    pub source: Source,
    /// The unique key of the grant among those of its source: the payment's id, or the start of the cycle.
    pub source_key: Arc<str>,
    /// The money paid for the grant, less reversals. It counts for tiers.
    pub paid: Nanos,
    /// When the grant was made.
    pub created_at: Timestamp,
    /// The expiry: from this time on the grant can't be drawn.
    pub expires_at: Timestamp,
    /// The amount of the grant.
    pub funded: Nanos,
    /// Credits that can be held.
    pub available: Nanos,
    /// Credits held by running requests.
    pub held: Nanos,
    /// Credits charged.
    pub spent: Nanos,
    /// Credits that expired.
    pub expired: Nanos,
    /// Credits that were taken back.
    pub voided: Nanos,
    /// Held credits that were taken back. They are voided when their hold ends.
    pub recall: Nanos,
    /// Credits taken by refunds and disputes of the payment.
    pub taken: Taken,
    /// The number of [`NOTICE_DAYS`] that have passed.
    pub notices: u8,
}

impl Grant {
    /// Whether the grant has expired.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.expires_at
    }

    /// Whether the grant still matters: it has not expired, credits are left or held, or its purchase counts for the
    /// tier.
    pub fn is_live(&self, now: Timestamp) -> bool {
        let counts = self.paid.is_positive() && now < self.created_at.plus_ms(FOUR_WEEKS_MS);
        !self.is_expired(now) || self.available.is_positive() || self.held.is_positive() || counts
    }

    /// The time of the next notice of expiry, if there is one. The free plan's dollar has none, because the next cycle
    /// replaces it.
    pub fn next_notice(&self) -> Option<Timestamp> {
        let days = NOTICE_DAYS.get(usize::from(self.notices)).filter(|_| self.source != Source::Free)?;
        Some(self.expires_at.plus_ms(-days * DAY_MS))
    }

    /// Advances past the notices that are due, and returns the number of days of the last one.
    pub(crate) fn pass_notices(&mut self, now: Timestamp) -> Option<i64> {
        let mut passed = None;
        while self.next_notice().is_some_and(|at| at <= now) {
            passed = NOTICE_DAYS.get(usize::from(self.notices)).copied();
            self.notices += 1;
        }
        passed
    }

    /// The key of the draw order: soonest expiry, granted before paid, oldest, id.
    pub fn draw_order(&self) -> (Timestamp, bool, Timestamp, GrantId) {
        (self.expires_at, self.source.is_paid(), self.created_at, self.id)
    }

    /// Credits lost for other reasons than refunds and disputes, or that will be when requests end.
    pub(crate) fn gone(&self) -> Nanos {
        self.expired + (self.voided - self.taken.unused - self.taken.spent) + (self.recall - self.taken.held)
    }

    /// Checks invariant 1.
    ///
    /// # Panics
    ///
    /// If the invariant does not hold. The account stops, and an operator must examine it.
    pub fn assert_sound(&self) {
        let fault = self.fault();
        assert!(fault.is_none(), "grant {} {}: {self:?}", self.id, fault.unwrap_or_default());
    }

    /// How the grant breaks invariant 1, if it does.
    pub fn fault(&self) -> Option<&'static str> {
        let buckets = [self.available, self.held, self.spent, self.expired, self.voided];
        if buckets.iter().any(|bucket| *bucket < Nanos::ZERO) {
            return Some("has a negative bucket");
        }
        if buckets.into_iter().sum::<Nanos>() != self.funded {
            return Some("does not add up");
        }
        if self.recall < Nanos::ZERO || self.recall > self.held {
            return Some("is to give back what it does not hold");
        }
        let Taken { unused, gone, held, spent } = self.taken;
        let is_taken = [unused, gone, held, spent].iter().all(|part| *part >= Nanos::ZERO)
            && held <= self.recall
            && unused + spent <= self.voided
            && gone <= self.gone();
        (!is_taken).then_some("gave more than it had")
    }
}
