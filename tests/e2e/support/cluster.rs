//! Several nodes with one ledger in PostgreSQL, each behind proxies of its own: one to the database, one before its link.
//! What customers were told is kept, and compared with the ledger at the end.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};

use super::{
    client::Api,
    fake_openai::FakeOpenAi,
    free_port, postgres,
    proxy::Proxy,
    server::{Database, Options, Server},
    socket::Socket,
};

pub(crate) const CHAT: &str = "/v1/chat/completions";
pub(crate) const SECRET: &str = "what all nodes of the tests know, and nobody else";
/// How long a node owns a shard without a word of it.
pub(crate) const LEASE: Duration = Duration::from_secs(3);
/// How long a machine that is busy with other tests may take for what takes a moment.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);
/// How soon a socket tells a balance that has changed at another node.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
const SHARDS: i64 = 16;

/// A node, and what stands before it and behind it.
pub(crate) struct Node {
    pub(crate) server: Server,
    /// On its way to PostgreSQL.
    pub(crate) database: Proxy,
    /// On the way of other nodes to it.
    pub(crate) link: Proxy,
}

impl Node {
    pub(crate) fn admin(&self) -> super::client::Admin {
        self.server.admin()
    }

    pub(crate) fn logs(&self) -> String {
        self.server.logs()
    }
}

/// A change of the options of each node.
type Change = Box<dyn Fn(Options) -> Options>;

/// The nodes, their ledger, and a provider.
pub(crate) struct Cluster {
    /// The ledger, past all proxies.
    pub(crate) url: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) fake: FakeOpenAi,
    change: Change,
}

/// The address of a server in an URL such as `postgres://farebox@127.0.0.1:5432/test_1`.
fn address_in(url: &str) -> SocketAddr {
    url.split(['@', '/']).find_map(|part| part.parse().ok()).unwrap_or_else(|| panic!("no address in {url}"))
}

impl Cluster {
    /// So many nodes with a new ledger of the run's PostgreSQL; `None` where that is not to be had.
    pub(crate) async fn of(count: usize) -> Option<Self> {
        Some(Self::at(postgres::fresh_database()?, count, |options| options).await)
    }

    /// So many nodes with the ledger at an address, and other options.
    pub(crate) async fn at(url: String, count: usize, change: impl Fn(Options) -> Options + 'static) -> Self {
        let mut cluster = Self { url, nodes: Vec::new(), fake: FakeOpenAi::start(), change: Box::new(change) };
        for _ in 0..count {
            cluster.join().await;
        }
        if count > 0 {
            cluster.is_even().await;
        }
        cluster
    }

    /// What a node is started with, whose proxies are these.
    pub(crate) fn options(&self, database: &Proxy, listen: u16, link: &Proxy) -> Options {
        let url = self.url.replace(&address_in(&self.url).to_string(), &database.address().to_string());
        let options = Options::default().on(Database::At(url)).calling(self.fake.url());
        let options = options
            .set("FAREBOX_CLOCK", "system")
            .set("FAREBOX_CLUSTER__LISTEN", &format!("127.0.0.1:{listen}"))
            .set("FAREBOX_CLUSTER__ADDRESS", &link.address().to_string())
            .set("FAREBOX_CLUSTER__SECRET", SECRET)
            .set("FAREBOX_CLUSTER__LEASE_SECONDS", "3")
            .set("FAREBOX_CLUSTER__RENEW_SECONDS", "1");
        (self.change)(options)
    }

    /// One more node.
    pub(crate) async fn join(&mut self) {
        self.join_with(|options| options).await;
    }

    /// One more node, with other options.
    pub(crate) async fn join_with(&mut self, change: impl Fn(Options) -> Options) {
        let listen = free_port();
        let database = Proxy::start(address_in(&self.url));
        let link = Proxy::start(SocketAddr::from(([127, 0, 0, 1], listen)));
        let server = Server::start(change(self.options(&database, listen, &link))).await;
        self.nodes.push(Node { server, database, link });
    }

    /// The number of shards of each node that has some, by its address.
    pub(crate) fn shares(&self) -> BTreeMap<String, i64> {
        let sql =
            "SELECT n.address || '=' || COUNT(*) FROM shard_lease s JOIN node n ON n.id = s.node GROUP BY n.address";
        let told = self.query(sql);
        let share = |line: &str| line.split_once('=').map(|(node, count)| (node.to_owned(), count.parse().unwrap()));
        told.lines().filter_map(share).collect()
    }

