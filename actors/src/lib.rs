//! The actors: everything that holds state while the process runs.

// Callers of this crate learn from its rustdoc when a function fails; crates whose rustdoc lacks that do not warn yet.
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub mod account;
pub mod accounts;
pub mod admission;
pub mod cluster;
pub mod context;
pub mod delivery;
#[cfg(feature = "faults")]
pub mod faults;
pub mod journal;
pub mod payment;
pub mod pool;
pub mod provider;
pub mod resources;
pub mod running;
pub mod spool;
pub mod sweeper;
