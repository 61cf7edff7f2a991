//! The commands of an account, its replies and its refusals.

use serde::{Deserialize, Serialize};
use std::{borrow::Cow, sync::Arc};

use crate::{
    account::Balance,
    automatic::{AutoChange, Switch},
    class::{SizeClass, Units},
    entry::{Notice, Proof, UsageRecord},
    grant::{Grant, Source},
    hold::{HoldRequest, OutputPrice, Work},
    ids::{GrantId, KeyId, PaymentId, RequestId},
    key::{KeyRefusal, Names},
    nanos::Nanos,
    payment::Payment,
    resource::Change,
    reversal::{Listing, News, Reversal},
    session::Session,
    time::Timestamp,
};

/// A request to be admitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admit {
    /// The request's id.
    pub request_id: RequestId,
    /// The API key.
    pub key_id: Option<KeyId>,
    /// The model's name.
    pub model: Arc<str>,
    /// The provider, or `farebox` for an open model.
    pub provider: Arc<str>,
    /// The price version, frozen at admission.
    pub price_version: i64,
    /// The kind of work.
    pub work: Work,
    /// The hold that the request needs.
    pub hold: HoldRequest,
    /// Closed requests: the cost by output tokens, for accounts that have learned the usual length of answers.
    pub output: Option<OutputPrice>,
    /// Whether permits may be bought for the request. `None`: by the account's settings.
    pub auto_scale: Option<Switch>,
    /// The names by which the key's list may have the model.
    pub names: Names,
    /// The session that its client names, as it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
}

/// Credits to add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fund {
    /// The new grant's id.
    pub grant_id: GrantId,
    /// The source of the credits.
    pub source: Source,
    /// The unique key of the grant.
    pub source_key: String,
    /// The amount.
    pub amount: Nanos,
    /// The money paid for the credits.
    pub paid: Nanos,
    /// The expiry; by default after 28 days.
    pub expires_at: Option<Timestamp>,
    /// The end of a paid cycle that begins now.
    pub subscribed_until: Option<Timestamp>,
}

/// News of a payment's refunds and disputes. News of one payment must be applied one after another, each with the
/// stored payment, rows and grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reverse {
    /// The payment.
    pub payment: Payment,
    /// The stored grant of the payment. A grant in memory takes precedence.
    pub grant: Option<Box<Grant>>,
    /// The payment's refunds and disputes as stored.
    pub known: Vec<Reversal>,
    /// News of those.
    pub news: Vec<News>,
    /// Whether the news are complete.
    pub listing: Listing,
    /// The card that was charged, by the processor's id.
    pub card: Option<String>,
    /// Of a plan's fee: the time until which other fees pay the plan.
    pub paid_until: Option<Timestamp>,
    /// The account's revision before all of this was read; `None` from a node that does not name it yet.
    #[serde(default)]
    pub revision: Option<u64>,
}

