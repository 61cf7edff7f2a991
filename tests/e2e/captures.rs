//! Captures while the database is away: what runs is finished and paid, its client gets its answer's end, and the capture waits
//! in a file until the ledger takes it, also where the process does not live until then.

use std::time::{Duration, Instant};

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::{
    client::{Api, Customer},
    fake_openai::{Behaviour, FakeOpenAi},
    postgres::Postgres,
    server::{Database, Options, Server},
};

const CHAT: &str = "/v1/chat/completions";
/// How long a machine that is busy with other tests may take for what takes a moment.
const PATIENCE: Duration = Duration::from_mins(1);

fn chat() -> Value {
    json!({"model": "gpt-4o-mini", "stream": true, "messages": [{"role": "user", "content": "Say hello"}]})
}

/// Begins a stream of a few seconds.
async fn begin(fake: &FakeOpenAi, customer: &Customer) -> Response {
    fake.script(Behaviour::Slow(300));
    let mut response = customer.api.request(Method::POST, CHAT).json(&chat()).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.chunk().await.unwrap().is_some());
    response
}

/// Reads a stream to its end, and gives the cost that it tells.
async fn end(mut response: Response) -> String {
    let mut rest = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        rest.extend_from_slice(&piece);
    }
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.ends_with("data: [DONE]\n\n"), "its client misses the end: {rest}");
    let chunks = rest.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let cost = chunks.filter_map(|chunk| chunk["usage"]["cost"].as_str().map(str::to_owned)).next_back();
    cost.unwrap_or_else(|| panic!("no cost: {rest}"))
}

async fn waiting(server: &Server) -> usize {
    let told = server.get("/metrics").await.body;
    let count = told.lines().find_map(|line| line.strip_prefix("farebox_captures_waiting "));
    count.unwrap_or_else(|| panic!("{told}")).parse().unwrap()
}

async fn until_none_waits(server: &Server) {
    let began = Instant::now();
    while waiting(server).await > 0 {
        assert!(began.elapsed() < PATIENCE, "captures still wait: {}", server.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until a server takes requests again.
async fn until_it_serves(api: &Api) {
    let began = Instant::now();
    while api.get("/v1/balance").await.status != 200 {
        assert!(began.elapsed() < PATIENCE, "it does not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn what_runs_at_one_of_several_nodes_is_charged_once_wherever_its_account_is() {
    const SETTINGS: [(&str, &str); 5] = [
        ("FAREBOX_CLOCK", "system"),
        ("FAREBOX_CLUSTER__LISTEN", "127.0.0.1:0"),
        ("FAREBOX_CLUSTER__SECRET", "what all nodes of the tests know, and nobody else"),
        ("FAREBOX_CLUSTER__LEASE_SECONDS", "3"),
        ("FAREBOX_CLUSTER__RENEW_SECONDS", "1"),
    ];
    let Some(mut postgres) = Postgres::start() else { return };
    let (fake, url) = (FakeOpenAi::start(), postgres.fresh_database());
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let options = Options::default().on(Database::At(url.clone())).calling(fake.url());
        nodes.push(
            Server::start(SETTINGS.iter().fold(options, |options, (name, value)| options.set(name, value))).await,
        );
    }
    let (mut customers, mut running) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let customer = nodes[0].admin().customer("payg", "5").await;
        running.push(begin(&fake, &customer).await);
        customers.push(customer);
    }
    postgres.stop();
    let stopped = Instant::now();
    let mut costs = Vec::new();
    for response in running {
        costs.push(end(response).await);
    }
    assert!(waiting(&nodes[0]).await > 0);
    // So long that all leases are over, and no node has been heard of.
    tokio::time::sleep(Duration::from_secs(8).saturating_sub(stopped.elapsed())).await;
    postgres.resume();
    until_none_waits(&nodes[0]).await;
    for (customer, cost) in customers.iter().zip(&costs) {
        until_it_serves(&customer.api).await;
        let records = customer.settled(1).await;
        assert_eq!((&records[0]["cost"], &records[0]["ending"]), (&json!(cost), &json!("completed")), "{}", records[0]);
    }
    let told = nodes[0].get("/metrics").await.body;
    assert!(!told.contains("outcome=\"late\""), "{told}");
    until_it_serves(&nodes[1].api(&customers[0].key)).await;
    nodes[1].admin().assert_audit().await;
}

#[tokio::test]
async fn what_runs_while_postgres_is_away_is_charged_once() {
    let Some(mut postgres) = Postgres::start() else { return };
    let fake = FakeOpenAi::start();
    let options = Options::default().on(Database::At(postgres.fresh_database())).calling(fake.url());
    let mut server = Server::start(options.set("FAREBOX_LIMITS__STOP_SECONDS", "8")).await;
    let customer = server.admin().customer("payg", "5").await;

    // It comes back while the process lives.
    let running = begin(&fake, &customer).await;
    postgres.stop();
    let first = end(running).await;
    assert_eq!(waiting(&server).await, 1);
    let refused = customer.api.post(CHAT, &chat()).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (503, &json!("not_ready")), "{}", refused.body);
    let actors = server.admin().actors().await;
    let told = actors["actors"].as_array().unwrap().iter().find(|actor| actor["name"] == "captures").cloned();
    let told = told.unwrap_or_else(|| panic!("{actors}"));
    assert_eq!(told["verdict"], "degraded", "{told}");
    assert!(told["reasons"].to_string().contains("1 captures wait"), "{told}");
    postgres.resume();
    until_none_waits(&server).await;
    until_it_serves(&customer.api).await;
    let records = customer.settled(1).await;
    assert_eq!((&records[0]["cost"], &records[0]["ending"]), (&json!(first), &json!("completed")), "{}", records[0]);

    // The process dies before it comes back: the next one finds the capture.
    let running = begin(&fake, &customer).await;
    postgres.stop();
    let second = end(running).await;
    server.kill_nine();
    postgres.resume();
    server.restart().await;
    until_none_waits(&server).await;
    let customer = Customer { api: server.api(&customer.key), ..customer };
    let records = customer.settled(2).await;
    assert_eq!((&records[0]["cost"], &records[0]["ending"]), (&json!(second), &json!("completed")), "{}", records[0]);
    let spent: billing::Nanos = [&first, &second].into_iter().map(|cost| cost.parse::<billing::Nanos>().unwrap()).sum();
    let left = (billing::Nanos::dollars(10) - spent).to_string();
    assert_eq!(customer.api.get("/v1/balance").await.ok()["available"], left);

    // The process is told to stop before it comes back: what still runs is ended, and its capture waits for the next.
    fake.script(Behaviour::Slow(2_000));
    let mut cut = customer.api.request(Method::POST, CHAT).json(&chat()).send().await.unwrap();
    assert!(cut.chunk().await.unwrap().is_some());
    postgres.stop();
    server.ask_to_stop();
    server.wait_for_end().await;
    drop(cut);
    server.says("a capture waits for the ledger").await;
    postgres.resume();
    server.restart().await;
    until_none_waits(&server).await;
    let customer = Customer { api: server.api(&customer.key), ..customer };
    let records = customer.settled(3).await;
    assert_eq!(
        (&records[0]["ending"], &records[0]["estimated"]),
        (&json!("client_left"), &json!(true)),
        "{}",
        records[0]
    );
    assert_ne!(records[0]["cost"], "0.00", "{}", records[0]);
    server.admin().assert_audit().await;
}
