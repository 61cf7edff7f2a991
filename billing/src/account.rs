//! An account's state: its grants in draw order, its open holds, its debt and its permits. Only [`crate::decide`]
//! changes it; [`Account::load`] loads it from the ledger's rows.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::{
    automatic::{AutoSettings, AutoState, SpendWindow},
    class::Units,
    grant::{Grant, Source},
    hold::Hold,
    ids::{AccountId, GrantId, IdMap, KeyId, PaymentId, RequestId},
    key::{ApiKey, KeyState},
    learned::Learned,
    nanos::Nanos,
    payment::{Payment, Purpose},
    plan::Plan,
    subscription::{AtEnd, Status, Subscription},
    tier::Tier,
    time::{DAY_MS, FOUR_WEEKS_MS, Timestamp},
};

/// How long before a tier falls the owner is notified, in milliseconds.
pub const TIER_NOTICE_MS: i64 = 3 * DAY_MS;
/// The proofs that an account remembers: more than are asked for while their rows are made.
const PROVEN: usize = 64;

/// The row of an account: its state without grants and holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Header {
    /// The account's plan.
    pub plan: Plan,
    /// When the account was opened.
    pub created_at: Timestamp,
    /// The end of the paid subscription.
    pub subscribed_until: Option<Timestamp>,
    /// The cost of requests beyond the credits. The next grant repays it first.
    pub debt: Nanos,
    /// The sum of all charges, ever.
    pub charged: Nanos,
    /// The last sequence number of the account's journal.
    pub seq: u64,
    /// The time of the last change. Ledger time never runs backwards.
    pub clock: Timestamp,
    /// When the account has work due without a command (expiring credits, a renewal, a notice), abandoned holds
    /// excepted.
    pub wake_at: Option<Timestamp>,
    /// The number of changes of the account's keys, saved cards, webhooks and members, and of its payments' reversals.
    pub revision: u64,
    /// Since when an operator has the account admit no requests; `None` where it does.
    pub frozen_at: Option<Timestamp>,
}

impl Header {
    /// The header of a new account.
    pub const fn new(plan: Plan, created_at: Timestamp) -> Self {
        Self {
            plan,
            created_at,
            subscribed_until: None,
            debt: Nanos::ZERO,
            charged: Nanos::ZERO,
            seq: 0,
            clock: created_at,
            wake_at: None,
            revision: 0,
            frozen_at: None,
        }
    }
}

/// A token bucket for the free plan's limit on closed models: 10 requests a second, 10 at once. It counts thousandths
/// of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    milli: i64,
    refilled_at: Timestamp,
}

/// Requests a second, and at once, for accounts that pay nothing.
pub const FREE_RATE: i64 = 10;

impl Bucket {
    const FULL: Self = Self { milli: FREE_RATE * 1_000, refilled_at: Timestamp(0) };

    /// Takes one request, or returns the wait for the next one in milliseconds. A refusal takes nothing.
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

/// The most credits of an account, pending payments included, and the most purchased in 28 days. The ledger's range
/// ends at $9.2 billion; the rest of it is left for amounts that the rules add.
pub const MOST: Nanos = Nanos::dollars(9_000_000_000);

/// An account's balance as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// Credits that can be held.
    pub available: Nanos,
    /// Credits held by running requests.
    pub held: Nanos,
    /// The account's debt.
    pub debt: Nanos,
    /// The next expiry, and the amount that expires.
    pub next_expiry: Option<(Timestamp, Nanos)>,
    /// Dollars purchased in the last 28 days.
    pub purchased: Nanos,
    /// The tier in force.
    pub tier: Tier,
    /// Permits in use.
    pub units_used: Units,
}

/// What an account does by itself: automatic purchases, and alerts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Automatic {
    /// The owner's settings.
    pub settings: AutoSettings,
    /// The state of the purchases.
    pub state: AutoState,
    /// This month's spending.
    pub window: SpendWindow,
}

impl Automatic {
    /// Whether purchases were ever set or made. Alerts alone are none.
    pub fn is_set(&self) -> bool {
        let purchases = AutoSettings { alerts: None, ..self.settings.clone() };
        purchases != AutoSettings::default() || self.state.begun > 0 || self.state.paused_at.is_some()
    }
}

/// An account as it is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The account's row.
    pub header: Header,
    /// Live grants, in any order.
    pub grants: Vec<Grant>,
    /// Open holds.
    pub holds: Vec<Hold>,
    /// Payments that have not ended.
    pub payments: Vec<Payment>,
    /// The subscription, if there ever was one.
    pub subscription: Option<Subscription>,
    /// The automatic purchases, if they were ever set or made.
    pub automatic: Option<Automatic>,
    /// The keys with limits.
    pub keys: BTreeMap<KeyId, KeyState>,
    /// The usual lengths of answers.
    pub learned: Learned,
}

