//! What actors stand on: bounded mailboxes that report lost replies, supervisors, exits, health, the clock, the names of nodes.

// Callers of this crate learn from its rustdoc when a function fails; crates whose rustdoc lacks that do not warn yet.
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub mod clock;
pub mod executors;
pub mod exit;
pub mod health;
pub mod mailbox;
pub mod node;
pub mod supervisor;
