//! An account's state: its grants in draw order, its open holds, its debt and its permits. Changed only by
//! [`crate::decide`]; loaded from the ledger's rows by [`Account::load`].

use std::collections::HashMap;

use crate::{
    class::Units,
    entry::Payment,
    grant::Grant,
    hold::{Hold, Work},
    ids::{AccountId, GrantId, PaymentId, RequestId},
    nanos::Nanos,
    plan::Plan,
    tier::Tier,
    time::{FOUR_WEEKS_MS, Timestamp},
};

/// The row of an account: what is not in its grants and holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What it signed up for.
    pub plan: Plan,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when a paid subscription runs.
    pub subscribed_until: Option<Timestamp>,
    /// What running requests cost beyond the credits; the next grant pays it first.
    pub debt: Nanos,
    /// All that was ever charged.
    pub charged: Nanos,
    /// The last sequence number of its journal.
    pub seq: u64,
    /// The time of its last change: ledger time never runs backwards.
    pub clock: Timestamp,
}

impl Header {
    /// A new account's.
    pub const fn new(plan: Plan, created_at: Timestamp) -> Self {
        Self {
            plan,
            created_at,
            subscribed_until: None,
            debt: Nanos::ZERO,
            charged: Nanos::ZERO,
            seq: 0,
            clock: created_at,
        }
    }
}

/// The free plan's limit on closed models: 10 requests a second, 10 at once. Counted in thousandths of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    milli: i64,
    refilled_at: Timestamp,
}

/// Requests a second, and at once, for accounts that pay nothing.
pub const FREE_RATE: i64 = 10;

impl Bucket {
    const FULL: Self = Self { milli: FREE_RATE * 1_000, refilled_at: Timestamp(0) };

    /// Takes one request, or says in how many milliseconds there will be one. A refusal takes nothing.
    pub(crate) fn take(&mut self, now: Timestamp) -> Result<(), i64> {
        let gained = now.ms_since(self.refilled_at).saturating_mul(FREE_RATE);
        self.milli = self.milli.saturating_add(gained).min(FREE_RATE * 1_000);
        self.refilled_at = self.refilled_at.max(now);
        if self.milli < 1_000 {
            return Err((1_000 - self.milli + FREE_RATE - 1) / FREE_RATE);
        }
        self.milli -= 1_000;
        Ok(())
    }

    /// Whole requests left.
    pub const fn remaining(&self) -> i64 {
        self.milli / 1_000
    }
}

/// What an account has, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// Free to be held.
    pub available: Nanos,
    /// Set aside for running requests.
    pub held: Nanos,
    /// Owed.
    pub debt: Nanos,
    /// When the next credits expire, and how much.
    pub next_expiry: Option<(Timestamp, Nanos)>,
    /// Dollars purchased in the last 28 days.
    pub purchased: Nanos,
    /// The tier they reach.
    pub tier: Tier,
    /// Permits in use.
    pub units_used: Units,
}

/// An account's whole state.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Its row.
    pub header: Header,
    /// Live grants, in draw order.
    pub(crate) grants: Vec<Grant>,
    /// Open holds.
    pub(crate) holds: HashMap<RequestId, Hold>,
    /// Payments the card network has not answered.
    pub(crate) payments: HashMap<PaymentId, Payment>,
    pub(crate) bucket: Bucket,
    pub(crate) available: Nanos,
    pub(crate) units_used: Units,
}

impl Account {
    /// An account from its rows. `grants` may come in any order.
    pub fn load(
        id: AccountId,
        header: Header,
        mut grants: Vec<Grant>,
        holds: Vec<Hold>,
        payments: Vec<Payment>,
    ) -> Self {
        grants.sort_by_key(Grant::draw_order);
        grants.shrink_to_fit();
        grants.iter().for_each(Grant::assert_sound);
        let held: Nanos = grants.iter().map(|grant| grant.held).sum();
        let allocated: Nanos = holds.iter().map(Hold::total).sum();
        assert!(held == allocated, "account {id}: grants hold {held}, open holds {allocated}");
        let available = grants.iter().map(|grant| grant.available).sum();
        let mut account = Self {
            id,
            header,
            grants,
            holds: HashMap::new(),
            payments: payments.into_iter().map(|payment| (payment.id, payment)).collect(),
            bucket: Bucket::FULL,
            available,
            units_used: Units::default(),
        };
        for hold in holds {
            account.insert_hold(hold);
        }
        account
    }

