//! Nodes that share a ledger, and which of them owns what.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

use crate::{
    Stage,
    contest::{Contender, Meter},
    farebox::{Database, Farebox},
    load::Target,
    redis::Redis,
};

const SECRET: &str = "what all nodes of the benchmark know, and nobody else";
/// How long nodes may take until each has its share.
const EVEN_WITHIN: Duration = Duration::from_mins(2);
const LOOK: Duration = Duration::from_millis(50);

/// Nodes with one ledger, or one process that owns it.
pub(crate) struct Nodes {
    pub(crate) members: Vec<Farebox>,
    database: String,
    name: &'static str,
    postgres: u32,
    redis: Option<String>,
}

impl Nodes {
    /// One process that owns a whole ledger.
    pub(crate) fn alone(stage: &Stage, name: &'static str) -> Self {
        let database = stage.postgres.fresh_database();
        let process = Farebox::start_as(name, &stage.upstream.1, Database::Postgres(database.clone()), Vec::new());
        Self { members: vec![process], database, name, postgres: stage.postgres.id(), redis: None }
    }

    /// So many nodes, each of which has its share, with the stage's Redis where there is one.
    pub(crate) async fn start(stage: &Stage, name: &'static str, count: usize) -> Self {
        Self::start_with(stage, name, count, stage.redis.as_ref().map(Redis::url)).await
    }

    /// The same with the Redis at this address, or without any.
    pub(crate) async fn start_with(stage: &Stage, name: &'static str, count: usize, redis: Option<String>) -> Self {
        let (database, postgres) = (stage.postgres.fresh_database(), stage.postgres.id());
        let mut nodes = Self { members: Vec::new(), database, name, postgres, redis };
        for _ in 0..count {
            nodes.join(stage);
        }
        nodes.is_even().await;
        nodes
    }

    /// One more node.
    pub(crate) fn join(&mut self, stage: &Stage) {
        let name = format!("{}-{}", self.name, uuid::Uuid::now_v7().simple());
        let mut more =
            vec![("FAREBOX_CLUSTER__LISTEN", "127.0.0.1:0".to_owned()), ("FAREBOX_CLUSTER__SECRET", SECRET.to_owned())];
        more.extend(self.redis.clone().map(|url| ("FAREBOX_REDIS__URL", url)));
        let database = Database::Postgres(self.database.clone());
        self.members.push(Farebox::start_as(&name, &stage.upstream.1, database, more));
    }

    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.members.iter().map(|node| node.url.clone()).collect()
    }

    /// Waits until each node serves its share of the shards.
    pub(crate) async fn is_even(&self) {
        let began = Instant::now();
        loop {
            let seen = self.members[0].look("nodes").await;
            let shares: Vec<u64> = living(&seen).filter_map(|node| node["shards"].as_u64()).collect();
            let all: u64 = shares.iter().sum();
            let is_even = shares.iter().max().zip(shares.iter().min()).is_some_and(|(most, least)| most - least <= 1);
            if shares.len() == self.members.len() && is_even && all == 16 {
                break;
            }
            assert!(began.elapsed() < EVEN_WITHIN, "{seen}");
            sleep(LOOK).await;
        }
        // What was taken a moment ago is begun.
        sleep(Duration::from_secs(1)).await;
    }

    /// The place of the node that owns an account.
    pub(crate) async fn owner(&self, account: &str) -> usize {
        let [.., high, low] = *account.parse::<uuid::Uuid>().unwrap().as_bytes();
        let seen = self.members[0].look("nodes").await;
        let shards = seen["shards"].as_array().unwrap();
        let shard = &shards[usize::from(u16::from_be_bytes([high, low])) % shards.len()];
        let node = living(&seen).find(|node| node["id"] == shard["node"]).unwrap_or_else(|| panic!("{seen}"));
        let process = node["name"].as_str().unwrap().rsplit(' ').next().unwrap().parse::<u32>().unwrap();
        self.members.iter().position(|node| node.process().id() == process).unwrap()
    }

    /// An account with so many dollars that this node owns: its key.
    pub(crate) async fn account_of(&self, place: usize, dollars: &str) -> String {
        loop {
            let (id, key) = self.members[0].account_with(dollars).await;
            if self.owner(&id).await == place {
                return key;
            }
        }
    }

    /// Accounts that all nodes are asked for in turn.
    pub(crate) async fn accounts(&self, count: usize, dollars: &str) -> Target {
        Target { urls: self.urls(), ..self.members[0].accounts(count, dollars).await }
    }

    /// What is measured.
    pub(crate) fn contender(&self, name: &'static str, target: Target) -> Contender {
        let mut meters: Vec<_> =
            self.members.iter().map(|node| ("node", Meter::Process(node.process().id()))).collect();
        meters.push(("PostgreSQL", Meter::ProcessAndChildren(self.postgres)));
        Contender { name, targets: vec![target], meters, crowd: None, look: None }
    }

    pub(crate) async fn audit(&self) {
        self.members[0].audit().await;
    }
}

fn living(seen: &Value) -> impl Iterator<Item = &Value> {
    seen["nodes"].as_array().into_iter().flatten().filter(|node| node["state"] == "serving")
}
