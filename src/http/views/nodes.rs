//! The nodes that share a ledger, for operators.

use actors::cluster::Cluster;
use hints::{Health, Hints, Standing};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Time, pools::state_name};

/// The nodes of this ledger.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodeList {
    /// Whether several nodes may share the ledger. If not, this process owns all of it, and the lists are empty.
    pub(in crate::http) shared: bool,
    /// The nodes of the last day, the oldest first.
    pub(in crate::http) nodes: Vec<Node>,
    /// The shards, in their order.
    pub(in crate::http) shards: Vec<OwnedShard>,
    /// The open models of each node that lives, as it told them last.
    pub(in crate::http) models: Vec<HadModel>,
    /// How Redis fares, as the node that answers this sees it; null where none is set.
    #[schema(required)]
    pub(in crate::http) redis: Option<Redis>,
}

/// How Redis fares. Without it nodes are slower, and right.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Redis {
    /// `ready`, or `resting` while it is left alone after a failure.
    pub(in crate::http) state: &'static str,
    /// Why it is left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) reason: Option<String>,
    /// Whether all that other nodes tell is heard.
    pub(in crate::http) hears: bool,
    /// The calls that it answered.
    pub(in crate::http) answered: u64,
    /// The calls that it did not answer in time.
    pub(in crate::http) failed: u64,
    /// The balances and revocations that were not told by it.
    pub(in crate::http) untold: u64,
    /// The accounts of other nodes whose balances are watched by it.
    pub(in crate::http) watched: usize,
}

impl From<Health> for Redis {
    fn from(health: Health) -> Self {
        let Health { standing, is_sighted, answered, failed, untold, watched } = health;
        let (state, reason) = match standing {
            Standing::Ready => ("ready", None),
            Standing::Resting(_, why) => ("resting", Some(why)),
        };
        Self { state, reason, hears: is_sighted, answered, failed, untold, watched }
    }
}

/// A node: one life of a process.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Node {
    pub(in crate::http) id: Uuid,
    /// Its machine and process.
    pub(in crate::http) name: String,
    /// Where other nodes reach it.
    pub(in crate::http) address: String,
    /// The version of its program.
    pub(in crate::http) version: String,
    /// `serving`, `leaving` while it hands its shards over, `gone` once nothing is heard of it.
    pub(in crate::http) state: &'static str,
    /// Whether it is the one that answers this.
    pub(in crate::http) here: bool,
    /// The number of shards that it owns.
    pub(in crate::http) shards: usize,
    /// When its first heartbeat was, by the database's clock.
    pub(in crate::http) since: Time,
    /// When its newest one was.
    pub(in crate::http) heard_at: Time,
    /// By how many milliseconds its clock is ahead of the database's; negative: behind. By more than five seconds, while
    /// those of others are right, it leaves its shards to them.
    pub(in crate::http) clock_ahead_ms: i64,
    /// How the way to it from the node that answers this stands: `connected`, `connecting`, or why it does not; null where
    /// nothing was asked of it.
    #[schema(required)]
    pub(in crate::http) link: Option<String>,
}

/// An open model that a node has.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct HadModel {
    pub(in crate::http) model: String,
    pub(in crate::http) node: Uuid,
    /// `cold`, `loading`, `warm`, `failed` or `unavailable` there.
    pub(in crate::http) state: &'static str,
    /// Requests that wait there, for the model or behind others.
    pub(in crate::http) waiting: usize,
    /// Bytes that are free on the devices that serve it.
    pub(in crate::http) free_bytes: u64,
}

/// A part of the accounts, and who owns it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct OwnedShard {
    pub(in crate::http) shard: i64,
    /// The node that owns it; null if it is nobody's just now.
    #[schema(required)]
    pub(in crate::http) node: Option<Uuid>,
    /// Raised by each owner.
    pub(in crate::http) epoch: i64,
    /// Until when its owner has it, unless it is renewed; null if it is nobody's.
    #[schema(required)]
    pub(in crate::http) expires_at: Option<Time>,
    /// The rows of its log that the tables do not have yet.
    pub(in crate::http) behind: u64,
}

impl NodeList {
    /// The nodes, as this one has seen them last.
    pub fn of(cluster: Option<&Cluster>, hints: Option<&Hints>) -> Self {
        let redis = hints.map(|hints| hints.health().into());
        let Some((cluster, seen)) = cluster.and_then(|cluster| Some((cluster, cluster.seen()?))) else {
            let (nodes, shards, models) = (Vec::new(), Vec::new(), Vec::new());
            return Self { shared: cluster.is_some(), nodes, shards, models, redis };
        };
        let nodes = seen.nodes.iter().map(|node| Node {
            id: node.id,
            name: node.name.clone(),
            address: node.address.clone(),
            version: node.version.clone(),
            state: match (cluster.is_alive(node, &seen), node.leaves) {
                (false, _) => "gone",
                (true, true) => "leaving",
                (true, false) => "serving",
            },
            here: node.id == cluster.me().0,
            shards: seen.leases.iter().filter(|lease| lease.node == Some(node.id)).count(),
            since: node.since.into(),
            heard_at: node.beat_at.into(),
            clock_ahead_ms: node.ahead_ms,
            link: cluster.way_to(node.id),
        });
        let shards = seen.leases.iter().map(|lease| OwnedShard {
            shard: lease.shard.0,
            node: lease.node,
            epoch: lease.epoch,
            expires_at: lease.node.map(|_| lease.expires_at.into()),
            behind: lease.behind,
        });
        let mut models: Vec<_> = cluster
            .all_offers()
            .into_iter()
            .map(|(node, offer)| HadModel {
                model: offer.model.to_string(),
                node: node.0,
                state: state_name(offer.standing),
                waiting: offer.waiting,
                free_bytes: offer.free,
            })
            .collect();
        models.sort_by(|one, other| (&one.model, one.node).cmp(&(&other.model, other.node)));
        Self { shared: true, nodes: nodes.collect(), shards: shards.collect(), models, redis }
    }
}
