//! What an account can be asked, and what it answers or refuses.

use std::sync::Arc;

use crate::{
    account::Balance,
    automatic::{AutoChange, Switch},
    class::{SizeClass, Units},
    entry::{Notice, Proof, UsageRecord},
    grant::{Grant, Source},
    hold::{HoldRequest, OutputPrice, Work},
    ids::{GrantId, KeyId, PaymentId, RequestId},
    key::{KeyLimits, KeyRefusal},
    nanos::Nanos,
    payment::Payment,
    reversal::{Listing, News, Reversal},
    time::Timestamp,
};

/// A request that wants to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admit {
    /// Its id.
    pub request_id: RequestId,
    /// Its key.
    pub key_id: Option<KeyId>,
    /// The model's name.
    pub model: Arc<str>,
    /// Who would run it: a provider, or `farebox`.
    pub provider: Arc<str>,
    /// The price version, frozen here.
    pub price_version: i64,
    /// What would run.
    pub work: Work,
    /// What it asks to have set aside.
    pub hold: HoldRequest,
    /// Closed requests: what is expected once the account knows how long its answers are.
    pub output: Option<OutputPrice>,
    /// Whether permits may be bought for it; none: as the account is set.
    pub auto_scale: Option<Switch>,
}

/// Credits to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fund {
    /// The new grant's id.
    pub grant_id: GrantId,
    /// Where they come from.
    pub source: Source,
    /// What makes the grant unique.
    pub source_key: String,
    /// How much.
    pub amount: Nanos,
    /// Money paid for it.
    pub paid: Nanos,
    /// When they expire, if not after 28 days.
    pub expires_at: Option<Timestamp>,
    /// Starts a paid cycle that runs until then.
    pub subscribed_until: Option<Timestamp>,
}

/// News of a payment's refunds and disputes. Those of one payment must come one after the other, each with the payment, its
/// rows and its grant as they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reverse {
    /// The payment.
    pub payment: Payment,
    /// Its grant: the one in memory goes before it.
    pub grant: Option<Box<Grant>>,
    /// Its refunds and disputes.
    pub known: Vec<Reversal>,
    /// What is told of them.
    pub news: Vec<News>,
    /// Whether that is all the processor knows.
    pub listing: Listing,
    /// The card it was charged to, as the processor names it.
    pub card: Option<String>,
    /// Of a plan's fee: until when the plan is paid otherwise.
    pub paid_until: Option<Timestamp>,
}

/// What an account is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Let a request run.
    Admit(Admit),
    /// A running request has cost so much so far; keep it and a slice more set aside.
    Accrue {
        /// Which.
        request_id: RequestId,
        /// Cost so far.
        accrued: Nanos,
        /// How much more to have set aside beyond that.
        slice: Nanos,
    },
    /// A request ended.
    Settle(UsageRecord),
    /// Add credits.
    Fund(Fund),
    /// Begin to charge a card: a purchase, or the plan's first cycle.
    BeginPayment(Payment),
    /// The card network said yes: make the grant.
    PaymentSucceeded {
        /// Which.
        payment_id: PaymentId,
        /// The new grant's id.
        grant_id: GrantId,
        /// The card network's name for it.
        reference: Option<String>,
    },
    /// The card network said no.
    PaymentDeclined {
        /// Which.
        payment_id: PaymentId,
        /// Its word for why.
        decline_code: String,
    },
    /// Money of a payment was given back, taken back, or came again.
    Reverse(Box<Reverse>),
    /// Take credits back.
    VoidGrant {
        /// Of which grant.
        grant_id: GrantId,
        /// How much of what is left, what running requests hold included; none: all of it.
        amount: Option<Nanos>,
    },
    /// Buy by itself, no longer, or on other terms.
    SetAutomatic(AutoChange),
    /// Let the subscription end when its paid time is over.
    CancelSubscription,
    /// Let a cancelled subscription go on.
    ResumeSubscription,
    /// A key's limits are these now, as its row says. Nothing is written.
    LimitKey {
        /// Which.
        key_id: KeyId,
        /// Its limits; none: it has none any more.
        limits: Option<KeyLimits>,
        /// What it has spent in each window of now: counted only for a key that had no limit before.
        spent: [Nanos; 4],
    },
    /// A command that comes from what a card processor told.
    Notified {
        /// What it told.
        notice: Notice,
        /// What follows from it.
        command: Box<Self>,
    },
    /// A command that a request asks for, with what proves that it was carried out.
    Proven {
        /// The proof: written with whatever the command changes, and where it changes nothing, by itself.
        proof: Proof,
        /// What was asked for.
        command: Box<Self>,
    },
    /// Only let time pass.
    Sweep,
}