impl Stored {
    /// A row without grants, holds or anything else.
    pub fn new(header: Header) -> Self {
        Self {
            header,
            grants: Vec::new(),
            holds: Vec::new(),
            payments: Vec::new(),
            subscription: None,
            automatic: None,
            keys: BTreeMap::new(),
            learned: Learned::default(),
        }
    }
}

/// The time at which a tier will fall, and the next tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierFall {
    /// The time.
    pub at: Timestamp,
    /// The tier after the fall.
    pub to: Tier,
}

/// An account's whole state.
#[derive(Debug, Clone)]
pub struct Account {
    /// The account's id.
    pub id: AccountId,
    /// The account's row.
    pub header: Header,
    /// Live grants, in draw order.
    pub(crate) grants: Vec<Grant>,
    /// Open holds.
    pub(crate) holds: IdMap<RequestId, Hold>,
    /// Payments without an answer of the processor.
    pub(crate) payments: BTreeMap<PaymentId, Payment>,
    pub(crate) subscription: Option<Box<Subscription>>,
    pub(crate) automatic: Option<Box<Automatic>>,
    /// Keys with limits.
    pub(crate) keys: BTreeMap<KeyId, KeyState>,
    pub(crate) learned: Learned,
    pub(crate) bucket: Bucket,
    pub(crate) available: Nanos,
    pub(crate) units_used: Units,
    /// The end of the cycle whose free dollar was granted.
    pub(crate) free_until: Timestamp,
    /// The last fall of the tier that the owner was notified of.
    pub(crate) fall_told: Option<Timestamp>,
    /// Nothing is due before this time, abandoned holds excepted.
    pub(crate) due_at: Timestamp,
    /// The requests that were proven last, the newest last. The tables have all of them, but later.
    pub(crate) proven: Vec<RequestId>,
}

impl Account {
    /// Loads an account from its rows.
    ///
    /// # Panics
    ///
    /// If the rows break an invariant: a grant does not add up, the held credits are not those of the open holds, or a
    /// hold occurs twice. The account must not run, and an operator must examine it.
    pub fn load(id: AccountId, stored: Stored) -> Self {
        let Stored { header, mut grants, holds, payments, subscription, automatic, keys, learned } = stored;
        grants.sort_by_key(Grant::draw_order);
        grants.shrink_to_fit();
        grants.iter().for_each(Grant::assert_sound);
        let held: Nanos = grants.iter().map(|grant| grant.held).sum();
        let allocated: Nanos = holds.iter().map(Hold::total).sum();
        assert!(held == allocated, "account {id}: grants hold {held}, open holds {allocated}");
        let available = grants.iter().map(|grant| grant.available).sum();
        let free_until = grants.iter().filter(|grant| is_free_cycle(grant)).map(|grant| grant.expires_at).max();
        let mut account = Self {
            id,
            header,
            grants,
            holds: IdMap::default(),
            payments: payments.into_iter().map(|payment| (payment.id, payment)).collect(),
            subscription: subscription.map(Box::new),
            automatic: automatic.map(Box::new),
            keys,
            learned,
            bucket: Bucket::FULL,
            available,
            units_used: Units::default(),
            free_until: free_until.unwrap_or_default(),
            fall_told: None,
            due_at: Timestamp(0),
            proven: Vec::new(),
        };
        for hold in holds {
            account.insert_hold(hold);
        }
        account
    }

    pub(crate) fn insert_hold(&mut self, hold: Hold) {
        self.units_used.0 += hold.units().0;
        if let Some(key) = hold.key_id.and_then(|id| self.keys.get_mut(&id)) {
            key.hold(hold.claim());
        }
        let replaced = self.holds.insert(hold.request_id, hold);
        assert!(replaced.is_none(), "a request was admitted twice");
    }

    pub(crate) fn remove_hold(&mut self, request_id: RequestId) -> Option<Hold> {
        let hold = self.holds.remove(&request_id)?;
        self.give_back(hold.units());
        if let Some(key) = hold.key_id.and_then(|id| self.keys.get_mut(&id)) {
            key.release(hold.claim());
        }
        Some(hold)
    }

    /// Gives units back that were taken.
    pub(crate) fn give_back(&mut self, units: Units) {
        assert!(self.units_used >= units, "more permits given back than taken");
        self.units_used.0 -= units.0;
    }

    /// Whether a tier has so many units free beside those in use. A request of any class may run alone, whatever its
    /// weight.
    pub(crate) const fn has_units(&self, needed: Units, tier: Tier) -> bool {
        self.units_used.0 == 0 || self.units_used.0 + needed.0 <= tier.units.0
    }