/// A command to an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Admit a request.
    Admit(Admit),
    /// Admit a request before which others wait for permits: it is decided as if there were none left.
    AdmitBehind(Admit),
    /// Report the cost so far of a running request, and hold that cost and one slice more.
    Accrue {
        /// The request.
        request_id: RequestId,
        /// Cost so far.
        accrued: Nanos,
        /// The amount to hold beyond the cost so far.
        slice: Nanos,
    },
    /// Give the permit of a request back that stands still, because its reader is slow. The account keeps it where as many
    /// are given back as it may use.
    Park {
        /// The request.
        request_id: RequestId,
    },
    /// Take the permit of such a request again: it may go on once that is durable.
    Resume {
        /// The request.
        request_id: RequestId,
    },
    /// Charge a request that ended.
    Settle(UsageRecord),
    /// Add credits.
    Fund(Fund),
    /// Begin a payment: a purchase, or the plan's first cycle.
    BeginPayment(Payment),
    /// The card was charged: make the grant.
    PaymentSucceeded {
        /// The payment.
        payment_id: PaymentId,
        /// The new grant's id.
        grant_id: GrantId,
        /// The processor's id of the charge.
        reference: Option<String>,
    },
    /// The card was declined.
    PaymentDeclined {
        /// The payment.
        payment_id: PaymentId,
        /// The processor's code for the reason.
        decline_code: String,
    },
    /// Apply refunds and disputes of a payment.
    Reverse(Box<Reverse>),
    /// Take credits back from a grant.
    VoidGrant {
        /// The grant.
        grant_id: GrantId,
        /// The amount, at most the available and held credits. `None`: all of them.
        amount: Option<Nanos>,
    },
    /// Admit no more requests. What runs goes on, and credits come and go by hand; nothing is bought by itself.
    Freeze,
    /// Admit requests again.
    Unfreeze,
    /// Change the settings of automatic purchases.
    SetAutomatic(AutoChange),
    /// Cancel the subscription at the end of its paid time.
    CancelSubscription,
    /// Undo the cancellation of a subscription.
    ResumeSubscription,
    /// Change keys, saved cards or webhooks.
    Change(Change),
    /// A command caused by an event of a card processor.
    Notified {
        /// The event.
        notice: Notice,
        /// The command that follows from the event.
        command: Box<Self>,
    },
    /// A command with a proof that the request was carried out.
    Proven {
        /// The proof. It is written with the command's changes, or alone where nothing changes.
        proof: Proof,
        /// The command.
        command: Box<Self>,
    },
    /// Apply everything that is due.
    Sweep,
}

impl Command {
    /// Its name: of one that comes with a proof or a notice, the name of what it commands.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Admit(_) => "Admit",
            Self::AdmitBehind(_) => "AdmitBehind",
            Self::Accrue { .. } => "Accrue",
            Self::Park { .. } => "Park",
            Self::Resume { .. } => "Resume",
            Self::Settle(_) => "Settle",
            Self::Fund(_) => "Fund",
            Self::BeginPayment(_) => "BeginPayment",
            Self::PaymentSucceeded { .. } => "PaymentSucceeded",
            Self::PaymentDeclined { .. } => "PaymentDeclined",
            Self::Reverse(_) => "Reverse",
            Self::VoidGrant { .. } => "VoidGrant",
            Self::Freeze => "Freeze",
            Self::Unfreeze => "Unfreeze",
            Self::SetAutomatic(_) => "SetAutomatic",
            Self::CancelSubscription => "CancelSubscription",
            Self::ResumeSubscription => "ResumeSubscription",
            Self::Change(_) => "Change",
            Self::Notified { command, .. } | Self::Proven { command, .. } => command.name(),
            Self::Sweep => "Sweep",
        }
    }
}

/// The reply of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The request may run once the admission is durable.
    Admitted {
        /// The amount held.
        held: Nanos,
        /// Requests left in this second, for accounts with a rate limit.
        rate_remaining: Option<i64>,
        /// The permits of the tier.
        units_allowed: Units,
        /// The most that the request may cost under its key's limits; `None` without limits.
        claimed: Option<Nanos>,
    },
    /// The amount held now. It may be less than was asked.
    Accrued {
        /// The whole amount held for the request.
        held: Nanos,
        /// The most that the request may cost under its key's limits; `None` without limits.
        claimed: Option<Nanos>,
    },
    /// The request was charged.
    Settled {
        /// The amount charged.
        charged: Nanos,
        /// The part that became debt.
        debt: Nanos,
    },
    /// The command was carried out, and has no other reply.
    Done,
}

/// The outcome of buying permits for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scale {
    /// Neither the request nor the account asks for a purchase.
    Off,
    /// A purchase is in flight: the request may wait.
    Buying,
    /// The purchase would cost this amount, and the month has less room.
    OverMaximum(Nanos),
    /// The card was declined; the next attempt is at this time.
    NotBefore(Timestamp),
    /// There is no higher tier.
    Top,
    /// Automatic purchases are paused because credits were taken back, until the owner sets them again.
    Paused,
}

