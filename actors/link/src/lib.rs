//! The link between nodes: asks and answers, one-way messages, subscriptions, and whole HTTP requests for another node. One
//! connection of HTTP/2 to each node, proven by the secret that all share. Bodies are bytes that only callers understand:
//! the link knows no account and no money.
//!
//! What has no answer says whether it may have been done ([`LinkError::may_be_done`]). A node with another secret, version,
//! clock, database or ledger is refused by name, on both sides. What is beyond a limit is refused at once.

// Callers of this crate learn from its rustdoc when a function fails; crates whose rustdoc lacks that do not warn yet.
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

mod body;
mod error;
mod forward;
mod frame;
mod hello;
mod io;
mod options;
mod peer;
mod proof;
mod server;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use runtime::{clock::Clock, node::NodeId};

pub use body::{Cut, Pieces, Sent};
pub use error::{LinkError, NotSent, Unknown};
pub use forward::Forwarded;
pub use frame::{Answer, Ask, Tell};
pub use hello::{Hello, Identity, Refusal};
pub use options::{Options, SHORTEST_SECRET, Tls, Unusable};
pub use peer::{NotSubscribed, Peer, PeerHealth, Standing, Subscription};
pub use server::Handler;

use proof::Secret;

/// The paths of a link.
mod path {
    /// A connection begins: the nonce of who connects, for that of who accepts.
    pub(crate) const BEGIN: &str = "/link/begin";
    /// The proofs of both, and what they say of themselves.
    pub(crate) const PROVE: &str = "/link/prove";
    pub(crate) const ASK: &str = "/link/ask";
    pub(crate) const TELL: &str = "/link/tell";
    pub(crate) const SUBSCRIBE: &str = "/link/subscribe";
    /// Before the path of a request that is forwarded.
    pub(crate) const FORWARD: &str = "/link/forward";
}

/// What all connections of a node have in common.
struct Common {
    identity: Identity,
    secret: Secret,
    options: Options,
    tls: Option<Tls>,
    clock: Clock,
}

impl Common {
    /// What this node says of itself now.
    fn hello(&self) -> Hello {
        Hello { identity: self.identity.clone(), clock_ms: self.clock.now().0 }
    }

    /// What speaks against working together with a node that says this now.
    fn objection(&self, theirs: &Hello) -> Option<Refusal> {
        hello::objection(&self.hello(), theirs, self.options.clocks)
    }
}

/// This node's link to the others. Clones share it.
#[derive(Clone)]
pub struct Link {
    common: Arc<Common>,
    peers: Arc<Mutex<BTreeMap<NodeId, Peer>>>,
}

impl Link {
    /// A link of this node, to nodes with the same secret.
    ///
    /// # Errors
    ///
    /// Where the secret is too short.
    pub fn new(
        identity: Identity,
        secret: &[u8],
        options: Options,
        tls: Option<Tls>,
        clock: Clock,
    ) -> Result<Self, Unusable> {
        if secret.len() < SHORTEST_SECRET {
            return Err(Unusable::ShortSecret);
        }
        let common = Arc::new(Common { identity, secret: Secret::new(secret), options, tls, clock });
        Ok(Self { common, peers: Arc::default() })
    }

    /// The way to a node that listens at an address (`HOST:PORT`). There is one, and one connection: it is opened at once,
    /// and again whenever it breaks, until the node is forgotten. To be called within a runtime.
    pub fn peer(&self, node: NodeId, address: &str) -> Peer {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = peers.get(&node).filter(|peer| peer.address() == address) {
            return peer.clone();
        }
        let peer = Peer::open(Arc::clone(&self.common), node, address);
        peers.insert(node, peer.clone());
        peer
    }

    /// A node is no more: its connection ends when nothing asks it any more.
    pub fn forget(&self, node: NodeId) {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
    }

    /// How each way fares.
    pub fn health(&self) -> Vec<PeerHealth> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).values().map(Peer::health).collect()
    }
}
