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
    shared: bool,
    /// The nodes of the last day, the oldest first.
    nodes: Vec<Node>,
    /// The shards, in their order.
    shards: Vec<OwnedShard>,
    /// The open models of each node that lives, as it told them last.
    models: Vec<HadModel>,
    /// How Redis fares, as the node that answers this sees it; null where none is set.
    #[schema(required)]
    redis: Option<Redis>,
}

/// How Redis fares. Without it nodes are slower, and right.
#[derive(Debug, Serialize, ToSchema)]
struct Redis {
    /// `ready`, or `resting` while it is left alone after a failure.
    state: &'static str,
    /// Why it is left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Whether all that other nodes tell is heard.
    hears: bool,
    /// The calls that it answered.
    answered: u64,
    /// The calls that it did not answer in time.
    failed: u64,
    /// The balances and revocations that were not told by it.
    untold: u64,
    /// The accounts of other nodes whose balances are watched by it.
    watched: usize,
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
struct Node {
    id: Uuid,
    /// Its machine and process.
    name: String,
    /// Where other nodes reach it.
    address: String,
    /// The version of its program.
    version: String,
    /// `serving`, `leaving` while it hands its shards over, `gone` once nothing is heard of it.
    state: &'static str,
    /// Whether it is the one that answers this.
    here: bool,
    /// The number of shards that it owns.
    shards: usize,
    /// When its first heartbeat was, by the database's clock.
    since: Time,
    /// When its newest one was.
    heard_at: Time,
    /// By how many milliseconds its clock is ahead of the database's; negative: behind. By more than five seconds, while
    /// those of others are right, it leaves its shards to them.
    clock_ahead_ms: i64,
    /// How the way to it from the node that answers this stands: `connected`, `connecting`, or why it does not; null where
    /// nothing was asked of it.
    #[schema(required)]
    link: Option<String>,
}

/// An open model that a node has.
#[derive(Debug, Serialize, ToSchema)]
struct HadModel {
    model: String,
    node: Uuid,
    /// `cold`, `loading`, `warm`, `failed` or `unavailable` there.
    state: &'static str,
    /// Requests that wait there, for the model or behind others.
    waiting: usize,
    /// Bytes that are free on the devices that serve it.
    free_bytes: u64,
}

/// A part of the accounts, and who owns it.
#[derive(Debug, Serialize, ToSchema)]
struct OwnedShard {
    shard: i64,
    /// The node that owns it; null if it is nobody's just now.
    #[schema(required)]
    node: Option<Uuid>,
    /// Raised by each owner.
    epoch: i64,
    /// Until when its owner has it, unless it is renewed; null if it is nobody's.
    #[schema(required)]
    expires_at: Option<Time>,
    /// The rows of its log that the tables do not have yet.
    behind: u64,
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
