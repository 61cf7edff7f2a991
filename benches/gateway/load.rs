//! The load: connections that each send a closed, non-streamed request and wait for its answer, over and over.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::figures::{at_percent, rate};

/// Where requests go, as whom.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The addresses, more than one where several nodes serve; the connections take them in turn.
    pub(crate) urls: Vec<String>,
    /// The connections take them in turn.
    pub(crate) keys: Vec<String>,
}

impl Target {
    /// The first address.
    pub(crate) fn url(&self) -> &str {
        &self.urls[0]
    }
}

/// What one turn of load came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) requests: usize,
    /// Requests a second.
    pub(crate) rate: f64,
    /// The median of the requests' milliseconds.
    pub(crate) p50: f64,
    /// Their 99th percentile.
    pub(crate) p99: f64,
}

/// The request's body; `stream` asks for a stream.
pub(crate) fn body(stream: bool) -> Value {
    let messages = json!([{"role": "user", "content": "Hello, who are you?"}]);
    let mut body = json!({"model": "gpt-4o-mini", "max_tokens": 64, "messages": messages});
    if stream {
        body["stream"] = true.into();
    }
    body
}

/// The body of an agent's turn: so many bytes, most of them what tools said before.
pub(crate) fn agents_body(bytes: usize) -> Value {
    const LINE: &str =
        "    let total = rows.iter().map(|row| row.amount).sum::<u64>(); // line 0042 of src/report.rs\n";
    let said = LINE.repeat(8_000 / LINE.len());
    let mut messages = vec![json!({"role": "system", "content": "You are an agent that edits code."})];
    for turn in 0..bytes / said.len() {
        let role = if turn % 2 == 0 { "user" } else { "assistant" };
        messages.push(json!({"role": role, "content": format!("{turn}: {said}")}));
    }
    json!({"model": "gpt-4.1", "max_tokens": 64, "messages": messages})
}

/// A request as this key.
pub(crate) fn request(client: &reqwest::Client, url: &str, key: &str, body: &Value) -> reqwest::RequestBuilder {
    client.post(format!("{url}/v1/chat/completions")).bearer_auth(key).json(body)
}

/// Sends a request, and reads its answer to the end.
pub(crate) async fn send(request: reqwest::RequestBuilder) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let answer = response.bytes().await.unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
}

/// One turn of load.
pub(crate) async fn load(target: &Target, connections: usize, lasting: Duration) -> Turn {
    let (began, client, body) = (Instant::now(), reqwest::Client::new(), body(false));
    let mut calls = JoinSet::new();
    for (key, url) in target.keys.iter().cycle().zip(target.urls.iter().cycle()).take(connections) {
        let request = request(&client, url, key, &body);
        calls.spawn(async move {
            let mut times = Vec::new();
            while began.elapsed() < lasting {
                let sent = Instant::now();
                send(request.try_clone().unwrap()).await;
                times.push(sent.elapsed().as_secs_f64() * 1_000.0);
            }
            times
        });
    }
    let mut times = calls.join_all().await.concat();
    let rate = rate(times.len(), began.elapsed());
    times.sort_by(f64::total_cmp);
    Turn { requests: times.len(), rate, p50: at_percent(&times, 50), p99: at_percent(&times, 99) }
}
