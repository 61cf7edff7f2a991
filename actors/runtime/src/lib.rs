//! What actors stand on: mailboxes that are bounded and tell of lost replies, supervisors, exits, health, the clock.

pub mod clock;
pub mod exit;
pub mod health;
pub mod mailbox;
pub mod supervisor;
