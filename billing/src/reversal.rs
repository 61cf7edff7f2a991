//! Money of a payment that comes back: each refund and each dispute is a row with a state of its own. The credits taken are
//! a function of the rows that stand, in both directions. What is told of a row only ever moves it forward, so that rows
//! come out the same however often and in whatever order their news come.

use std::fmt;

use crate::{
    ids::{PaymentId, ReversalId},
    nanos::Nanos,
    time::Timestamp,
};

/// Refunds and disputes of one payment, at most.
pub const MOST: usize = 2_000;

/// What took the money back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Given back: by an operator here, or at the processor.
    Refund,
    /// Taken back by the card's bank.
    Dispute,
    /// All that was reversed before there were rows; gives way to the processor's own list.
    Earlier,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Refund, Self::Dispute, Self::Earlier];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refund => "refund",
            Self::Dispute => "dispute",
            Self::Earlier => "earlier",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Where a refund or a dispute stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// A refund that the processor has not made, or that its bank has not taken.
    Pending,
    /// A refund that was made.
    Succeeded,
    /// A refund that was refused, canceled, or came back: nothing was given back.
    Failed,
    /// A dispute that took the money and is not decided.
    Open,
    /// A dispute whose money is gone.
    Lost,
    /// A dispute whose money came again.
    Won,
    /// Told of by another row.
    Replaced,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 7] =
        [Self::Pending, Self::Succeeded, Self::Failed, Self::Open, Self::Lost, Self::Won, Self::Replaced];

    /// Its name.
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

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether the money is back with the card, or on its way there.
    pub const fn stands(self) -> bool {
        match self {
            Self::Pending | Self::Succeeded | Self::Open | Self::Lost => true,
            Self::Failed | Self::Won | Self::Replaced => false,
        }
    }

    /// News of a row move it to a higher rank, or nowhere: a refund that was made can still fail, a dispute that was lost
    /// can still be won, and never the other way round.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reversal {
    /// Its id here: of a refund that is asked for here, the request's that asked, and the processor's idempotency key.
    pub id: ReversalId,
    /// Of which payment.
    pub payment_id: PaymentId,
    /// What took the money back.
    pub kind: Kind,
    /// The processor's name for it, once it has one.
    pub reference: Option<String>,
    /// The card it went back to, as the processor names it.
    pub card: Option<String>,
    /// How much.
    pub amount: Nanos,
    /// Where it stands.
    pub state: State,
    /// When it was first heard of here.
    pub created_at: Timestamp,
    /// When its state changed last, after that.
    pub changed_at: Option<Timestamp>,
    /// For how long the credits it took could still have been used, in milliseconds: so long they can be used again
    /// should they come back.
    pub left_ms: i64,
}

impl Reversal {
    /// Whether it was asked for here and the processor has not answered: to be asked again under its id.
    pub fn is_unanswered(&self) -> bool {
        self.kind == Kind::Refund && self.state == State::Pending && self.reference.is_none()
    }
}

/// What is known of a refund or a dispute now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Its id here, where the processor knows it.
    pub id: Option<ReversalId>,
    /// What took the money back.
    pub kind: Kind,
    /// The processor's name for it.
    pub reference: Option<String>,
    /// How much.
    pub amount: Nanos,
    /// Where it stands.
    pub state: State,
}

/// Whether news are all that the processor knows of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// Of some refunds or disputes.
    Some,
    /// Of all of them.
    All,
}

/// How much of a payment is back with its card: what stands, never more than was paid.
pub fn reversed<'a>(rows: impl IntoIterator<Item = &'a Reversal>, amount: Nanos) -> Nanos {
    let standing = rows.into_iter().filter(|row| row.state.stands());
    // Each row is at least zero, so that stopping at the amount is stopping for good.
    standing
        .fold(Nanos::ZERO, |sum, row| if sum >= amount { amount } else { (sum + row.amount.min(amount)).min(amount) })
}

/// The credits that go with so much of a payment: none with nothing, all with all of it.
pub fn credits(funded: Nanos, reversed: Nanos, amount: Nanos) -> Nanos {
    let share = i128::from(funded.get()) * i128::from(reversed.get()) / i128::from(amount.get().max(1));
    Nanos::new(i64::try_from(share).unwrap_or(i64::MAX)).min(funded)
}

/// Refunds of before there were rows were rounded down one by one: so much less may have been taken for all of a payment's.
pub const ROUNDED: Nanos = Nanos::new(1_000);

/// Whether a cycle's fee no longer pays for it: all of it is back, or a dispute of it stands. What came back before there
/// were rows ended no cycle.
pub fn ends_cycle(rows: &[Reversal], amount: Nanos) -> bool {
    let disputed = rows.iter().any(|row| row.kind == Kind::Dispute && row.state.stands());
    let is_earlier = rows.iter().any(|row| row.kind == Kind::Earlier && row.state.stands());
    disputed || (!is_earlier && reversed(rows, amount) == amount)
}

/// More refunds and disputes than are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

/// A payment's rows after news, and which of them changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// All of them.
    pub rows: Vec<Reversal>,
    /// Places of those that are new or changed.
    pub changed: Vec<usize>,
}

/// Takes news into a payment's rows. A row is known again by its id, else by the processor's name for it.
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
            // It was heard of before the answer came that gave it its name.
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