    pub(crate) fn grant_index(&self, id: GrantId) -> Option<usize> {
        self.grants.iter().position(|grant| grant.id == id)
    }

    /// Finds an open hold.
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

    /// Payments without an answer.
    pub fn pending_payments(&self) -> impl Iterator<Item = &Payment> {
        self.payments.values()
    }

    /// Finds a payment without an answer.
    pub fn pending_payment(&self, id: PaymentId) -> Option<&Payment> {
        self.payments.get(&id)
    }

    /// The rate limit's bucket.
    pub const fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// Dollars paid in the last 28 days, less reversals.
    pub fn purchased(&self, now: Timestamp) -> Nanos {
        let in_window = |grant: &&Grant| now < grant.created_at.plus_ms(FOUR_WEEKS_MS);
        self.grants.iter().filter(in_window).map(|grant| grant.paid).sum()
    }

    /// The credits that are not spent: what is available, and what running requests hold.
    pub fn owned(&self) -> Nanos {
        self.available + self.grants.iter().map(|grant| grant.held).sum()
    }

    /// Whether the account has room for more credits of this amount and price.
    pub(crate) fn has_room(&self, amount: Nanos, paid: Nanos, now: Timestamp) -> bool {
        let sum =
            |amounts: &mut dyn Iterator<Item = Nanos>| amounts.map(|amount| i128::from(amount.get())).sum::<i128>();
        let pending = sum(&mut self.payments.values().map(|payment| payment.amount));
        let has = sum(&mut self.grants.iter().flat_map(|grant| [grant.available, grant.held]));
        let bought = self.purchased(now);
        let most = i128::from(MOST.get());
        has + pending + i128::from(amount.get()) <= most
            && i128::from(bought.get()) + pending + i128::from(paid.get()) <= most
    }

    /// Whether a paid subscription runs: it is paid, or its renewal is in flight.
    pub fn is_subscribed(&self, now: Timestamp) -> bool {
        let Some(until) = self.header.subscribed_until else { return false };
        now < until || (self.subscription_status() == Some(Status::Active) && self.is_paying(Purpose::Subscription))
    }

    fn subscription_status(&self) -> Option<Status> {
        self.subscription.as_ref().map(|subscription| subscription.status)
    }

    /// Whether a payment for this purpose is in flight.
    pub fn is_paying(&self, purpose: Purpose) -> bool {
        self.payments.values().any(|payment| payment.purpose == purpose)
    }

    /// Whether an automatic purchase is in flight.
    pub fn is_buying_automatically(&self) -> bool {
        self.payments.values().any(|payment| payment.purpose.is_automatic())
    }

    /// The subscription, if there ever was one.
    pub fn subscription(&self) -> Option<&Subscription> {
        self.subscription.as_deref()
    }

    /// The automatic purchases, if they were ever set or made.
    pub fn automatic(&self) -> Option<&Automatic> {
        self.automatic.as_deref()
    }

    /// Keys with limits, in no order.
    pub fn keys(&self) -> impl Iterator<Item = (KeyId, &KeyState)> {
        self.keys.iter().map(|(id, key)| (*id, key))
    }

    /// Finds a key with limits.
    pub fn key(&self, id: KeyId) -> Option<&KeyState> {
        self.keys.get(&id)
    }

    /// Whether the account is pay-as-you-go: subscribed, or with a purchase in the last 28 days.
    pub fn is_payg(&self, now: Timestamp) -> bool {
        self.is_subscribed(now) || self.purchased(now).is_positive()
    }

    /// The tier in force: an active subscription never falls below $3.
    pub fn tier(&self, now: Timestamp) -> Tier {
        let purchased = self.purchased(now);
        Tier::reached_by(if self.is_subscribed(now) { purchased.max(Nanos::dollars(3)) } else { purchased })
    }

    /// The balance now. Expired credits do not count, even before they are swept.
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

    /// When the tier falls without further purchases, and to which tier. A subscription that renews counts as renewed.
    pub fn tier_fall(&self, now: Timestamp) -> Option<TierFall> {
        let tier = self.tier(now);
        let paid = || self.grants.iter().filter(|grant| grant.paid.is_positive());
        let renews = self.is_subscribed(now) && self.subscription.as_ref().is_none_or(|it| it.at_end == AtEnd::Renew);
        let floor = if renews { Nanos::dollars(3) } else { Nanos::ZERO };
        let ends = self.header.subscribed_until.filter(|until| *until > now);
        let mut steps: Vec<_> = paid().map(|grant| grant.created_at.plus_ms(FOUR_WEEKS_MS)).chain(ends).collect();
        steps.retain(|at| *at > now);
        steps.sort_unstable();
        steps.into_iter().find_map(|at| {
            let left: Nanos = paid().filter(|grant| at < grant.created_at.plus_ms(FOUR_WEEKS_MS)).map(|g| g.paid).sum();
            let floor = if ends.is_some_and(|until| at < until) { Nanos::dollars(3) } else { floor };
            let to = Tier::reached_by(left.max(floor));
            (to.purchased < tier.purchased).then_some(TierFall { at, to })
        })
    }

