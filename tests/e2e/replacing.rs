//! A new process takes the place of one that serves, on the same machine: no connection is refused, no request fails, and
//! what has begun ends where it began. One that can't serve, or dies before it does, has changed nothing.

use std::{
    net::TcpListener,
    os::unix::net::UnixDatagram,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::AsyncWriteExt as _,
    sync::{Notify, watch},
    task::JoinHandle,
};

use crate::support::{
    client::{Api, Customer},
    free_port,
    plain::{self, STREAM, chunk},
    server::{Database, Options, Server},
    temporary,
    test_ledger::TestLedger,
};

const CHAT: &str = "/v1/chat/completions";
/// How long a machine that is busy with other tests may take for what takes a moment.
const PATIENCE: Duration = Duration::from_secs(40);

/// A provider that holds a stream back when it is told to.
#[derive(Clone, Default)]
pub(crate) struct Held {
    holds_next: Arc<AtomicBool>,
    has_begun: Arc<Notify>,
    pub(crate) goes_on: Arc<Notify>,
}

impl Held {
    pub(crate) async fn provider(&self) -> String {
        let held = self.clone();
        plain::provider(move |mut connection| {
            let held = held.clone();
            async move {
                let begun = STREAM.to_owned() + &chunk("Hel", None);
                connection.write_all(begun.as_bytes()).await.unwrap();
                if held.holds_next.swap(false, Ordering::SeqCst) {
                    held.has_begun.notify_one();
                    held.goes_on.notified().await;
                }
                let rest = chunk("lo", Some("stop")) + "data: [DONE]\n\n";
                connection.write_all(rest.as_bytes()).await.unwrap();
            }
        })
        .await
    }

    /// A stream that has begun, and goes on when it is told to. Nobody else may ask meanwhile.
    pub(crate) async fn stream(&self, url: &str, customer: &Customer) -> JoinHandle<String> {
        self.holds_next.store(true, Ordering::SeqCst);
        let api = Api::new(url, Some(&customer.key));
        let stream = tokio::spawn(async move { chat(&api).await.unwrap() });
        self.has_begun.notified().await;
        stream
    }
}

/// One chat as a stream; its whole text, or how it failed.
async fn chat(api: &Api) -> Result<String, String> {
    let body =
        json!({"model": "gpt-4o-mini", "stream": true, "messages": [{"role": "user", "content": "Say hello to me"}]});
    let sent = api.request(reqwest::Method::POST, CHAT).json(&body).send().await;
    let response = sent.map_err(|error| format!("{error:?}"))?;
    let status = response.status();
    let text = response.text().await.map_err(|error| format!("{error:?}"))?;
    if status == 200 && text.ends_with("data: [DONE]\n\n") { Ok(text) } else { Err(format!("{status} {text}")) }
}

