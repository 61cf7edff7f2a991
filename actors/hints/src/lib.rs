//! What nodes tell each other by Redis, and may lose: who owns and who runs what, balances for live sockets, keys that were
//! revoked, and how often an address asks.
//!
//! Nothing here fails a request. Each call ends within a bound of some tens of milliseconds, with none where Redis is away,
//! slow, or answers nonsense; after that Redis is left alone for a while. So each use has a path without it:
//!
//! | use | without Redis |
//! |---|---|
//! | who owns a shard | the rows of the database, or the answer of a node that is asked and does not own it |
//! | who runs a model | the nodes are asked one by one |
//! | balances ([`Watch`]) | a subscription at the owner by the link; to be had whenever the watch is [`Told::Blind`] |
//! | revoked keys ([`Revoked`]) | while it is [`Revoked::Blind`], a key counts only as the database has it |
//! | rates of addresses ([`Rates`]) | each node counts by itself: an address gets as many times as much as there are nodes |

// Callers of this crate learn from its rustdoc when a function fails; crates whose rustdoc lacks that do not warn yet.
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

mod breaker;
mod fanout;
mod owners;
mod place;
mod rates;
mod registry;
mod store;
mod voices;

use std::{sync::Arc, time::Duration};

use billing::ids::AccountId;
use bytes::Bytes;
use runtime::node::NodeId;
use tokio::sync::broadcast;

pub use breaker::Standing;
pub use owners::Owner;
pub use place::{BadUrl, Place};
pub use rates::{Decision, Rate, Rates};
pub use registry::{Number, Told, Watch};

use fanout::Fanout;
use store::Store;

/// The bounds of all calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The longest that a call may take.
    pub call: Duration,
    /// How long a connection may take to be there, behind all calls.
    pub connect: Duration,
    /// How long Redis is left alone after a failure: at first, and at most.
    pub rest: (Duration, Duration),
    /// How often the connection of subscriptions is asked whether Redis is there.
    pub alive: Duration,
    /// How often this node speaks, so that others know that they hear all it tells.
    pub speak: Duration,
    /// After how long a node that does not speak is not heard.
    pub silence: Duration,
    /// The most balances that wait to be told.
    pub waiting: usize,
    /// The most accounts that are watched.
    pub watched: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            call: Duration::from_millis(30),
            connect: Duration::from_millis(500),
            rest: (Duration::from_millis(500), Duration::from_secs(10)),
            alive: Duration::from_millis(200),
            speak: Duration::from_millis(200),
            silence: Duration::from_millis(700),
            waiting: 16_384,
            watched: 100_000,
        }
    }
}

/// What is heard of revoked keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoked {
    /// The key with this public part was revoked.
    Key(String),
    /// Nothing is heard any more.
    Blind,
    /// All is heard from now on. What happened before may have been missed.
    Sighted,
}

/// How Redis fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Of calls.
    pub standing: Standing,
    /// Whether what others tell is heard.
    pub is_sighted: bool,
    /// Calls that were answered.
    pub answered: u64,
    /// Calls that were not.
    pub failed: u64,
    /// Balances and revocations that were not told.
    pub untold: u64,
    /// Accounts that are watched.
    pub watched: usize,
}

/// The hints of one ledger's nodes. Clones share them.
#[derive(Clone)]
pub struct Hints {
    store: Arc<Store>,
    fanout: Fanout,
}

impl Hints {
    /// This node's hints by a Redis, for one ledger's nodes: others that use the same Redis hear nothing of them. It connects
    /// by itself, and again. To be called within a runtime.
    pub fn open(place: Place, ledger: &str, me: NodeId, options: Options) -> Self {
        // Another crypto provider may be installed already; either serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = Arc::new(Store::new(place, ledger, options));
        tokio::spawn(Store::connect_behind(Arc::downgrade(&store)));
        let fanout = Fanout::start(&store, me);
        Self { store, fanout }
    }

    /// Tells who owns a shard, for so long. One with an older epoch changes nothing.
    pub async fn tell_owner(&self, shard: i64, owner: &Owner, lasts: Duration) {
        owners::tell(&self.store, shard, owner, lasts).await;
    }

    /// Who owns a shard, as far as somebody said so.
    pub async fn owner(&self, shard: i64) -> Option<Owner> {
        owners::ask(&self.store, shard).await
    }

    /// Tells what this node runs, for so long; in words that only the nodes understand.
    pub async fn tell_runs(&self, node: NodeId, what: &[u8], lasts: Duration) {
        owners::tell_runs(&self.store, node, what, lasts).await;
    }

    /// What these nodes run, in their order; none of a node of which it is not known.
    pub async fn runs(&self, nodes: &[NodeId]) -> Vec<Option<Bytes>> {
        owners::runs(&self.store, nodes).await
    }

    /// Tells an account's balance to all nodes that watch it. It is not waited for.
    pub fn tell_balance(&self, account: AccountId, number: Number, balance: Bytes) {
        self.fanout.tell_balance(account, number, balance);
    }

    /// Watches the balance of an account that this node owns; none where too many are watched already.
    pub fn watch(&self, account: AccountId, owner: NodeId) -> Option<Watch> {
        self.fanout.watch(account, owner)
    }

    /// Tells all nodes that a key was revoked, by its public part. It is not waited for.
    pub fn tell_revoked(&self, public: String) {
        self.fanout.tell_revoked(public);
    }

    /// What is heard of revoked keys from now on. It begins blind. Who hears too slowly misses some, and is to take that for
    /// blindness.
    pub fn revoked(&self) -> broadcast::Receiver<Revoked> {
        self.fanout.revoked()
    }

    /// Whether revocations are heard now.
    pub fn is_sighted(&self) -> bool {
        self.fanout.is_sighted()
    }

    /// How Redis fares.
    pub fn health(&self) -> Health {
        let (answered, failed) = self.store.counts();
        Health {
            standing: self.store.standing(),
            is_sighted: self.fanout.is_sighted(),
            answered,
            failed,
            untold: self.fanout.untold(),
            watched: self.fanout.watched(),
        }
    }
}
