//! What processors tell of themselves, and what stands when they are asked: the events of their webhooks, and their lists.

use billing::{
    Nanos, Timestamp,
    entry::Notice,
    ids::PaymentId,
    reversal::{Listing, News},
};

use crate::charge::Outcome;

/// An event told by a processor: only that something happened to something. What, is fetched: order is not trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessorEvent {
    /// The event.
    pub notice: Notice,
    /// What it is about.
    pub subject: Subject,
}

/// What a notice is about, by the processor's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A charge went on or ended.
    Charge(String),
    /// Money of a charge was given back.
    Refund(String),
    /// A charge is disputed, or no longer.
    Dispute(String),
    /// Nothing that matters here.
    Other,
}

/// What stands after a notice, fetched from the processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Of which payment.
    pub payment_id: PaymentId,
    /// What.
    pub what: What,
}

/// See [`Finding`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Where the charge stands.
    Charge(Outcome),
    /// Refunds and disputes of the charge, and whether these are all. An inquiry is none: it takes no money.
    Reversals(Vec<News>, Listing),
}

/// What a processor lists of one charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedCharge {
    /// Of which payment.
    pub payment_id: PaymentId,
    /// Its name for it.
    pub reference: String,
    /// What was paid; none where it was not.
    pub paid: Option<Nanos>,
    /// Whether it can still be paid.
    pub is_open: bool,
}

/// All that a processor lists, for the books to be compared with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statement {
    /// Charges made for payments of ours.
    pub charges: Vec<ListedCharge>,
    /// Refunds and disputes, each with the processor's name for its charge.
    pub reversals: Vec<(String, News)>,
    /// Payments begun before this are not known to it any more.
    pub remembers_since: Option<Timestamp>,
}
