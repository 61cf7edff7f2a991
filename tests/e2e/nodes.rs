//! Several nodes with one ledger in PostgreSQL: any node takes any request, each owns some of the accounts, and what one
//! leaves, however it ends, another goes on with.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::{Api, Customer},
    fake_openai::{Behaviour, FakeOpenAi},
    server::Server,
    socket::Socket,
    test_ledger::TestLedger,
};

const CHAT: &str = "/v1/chat/completions";
const SECRET: &str = "what all nodes of the tests know, and nobody else";
/// How long a node owns a shard without a word of it, in these stories.
const LEASE: Duration = Duration::from_secs(3);
/// How long a machine that is busy with other tests may take for what takes a moment.
const PATIENCE: Duration = Duration::from_secs(40);

/// Several nodes with one ledger.
pub(crate) struct Stage {
    ledger: TestLedger,
    pub(crate) nodes: Vec<Server>,
    pub(crate) fake: FakeOpenAi,
    /// More settings of each node.
    settings: Vec<(&'static str, String)>,
}

impl Stage {
    /// So many nodes, each of which has its share of the shards; `None` where PostgreSQL is not to be had.
    async fn of(count: usize) -> Option<Self> {
        Self::with(count, &[]).await
    }

    /// The same, with more settings of each node.
    pub(crate) async fn with(count: usize, settings: &[(&'static str, &str)]) -> Option<Self> {
        let (ledger, fake) = (TestLedger::postgres()?, FakeOpenAi::start());
        let settings = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let mut stage = Self { ledger, nodes: Vec::new(), fake, settings };
        for _ in 0..count {
            stage.join().await;
        }
        Some(stage)
    }

    /// One more node.
    async fn join(&mut self) {
        let options = self.ledger.options().calling(self.fake.url());
        let options = options.set("FAREBOX_CLOCK", "system").set("FAREBOX_CLUSTER__LISTEN", "127.0.0.1:0");
        let options = options.set("FAREBOX_CLUSTER__SECRET", SECRET).set("FAREBOX_CLUSTER__LEASE_SECONDS", "3");
        let options = options.set("FAREBOX_CLUSTER__RENEW_SECONDS", "1");
        let options = self.settings.iter().fold(options, |options, (name, value)| options.set(name, value));
        self.nodes.push(Server::start(options).await);
        self.is_even().await;
    }

    /// The number of shards of each node that has some, the fewest first.
    fn shares(&self) -> Vec<i64> {
        (0..)
            .map_while(|skipped| {
                let sql = format!(
                    "SELECT COALESCE((SELECT COUNT(*) FROM shard_lease WHERE node IS NOT NULL GROUP BY node \
                 ORDER BY COUNT(*), node LIMIT 1 OFFSET {skipped}), 0)"
                );
                Some(self.ledger.number(&sql)).filter(|share| *share > 0)
            })
            .collect()
    }

    /// Waits until each node has its share.
    async fn is_even(&self) {
        let began = Instant::now();
        loop {
            let shares = self.shares();
            let is_even = shares.len() == self.nodes.len()
                && shares.last().zip(shares.first()).is_some_and(|(most, least)| most - least <= 1);
            if is_even && shares.iter().sum::<i64>() == 16 {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{shares:?} of {} nodes", self.nodes.len());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) async fn customers(&self, count: usize) -> Vec<Customer> {
        let mut customers = Vec::new();
        for turn in 0..count {
            customers.push(self.nodes[turn % self.nodes.len()].admin().customer("payg", "5").await);
        }
        customers
    }

    pub(crate) async fn assert_clean(&self) {
        self.nodes.last().unwrap().admin().assert_audit().await;
    }
}

fn chat() -> Value {
    json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello"}]})
}

#[tokio::test]
async fn any_node_takes_requests_of_any_account_and_all_say_the_same() {
    let Some(stage) = Stage::of(3).await else { return };
    let customers = stage.customers(6).await;
    for customer in &customers {
        let mut spent = Vec::new();
        for node in &stage.nodes {
            let answered = node.api(&customer.key).post(CHAT, &chat()).await;
            assert_eq!(answered.status, 200, "{}", answered.body);
            spent.push(answered.header("x-farebox-cost").unwrap().to_owned());
        }
        let mut balances = Vec::new();
        for node in &stage.nodes {
            // What one node has done is seen at each, at once.
            let api = node.api(&customer.key);
            assert_eq!(api.get("/v1/requests").await.ok()["data"].as_array().unwrap().len(), spent.len());
            balances.push(api.get("/v1/balance").await.ok());
        }
        assert!(balances.iter().all(|balance| *balance == balances[0] && balance["held"] == "0.00"), "{balances:?}");
    }
    let seen = stage.nodes[1].api(Server::admin_token()).get("/admin/v1/nodes").await.ok();
    let states: Vec<_> = seen["nodes"].as_array().unwrap().iter().map(|node| node["state"].clone()).collect();
    assert_eq!((&seen["shared"], states), (&json!(true), vec![json!("serving"); 3]), "{seen}");
    assert_eq!(seen["shards"].as_array().unwrap().len(), 16);
    let told = stage.nodes[2].cli(&["nodes"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("serving") && told.contains("EPOCH"), "{told}");
    // A key is made at one node, used at another, and revoked at a third.
    let account = &customers[0].id;
    let key = stage.nodes[0].admin().create_key(account).await;
    for node in &stage.nodes {
        assert_eq!(node.api(&key).post(CHAT, &chat()).await.status, 200);
    }
    let own = stage.nodes[2].api(&customers[0].key);
    let keys = own.get("/v1/keys").await.ok();
    let is_it = |it: &&Value| it["public"].as_str().is_some_and(|public| key.contains(public));
    let id = keys["data"].as_array().unwrap().iter().find(is_it).map(|it| it["id"].as_str().unwrap().to_owned());
    let id = id.unwrap_or_else(|| panic!("{keys}"));
    let revoked = crate::support::client::answer(own.request(reqwest::Method::DELETE, &format!("/v1/keys/{id}"))).await;
    assert!(revoked.status < 300, "{}", revoked.body);
    let began = Instant::now();
    for node in &stage.nodes {
        while node.api(&key).post(CHAT, &chat()).await.status != 401 {
            assert!(began.elapsed() < Duration::from_secs(2), "a revoked key is still taken");
        }
    }
    stage.assert_clean().await;
}

#[tokio::test]
async fn a_node_that_is_killed_leaves_its_accounts_to_the_others() {
    let Some(mut stage) = Stage::of(3).await else { return };
    let customers = stage.customers(6).await;
    stage.fake.script(Behaviour::Slow(60_000));
    // A request that runs at the node which dies, of an account that may live anywhere.
    let (dying, key) = (stage.nodes[0].url().to_owned(), customers[0].key.clone());
    let running = tokio::spawn(async move { Api::new(&dying, Some(&key)).post(CHAT, &chat()).await });
    let began = Instant::now();
    while stage.ledger.number("SELECT COUNT(*) FROM hold") == 0 {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut dead = stage.nodes.remove(0);
    dead.kill_nine();
    running.abort();
    let killed = Instant::now();
    for customer in &customers {
        loop {
            let answered = stage.nodes[0].api(&customer.key).post(CHAT, &chat()).await;
            if answered.status == 200 {
                break;
            }
            assert!(killed.elapsed() < PATIENCE, "{}", answered.body);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    stage.is_even().await;
    // The request that ran there is settled: nothing stays held.
    let began = Instant::now();
    while stage.ledger.number("SELECT COUNT(*) FROM hold") > 0 {
        assert!(began.elapsed() < PATIENCE, "a hold of a dead node stays");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stage.assert_clean().await;
}

#[tokio::test]
async fn a_node_that_ends_hands_its_accounts_over_without_a_failed_request() {
    let Some(mut stage) = Stage::of(3).await else { return };
    let customers = stage.customers(6).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut loads = Vec::new();
    for (place, customer) in customers.iter().enumerate() {
        let (url, key, stopped) = (stage.nodes[1 + place % 2].url().to_owned(), customer.key.clone(), stopped.clone());
        loads.push(tokio::spawn(async move {
            let (api, mut count) = (Api::new(&url, Some(&key)), 0);
            while !*stopped.borrow() {
                let answered = api.post(CHAT, &chat()).await;
                assert_eq!(answered.status, 200, "{}", answered.body);
                count += 1;
            }
            count
        }));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut leaving = stage.nodes.remove(0);
    let began = Instant::now();
    assert!(leaving.stop().await.success(), "{}", leaving.logs());
    let took = began.elapsed();
    stage.is_even().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.send_replace(true);
    for load in loads {
        assert!(load.await.unwrap() > 0);
    }
    leaving.says("a shard is handed over").await;
    assert!(!leaving.logs().contains("not all shards were handed over"), "{took:?}: {}", leaving.logs());
    stage.assert_clean().await;
}

#[tokio::test]
async fn a_node_that_was_stopped_past_its_lease_goes_on_and_nothing_is_wrong() {
    let Some(stage) = Stage::of(2).await else { return };
    let customers = stage.customers(4).await;
    let made = customers[1].api.post("/v1/keys", &json!({"name": "short"})).await.ok();
    let mut doomed = Socket::open(stage.nodes[0].url(), made["key"].as_str().unwrap()).await;
    doomed.next_of("balance").await;
    stage.nodes[0].signal("STOP");
    tokio::time::sleep(LEASE + Duration::from_secs(2)).await;
    // A key that is revoked meanwhile: the node is not heard of any more, and is told nothing.
    let revoke = format!("/v1/keys/{}", made["id"].as_str().unwrap());
    let began = Instant::now();
    while stage.nodes[1].api(&customers[1].key).request(Method::DELETE, &revoke).send().await.unwrap().status() != 200 {
        assert!(began.elapsed() < PATIENCE);
    }
    tokio::time::sleep(Duration::from_secs(12)).await;
    for customer in &customers {
        let began = Instant::now();
        while stage.nodes[1].api(&customer.key).post(CHAT, &chat()).await.status != 200 {
            assert!(began.elapsed() < PATIENCE);
        }
    }
    stage.nodes[0].signal("CONT");
    stage.is_even().await;
    for customer in &customers {
        for node in &stage.nodes {
            let answered = node.api(&customer.key).post(CHAT, &chat()).await;
            assert_eq!(answered.status, 200, "{}", answered.body);
        }
    }
    assert_eq!(doomed.closed().await, (1008, "the key was revoked".to_owned()), "it looks for itself");
    stage.assert_clean().await;
}
