//! Several nodes with one ledger. [`lease`] decides which node owns which shard, and is pure; [`task`] carries that out for
//! a [`member`]; [`clocks`] says whether its clock is right enough for that, [`hearing`] which others may live; [`neighbours`] asks the accounts of other nodes,
//! and answers for those of this one; [`balances`] tells what they have; [`view`] is what all of them know. [`relay`] passes
//! requests to open models on to the nodes that [`place`] chooses.

mod balances;
pub mod clocks;
pub mod hearing;
pub mod lease;
mod member;
mod neighbours;
pub mod place;
pub mod relay;
mod task;
mod view;

pub use hearing::is_alive;
pub use link::{Cut, Forwarded, LinkError, Pieces, Sent};
pub use member::{Cluster, Membership};
pub use neighbours::PROTOCOL;
pub use runtime::node::NodeId;
