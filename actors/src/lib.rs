//! The actors: everything that holds state while the process runs.

pub mod account;
pub mod accounts;
pub mod admission;
pub mod context;
pub mod delivery;
#[cfg(feature = "faults")]
pub mod faults;
pub mod journal;
pub mod payment;
pub mod pool;
pub mod provider;
pub mod running;
pub mod sweeper;
