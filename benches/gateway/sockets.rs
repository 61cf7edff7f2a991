//! What live sockets cost: the memory of many that are idle, and how soon a changed balance is at all that watch it.

use std::time::Instant;

use futures::{StreamExt as _, future::join_all, stream};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest, protocol::WebSocketConfig},
};

use crate::{
    farebox::Farebox,
    figures::at_percent,
    load::{Target, body, request, send},
};

const DOLLARS: &str = "1000";
/// The sockets that are idle, and those that watch; of one account as many as it may have.
const IDLE: usize = 2_000;
const WATCHING: usize = 1_000;
const OF_ONE: usize = 250;
/// The bytes that a socket's reader reads at once.
const READ: usize = 2 << 10;
/// The sockets that are opened at once.
const AT_ONCE: usize = 50;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens a socket, which has told its balance.
async fn open(url: &str, key: &str) -> Socket {
    let mut opening = format!("{}/v1/live", url.replacen("http", "ws", 1)).into_client_request().unwrap();
    opening.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    // It clears this buffer before each read: of the usual 128 kB for each socket, that would be what is measured.
    let config = WebSocketConfig::default().read_buffer_size(READ);
    let (mut socket, _) = tokio_tungstenite::connect_async_with_config(opening, Some(config), true).await.unwrap();
    told(&mut socket).await;
    socket
}

/// The next balance that a socket tells.
async fn told(socket: &mut Socket) -> Value {
    loop {
        let Message::Text(text) = socket.next().await.unwrap().unwrap() else { continue };
        let frame: Value = serde_json::from_str(&text).unwrap();
        if frame["type"] == "balance" {
            return frame;
        }
    }
}

/// So many sockets of as many accounts as that takes.
async fn opened(farebox: &Farebox, count: usize) -> (Target, Vec<Socket>) {
    let accounts = farebox.accounts(count / OF_ONE, DOLLARS).await;
    let opening = accounts.keys.iter().flat_map(|key| (0..OF_ONE).map(move |_| key));
    let sockets = stream::iter(opening).map(|key| open(accounts.url(), key)).buffered(AT_ONCE).collect().await;
    (accounts, sockets)
}

/// The memory of sockets that are idle.
pub(crate) async fn idle(farebox: &Farebox) {
    let resident = || farebox.process().memory_kib("VmRSS");
    // What is made once is made before.
    drop(opened(farebox, OF_ONE).await);
    let before = resident();
    let (_accounts, sockets) = opened(farebox, IDLE).await;
    let grown = resident().saturating_sub(before);
    println!("  {} idle sockets: {grown} KiB, {} bytes each", sockets.len(), grown * 1_024 / IDLE as u64);
    farebox.audit().await;
}

/// How long after a request's answer each of its account's watchers has the new balance.
pub(crate) async fn watched(farebox: &Farebox, turns: usize) {
    let (accounts, mut sockets) = opened(farebox, WATCHING).await;
    let (client, body) = (reqwest::Client::new(), body(false));
    let mut times = Vec::new();
    for _ in 0..turns {
        let asking = accounts.keys.iter().map(|key| send(request(&client, accounts.url(), key, &body)));
        let began = Instant::now();
        join_all(asking).await;
        let answered = began.elapsed().as_secs_f64() * 1_000.0;
        let telling = sockets.iter_mut().map(async |socket| {
            while told(socket).await["held"] != "0.00" {}
            began.elapsed().as_secs_f64() * 1_000.0 - answered
        });
        // One that is told before its client is answered waits for nothing.
        times.extend(join_all(telling).await.into_iter().map(|time| time.max(0.0)));
    }
    times.sort_by(f64::total_cmp);
    let at = |percent| at_percent(&times, percent);
    let (count, accounts) = (sockets.len(), accounts.keys.len());
    println!(
        "  ms from {accounts} answers at once until each of {count} sockets has the new balance: p50 {:.1}, p99 {:.1}",
        at(50),
        at(99)
    );
    farebox.audit().await;
}
