//! The result of a decision: a [`Transition`], the unit that the journal writes. Its lines are the facts (journal
//! rows). Its other rows are the state after the decision, so that an account is loaded without a replay of its
//! history.

use serde::{Deserialize, Serialize};
use std::{borrow::Cow, sync::Arc};

use crate::{
    account::{Automatic, Header},
    attempt::Attempt,
    event::Event,
    grant::Grant,
    hold::{Hold, Work},
    ids::{AccountId, GrantId, KeyId, RequestId},
    nanos::Nanos,
    payment::Payment,
    price::{Cost, Parts, seconds},
    resource::Resource,
    reversal::Reversal,
    session::Session,
    subscription::Subscription,
    time::Timestamp,
    timings::Timings,
};

/// The kind of a journal line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LineKind {
    /// Credits were added.
    GrantFunded,
    /// Credits expired.
    GrantExpired,
    /// Credits were taken back. A negative amount: credits were given back.
    GrantVoided,
    /// Credits were set aside for a request.
    HoldPlaced,
    /// A hold grew, or something else of it changed that moves no credits: its cost so far, or whether it is parked.
    HoldGrown,
    /// A request was charged. The unused part of the same grant was released with it.
    HoldCaptured,
    /// A hold was released without a charge.
    HoldReleased,
    /// A request cost more than the available credits.
    DebtIncurred,
    /// New credits repaid a debt.
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

    /// The kind's name in the journal.
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

/// One fact: the amounts moved between a grant's buckets. `available + held + spent + expired + voided = funded` in
/// every line, as in every grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What happened.
    pub kind: LineKind,
    /// The grant, if the line concerns one.
    pub grant_id: Option<GrantId>,
    /// The request, if the line concerns one.
    pub request_id: Option<RequestId>,
    /// Change of the funded amount.
    pub funded: Nanos,
    /// Change of the available credits.
    pub available: Nanos,
    /// Change of the held credits.
    pub held: Nanos,
    /// Change of the spent credits.
    pub spent: Nanos,
    /// Change of the expired credits.
    pub expired: Nanos,
    /// Change of the voided credits.
    pub voided: Nanos,
    /// Change of the account's debt.
    pub debt: Nanos,
}

impl Line {
    /// A line of zeros.
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

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// The answer was complete.
    Completed,
    /// The client disconnected.
    ClientLeft,
    /// The provider or the engine failed.
    Failed,
    /// The process that ran the request died. It was charged by its last durable checkpoint.
    Recovered,
    /// The process that ran the request died before any checkpoint, so nothing was charged.
    WrittenOff,
}

impl Ending {
    /// The ending's name in a record.
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

/// The record of a request that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// The request.
    pub request_id: RequestId,
    /// The API key.
    pub key_id: Option<KeyId>,
    /// The model's name in this gateway.
    pub model: Arc<str>,
    /// The provider, or `farebox` for an open model.
    pub provider: Arc<str>,
    /// How it ended.
    pub ending: Ending,
    /// The quantities used, each with the rate it was charged at.
    pub parts: Parts,
    /// Whether a quantity was counted here instead of reported by the provider.
    pub estimated: bool,
    /// Open models: milliseconds of compute.
    pub compute_ms: u64,
    /// Open models: seconds billed.
    pub billed_seconds: u64,
    /// The exact cost, with the fee apart.
    pub cost: Cost,
    /// The amount charged: the exact cost, rounded once.
    pub charged: Nanos,
    /// The price version frozen at admission.
    pub price_version: i64,
    /// When the request was admitted.
    pub started_at: Timestamp,
    /// When the request ended.
    pub ended_at: Timestamp,
    /// The attempts with other models before this one, in their order.
    pub attempts: Vec<Attempt>,
    /// The session that its client named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// Where its time went; `None` where its task did not live to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timings: Option<Box<Timings>>,
}

impl UsageRecord {
    /// The record of a request whose process died, by the table of the design's chapter 2.5. Charged by the last
    /// durable checkpoint, or else written off.
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
            attempts: Vec::new(),
            session: hold.session.clone(),
            timings: None,
        }
    }
}

/// An event of a card processor that caused a command. It is kept in the same commit as the changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The processor.
    pub processor: Cow<'static, str>,
    /// The processor's id of the event. Repeated deliveries have the same id.
    pub id: String,
    /// The processor's type of the event.
    pub kind: String,
    /// When this delivery was signed.
    pub signed_at: Timestamp,
}

/// Proof that a request was carried out, kept in the same commit as its effect. By it a retry finds out that the effect
/// exists. A request has at most one proof: the ledger refuses a second one, and with it the repeated effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The request.
    pub request_id: RequestId,
    /// The action: `void_grant`.
    pub act: Cow<'static, str>,
    /// The object of the action.
    pub subject: String,
    /// The amount, if the action has one.
    pub amount: Option<Nanos>,
    /// The operator's reason. With a reason, the proof is also an entry of the operators' log.
    pub reason: Option<String>,
}

/// The fields of a new account's row that are not in its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The email address of the owner.
    pub email: String,
}

/// All changes of one decision, committed whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The account.
    pub account_id: AccountId,
    /// The sequence number in the account's journal: dense, from 1. A transition without lines has the number of the
    /// last line's transition.
    pub seq: u64,
    /// The time of the decision.
    pub at: Timestamp,
    /// The facts.
    pub lines: Vec<Line>,
    /// The account's row after the decision.
    pub header: Header,
    /// Every changed grant, after the decision.
    pub grants: Vec<Grant>,
    /// A hold placed or changed, after the decision.
    pub hold: Option<Hold>,
    /// A hold that ended.
    pub ended: Option<RequestId>,
    /// The usage record of that request.
    pub usage: Option<UsageRecord>,
    /// Payments begun or changed, after the decision.
    pub payments: Vec<Payment>,
    /// Refunds and disputes that are new or changed, after the decision.
    pub reversals: Vec<Reversal>,
    /// The subscription, if it changed.
    pub subscription: Option<Subscription>,
    /// The automatic purchases, if they changed.
    pub automatic: Option<Automatic>,
    /// Events for the owner.
    pub events: Vec<Event>,
    /// The processor's event that caused the decision.
    pub notice: Option<Notice>,
    /// The total charged beyond a key's limits, if it grew.
    pub beyond: Option<(KeyId, Nanos)>,
    /// The proof that a request was carried out, if it needs one.
    pub proof: Option<Proof>,
    /// Set if the account is new.
    pub opened: Option<Opened>,
    /// Keys, saved cards and webhooks that are new or changed, after the decision.
    pub resources: Vec<Resource>,
}

impl Transition {
    /// A transition without changes.
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
            resources: Vec::new(),
        }
    }
}
