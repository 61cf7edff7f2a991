//! The actors: everything that holds state while the process runs.

pub mod account;
pub mod directory;
pub mod journal;
pub mod payment;
pub mod pool;
pub mod provider;
pub mod sweeper;
pub mod webhook;