    /// When work is due without a command, abandoned holds excepted. [`Header::wake_at`] and the sweeper use this time.
    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let lasting =
            |grant: &&Grant| grant.available.is_positive() || (grant.held.is_positive() && !grant.is_expired(now));
        let grants =
            self.grants.iter().filter(lasting).map(|grant| grant.next_notice().unwrap_or(grant.expires_at)).min();
        let free = (self.header.plan == Plan::Free).then(|| self.free_until.max(self.header.created_at));
        let renewal = match &self.subscription {
            Some(_) if self.is_paying(Purpose::Subscription) => None,
            // It is not renewed until it is unfrozen.
            Some(subscription) if self.header.frozen_at.is_some() && subscription.at_end == AtEnd::Renew => None,
            Some(subscription) => subscription.due_at(self.header.subscribed_until),
            None => None,
        };
        let retry = self.automatic.as_ref().and_then(|automatic| automatic.state.retry_at).filter(|at| *at > now);
        let fall = self.tier_fall(now).map(|fall| match self.fall_told {
            Some(told) if told == fall.at => fall.at,
            _ => fall.at.plus_ms(-TIER_NOTICE_MS).max(now),
        });
        [grants, free, renewal, retry, fall].into_iter().flatten().min()
    }

    /// When the account changes without a command, abandoned holds included.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let deadline = self.holds.values().map(|hold| hold.deadline).min();
        self.header.wake_at.into_iter().chain(deadline).min()
    }

    /// The most by which a key's limits let a running request grow; `None` without limits.
    pub(crate) fn room_of(&self, key: Option<KeyId>, now: Timestamp) -> Option<Nanos> {
        self.keys.get(&key?)?.left(now)
    }

    /// Notes that a request was carried out.
    pub(crate) fn prove(&mut self, id: RequestId) {
        if self.proven.len() >= PROVEN {
            self.proven.remove(0);
        }
        self.proven.push(id);
    }

    /// Notes a new key, which has spent nothing.
    pub(crate) fn open_key(&mut self, key: &ApiKey, now: Timestamp) {
        if !key.limits.is_unlimited() {
            self.keys.insert(key.id, KeyState::new(key.limits.clone(), [Nanos::ZERO; 4], now));
        }
    }

    /// Gives a key lines of its own. A key without limits has none.
    pub(crate) fn set_key_alerts(&mut self, id: KeyId, percents: &[u8]) {
        if let Some(key) = self.keys.get_mut(&id) {
            key.set_alerts(percents.to_vec());
        }
    }

    /// Checks invariants 1 and 4, and the cached sums.
    ///
    /// # Panics
    ///
    /// If one of them does not hold. The account stops, and an operator must examine it.
    pub fn assert_sound(&self) {
        self.grants.iter().for_each(Grant::assert_sound);
        let held: Nanos = self.grants.iter().map(|grant| grant.held).sum();
        assert!(held == self.holds.values().map(Hold::total).sum(), "held credits and open holds differ");
        assert!(self.available == self.grants.iter().map(|grant| grant.available).sum(), "available is stale");
        assert!(self.header.debt >= Nanos::ZERO, "debt is negative");
        for (id, key) in &self.keys {
            let claims = self.holds.values().filter(|hold| hold.key_id == Some(*id)).map(Hold::claim).sum();
            assert!(key.held() == claims, "what key {id} holds and its running requests differ");
        }
        assert!(self.grants.windows(2).all(|pair| pair[0].draw_order() < pair[1].draw_order()), "draw order");
        let units: u32 = self.holds.values().map(|hold| hold.units().0).sum();
        assert!(units == self.units_used.0, "permits in use and running requests differ");
        if let Some(automatic) = &self.automatic {
            let SpendWindow { reload_max, spend_max, .. } = automatic.window;
            assert!(automatic.window.reloads() <= reload_max, "auto-reload spent beyond its monthly maximum");
            assert!(automatic.window.all() <= spend_max, "automatic purchases spent beyond their monthly maximum");
        }
    }
}

/// Whether this is the free plan's dollar of a cycle, rather than a grant that an operator made with that source.
pub(crate) fn is_free_cycle(grant: &Grant) -> bool {
    grant.source == Source::Free && grant.source_key.starts_with("cycle ")
}