/// Clients that ask one after the other, some by connections that they keep, some by a new one each time.
pub(crate) struct Load {
    stop: watch::Sender<bool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(url: &str, customers: &[Customer]) -> Self {
        let (stop, stopped) = watch::channel(false);
        let answered = Arc::<AtomicUsize>::default();
        let clients = customers.iter().enumerate().map(|(place, customer)| {
            let (url, key) = (url.to_owned(), customer.key.clone());
            let (stopped, answered) = (stopped.clone(), Arc::clone(&answered));
            tokio::spawn(async move {
                let kept = Api::new(&url, Some(&key));
                while !*stopped.borrow() {
                    let api = if place % 2 == 0 { kept.clone() } else { Api::new(&url, Some(&key)) };
                    chat(&api).await.unwrap_or_else(|error| panic!("client {place}: {error}"));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let clients = clients.collect();
        Self { stop, answered, clients }
    }

    /// Waits until so many more are answered.
    pub(crate) async fn goes_on(&self, more: usize) {
        let (from, began) = (self.answered.load(Ordering::Relaxed), Instant::now());
        while self.answered.load(Ordering::Relaxed) < from + more {
            assert!(began.elapsed() < PATIENCE && !self.clients.iter().any(JoinHandle::is_finished), "it stands still");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The number of answers.
    pub(crate) async fn end(self) -> usize {
        self.stop.send_replace(true);
        for client in self.clients {
            client.await.unwrap();
        }
        self.answered.load(Ordering::Relaxed)
    }
}

pub(crate) async fn customers(server: &Server, count: usize) -> Vec<Customer> {
    let mut customers = Vec::new();
    for _ in 0..count {
        customers.push(server.admin().customer("payg", "5").await);
    }
    customers
}

async fn records(customers: &[Customer]) -> usize {
    let mut count = 0;
    for customer in customers {
        let usage = customer.api.get("/v1/usage").await.ok();
        count += usage["data"].as_array().unwrap().iter().filter_map(|row| row["requests"].as_u64()).sum::<u64>();
    }
    usize::try_from(count).unwrap()
}

/// A process follows another one on a ledger of one owner, twice: by hand, and by a signal.
async fn follow_one_another(ledger: TestLedger) {
    let held = Held::default();
    let metrics = format!("127.0.0.1:{}", free_port());
    let options = ledger.options().calling(&held.provider().await).set("FAREBOX_LIMITS__NOTICE_SECONDS", "1");
    let mut server = Server::start(options.set("FAREBOX_HTTP__METRICS", &metrics)).await;
    let customers = customers(&server, 4).await;
    let stream = held.stream(server.url(), &customers[0]).await;
    let load = Load::start(server.url(), &customers);
    load.goes_on(20).await;
    let mut first = server.begin_to_replace();
    server.says("takes this one's place").await;
    held.goes_on.notify_one();
    // What had begun ends where it began, and only then has the successor the ledger.
    assert!(stream.await.unwrap().contains("\"cost\""));
    assert_eq!(first.status().await.code(), Some(0), "{}", server.logs());
    server.wait_until_ready().await;
    load.goes_on(20).await;
    // The same by a signal: the process starts its successor itself.
    server.signal("USR2");
    let mut second = server.is_succeeded().await;
    assert_eq!(second.status().await.code(), Some(0), "{}", server.logs());
    load.goes_on(20).await;
    let answered = load.end().await + 1;
    assert_eq!(records(&customers).await, answered);
    server.admin().assert_audit().await;
    let told = Api::new(&format!("http://{metrics}"), None).get("/metrics").await;
    assert!(told.status == 200 && told.body.contains("farebox_requests_running"), "{}", told.body);
    server.stop().await;
}

#[tokio::test]
async fn processes_on_sqlite_follow_one_another_without_a_failed_request() {
    follow_one_another(TestLedger::sqlite()).await;
}

#[tokio::test]
async fn owners_of_a_postgres_database_follow_one_another_without_a_failed_request() {
    let Some(ledger) = TestLedger::postgres() else { return };
    follow_one_another(ledger).await;
}

#[tokio::test]
async fn a_node_is_replaced_while_its_streams_go_on() {
    let Some(ledger) = TestLedger::postgres() else { return };
    let held = Held::default();
    let options = ledger.options().calling(&held.provider().await).set("FAREBOX_CLOCK", "system");
    let options = options
        .set("FAREBOX_LIMITS__NOTICE_SECONDS", "1")
        .set("FAREBOX_CLUSTER__LISTEN", &format!("127.0.0.1:{}", free_port()))
        .set("FAREBOX_CLUSTER__SECRET", "what all nodes of the tests know, and nobody else")
        .set("FAREBOX_CLUSTER__LEASE_SECONDS", "3")
        .set("FAREBOX_CLUSTER__RENEW_SECONDS", "1");
    let mut server = Server::start(options).await;
    let customers = customers(&server, 4).await;
    let stream = held.stream(server.url(), &customers[0]).await;
    let load = Load::start(server.url(), &customers);
    load.goes_on(20).await;
    let mut first = server.begin_to_replace();
    server.wait_until_ready().await;
    let owner = "SELECT COUNT(DISTINCT node) FROM shard_lease WHERE node IS NOT NULL AND node IN \
                 (SELECT id FROM node WHERE leaves = 0)";
    let began = Instant::now();
    while ledger.number(owner) != 1 || ledger.number("SELECT COUNT(*) FROM shard_lease WHERE node IS NOT NULL") != 16 {
        assert!(began.elapsed() < PATIENCE, "the accounts were not handed over: {}", server.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The successor serves all accounts by now; the stream goes on at the first process, which settles it there.
    load.goes_on(20).await;
    assert!(!first.has_ended() && !stream.is_finished());
    held.goes_on.notify_one();
    assert!(stream.await.unwrap().contains("\"cost\""));
    assert_eq!(first.status().await.code(), Some(0), "{}", server.logs());
    load.goes_on(20).await;
    let answered = load.end().await + 1;
    assert_eq!(records(&customers).await, answered);
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_successor_that_cannot_serve_or_dies_changes_nothing() {
    let held = Held::default();
    let options = Options::default().calling(&held.provider().await).on(Database::Sqlite);
    let mut server = Server::start(options.set("FAREBOX_LIMITS__NOTICE_SECONDS", "1")).await;
    let customers = customers(&server, 2).await;
    for (variable, value, why) in [
        ("FAREBOX_ROUTING__ALIASES", "fast=gpt-5-mini>", "routing.aliases"),
        ("FAREBOX_LISTEN", "127.0.0.1:1", "listens on"),
        ("FAREBOX_PRICES__FOLDER", "/nowhere/at/all", "/nowhere/at/all"),
    ] {
        let said = server.cli_with(&["serve", "--replace"], &[(variable, value)]);
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(!said.status.success() && text.contains(why), "{text}");
    }
    chat(&customers[0].api).await.unwrap();
    // One that was prepared, and is killed while it waits for the ledger.
    let stream = held.stream(server.url(), &customers[0]).await;
    let load = Load::start(server.url(), &customers);
    let own = server.begin_to_replace();
    server.says("takes this one's place").await;
    server.kill_nine();
    server.is_again(own);
    server.says("this one goes on").await;
    load.goes_on(10).await;
    held.goes_on.notify_one();
    stream.await.unwrap();
    // The next one has more luck.
    let mut own = server.begin_to_replace();
    assert_eq!(own.status().await.code(), Some(0), "{}", server.logs());
    server.wait_until_ready().await;
    load.goes_on(10).await;
    load.end().await;
    server.admin().assert_audit().await;
    // Where nothing serves there is nothing to replace.
    server.stop().await;
    let mut none = server.begin_to_replace();
    none.status().await;
    server.wait_until_ready().await;
    server.says("there is no process to replace").await;
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_socket_of_the_service_manager_outlives_the_process_and_it_is_told_who_serves() {
    let held = Held::default();
    let folder = temporary("manager");
    std::fs::create_dir_all(&folder).unwrap();
    let manager = UnixDatagram::bind(folder.join("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let said = || {
        let mut message = [0; 512];
        let count = manager.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..count]).trim().to_owned()
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let options = Options::default().calling(&held.provider().await).on(Database::Sqlite);
    let options = options.set("NOTIFY_SOCKET", folder.join("notify").to_str().unwrap());
    let mut server = Server::start_on(&listener, options).await;
    assert_eq!(server.url(), format!("http://{address}"));
    assert_eq!(said(), "READY=1");
    let customer = server.admin().customer("payg", "5").await;
    chat(&customer.api).await.unwrap();
    server.signal("USR2");
    let mut first = server.is_succeeded().await;
    assert_eq!(first.status().await.code(), Some(0), "{}", server.logs());
    assert_eq!(said(), format!("MAINPID={}", server.id()));
    assert_eq!(said(), "READY=1");
    server.ask_to_stop();
    assert_eq!(said(), "STOPPING=1");
    server.wait_for_end().await;
    // Nothing serves: who comes now waits for the next start.
    let api = Api::new(server.url(), Some(&customer.key));
    let waiting = tokio::spawn(async move { chat(&api).await });
    server.restart_on(&listener).await;
    waiting.await.unwrap().unwrap();
    assert_eq!(said(), "READY=1");
    server.admin().assert_audit().await;
    std::fs::remove_dir_all(&folder).unwrap();
}