    /// What a query answers, as unaligned text. The database may be away for a moment.
    pub(crate) fn query(&self, sql: &str) -> String {
        postgres::query(&self.url, sql).unwrap()
    }

    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.query(sql).parse().unwrap()
    }

    /// The shard of an account.
    pub(crate) fn shard_of(account: &str) -> i64 {
        let id: uuid::Uuid = account.parse().unwrap();
        let [.., high, low] = *id.as_bytes();
        i64::from(u16::from_be_bytes([high, low])) % SHARDS
    }

    /// The place among the nodes of the one that owns a shard.
    pub(crate) fn owner_of(&self, shard: i64) -> Option<usize> {
        let sql = format!("SELECT address FROM node n JOIN shard_lease s ON s.node = n.id WHERE s.shard = {shard}");
        let address = self.query(&sql);
        self.nodes.iter().position(|node| node.link.address().to_string() == address)
    }

    /// Waits until each node has its share.
    pub(crate) async fn is_even(&self) {
        let addresses: Vec<_> = self.nodes.iter().map(|node| node.link.address().to_string()).collect();
        let began = Instant::now();
        loop {
            let shares = self.shares();
            let (least, most) = (shares.values().min().copied(), shares.values().max().copied());
            let is_even = shares.len() == addresses.len()
                && addresses.iter().all(|address| shares.contains_key(address))
                && most.zip(least).is_some_and(|(most, least)| most - least <= 1);
            if is_even && shares.values().sum::<i64>() == SHARDS {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{shares:?} of {addresses:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits for what must come.
    pub(crate) async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let began = Instant::now();
        while !is_so().await {
            assert!(began.elapsed() < PATIENCE, "not {what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the tables have all that is in the log now. A list at one node waits a second for what another has
    /// appended, and is then answered as the tables are.
    async fn has_projected(&self) {
        let behind =
            "SELECT COUNT(*) FROM log LEFT JOIN projection USING (shard) WHERE log.seq > COALESCE(projection.seq, 0)";
        self.until("projected", async || self.number(behind) == 0).await;
    }

    /// So many customers, each watched at some node; those whose sockets must live are watched at the last one.
    pub(crate) async fn patrons(&self, count: usize) -> Vec<Patron> {
        let mut patrons = Vec::new();
        for turn in 0..count {
            let customer = self.nodes[turn % self.nodes.len()].admin().customer("payg", "5").await;
            let mut patron = Patron { id: customer.id, key: customer.key, told: Vec::new(), last: Arc::default() };
            patron.watch(self.nodes.last().unwrap()).await;
            patrons.push(patron);
        }
        patrons
    }

    /// Has a patron chat at a node until it is answered 200; what else it is told must say that it may ask again.
    pub(crate) async fn chat(&self, patron: &mut Patron, node: usize) {
        let began = Instant::now();
        loop {
            match chat(self.nodes[node].server.url(), &patron.key).await {
                Outcome::Told(id, cost) => return patron.told.push((id, cost)),
                Outcome::NotNow(..) | Outcome::Refused | Outcome::Broken => {}
            }
            assert!(began.elapsed() < PATIENCE, "{}", self.nodes[node].logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Nothing that was acknowledged is lost, nothing is charged twice, nothing stays held, all nodes say the same, each
    /// socket has been told the last balance, and the books balance.
    pub(crate) async fn assert_right(&self, patrons: &[Patron]) {
        self.has_projected().await;
        self.until("all requests settled", async || self.number("SELECT COUNT(*) FROM hold") == 0).await;
        self.has_projected().await;
        let mut charged = 0;
        for patron in patrons {
            let mut balances = Vec::new();
            for node in &self.nodes {
                balances.push(node.server.api(&patron.key).get("/v1/balance").await.ok());
            }
            let first = &balances[0];
            assert!(balances.iter().all(|balance| balance == first), "{balances:?}");
            assert_eq!((&first["held"], &first["debt"]), (&json!("0.00"), &json!("0.00")));
            assert_eq!(first["tier"]["units_used"], "0", "a permit is in use, and nothing runs");
            let api = self.nodes[0].server.api(&patron.key);
            let records = api.get("/v1/requests?limit=200").await.ok()["data"].as_array().unwrap().clone();
            assert!(records.len() < 200, "more than one page");
            let mut costs = BTreeMap::new();
            for record in &records {
                let id = record["id"].as_str().unwrap().to_owned();
                let cost = record["cost"].as_str().unwrap().to_owned();
                charged += usize::from(cost != "0.00");
                assert!(costs.insert(id, cost).is_none(), "charged twice: {record}");
            }
            for (id, cost) in &patron.told {
                assert_eq!(costs.get(id), Some(cost), "acknowledged: {id}, {records:?}");
            }
            let is_told = async || patron.last.lock().unwrap().as_ref().is_some_and(|last| same(last, first));
            let began = Instant::now();
            while !is_told().await {
                assert!(began.elapsed() < TOLD_WITHIN, "{:?}, not {first}", patron.last.lock().unwrap());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let called = self.fake.requests().len();
        assert!(charged <= called, "{charged} requests were charged, and the provider was called {called} times");
        self.nodes[0].admin().assert_audit().await;
    }
}

/// Whether two balances have the same amounts.
fn same(one: &Value, other: &Value) -> bool {
    ["available", "held", "debt"].iter().all(|field| one[field] == other[field])
}

/// A customer, and what it was told.
pub(crate) struct Patron {
    pub(crate) id: String,
    pub(crate) key: String,
    /// The requests that were answered, and what they cost.
    pub(crate) told: Vec<(String, String)>,
    /// The balance that its socket told last.
    last: Arc<Mutex<Option<Value>>>,
}

impl Patron {
    pub(crate) fn shard(&self) -> i64 {
        Cluster::shard_of(&self.id)
    }

    /// Watches its balance at a node from now on.
    pub(crate) async fn watch(&mut self, node: &Node) {
        let mut socket = Socket::open(node.server.url(), &self.key).await;
        let last = Arc::clone(&self.last);
        tokio::spawn(async move {
            while let Some(frame) = socket.next_within(Duration::from_mins(10)).await {
                if frame["type"] == "balance" {
                    *last.lock().unwrap() = Some(frame);
                }
            }
        });
    }
}

/// What became of a request.
pub(crate) enum Outcome {
    /// It was answered: its id, and its cost.
    Told(String, String),
    /// It may be asked again: what it was told.
    NotNow(u16, String),
    /// There was no connection: nothing was sent.
    Refused,
    /// The connection broke.
    Broken,
}

/// Chats once. Whatever is neither an answer nor says that it may be asked again fails the test.
pub(crate) async fn chat(url: &str, key: &str) -> Outcome {
    sent(chat_request(url, key)).await
}

/// The same under an `Idempotency-Key`: with the same one it is the same request.
pub(crate) async fn chat_once(url: &str, key: &str, idempotency_key: &str) -> Outcome {
    sent(chat_request(url, key).header("idempotency-key", idempotency_key)).await
}

fn chat_request(url: &str, key: &str) -> reqwest::RequestBuilder {
    let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello"}]});
    Api::new(url, Some(key)).request(reqwest::Method::POST, CHAT).json(&body)
}

async fn sent(request: reqwest::RequestBuilder) -> Outcome {
    let response = match request.timeout(Duration::from_secs(40)).send().await {
        Ok(response) => response,
        Err(error) if error.is_connect() => return Outcome::Refused,
        Err(_) => return Outcome::Broken,
    };
    let status = response.status().as_u16();
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (id, cost) = (header("x-request-id"), header("x-farebox-cost"));
    let Ok(text) = response.text().await else { return Outcome::Broken };
    if status == 200 {
        return Outcome::Told(id.unwrap(), cost.unwrap());
    }
    let said: Value = serde_json::from_str(&text).unwrap_or_default();
    let code = said["code"].as_str().or_else(|| said["error"]["code"].as_str()).unwrap_or_default().to_owned();
    assert!(status == 503 && ["not_ready", "overloaded"].contains(&code.as_str()), "{status}: {text}");
    Outcome::NotNow(status, text)
}

/// Customers that chat without a pause, each with a node of its own at a time.
pub(crate) struct Load {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<(Patron, Vec<String>)>>,
}

impl Load {
    /// Each patron goes round these addresses.
    pub(crate) fn start(patrons: Vec<Patron>, urls: &[String]) -> Self {
        let (stop, stopped) = watch::channel(false);
        let run = |(place, mut patron): (usize, Patron)| {
            let (urls, stopped) = (urls.to_vec(), stopped.clone());
            tokio::spawn(async move {
                let (mut turn, mut refusals) = (place, Vec::new());
                while !*stopped.borrow() {
                    turn += 1;
                    match chat(&urls[turn % urls.len()], &patron.key).await {
                        Outcome::Told(id, cost) => patron.told.push((id, cost)),
                        Outcome::NotNow(status, said) => refusals.push(format!("{status}: {said}")),
                        Outcome::Refused | Outcome::Broken => refusals.push("broken".to_owned()),
                    }
                    // The page of records that is compared has room for a short story.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                (patron, refusals)
            })
        };
        Self { stop, tasks: patrons.into_iter().enumerate().map(run).collect() }
    }

    /// Ends it: the customers, and what they were refused with.
    pub(crate) async fn end(self) -> (Vec<Patron>, Vec<String>) {
        self.stop.send_replace(true);
        let (mut patrons, mut refusals) = (Vec::new(), Vec::new());
        for task in self.tasks {
            let (patron, refused) = task.await.unwrap();
            patrons.push(patron);
            refusals.extend(refused);
        }
        (patrons, refusals)
    }
}
