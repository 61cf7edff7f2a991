//! Card processors: what charges a card, saves one, gives money back, and tells of what happened meanwhile. Each call is
//! one exchange and says what is known after it; retrying and settling are the payment actor's. Amounts cross here as
//! whole cents, and nothing here knows a rule of money.

mod charge;
mod finding;
mod processor;
pub mod sandbox;
pub mod stripe;
pub mod webhook;

pub use charge::{CardError, NextAction, Order, Outcome, RefundOrder, Refunded, Setup, from_cents, to_cents};
pub use finding::{Finding, ListedCharge, ProcessorEvent, Statement, Subject, What};
pub use processor::Processor;
