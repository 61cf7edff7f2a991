//! The rules of money: credits, grants, holds, tiers and charges as a pure state machine. No I/O, no clock, no async:
//! time and ids come in with each command. The account actor runs [`decide::decide`]; property tests run the same code.
//!
//! Invariants (design, chapter 2.9) are asserted in release builds: an account with a wrong state stops.

// Callers of this crate learn from its rustdoc when a function fails; crates whose rustdoc lacks that do not warn yet.
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub mod account;
pub mod alert;
pub mod attempt;
pub mod automatic;
pub mod card;
pub mod class;
pub mod command;
pub mod decide;
pub mod entry;
pub mod event;
pub mod grant;
pub mod hold;
pub mod ids;
pub mod key;
pub mod learned;
pub mod member;
pub mod meter;
pub mod nanos;
pub mod notice;
pub mod payment;
pub mod plan;
pub mod price;
pub mod quantity;
pub mod resource;
pub mod reversal;
pub mod session;
pub mod soundness;
pub mod subscription;
pub mod tier;
pub mod time;
pub mod timings;
pub mod webhook;

pub use nanos::Nanos;
pub use time::Timestamp;
