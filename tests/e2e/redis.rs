//! What several nodes tell each other by Redis, and what becomes of it when Redis goes away, forgets, or stands still:
//! nothing is wrong then, and no request fails.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    nodes::Stage,
    support::{
        client::{Answer, answer},
        redis::Redis,
        server::Server,
        socket::Socket,
    },
};

const CHAT: &str = "/v1/chat/completions";
const PATIENCE: Duration = Duration::from_secs(40);
/// The requests of one address in a minute.
const LIMIT: u64 = 120;

async fn stage(more: &[(&'static str, &str)]) -> Option<(Redis, Stage)> {
    let redis = Redis::start()?;
    let url = redis.url();
    let settings = [&[("FAREBOX_REDIS__URL", &*url)], more].concat();
    let stage = Stage::with(3, &settings).await?;
    Some((redis, stage))
}

/// How Redis fares, as a node sees it.
async fn seen(node: &Server) -> Value {
    node.api(Server::admin_token()).get("/admin/v1/nodes").await.ok()["redis"].clone()
}

/// Waits until all nodes see Redis like that.
async fn all_see(stage: &Stage, what: &str, is_so: impl Fn(&Value) -> bool) {
    let began = Instant::now();
    for node in &stage.nodes {
        loop {
            let seen = seen(node).await;
            if is_so(&seen) {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "{what}: {seen}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn hears(seen: &Value) -> bool {
    seen["hears"] == true && seen["state"] == "ready"
}

#[tokio::test]
async fn live_sockets_of_all_nodes_see_the_last_balance_whatever_becomes_of_redis() {
    let Some((mut redis, stage)) = stage(&[]).await else { return };
    all_see(&stage, "Redis is used", hears).await;
    let customer = &stage.customers(1).await[0];
    let mut sockets = Vec::new();
    for node in &stage.nodes {
        let mut socket = Socket::open(node.url(), &customer.key).await;
        let balance = node.api(&customer.key).get("/v1/balance").await.ok();
        assert_eq!(socket.next_of("balance").await["available"], balance["available"]);
        sockets.push(socket);
    }
    for (turn, act) in ["used", "flushed", "frozen", "thawed", "stopped", "started"].into_iter().enumerate() {
        match act {
            "flushed" => redis.flush(),
            "frozen" => redis.freeze(true),
            "thawed" => redis.freeze(false),
            "stopped" => redis.stop(),
            "started" => redis.resume(),
            _ => {
                let began = Instant::now();
                let mut watched = Vec::new();
                // The two nodes that do not own the account watch it by Redis.
                while watched.iter().sum::<u64>() != 2 {
                    assert!(began.elapsed() < PATIENCE, "{watched:?}");
                    watched.clear();
                    for node in &stage.nodes {
                        watched.push(seen(node).await["watched"].as_u64().unwrap());
                    }
                }
            }
        }
        // At once, and once all have seen what became of Redis.
        for moment in ["at once", "later"] {
            let chat = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello"}]});
            let answered = stage.nodes[turn % 3].api(&customer.key).post(CHAT, &chat).await;
            assert_eq!(answered.status, 200, "{act}, {moment}: {}", answered.body);
            let balance = stage.nodes[0].api(&customer.key).get("/v1/balance").await.ok();
            for (number, socket) in sockets.iter_mut().enumerate() {
                let last = async {
                    while {
                        let told = socket.next_of("balance").await;
                        told["available"] != balance["available"] || told["held"] != balance["held"]
                    } {}
                };
                let told = tokio::time::timeout(PATIENCE, last).await;
                assert!(told.is_ok(), "{act}, {moment}: the socket at node {number} does not see {balance}");
            }
            match act {
                "frozen" | "stopped" => all_see(&stage, act, |seen| seen["hears"] == false).await,
                _ => all_see(&stage, act, hears).await,
            }
        }
    }
    stage.assert_clean().await;
}

/// A request by a proxy that says for whom.
async fn get(node: &Server, path: &str, bearer: &str, client: &str) -> Answer {
    answer(node.api(bearer).request(Method::GET, path).header("x-forwarded-for", client)).await
}

/// Sends that many requests of an address, to one node after the other; says how many were let in, and whether Redis
/// answered all the time.
async fn burst(stage: &Stage, key: &str, client: &str, count: u64) -> (u64, bool) {
    let failures = async || {
        let mut failed = 0;
        for node in &stage.nodes {
            failed += seen(node).await["failed"].as_u64().unwrap();
        }
        failed
    };
    let (before, mut allowed) = (failures().await, 0);
    for turn in 0..count {
        let node = &stage.nodes[usize::try_from(turn % 3).unwrap()];
        let answered = get(node, "/v1/balance", key, client).await;
        if answered.status == 200 {
            allowed += 1;
            continue;
        }
        assert_eq!(answered.status, 429, "{}", answered.body);
        let error = answered.json();
        assert_eq!((&error["code"], &error["limit"]), (&json!("rate_limit"), &json!(LIMIT)), "{error}");
        assert!(answered.header("retry-after").is_some_and(|seconds| seconds.parse::<u64>().unwrap() >= 1));
    }
    (allowed, failures().await == before)
}

#[tokio::test]
async fn an_address_has_one_limit_at_all_nodes_and_one_at_each_without_redis() {
    let limits =
        [("FAREBOX_LIMITS__ADDRESS_PER_MINUTE", &*LIMIT.to_string()), ("FAREBOX_HTTP__TRUSTED_PROXIES", "127.0.0.0/8")];
    let Some((mut redis, stage)) = stage(&limits).await else { return };
    all_see(&stage, "Redis is used", hears).await;
    let customer = &stage.customers(1).await[0];
    // A machine that is busy may let Redis miss its time: then each node counts by itself, and the next address is tried.
    let mut tries = 0;
    let (began, allowed) = loop {
        let began = Instant::now();
        tries += 1;
        assert!(tries < 10, "Redis never answered all the time");
        let (allowed, answered) = burst(&stage, &customer.key, &format!("198.51.100.{tries}"), LIMIT + 60).await;
        if answered {
            break (began, allowed);
        }
    };
    let evenly = began.elapsed().as_secs() * LIMIT / 60 + 1;
    assert!((LIMIT..=LIMIT + evenly).contains(&allowed), "{allowed} of one address were let in by three nodes");
    assert_eq!(get(&stage.nodes[0], "/v1/balance", &customer.key, "192.0.2.1").await.status, 200, "another address");
    for _ in 0..2 * LIMIT {
        assert_eq!(get(&stage.nodes[0], "/healthz", "", "192.0.2.2").await.status, 200, "probes are not counted");
    }
    // Wrong tokens count together, too.
    let guess = async |node: usize, client| get(&stage.nodes[node], "/admin/v1/nodes", "wrong", client).await.status;
    for _ in 0..10 {
        assert_eq!(guess(0, "203.0.113.1").await, 401);
    }
    assert_eq!((guess(1, "203.0.113.1").await, guess(1, "203.0.113.1").await), (401, 429));
    assert_eq!(guess(1, "203.0.113.2").await, 401, "another address");
    redis.stop();
    all_see(&stage, "Redis is gone", |seen| seen["hears"] == false).await;
    let (allowed, _) = burst(&stage, &customer.key, "203.0.113.9", 3 * LIMIT / 2).await;
    assert_eq!(allowed, 3 * LIMIT / 2, "each node lets in as many as all did together");
    stage.assert_clean().await;
}
