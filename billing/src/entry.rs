//! What a decision leaves behind: a [`Transition`], the unit the journal writes. Its lines are the facts (journal rows);
//! the rows beside them are the state after it, so that an account is loaded without replaying its history.

use std::sync::Arc;

use crate::{
    account::{Automatic, Header},
    event::Event,
    grant::Grant,
    hold::{Hold, Work},
    ids::{AccountId, GrantId, KeyId, RequestId},
    nanos::Nanos,
    payment::Payment,
    price::{Cost, Parts, seconds},
    reversal::Reversal,
    subscription::Subscription,
    time::Timestamp,
};

/// What a line says happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LineKind {
    /// Credits were added.
    GrantFunded,
    /// Credits ran out of time.
    GrantExpired,
    /// Credits were taken back, or, where it takes less than nothing, given again.
    GrantVoided,
    /// Credits were set aside for a request.
    HoldPlaced,
    /// More was set aside.
    HoldGrown,
    /// A request was charged; what it did not use of the same grant was given back with it.
    HoldCaptured,
    /// A hold was given back of which nothing was charged.
    HoldReleased,
    /// A request cost more than there was.
    DebtIncurred,
    /// New credits paid a debt.
    DebtRepaid,
}

impl LineKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::GrantFunded,
        Self::GrantExpired,
        Self::GrantVoided,
        Self::HoldPlaced,
        Self::HoldGrown,
        Self::HoldCaptured,
        Self::HoldReleased,
        Self::DebtIncurred,
        Self::DebtRepaid,
    ];

    /// Its name in the journal.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GrantFunded => "grant_funded",
            Self::GrantExpired => "grant_expired",
            Self::GrantVoided => "grant_voided",
            Self::HoldPlaced => "hold_placed",
            Self::HoldGrown => "hold_grown",
            Self::HoldCaptured => "hold_captured",
            Self::HoldReleased => "hold_released",
            Self::DebtIncurred => "debt_incurred",
            Self::DebtRepaid => "debt_repaid",
        }
    }
}

/// One fact: how much moved between a grant's buckets. `available + held + spent + expired + voided = funded` in every
/// line, as in every grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What happened.
    pub kind: LineKind,
    /// To which grant, if to one.
    pub grant_id: Option<GrantId>,
    /// For which request, if for one.
    pub request_id: Option<RequestId>,
    /// Change of what was funded.
    pub funded: Nanos,
    /// Change of what is available.
    pub available: Nanos,
    /// Change of what is held.
    pub held: Nanos,
    /// Change of what was spent.
    pub spent: Nanos,
    /// Change of what expired.
    pub expired: Nanos,
    /// Change of what was voided.
    pub voided: Nanos,
    /// Change of the account's debt.
    pub debt: Nanos,
}

impl Line {
    /// A line that moves nothing yet.
    pub const fn new(kind: LineKind) -> Self {
        Self {
            kind,
            grant_id: None,
            request_id: None,
            funded: Nanos::ZERO,
            available: Nanos::ZERO,
            held: Nanos::ZERO,
            spent: Nanos::ZERO,
            expired: Nanos::ZERO,
            voided: Nanos::ZERO,
            debt: Nanos::ZERO,
        }
    }
}

/// How a request ended, for its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It came to its end.
    Completed,
    /// Its client left.
    ClientLeft,
    /// The provider or the engine failed.
    Failed,
    /// The process running it died; charged by its last durable checkpoint.
    Recovered,
    /// The process running it died before any checkpoint: nothing could be charged.
    WrittenOff,
}

impl Ending {
    /// Its name in a record.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::ClientLeft => "client_left",
            Self::Failed => "failed",
            Self::Recovered => "recovered",
            Self::WrittenOff => "written_off",
        }
    }
}

/// What is kept of an ended request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRecord {
    /// The request.
    pub request_id: RequestId,
    /// Its key.
    pub key_id: Option<KeyId>,
    /// The model as it is called here.
    pub model: Arc<str>,
    /// The provider, or `farebox` for an open model.
    pub provider: Arc<str>,
    /// How it ended.
    pub ending: Ending,
    /// What was used, each with the rate it was charged at.
    pub parts: Parts,
    /// Whether some of it was counted here rather than reported.
    pub estimated: bool,
    /// Open models: milliseconds of compute.
    pub compute_ms: u64,
    /// Open models: seconds billed.
    pub billed_seconds: u64,
    /// Exact cost, with the fee apart.
    pub cost: Cost,
    /// What was charged: the exact cost, rounded once.
    pub charged: Nanos,
    /// The price version frozen at admission.
    pub price_version: i64,
    /// When it was admitted.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
}

