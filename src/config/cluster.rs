//! The settings of a node that shares its ledger with others.

use std::{net::SocketAddr, path::PathBuf};

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
    /// The certificate by which nodes speak TLS with each other.
    pub tls: Tls,
    /// How long a node owns a shard without a word of it.
    pub lease_seconds: u64,
    /// How often it renews that.
    pub renew_seconds: u64,
}

impl Default for Cluster {
    fn default() -> Self {
        Self { listen: None, address: None, secret: None, tls: Tls::default(), lease_seconds: 10, renew_seconds: 3 }
    }
}

/// The certificate by which nodes speak TLS with each other: all of its files, or none. They are PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// This node's certificate, and those between it and the authority's.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// The certificate of the authority that signs those of all nodes, and no others.
    pub authority: Option<PathBuf>,
    /// The name that all certificates have; without it, each has the host of its node's address.
    pub name: Option<String>,
}

impl Tls {
    /// The certificate, its key and the authority's certificate, where there are all.
    pub fn files(&self) -> Option<[&PathBuf; 3]> {
        Some([self.certificate.as_ref()?, self.key.as_ref()?, self.authority.as_ref()?])
    }

    /// The first file that is missing where another setting is there.
    pub(super) fn missing(&self) -> Option<&'static str> {
        let Self { certificate, key, authority, name } = self;
        let files = [("certificate", certificate), ("key", key), ("authority", authority)];
        let has_any = name.is_some() || files.iter().any(|(_, file)| file.is_some());
        let mut missing = files.into_iter().filter(|(_, file)| has_any && file.is_none());
        missing.next().map(|(name, _)| name)
    }
}