/// What an account answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The request may run, once this is durable.
    Admitted {
        /// What was set aside.
        held: Nanos,
        /// Requests left in this second, for accounts with that limit.
        rate_remaining: Option<i64>,
        /// Permits allowed.
        units_allowed: Units,
        /// The most it may come to by its key's limits; none where they are none.
        claimed: Option<Nanos>,
    },
    /// What is set aside now, and whether it covers what was asked.
    Accrued {
        /// All that is set aside for the request.
        held: Nanos,
        /// The most it may come to by its key's limits; none where they are none.
        claimed: Option<Nanos>,
    },
    /// The request was charged.
    Settled {
        /// How much.
        charged: Nanos,
        /// The part that became debt.
        debt: Nanos,
    },
    /// Credits were added, or the request had nothing to answer.
    Done,
}

/// What became of buying permits for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Nobody wants that.
    Off,
    /// They are being bought: worth waiting for.
    Buying,
    /// It would cost so much, and this month has less room.
    OverMaximum(Nanos),
    /// The card was declined; not before this.
    NotBefore(Timestamp),
    /// There is no higher tier.
    Top,
    /// Credits were taken back: nothing is bought until the owner sets it again.
    Paused,
}

/// Why an account refuses. Data with numbers, for the reader who must act on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Less available than the request needs, or a debt.
    #[error("insufficient credits: {available} available, {needed} needed")]
    InsufficientCredits {
        /// Free to be held.
        available: Nanos,
        /// Set aside for running requests.
        held: Nanos,
        /// Owed.
        debt: Nanos,
        /// The least the request needs.
        needed: Nanos,
        /// Whether credits are being bought right now: worth waiting for.
        reload_due: bool,
    },
    /// The tier does not reach that class.
    #[error("models of class {} are locked", class.name())]
    ModelLocked {
        /// The model's.
        class: SizeClass,
        /// The largest unlocked one.
        largest: SizeClass,
        /// How much more must be bought.
        unlock: Nanos,
    },
    /// No permit is free.
    #[error("{used} of {allowed} units in use, {needed} needed")]
    ConcurrencyLimit {
        /// Permits of the tier.
        allowed: Units,
        /// In use.
        used: Units,
        /// The request's weight.
        needed: Units,
        /// Dollars to the next tier with more units, and its units.
        next: Option<(Nanos, Units)>,
        /// What became of buying them.
        scale: Scale,
    },
    /// The free plan's rate for closed models.
    #[error("{limit} requests a second; wait {retry_after_ms} ms")]
    RateLimit {
        /// Requests a second.
        limit: i64,
        /// When there will be one.
        retry_after_ms: i64,
    },
    /// The key's own limit.
    #[error("the key's limit refuses it")]
    KeyLimit(KeyRefusal),
    /// There is a subscription already.
    #[error("there is a subscription already")]
    AlreadySubscribed,
    /// There is no subscription that could be changed so.
    #[error("there is no such subscription")]
    NotSubscribed,
    /// A payment of that kind is in flight, or too many are.
    #[error("a payment of that kind is in flight: wait for its end")]
    PaymentInFlight,
    /// There is no such grant with credits left.
    #[error("grant {0} has nothing left")]
    NoGrant(GrantId),
    /// Another fee was paid meanwhile: to be read and tried again.
    #[error("the cycle that payment {0} paid changed meanwhile")]
    CycleMoved(PaymentId),
    /// The grant changed meanwhile: to be read and tried again.
    #[error("grant {0} changed meanwhile")]
    GrantMoved(GrantId),
    /// A request with that id runs already.
    #[error("request {0} was admitted already")]
    AlreadyAdmitted(RequestId),
    /// No request with that id runs.
    #[error("request {0} has no open hold")]
    NoHold(RequestId),
    /// More refunds and disputes of one payment than are kept.
    #[error("payment {0} has as many refunds and disputes as there can be")]
    TooManyReversals(PaymentId),
    /// No payment with that id waits.
    #[error("payment {0} is not pending")]
    NoPayment(PaymentId),
    /// A grant from that payment or cycle is there already.
    #[error("a grant from {0} was made already")]
    AlreadyFunded(String),
    /// An amount that can't be.
    #[error("{field}: {message}")]
    BadAmount {
        /// Which.
        field: &'static str,
        /// Why.
        message: &'static str,
    },
}

/// An answer with the balance it was given at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What it answers or refuses.
    pub result: Result<Reply, Refusal>,
    /// What the account has after it.
    pub balance: Balance,
}
