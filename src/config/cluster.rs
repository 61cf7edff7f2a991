//! The settings of a node that shares its ledger with others.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Secret;

/// This node among several with one ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Where it listens for the other nodes; without it this process owns the whole ledger.
    pub listen: Option<SocketAddr>,
    /// The address at which the other nodes reach it, `HOST:PORT`; by default where it listens.
    pub address: Option<String>,
    /// What all nodes know and nobody else: at least 32 bytes.
    pub secret: Option<Secret>,
    /// How long a node owns a shard without a word of it.
    pub lease_seconds: u64,
    /// How often it renews that.
    pub renew_seconds: u64,
}

impl Default for Cluster {
    fn default() -> Self {
        Self { listen: None, address: None, secret: None, lease_seconds: 10, renew_seconds: 3 }
    }
}
