//! Events and lists of card processors: what their webhooks report, and what a look-up finds.

use billing::{
    Nanos, Timestamp,
    entry::Notice,
    ids::PaymentId,
    reversal::{Listing, News},
};

use crate::charge::ChargeOutcome;

/// An event of a processor: only that an object changed. The object's state is fetched, because events may come out of
/// order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessorEvent {
    /// The event itself.
    pub notice: Notice,
    /// The object that the event is about.
    pub subject: Subject,
}

/// The object that an event is about, by the processor's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A charge that went on or ended.
    Charge(String),
    /// A charge of which money was given back.
    Refund(String),
    /// A dispute that was opened, changed or closed.
    Dispute(String),
    /// An object that does not matter here.
    Other,
}

/// The state of a payment after an event, fetched from the processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The payment.
    pub payment_id: PaymentId,
    /// The processor's record of the payment.
    pub record: ProcessorRecord,
}

/// A part of a processor's record of a payment: see [`Finding`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessorRecord {
    /// The state of the charge.
    Charge(ChargeOutcome),
    /// Refunds and disputes of the charge, and whether the list is complete. An inquiry is left out: it takes no money.
    Reversals(Vec<News>, Listing),
}

/// One charge in a processor's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedCharge {
    /// The payment that the charge was made for.
    pub payment_id: PaymentId,
    /// The processor's id of the charge.
    pub reference: String,
    /// The amount paid; `None` where the charge was not paid.
    pub paid: Option<Nanos>,
    /// Whether the charge can still be paid.
    pub is_open: bool,
}

/// A processor's whole list, to compare the ledger with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statement {
    /// Charges made for payments of this gateway.
    pub charges: Vec<ListedCharge>,
    /// Refunds and disputes, each with the processor's id of its charge.
    pub reversals: Vec<(String, News)>,
    /// The processor has forgotten payments begun before this time.
    pub remembers_since: Option<Timestamp>,
}