    pub(crate) fn insert_hold(&mut self, hold: Hold) {
        if let Work::Open { units, .. } = hold.work {
            self.units_used.0 += units.0;
        }
        let replaced = self.holds.insert(hold.request_id, hold);
        assert!(replaced.is_none(), "a request was admitted twice");
    }

    pub(crate) fn remove_hold(&mut self, request_id: RequestId) -> Option<Hold> {
        let hold = self.holds.remove(&request_id)?;
        if let Work::Open { units, .. } = hold.work {
            assert!(self.units_used >= units, "more permits given back than taken");
            self.units_used.0 -= units.0;
        }
        Some(hold)
    }

    pub(crate) fn grant_index(&self, id: GrantId) -> Option<usize> {
        self.grants.iter().position(|grant| grant.id == id)
    }

    /// An open hold.
    pub fn hold(&self, request_id: RequestId) -> Option<&Hold> {
        self.holds.get(&request_id)
    }

    /// Open holds, in no order.
    pub fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.holds.values()
    }

    /// Live grants, in draw order.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Payments not answered yet.
    pub fn pending_payments(&self) -> impl Iterator<Item = &Payment> {
        self.payments.values()
    }

    /// A payment not answered yet.
    pub fn pending_payment(&self, id: PaymentId) -> Option<&Payment> {
        self.payments.get(&id)
    }

    /// The free plan's bucket.
    pub const fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// Dollars paid in the last 28 days, less reversals.
    pub fn purchased(&self, now: Timestamp) -> Nanos {
        let in_window = |grant: &&Grant| now < grant.created_at.plus_ms(FOUR_WEEKS_MS);
        self.grants.iter().filter(in_window).map(|grant| grant.paid).sum()
    }

    /// Whether a paid subscription runs.
    pub fn is_subscribed(&self, now: Timestamp) -> bool {
        self.header.subscribed_until.is_some_and(|until| now < until)
    }

    /// Pay-as-you-go: subscribed, or anything purchased in the last 28 days.
    pub fn is_payg(&self, now: Timestamp) -> bool {
        self.is_subscribed(now) || self.purchased(now).is_positive()
    }

    /// The tier in force: an active subscription never falls below $3.
    pub fn tier(&self, now: Timestamp) -> Tier {
        let purchased = self.purchased(now);
        Tier::reached_by(if self.is_subscribed(now) { purchased.max(Nanos::dollars(3)) } else { purchased })
    }

    /// What it has now. Credits past their expiry are not counted, even before they are swept.
    pub fn balance(&self, now: Timestamp) -> Balance {
        let usable = || self.grants.iter().filter(|grant| !grant.is_expired(now) && grant.available.is_positive());
        let next_at = usable().map(|grant| grant.expires_at).min();
        Balance {
            available: usable().map(|grant| grant.available).sum(),
            held: self.grants.iter().map(|grant| grant.held).sum(),
            debt: self.header.debt,
            next_expiry: next_at
                .map(|at| (at, usable().filter(|grant| grant.expires_at == at).map(|grant| grant.available).sum())),
            purchased: self.purchased(now),
            tier: self.tier(now),
            units_used: self.units_used,
        }
    }

    /// When something here changes by itself: the next expiry or abandoned hold.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let expiry =
            self.grants.iter().filter(|grant| grant.available.is_positive()).map(|grant| grant.expires_at).min();
        let deadline = self.holds.values().map(|hold| hold.deadline).min();
        expiry.into_iter().chain(deadline).min()
    }

    /// Invariants 1, 4 and the caches. Panics where one does not hold.
    pub fn assert_sound(&self) {
        self.grants.iter().for_each(Grant::assert_sound);
        let held: Nanos = self.grants.iter().map(|grant| grant.held).sum();
        assert!(held == self.holds.values().map(Hold::total).sum(), "held credits and open holds differ");
        assert!(self.available == self.grants.iter().map(|grant| grant.available).sum(), "available is stale");
        assert!(self.header.debt >= Nanos::ZERO, "debt is negative");
        assert!(self.grants.windows(2).all(|pair| pair[0].draw_order() < pair[1].draw_order()), "draw order");
        let units: u32 =
            self.holds.values().map(|hold| if let Work::Open { units, .. } = hold.work { units.0 } else { 0 }).sum();
        assert!(units == self.units_used.0, "permits in use and running requests differ");
    }
}
