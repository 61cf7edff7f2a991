//! What it takes until the accounts of a node are served by others, once it is killed or told to stop; and how soon a balance
//! that one node has changed is at the sockets of another.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use serde_json::Value;
use tokio::{task::JoinHandle, time::sleep};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::{
    Stage,
    figures::Spread,
    load::{body, request, send},
    nodes::Nodes,
};

const DOLLARS: &str = "1000";
/// The clients that ask while a node leaves.
const CLIENTS: usize = 6;
/// Changes of a balance that are timed, in each turn.
const CHANGES: usize = 20;
/// How long others are asked before and after a node leaves.
const AROUND: Duration = Duration::from_millis(1_500);

/// A node is killed: how long until a request of one of its accounts is answered by another node.
pub(crate) async fn takeover(stage: &Stage) {
    let mut nodes = Nodes::start(stage, "three", 3).await;
    let mut taken = Vec::new();
    for _ in 0..stage.options.turns().min(3) {
        let key = nodes.account_of(2, DOLLARS).await;
        let (client, body, url) = (reqwest::Client::new(), body(false), nodes.urls().swap_remove(0));
        send(request(&client, &url, &key, &body)).await;
        nodes.members[2].kill();
        let killed = Instant::now();
        while request(&client, &url, &key, &body).send().await.unwrap().status() != 200 {
            sleep(Duration::from_millis(10)).await;
        }
        taken.push(killed.elapsed().as_secs_f64());
        drop(nodes.members.pop());
        nodes.join(stage);
        nodes.is_even().await;
    }
    println!("  the lease is 10 s; seconds until another node answers: {}", Spread::of(taken));
    nodes.audit().await;
}

/// A node is told to stop: how long requests of its accounts take at other nodes meanwhile. None may fail.
pub(crate) async fn drain(stage: &Stage) {
    let mut nodes = Nodes::start(stage, "three", 3).await;
    let (mut longest, mut usual) = (Vec::new(), Vec::new());
    for _ in 0..stage.options.turns().min(5) {
        let key = nodes.account_of(2, DOLLARS).await;
        let ends = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> =
            (0..CLIENTS).map(|place| ask(nodes.urls().swap_remove(place % 2), key.clone(), &ends)).collect();
        sleep(AROUND).await;
        let leaving = nodes.members.pop().unwrap();
        let began = Instant::now();
        let left = tokio::task::spawn_blocking(move || {
            let mut leaving = leaving;
            leaving.stop();
        });
        left.await.unwrap();
        sleep(AROUND).await;
        ends.store(true, Ordering::Relaxed);
        let mut times = Vec::new();
        for client in clients {
            times.extend(client.await.unwrap());
        }
        let (before, after): (Vec<_>, Vec<_>) = times.into_iter().partition(|(sent, _)| *sent < began);
        let most = |times: Vec<(Instant, f64)>| times.into_iter().map(|(_, took)| took).fold(0.0, f64::max);
        usual.push(most(before));
        longest.push(most(after));
        nodes.join(stage);
        nodes.is_even().await;
    }
    println!("  the longest request in ms, before: {}", Spread::of(usual));
    println!("  the longest request in ms, while its accounts move: {}; none failed", Spread::of(longest));
    nodes.audit().await;
}

/// Asks over and over; when each request was sent, and its milliseconds.
fn ask(url: String, key: String, ends: &Arc<AtomicBool>) -> JoinHandle<Vec<(Instant, f64)>> {
    let ends = Arc::clone(ends);
    tokio::spawn(async move {
        let (client, body, mut times) = (reqwest::Client::new(), body(false), Vec::new());
        while !ends.load(Ordering::Relaxed) {
            let sent = Instant::now();
            send(request(&client, &url, &key, &body)).await;
            times.push((sent, sent.elapsed().as_secs_f64() * 1_000.0));
        }
        times
    })
}

/// How long after a request's answer, at its account's node, a live socket at another node has the new balance: with Redis, and
/// without.
pub(crate) async fn sockets(stage: &Stage) {
    for redis in stage.redis.as_ref().map(|redis| Some(redis.url())).into_iter().chain([None]) {
        let what = if redis.is_some() { "with Redis" } else { "without Redis" };
        let nodes = Nodes::start_with(stage, "three", 3, redis).await;
        let times = told_after(stage, &nodes).await;
        let at = |percent| crate::figures::at_percent(&times, percent);
        println!(
            "  {what}, ms until a socket at another node has it: p50 {:.1}, p99 {:.1}, of {}",
            at(50),
            at(99),
            times.len()
        );
        nodes.audit().await;
    }
}

/// The times of some changes, sorted.
async fn told_after(stage: &Stage, nodes: &Nodes) -> Vec<f64> {
    let key = nodes.account_of(0, DOLLARS).await;
    let (client, body, urls) = (reqwest::Client::new(), body(false), nodes.urls());
    let mut opening = format!("{}/v1/live", urls[1].replacen("http", "ws", 1)).into_client_request().unwrap();
    opening.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(opening).await.unwrap();
    let mut times = Vec::new();
    for _ in 0..CHANGES * stage.options.turns() {
        let answered = request(&client, &urls[0], &key, &body).send().await.unwrap();
        assert_eq!(answered.status(), 200);
        let balance = answered.headers()["x-farebox-balance"].to_str().unwrap().to_owned();
        let told = Instant::now();
        loop {
            let Message::Text(text) = socket.next().await.unwrap().unwrap() else { continue };
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["type"] == "balance" && frame["available"] == balance.as_str() && frame["held"] == "0.00" {
                break;
            }
        }
        times.push(told.elapsed().as_secs_f64() * 1_000.0);
    }
    times.sort_by(f64::total_cmp);
    times
}