impl UsageRecord {
    /// Of a request whose process is gone, by the table of the design's chapter 2.5: charged by its last durable
    /// checkpoint, else a write-off.
    pub fn abandoned(hold: &Hold, now: Timestamp) -> Self {
        let (billed, parts, cost) = match hold.work {
            Work::Open { class, .. } => {
                let (billed, base) = (class.seconds_paid_by(hold.accrued), hold.accrued.to_decimal());
                (billed, class.price().parts(&seconds(billed), base), Cost::without_fee(base))
            }
            Work::Closed => (0, Parts::default(), Cost::from_total(hold.accrued)),
        };
        Self {
            request_id: hold.request_id,
            key_id: hold.key_id,
            model: hold.model.clone(),
            provider: hold.provider.clone(),
            ending: if hold.accrued.is_positive() { Ending::Recovered } else { Ending::WrittenOff },
            parts,
            estimated: true,
            compute_ms: billed * 1_000,
            billed_seconds: billed,
            cost,
            charged: hold.accrued,
            price_version: hold.price_version,
            started_at: hold.placed_at,
            ended_at: now,
        }
    }
}

/// An event of a card processor that a command comes from: kept in the same commit as what it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whose event.
    pub processor: &'static str,
    /// Its id there: told twice, it is the same.
    pub id: String,
    /// Its type there.
    pub kind: String,
    /// When this delivery of it was signed.
    pub signed_at: Timestamp,
}

/// What a request did, kept in the same commit as its effect: by it a retry knows that it was carried out. A request has at
/// most one: the ledger refuses a second, and with it whatever would be done twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The request.
    pub request_id: RequestId,
    /// What it did: `void_grant`.
    pub act: &'static str,
    /// To what.
    pub subject: String,
    /// How much, if it was an amount.
    pub amount: Option<Nanos>,
    /// Why, where an operator did it: then it is an entry of the operators' log.
    pub reason: Option<String>,
}

/// What a new account's row says beside its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Its owner's address.
    pub email: String,
}

/// All that one decision changed, committed whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Whose.
    pub account_id: AccountId,
    /// Its place in the account's journal: dense, from 1. Where there are no lines, the place of the last one.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// The facts.
    pub lines: Vec<Line>,
    /// The account's row after it.
    pub header: Header,
    /// Every grant it touched, as it is after it.
    pub grants: Vec<Grant>,
    /// A hold placed or changed, as it is after it.
    pub hold: Option<Hold>,
    /// A hold that ended.
    pub ended: Option<RequestId>,
    /// The record of the request that ended.
    pub usage: Option<UsageRecord>,
    /// Payments it began or changed, as they are after it.
    pub payments: Vec<Payment>,
    /// Refunds and disputes of payments that are new or changed, as they are after it.
    pub reversals: Vec<Reversal>,
    /// The subscription, where it changed.
    pub subscription: Option<Subscription>,
    /// Automatic purchases, where they changed.
    pub automatic: Option<Automatic>,
    /// What the owner is told.
    pub events: Vec<Event>,
    /// What a processor told, where that is why.
    pub notice: Option<Notice>,
    /// What a key was charged beyond what its limits paid for, ever, where that grew.
    pub beyond: Option<(KeyId, Nanos)>,
    /// Which request did it, where that must be known afterwards.
    pub proof: Option<Proof>,
    /// The account is new with this.
    pub opened: Option<Opened>,
}

impl Transition {
    /// One that changes nothing but the account's place in its journal.
    pub const fn unchanged(account_id: AccountId, seq: u64, at: Timestamp, header: Header) -> Self {
        Self {
            account_id,
            seq,
            at,
            lines: Vec::new(),
            header,
            grants: Vec::new(),
            hold: None,
            ended: None,
            usage: None,
            payments: Vec::new(),
            reversals: Vec::new(),
            subscription: None,
            automatic: None,
            events: Vec::new(),
            notice: None,
            beyond: None,
            proof: None,
            opened: None,
        }
    }
}
