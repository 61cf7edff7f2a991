//! An account's state: its grants in draw order, its open holds, its debt and its permits. Changed only by
//! [`crate::decide`]; loaded from the ledger's rows by [`Account::load`].

use std::collections::{BTreeMap, HashMap};

use crate::{
    automatic::{AutoSettings, AutoState, SpendWindow},
    class::Units,
    grant::{Grant, Source},
    hold::{Hold, Work},
    ids::{AccountId, GrantId, KeyId, PaymentId, RequestId},
    key::{KeyLimits, KeyState},
    learned::Learned,
    nanos::Nanos,
    payment::{Payment, Purpose},
    plan::Plan,
    subscription::{Status, Subscription},
    tier::Tier,
    time::{DAY_MS, FOUR_WEEKS_MS, Timestamp},
};

/// How long before a tier falls its owner is told.
pub const TIER_NOTICE_MS: i64 = 3 * DAY_MS;

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
    /// When something of it is due by itself, holds apart: credits that expire, a renewal, a notice.
    pub wake_at: Option<Timestamp>,
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
            wake_at: None,
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

/// The most an account may have, what its pending payments will bring included, and the most it may have bought in 28 days.
/// The ledger's numbers end at $9.2 billion; what is left to them is for what the rules add by themselves.
pub const MOST: Nanos = Nanos::dollars(9_000_000_000);

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

/// How an account buys by itself, and what that has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Automatic {
    /// What its owner set.
    pub settings: AutoSettings,
    /// How it fares.
    pub state: AutoState,
    /// This month's spending.
    pub window: SpendWindow,
}

/// An account as it is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its row.
    pub header: Header,
    /// Live grants, in any order.
    pub grants: Vec<Grant>,
    /// Open holds.
    pub holds: Vec<Hold>,
    /// Payments that have not ended.
    pub payments: Vec<Payment>,
    /// Its subscription, if it ever had one.
    pub subscription: Option<Subscription>,
    /// Its automatic purchases, if it ever set or made one.
    pub automatic: Option<Automatic>,
    /// Its limited keys.
    pub keys: BTreeMap<KeyId, KeyState>,
    /// How long answers were.
    pub learned: Learned,
}

impl Stored {
    /// A row and nothing else.
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

/// When a tier will fall, and to which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierFall {
    /// When.
    pub at: Timestamp,
    /// To which.
    pub to: Tier,
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
    pub(crate) payments: BTreeMap<PaymentId, Payment>,
    pub(crate) subscription: Option<Box<Subscription>>,
    pub(crate) automatic: Option<Box<Automatic>>,
    /// Keys with limits.
    pub(crate) keys: BTreeMap<KeyId, KeyState>,
    pub(crate) learned: Learned,
    pub(crate) bucket: Bucket,
    pub(crate) available: Nanos,
    pub(crate) units_used: Units,
    /// Until when the free plan's dollar of this cycle lasts.
    pub(crate) free_until: Timestamp,
    /// The fall of the tier that was told of last.
    pub(crate) fall_told: Option<Timestamp>,
    /// Nothing is due before this, holds apart.
    pub(crate) due_at: Timestamp,
}