/// Why an account refuses a command, with the numbers that the reader needs to act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    /// An operator froze the account: it admits no requests.
    #[error("the account has been frozen since {since}")]
    Frozen {
        /// Since when.
        since: Timestamp,
    },
    /// The account is frozen already.
    #[error("the account has been frozen since {0} already")]
    AlreadyFrozen(Timestamp),
    /// The account is not frozen.
    #[error("the account is not frozen")]
    NotFrozen,
    /// Fewer credits are available than the request needs, or the account has a debt.
    #[error("insufficient credits: {available} available, {needed} needed")]
    InsufficientCredits {
        /// Credits that can be held.
        available: Nanos,
        /// Credits held by running requests.
        held: Nanos,
        /// The account's debt.
        debt: Nanos,
        /// The least the request needs.
        needed: Nanos,
        /// Whether a purchase of credits is in flight: the request may wait.
        reload_due: bool,
    },
    /// The tier does not unlock the class.
    #[error("models of class {} are locked", class.name())]
    ModelLocked {
        /// The model's class.
        class: SizeClass,
        /// The largest unlocked one.
        largest: SizeClass,
        /// The amount to buy to unlock the class.
        unlock: Nanos,
    },
    /// No permit is free.
    #[error("{used} of {allowed} units in use, {needed} needed")]
    ConcurrencyLimit {
        /// Permits of the tier.
        allowed: Units,
        /// Permits in use.
        used: Units,
        /// The request's weight.
        needed: Units,
        /// Dollars to the next tier with more units, and its units.
        next: Option<(Nanos, Units)>,
        /// The outcome of buying permits.
        scale: Scale,
    },
    /// The rate limit of the free plan for closed models.
    #[error("{limit} requests a second; wait {retry_after_ms} ms")]
    RateLimit {
        /// Requests a second.
        limit: i64,
        /// The wait until the next request, in milliseconds.
        retry_after_ms: i64,
    },
    /// A limit of the key.
    #[error("the key's limit refuses it")]
    KeyLimit(KeyRefusal),
    /// The account has a subscription already.
    #[error("there is a subscription already")]
    AlreadySubscribed,
    /// The account has no subscription that can be changed this way.
    #[error("there is no such subscription")]
    NotSubscribed,
    /// A payment of this kind is in flight, or too many payments are.
    #[error("a payment of that kind is in flight: wait for its end")]
    PaymentInFlight,
    /// The account has no such grant with credits left.
    #[error("grant {0} has nothing left")]
    NoGrant(GrantId),
    /// Another fee was paid meanwhile: read the ledger again, and repeat.
    #[error("the cycle that payment {0} paid changed meanwhile")]
    CycleMoved(PaymentId),
    /// The grant changed meanwhile: read the ledger again, and repeat.
    #[error("grant {0} changed meanwhile")]
    GrantMoved(GrantId),
    /// The account's keys, saved cards or webhooks changed meanwhile: read the ledger again, and repeat.
    #[error("keys, cards or webhooks changed meanwhile")]
    ResourcesMoved,
    /// A request with this id runs already.
    #[error("request {0} was admitted already")]
    AlreadyAdmitted(RequestId),
    /// No request with this id runs.
    #[error("request {0} has no open hold")]
    NoHold(RequestId),
    /// The payment has more refunds and disputes than can be kept.
    #[error("payment {0} has as many refunds and disputes as there can be")]
    TooManyReversals(PaymentId),
    /// No payment with this id is in the state that the command needs.
    #[error("payment {0} is not pending")]
    NoPayment(PaymentId),
    /// A grant of this payment or cycle exists already.
    #[error("a grant from {0} was made already")]
    AlreadyFunded(String),
    /// An invalid value.
    #[error("{field}: {message}")]
    BadAmount {
        /// The field.
        field: Cow<'static, str>,
        /// The reason.
        message: Cow<'static, str>,
    },
}

impl Refusal {
    /// An invalid value of a field.
    pub const fn bad_amount(field: &'static str, message: &'static str) -> Self {
        Self::BadAmount { field: Cow::Borrowed(field), message: Cow::Borrowed(message) }
    }
}

/// An answer, with the balance after the command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The reply or the refusal.
    pub result: Result<Reply, Refusal>,
    /// The balance after the command.
    pub balance: Balance,
}
