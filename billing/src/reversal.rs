//! Reversals of a payment: each refund and each dispute is a row with its own state. The credits taken are a function
//! of the rows in force, in both directions. News only move a row's state forward, so that repeated or reordered news
//! give the same rows.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::{
    ids::{PaymentId, ReversalId},
    nanos::Nanos,
    time::Timestamp,
};

/// The most refunds and disputes of one payment.
pub const MOST: usize = 2_000;

/// The kind of a reversal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A refund, made by an operator of the gateway or at the processor.
    Refund,
    /// A dispute: the card's bank took the money back.
    Dispute,
    /// The sum of all reversals from before each had its own row. The processor's complete list replaces it.
    Earlier,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Refund, Self::Dispute, Self::Earlier];

    /// The kind's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refund => "refund",
            Self::Dispute => "dispute",
            Self::Earlier => "earlier",
        }
    }

    /// Finds a kind by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The state of a refund or a dispute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum State {
    /// A refund that the processor has not made yet, or that the bank has not accepted yet.
    Pending,
    /// A refund that was made.
    Succeeded,
    /// A refund that was refused, cancelled or returned: no money was given back.
    Failed,
    /// A dispute that took the money and is not decided yet.
    Open,
    /// A dispute that was lost: the money is gone.
    Lost,
    /// A dispute that was won: the money came back.
    Won,
    /// A row that was replaced by another row.
    Replaced,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 7] =
        [Self::Pending, Self::Succeeded, Self::Failed, Self::Open, Self::Lost, Self::Won, Self::Replaced];

    /// The state's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Open => "open",
            Self::Lost => "lost",
            Self::Won => "won",
            Self::Replaced => "replaced",
        }
    }

    /// Finds a state by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether the reversal is in force: the money is with the card's owner, or on its way there.
    pub const fn stands(self) -> bool {
        match self {
            Self::Pending | Self::Succeeded | Self::Open | Self::Lost => true,
            Self::Failed | Self::Won | Self::Replaced => false,
        }
    }

    /// News move a row only to a higher rank. A refund that was made can still fail, and a lost dispute can still be
    /// won; the reverse never happens.
    const fn rank(self) -> u8 {
        match self {
            Self::Pending | Self::Open => 0,
            Self::Succeeded | Self::Lost => 1,
            Self::Failed | Self::Won => 2,
            Self::Replaced => 3,
        }
    }
}

/// A refund or a dispute of a payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reversal {
    /// The id in the ledger. For a refund requested here it is the id of that request, and the processor's idempotency
    /// key.
    pub id: ReversalId,
    /// The payment.
    pub payment_id: PaymentId,
    /// A refund or a dispute.
    pub kind: Kind,
    /// The processor's id of the reversal, once there is one.
    pub reference: Option<String>,
    /// The processor's id of the card that received the money.
    pub card: Option<String>,
    /// The amount.
    pub amount: Nanos,
    /// The current state.
    pub state: State,
    /// When the ledger first learned of it.
    pub created_at: Timestamp,
    /// When the state changed last, if it ever did.
    pub changed_at: Option<Timestamp>,
    /// The remaining life of the credits taken, in milliseconds. Credits that come back can be used for this long.
    pub left_ms: i64,
}

impl Reversal {
    /// Whether this is a refund requested here without an answer of the processor. It must be sent again under its id.
    pub fn is_unanswered(&self) -> bool {
        self.kind == Kind::Refund && self.state == State::Pending && self.reference.is_none()
    }
}

/// News of a refund or a dispute: its state as it is known now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// The id in the ledger, where the processor knows it.
    pub id: Option<ReversalId>,
    /// A refund or a dispute.
    pub kind: Kind,
    /// The processor's id of the reversal.
    pub reference: Option<String>,
    /// The amount.
    pub amount: Nanos,
    /// The state.
    pub state: State,
}

/// Whether news cover all of a payment's reversals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Listing {
    /// Some of the refunds and disputes.
    Some,
    /// All of them.
    All,
}

/// The amount of a payment that is reversed: the sum of the rows in force, at most the amount paid.
pub fn reversed<'a>(rows: impl IntoIterator<Item = &'a Reversal>, amount: Nanos) -> Nanos {
    let standing = rows.into_iter().filter(|row| row.state.stands());
    // Each row is at least zero, so the sum can stop at the amount.
    standing
        .fold(Nanos::ZERO, |sum, row| if sum >= amount { amount } else { (sum + row.amount.min(amount)).min(amount) })
}

