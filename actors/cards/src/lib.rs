//! Card processors: they charge cards, save cards, give money back, and report events. Each call is one exchange and
//! returns what is known after it. Retrying and settling belong to the payment actor. Amounts cross here as whole
//! cents, and no rule of money is known here.

// Callers of this crate learn from its rustdoc when a function fails; crates whose rustdoc lacks that do not warn yet.
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

mod charge;
mod finding;
mod processor;
pub mod sandbox;
pub mod stripe;
pub mod webhook;

pub use charge::{CardError, ChargeOutcome, NextAction, Order, RefundOrder, Refunded, Setup, from_cents, to_cents};
pub use finding::{Finding, ListedCharge, ProcessorEvent, ProcessorRecord, Statement, Subject};
pub use processor::Processor;
