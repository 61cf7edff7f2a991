//! The name of a node: one life of a process that shares its ledger with other processes.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One life of a process. A process that starts again is another node, so that nothing which is under way for the life
/// before can be taken for its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub Uuid);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
