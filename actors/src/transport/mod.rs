//! Calls to closed providers: one request out, events straight to the task that owns it. The only place that speaks HTTP
//! to providers. It knows no money and no breaker: the provider actor hands it an [`Endpoint`] and lets it run.

mod openai;

use std::time::Duration;

use bytes::Bytes;
pub use reqwest::Client;
use reqwest::{RequestBuilder, Response, header::RETRY_AFTER};
use tokio::{sync::mpsc, time::timeout};
use wire::{
    inference::{Event, Failure, TextRequest},
    openai::{self as format, Chunk},
    sse::Decoder,
};

/// Where a provider is, and what opens it.
#[derive(Clone)]
pub struct Endpoint {
    /// Up to and with the version: `https://api.openai.com/v1`.
    pub base_url: String,
    /// Its key.
    pub api_key: String,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

/// How long a provider may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// To its first byte.
    pub first_byte: Duration,
    /// Between two bytes.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { first_byte: Duration::from_secs(120), idle: Duration::from_secs(60) }
    }
}

/// A whole answer, at most.
const LARGEST_ANSWER: usize = 32 << 20;
/// An error's body, at most.
const LARGEST_ERROR: usize = 64 << 10;

/// A client with a pool of its own.
pub fn client() -> Result<Client, reqwest::Error> {
    // Another provider may have been installed before; either will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .pool_idle_timeout(Duration::from_secs(60))
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

/// One JSON call to Farebox itself, for the command line: its status and answer.
pub async fn call_json(
    method: &str,
    url: &str,
    token: &str,
    body: Option<&serde_json::Value>,
) -> Result<(u16, serde_json::Value), String> {
    let client = client().map_err(|error| error.to_string())?;
    let method = reqwest::Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
    let mut request = client.request(method, url).bearer_auth(token);
    if let Some(body) = body {
        request = request.json(body);
    }
    let response = request.send().await.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    Ok((status, response.json().await.map_err(|error| error.to_string())?))
}

/// One call to a provider that speaks OpenAI's format.
#[derive(Debug)]
pub struct Call {
    /// Where.
    pub endpoint: Endpoint,
    /// What.
    pub request: TextRequest,
    /// The model as the provider calls it.
    pub upstream: String,
    /// The output limit to send, where it is not the client's.
    pub limit: Option<u32>,
}

/// Carries a call out. The last event is `Finished` or `Failed`; a closed channel ends the call.
pub async fn run(
    client: &Client,
    call: &Call,
    timeouts: Timeouts,
    events: &mpsc::Sender<Event>,
) -> Result<(), Failure> {
    let result = carry_out(client, call, timeouts, events).await;
    let last = match &result {
        Ok(()) => Event::Finished { compute_ms: 0 },
        Err(failure) => Event::Failed(failure.clone()),
    };
    let _ = events.send(last).await;
    result
}

async fn carry_out(
    client: &Client,
    call: &Call,
    timeouts: Timeouts,
    events: &mpsc::Sender<Event>,
) -> Result<(), Failure> {
    let response = send(openai::request(client, call), timeouts.first_byte).await?;
    let status = response.status().as_u16();
    if !response.status().is_success() {
        let retry_after =
            response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let body = collect(response, LARGEST_ERROR, timeouts.idle).await.unwrap_or_default();
        return Err(format::parse_error(status, retry_after, &body));
    }
    let _ = events.send(Event::Started).await;
    if call.request.stream {
        return stream(response, timeouts.idle, events).await;
    }
    let body = collect(response, LARGEST_ANSWER, timeouts.first_byte).await?;
    for event in format::parse_answer(&body)? {
        let _ = events.send(event).await;
    }
    Ok(())
}

async fn send(request: RequestBuilder, first_byte: Duration) -> Result<Response, Failure> {
    match timeout(first_byte, request.send()).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) if error.is_connect() && error.is_timeout() => Err(Failure::Timeout("connect")),
        Ok(Err(error)) => Err(transport(&error)),
        Err(_) => Err(Failure::Timeout("first byte")),
    }
}

/// The error without its address: a URL may carry what should not be shown.
fn transport(error: &reqwest::Error) -> Failure {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let stage = if error.is_connect() { "connecting" } else { "the connection" };
    Failure::Transport(if std::ptr::addr_eq(deepest, error) {
        format!("{stage} failed")
    } else {
        format!("{stage}: {deepest}")
    })
}

async fn next(response: &mut Response, idle: Duration) -> Result<Option<Bytes>, Failure> {
    match timeout(idle, response.chunk()).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(transport(&error)),
        Err(_) => Err(Failure::Timeout("idle")),
    }
}

async fn collect(mut response: Response, most: usize, idle: Duration) -> Result<Bytes, Failure> {
    let Some(first) = next(&mut response, idle).await? else { return Ok(Bytes::new()) };
    let mut rest = Vec::new();
    while let Some(bytes) = next(&mut response, idle).await? {
        if first.len() + rest.len() + bytes.len() > most {
            return Err(Failure::Transport(format!("the provider's answer is larger than {most} bytes")));
        }
        rest.extend_from_slice(&bytes);
    }
    if rest.is_empty() { Ok(first) } else { Ok([&first, rest.as_slice()].concat().into()) }
}

async fn stream(mut response: Response, idle: Duration, events: &mpsc::Sender<Event>) -> Result<(), Failure> {
    let (mut decoder, mut data) = (Decoder::default(), Vec::new());
    while let Some(bytes) = next(&mut response, idle).await? {
        decoder.feed(&bytes, &mut data).map_err(|error| Failure::Transport(error.to_string()))?;
        for piece in data.drain(..) {
            match format::parse_chunk(&piece)? {
                Chunk::Done => return Ok(()),
                Chunk::Events(pieces) => {
                    for event in pieces {
                        if events.send(event).await.is_err() {
                            return Ok(());
                        }
                    }
                }
            }
        }
    }
    Err(Failure::Transport("the provider's stream was cut".into()))
}
