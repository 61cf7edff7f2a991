//! Several nodes with one ledger. [`lease`] decides which node owns which shard, and is pure; [`task`] carries that out for
//! a [`member`]; [`clocks`] says whether its clock is right enough for that; [`neighbours`] asks the accounts of other nodes, and answers for those of this one; [`view`] is what all of
//! them know.

mod balances;
pub mod clocks;
pub mod lease;
mod member;
mod neighbours;
mod task;
mod view;

pub use member::{Cluster, Membership};
pub use neighbours::PROTOCOL;
pub use task::is_alive;
