//! This node as a member of several: how it joins, what it knows of the others, and how it leaves. The work is done by
//! [`super::task`], on a thread of its own.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use billing::Timestamp;
use hints::Hints;
use ledger::{
    LedgerError,
    log::Shard,
    nodes::{self, Nodes},
};
use link::{Link, Standing};
use runtime::{clock::since_boot as now, node::NodeId};
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc, watch},
};
use uuid::Uuid;

use super::{
    balances::ByRedis,
    hearing::is_alive,
    lease::{Held, Leases, Rules},
    neighbours::{Answers, Neighbours, hear_all, tell_all},
    relay::{Desk, Offers, tell_offers},
    task::{Event, Nudge, Task},
    view::View,
};
use crate::{accounts::Accounts, journal::Journal};

/// What a node is made of.
pub struct Membership {
    /// This life of the process.
    pub id: NodeId,
    /// The machine and the process, for people.
    pub name: String,
    /// The address at which other nodes reach this one: `HOST:PORT`.
    pub address: String,
    /// The version of the program.
    pub version: String,
    /// The times of the leases.
    pub rules: Rules,
    /// The link to the other nodes.
    pub link: Link,
    /// What nodes tell each other by Redis, where there is one.
    pub hints: Option<Hints>,
    /// Where the link listens.
    pub listener: TcpListener,
    /// Called when a shard is begun, after its accounts can be asked.
    pub on_begin: Arc<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership").field("id", &self.id).field("address", &self.address).finish_non_exhaustive()
    }
}

/// How long a node waits for the version of its price book, and how often it asks.
const PRICES_WITHIN: Duration = Duration::from_mins(1);
const BETWEEN: Duration = Duration::from_millis(100);

/// A handle of this node's membership. It ends with the process.
pub struct Cluster {
    me: NodeId,
    rules: Rules,
    view: Arc<View>,
    journal: Arc<Journal>,
    neighbours: Neighbours,
    pub(super) link: Link,
    pub(super) offers: Arc<Offers>,
    pub(super) desk: Arc<Desk>,
    events: mpsc::UnboundedSender<Event>,
    left: watch::Receiver<bool>,
    pub(super) seen: watch::Receiver<Option<Nodes>>,
    stop: Arc<Notify>,
    /// Whether no other node is answered any more.
    silent: watch::Receiver<bool>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Joins the other nodes, on a thread of its own.
    ///
    /// # Errors
    ///
    /// The system can't start the thread or its runtime.
    pub fn join(membership: Membership, accounts: Accounts, journal: Arc<Journal>) -> std::io::Result<Self> {
        let (events, heard) = mpsc::unbounded_channel();
        let (has_left, left) = watch::channel(false);
        let (sees, seen) = watch::channel(None);
        let view = Arc::new(View::new(accounts.ledger().shards()));
        let nudge = Nudge::new();
        let (link, hints) = (membership.link.clone(), membership.hints.clone());
        let neighbours = Neighbours::new(membership.id, link, hints, Arc::clone(&view), nudge.clone());
        accounts.running().is_node(membership.id);
        accounts.join(Arc::new(neighbours.clone()));
        if let Some(hints) = membership.hints.clone() {
            accounts.announce_by(Arc::new(ByRedis { hints, ledger: Arc::clone(accounts.ledger()) }));
        }
        let intruded = events.clone();
        journal.on_lost(move |shard, epoch| drop(intruded.send(Event::Intruded(Held { shard, epoch }))));
        let stop = Arc::new(Notify::new());
        let ended = Arc::clone(&stop);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let Membership { id, name, address, version, rules, link, hints, listener, on_begin } = membership;
        let (offers, desk) = (Arc::new(Offers::new()), Arc::<Desk>::default());
        let answers = Answers {
            accounts: accounts.clone(),
            journal: Arc::clone(&journal),
            view: Arc::clone(&view),
            seen: seen.clone(),
            nudge: nudge.clone(),
            stranger: Mutex::default(),
            offers: Arc::clone(&offers),
            desk: Arc::clone(&desk),
        };
        let row = nodes::Node {
            id: id.0,
            name,
            address,
            version,
            leaves: false,
            beat: 0,
            beat_at: Timestamp(0),
            since: Timestamp(0),
            ahead_ms: 0,
        };
        let tells = tell_all(Arc::clone(accounts.ledger()), link.clone(), hints.clone(), id, seen.clone());
        let hears = hints.clone().map(|hints| hear_all(Arc::clone(accounts.ledger()), hints));
        let of_models = tell_offers(Arc::clone(&offers), (link.clone(), hints.clone()), (id, rules), seen.clone());
        let (of_others, (is_silent, silent)) = (link.clone(), watch::channel(false));
        let (known, own) = (Arc::clone(&view), Arc::clone(&journal));
        let ledger = Arc::clone(accounts.ledger());
        let (leases, begun) = (Leases::new(id, rules, now()), BTreeMap::new());
        let task = Task {
            row,
            rules,
            leases,
            ledger,
            accounts,
            journal,
            link: link.clone(),
            hints,
            view,
            events: events.clone(),
            begun,
            on_begin,
            has_left,
            sees,
            hearing: Arc::default(),
        };
        std::thread::Builder::new().name("cluster".into()).spawn(move || {
            tokio::task::LocalSet::new().block_on(&runtime, async move {
                let serving = tokio::spawn(async move {
                    link.serve(listener, Arc::new(answers), async move { ended.notified().await }).await;
                    is_silent.send_replace(true);
                });
                tokio::spawn(tells);
                hears.map(tokio::spawn);
                tokio::spawn(of_models);
                task.run(heard, nudge).await;
                let _ = serving.await;
            });
        })?;
        Ok(Self {
            me: id,
            rules,
            view: known,
            journal: own,
            neighbours,
            link: of_others,
            offers,
            desk,
            events,
            left,
            seen,
            stop,
            silent,
        })
    }