/// The credits that correspond to the reversed share of a payment: none of them for nothing, all for the whole payment.
pub fn credits(funded: Nanos, reversed: Nanos, amount: Nanos) -> Nanos {
    let share = i128::from(funded.get()) * i128::from(reversed.get()) / i128::from(amount.get().max(1));
    Nanos::new(i64::try_from(share).unwrap_or(i64::MAX)).min(funded)
}

/// Refunds from before reversals had rows were rounded down one by one. The credits taken for one payment may be lower
/// by up to this amount.
pub const ROUNDED: Nanos = Nanos::new(1_000);

/// Whether a fee no longer pays for its cycle: all of it is reversed, or a dispute is in force. Reversals from before
/// there were rows ended no cycle.
pub fn ends_cycle(rows: &[Reversal], amount: Nanos) -> bool {
    let disputed = rows.iter().any(|row| row.kind == Kind::Dispute && row.state.stands());
    let is_earlier = rows.iter().any(|row| row.kind == Kind::Earlier && row.state.stands());
    disputed || (!is_earlier && reversed(rows, amount) == amount)
}

/// More refunds and disputes than can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

/// A payment's rows after news, with the places of the changed ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// All rows.
    pub rows: Vec<Reversal>,
    /// Indices of the rows that are new or changed.
    pub changed: Vec<usize>,
}

/// Merges news into a payment's rows. A row is found by its id, or else by the processor's id.
///
/// # Errors
///
/// [`TooMany`] if the payment would have more than [`MOST`] rows. Nothing is merged, and repeating the call does not
/// help.
pub fn merge(
    payment_id: PaymentId,
    known: &[Reversal],
    news: &[News],
    listing: Listing,
    now: Timestamp,
) -> Result<Merged, TooMany> {
    let mut merged = Merged { rows: known.to_vec(), changed: Vec::new() };
    if listing == Listing::All {
        for index in 0..merged.rows.len() {
            if merged.rows[index].kind == Kind::Earlier {
                merged.move_to(index, State::Replaced, now);
            }
        }
    }
    for told in news {
        merged.take(payment_id, told, now);
    }
    if merged.rows.len() > MOST { Err(TooMany) } else { Ok(merged) }
}

impl Merged {
    fn change(&mut self, index: usize) {
        if !self.changed.contains(&index) {
            self.changed.push(index);
        }
    }

    fn move_to(&mut self, index: usize, state: State, now: Timestamp) {
        let row = &mut self.rows[index];
        if state.rank() > row.state.rank() {
            row.state = state;
            row.changed_at = Some(now);
            self.change(index);
        }
    }

    fn by_reference(&self, told: &News) -> Option<usize> {
        let reference = told.reference.as_deref()?;
        let is_it = |row: &Reversal| {
            row.kind == told.kind && row.state != State::Replaced && row.reference.as_deref() == Some(reference)
        };
        self.rows.iter().position(is_it)
    }

    fn take(&mut self, payment_id: PaymentId, told: &News, now: Timestamp) {
        let by_id = told.id.and_then(|id| self.rows.iter().position(|row| row.id == id));
        let by_reference = self.by_reference(told);
        if let (Some(ours), Some(theirs)) = (by_id, by_reference)
            && ours != theirs
        {
            // The processor reported the refund before its answer gave our row the processor's id.
            self.move_to(theirs, State::Replaced, now);
        }
        let Some(index) = by_id.or(by_reference) else {
            let name = told.reference.as_deref().unwrap_or_default();
            let id = told.id.unwrap_or_else(|| ReversalId::of(payment_id, told.kind.name(), name));
            self.rows.push(Reversal {
                id,
                payment_id,
                kind: told.kind,
                reference: told.reference.clone(),
                card: None,
                amount: told.amount,
                state: told.state,
                created_at: now,
                changed_at: None,
                left_ms: 0,
            });
            self.changed.push(self.rows.len() - 1);
            return;
        };
        if self.rows[index].reference.is_none() && told.reference.is_some() {
            self.rows[index].reference.clone_from(&told.reference);
            self.change(index);
        }
        self.move_to(index, told.state, now);
    }
}

impl fmt::Display for Reversal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of {}, {}", self.kind.name(), self.id, self.amount, self.state.name())
    }
}
