//! Everything that holds state: the actors, and what they stand on.

pub mod account;
pub mod card;
pub mod clock;
pub mod directory;
pub mod engine;
pub mod health;
pub mod journal;
pub mod ledger;
pub mod mailbox;
pub mod payment;
pub mod pool;
pub mod provider;
pub mod supervisor;
pub mod sweeper;
pub mod transport;
pub mod webhook;