impl Account {
    /// An account from its rows.
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
            holds: HashMap::new(),
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
        if let Some(key) = hold.key_id.and_then(|id| self.keys.get_mut(&id)) {
            key.hold(hold.claim());
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
        if let Some(key) = hold.key_id.and_then(|id| self.keys.get_mut(&id)) {
            key.release(hold.claim());
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

    /// Whether an account may have so much more, for which so much is paid.
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

    /// Whether a paid subscription runs: paid, or its renewal is being paid.
    pub fn is_subscribed(&self, now: Timestamp) -> bool {
        let Some(until) = self.header.subscribed_until else { return false };
        now < until || (self.subscription_status() == Some(Status::Active) && self.is_paying(Purpose::Subscription))
    }

    fn subscription_status(&self) -> Option<Status> {
        self.subscription.as_ref().map(|subscription| subscription.status)
    }

    /// Whether a payment of this kind is in flight.
    pub fn is_paying(&self, purpose: Purpose) -> bool {
        self.payments.values().any(|payment| payment.purpose == purpose)
    }

    /// Whether a purchase that nobody clicked for is in flight.
    pub fn is_buying_automatically(&self) -> bool {
        self.payments.values().any(|payment| payment.purpose.is_automatic())
    }

    /// Its subscription, if it ever had one.
    pub fn subscription(&self) -> Option<&Subscription> {
        self.subscription.as_deref()
    }

    /// Its automatic purchases, if it ever set or made one.
    pub fn automatic(&self) -> Option<&Automatic> {
        self.automatic.as_deref()
    }

    /// Keys with limits, in no order.
    pub fn keys(&self) -> impl Iterator<Item = (KeyId, &KeyState)> {
        self.keys.iter().map(|(id, key)| (*id, key))
    }

    /// A limited key.
    pub fn key(&self, id: KeyId) -> Option<&KeyState> {
        self.keys.get(&id)
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

    /// When the tier falls unless more is bought, and to which. A subscription that renews is taken to be renewed.
    pub fn tier_fall(&self, now: Timestamp) -> Option<TierFall> {
        let tier = self.tier(now);
        let paid = || self.grants.iter().filter(|grant| grant.paid.is_positive());
        let renews = self.is_subscribed(now)
            && self.subscription.as_ref().is_none_or(|it| it.at_end == crate::subscription::AtEnd::Renew);
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

    /// When something is due by itself, holds apart: what [`Header::wake_at`] and the sweeper go by.
    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let lasting =
            |grant: &&Grant| grant.available.is_positive() || (grant.held.is_positive() && !grant.is_expired(now));
        let grants =
            self.grants.iter().filter(lasting).map(|grant| grant.next_notice().unwrap_or(grant.expires_at)).min();
        let free = (self.header.plan == Plan::Free).then(|| self.free_until.max(self.header.created_at));
        let renewal = match &self.subscription {
            Some(_) if self.is_paying(Purpose::Subscription) => None,
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

    /// When something here changes by itself, abandoned holds included.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let deadline = self.holds.values().map(|hold| hold.deadline).min();
        self.header.wake_at.into_iter().chain(deadline).min()
    }

    /// How much more a key's limits let a running request come to; none where they let it come to anything.
    pub(crate) fn room_of(&self, key: Option<KeyId>, now: Timestamp) -> Option<Nanos> {
        self.keys.get(&key?)?.left(now)
    }

    /// Limits a key from now on, or no longer.
    pub(crate) fn limit_key(&mut self, id: KeyId, limits: Option<KeyLimits>, spent: [Nanos; 4], now: Timestamp) {
        let Some(limits) = limits.filter(|limits| !limits.is_unlimited()) else {
            self.keys.remove(&id);
            return;
        };
        if let Some(key) = self.keys.get_mut(&id) {
            key.limit(limits);
            return;
        }
        let mut key = KeyState::new(limits, spent, now);
        self.holds.values().filter(|hold| hold.key_id == Some(id)).for_each(|hold| key.hold(hold.claim()));
        self.keys.insert(id, key);
    }

    /// Invariants 1, 4 and the caches. Panics where one does not hold.
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
        let units: u32 =
            self.holds.values().map(|hold| if let Work::Open { units, .. } = hold.work { units.0 } else { 0 }).sum();
        assert!(units == self.units_used.0, "permits in use and running requests differ");
        if let Some(automatic) = &self.automatic {
            let SpendWindow { reload_max, spend_max, .. } = automatic.window;
            assert!(automatic.window.reloads() <= reload_max, "auto-reload spent beyond its monthly maximum");
            assert!(automatic.window.all() <= spend_max, "automatic purchases spent beyond their monthly maximum");
        }
    }
}

/// Whether this is the free plan's dollar of a cycle, not one that an operator gave under the same name.
pub(crate) fn is_free_cycle(grant: &Grant) -> bool {
    grant.source == Source::Free && grant.source_key.starts_with("cycle ")
}
