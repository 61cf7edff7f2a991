//! Several nodes with one ledger. [`lease`] decides which node owns which shard, and is pure; [`member`] carries that out;
//! [`neighbours`] asks the accounts of other nodes, and answers for those of this one; [`view`] is what both know.

pub mod lease;
mod member;
mod neighbours;
mod view;

pub use member::{Cluster, Membership};
pub use neighbours::{Neighbours, PROTOCOL};