    /// All nodes and leases, as they were read last.
    pub fn seen(&self) -> Option<Nodes> {
        self.seen.borrow().clone()
    }

    /// This node.
    pub const fn me(&self) -> NodeId {
        self.me
    }

    /// How this node's way to another stands, in words; `None` where it has asked it nothing yet.
    pub fn way_to(&self, node: Uuid) -> Option<String> {
        let ways = self.link.health();
        Some(match ways.into_iter().find(|way| way.node.0 == node)?.standing {
            Standing::Connecting => "connecting".to_owned(),
            Standing::Connected { .. } => "connected".to_owned(),
            Standing::Away(why) => format!("away: {why}"),
            Standing::Refused(refusal) => format!("refused: {refusal}"),
        })
    }

    /// Why this node may not let anything in, if it may not: its clock is wrong.
    pub fn fault(&self) -> Option<String> {
        self.view.fault()
    }

    /// Whether a node has been heard of lately.
    pub fn is_alive(&self, node: &nodes::Node, seen: &Nodes) -> bool {
        is_alive(node, seen, &self.rules)
    }

    /// The other nodes that live, and whether each ends.
    pub fn living(&self) -> Vec<(NodeId, bool)> {
        let seen = self.seen.borrow();
        let Some(seen) = seen.as_ref() else { return Vec::new() };
        let others = seen.nodes.iter().filter(|node| node.id != self.me.0 && self.is_alive(node, seen));
        others.map(|node| (NodeId(node.id), node.leaves)).collect()
    }

    /// Whether another node lives, and does not end.
    pub fn has_others(&self) -> bool {
        self.living().iter().any(|(_, leaves)| !leaves)
    }

    /// The version of a price book: its existing version, or a new one, from the node that owns the first shard. Waits until
    /// there is one.
    ///
    /// # Errors
    ///
    /// No node gives one in time.
    pub async fn price_version(&self, hash: String, text: String) -> Result<i64, LedgerError> {
        let until = now() + PRICES_WITHIN;
        loop {
            let version = if self.view.is_here(Shard::FIRST) {
                self.journal.price_version(hash.clone(), text.clone()).await
            } else {
                let asked = self.neighbours.price_version(hash.clone(), text.clone(), PRICES_WITHIN).await;
                asked.map_err(|error| LedgerError::Away(error.to_string()))
            };
            match version {
                Ok(version) => return Ok(version),
                Err(error) if now() >= until => return Err(error),
                Err(_) => tokio::time::sleep(BETWEEN).await,
            }
        }
    }

    /// Hands all shards over to the other nodes from now on.
    pub fn leave(&self) {
        // A member that has ended has nothing.
        let _ = self.events.send(Event::Leave);
    }

    /// Waits until all shards are handed over, for so long, and then answers no other node any more: what was answered has
    /// been sent.
    pub async fn left(&self, within: Duration) {
        let until = tokio::time::Instant::now() + within;
        let mut left = self.left.clone();
        let has_left = left.wait_for(|left| *left);
        if tokio::time::timeout_at(until, has_left).await.is_err() {
            tracing::warn!("not all shards were handed over in time: the other nodes wait for the leases' end");
        }
        self.stop.notify_one();
        let mut silent = self.silent.clone();
        // Answers that nobody reads are cut with the process.
        let _ = tokio::time::timeout_at(until, silent.wait_for(|silent| *silent)).await;
    }
}
