//! What an account can be asked, and what it answers or refuses.

use crate::{
    account::Balance,
    class::{SizeClass, Units},
    entry::{Payment, UsageRecord},
    grant::Source,
    hold::{HoldRequest, Work},
    ids::{GrantId, KeyId, PaymentId, RequestId},
    nanos::Nanos,
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
    pub model: String,
    /// Who would run it: a provider, or `farebox`.
    pub provider: String,
    /// The price version, frozen here.
    pub price_version: i64,
    /// What would run.
    pub work: Work,
    /// What it asks to have set aside.
    pub hold: HoldRequest,
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
    /// Begin to charge a card.
    BeginPayment(Payment),
    /// The card network said yes: make the grant.
    PaymentSucceeded {
        /// Which.
        payment_id: PaymentId,
        /// The new grant's id.
        grant_id: GrantId,
    },
    /// The card network said no.
    PaymentDeclined {
        /// Which.
        payment_id: PaymentId,
        /// Its word for why.
        decline_code: String,
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
    },
    /// What is set aside now, and whether it covers what was asked.
    Accrued {
        /// All that is set aside for the request.
        held: Nanos,
        /// Whether cost so far and the slice are covered.
        covered: bool,
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

/// Why an account refuses. Data with numbers, for whoever must act on it.
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
    },
    /// The free plan's rate for closed models.
    #[error("{limit} requests a second; wait {retry_after_ms} ms")]
    RateLimit {
        /// Requests a second.
        limit: i64,
        /// When there will be one.
        retry_after_ms: i64,
    },
    /// A request with that id runs already.
    #[error("request {0} was admitted already")]
    AlreadyAdmitted(RequestId),
    /// No request with that id runs.
    #[error("request {0} has no open hold")]
    NoHold(RequestId),
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
