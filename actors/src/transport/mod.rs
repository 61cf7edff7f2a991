//! Calls to closed providers: one request out, events to whoever reads them. The only place that speaks HTTP to
//! providers. It knows no money and no breaker: a provider's line hands it an [`Endpoint`] and lets it run.

pub mod hook;
mod openai;

use std::time::Duration;

use bytes::Bytes;
use reqwest::{
    Client, RequestBuilder, Response, Url,
    header::{HeaderValue, RETRY_AFTER},
};
use tokio::time::timeout;
use wire::{
    inference::{Event, Failure, TextRequest},
    openai::{self as format, Chunk},
    sse::Decoder,
};

/// Where a provider is, and what opens it. Made once: addresses are not read again at every call.
#[derive(Clone)]
pub struct Endpoint {
    chat: Url,
    completions: Url,
    /// `Bearer` and the key.
    authorization: Option<HeaderValue>,
}

impl Endpoint {
    /// The endpoint at an address up to and with the version: `https://api.openai.com/v1`. None where it is no address.
    pub fn new(base_url: &str) -> Option<Self> {
        let base = base_url.trim_end_matches('/');
        let route = |name: &str| Url::parse(&format!("{base}/{name}")).ok();
        Some(Self { chat: route("chat/completions")?, completions: route("completions")?, authorization: None })
    }

    /// Opened with this key. None where it can't be a header.
    pub fn with_key(mut self, key: &str) -> Option<Self> {
        let mut value = HeaderValue::from_str(&format!("Bearer {key}")).ok()?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Some(self)
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("chat", &self.chat.as_str()).finish_non_exhaustive()
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

thread_local! {
    /// Each thread that calls has a pool of its own: a connection is served by the thread that opened it.
    static CLIENT: std::cell::OnceCell<Client> = const { std::cell::OnceCell::new() };
}

/// This thread's client.
fn client() -> Result<Client, reqwest::Error> {
    CLIENT.with(|kept| match kept.get() {
        Some(client) => Ok(client.clone()),
        None => new_client().map(|client| kept.get_or_init(|| client).clone()),
    })
}

fn new_client() -> Result<Client, reqwest::Error> {
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

/// Where a call stands.
enum Stage {
    Begin(Box<Call>),
    /// The answer is there whole, or what is left of it.
    Rest(std::vec::IntoIter<Event>),
    Whole(Response),
    Stream(Box<Streaming>),
    Ended,
}

struct Streaming {
    response: Response,
    decoder: Decoder,
    data: std::vec::IntoIter<String>,
    events: std::vec::IntoIter<Event>,
}

/// Carries a call out while it is read. The last event is `Finished` or `Failed`; dropped before, the call is cut.
pub fn events(call: Call, timeouts: Timeouts) -> impl futures::Stream<Item = Event> + Send + 'static {
    futures::stream::unfold(Stage::Begin(Box::new(call)), move |stage| async move {
        match step(stage, timeouts).await {
            Ok(next) => next,
            Err(failure) => Some((Event::Failed(failure), Stage::Ended)),
        }
    })
}

async fn step(stage: Stage, timeouts: Timeouts) -> Result<Option<(Event, Stage)>, Failure> {
    Ok(Some(match stage {
        Stage::Begin(call) => {
            let client = client().map_err(|error| Failure::Transport(error.to_string()))?;
            let response = match send(openai::request(&client, &call), timeouts.first_byte).await {
                // A kept connection that its provider closed meanwhile: no fault of anyone's, and asked once more.
                Err(SendError::Closed(_)) => send(openai::request(&client, &call), timeouts.first_byte).await?,
                sent => sent?,
            };
            let status = response.status().as_u16();
            if !response.status().is_success() {
                let retry_after =
                    response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
                let body = collect(response, LARGEST_ERROR, timeouts.idle).await.unwrap_or_default();
                return Err(format::parse_error(status, retry_after, &body));
            }
            if call.request.stream {
                let (data, events) = (Vec::new().into_iter(), Vec::new().into_iter());
                let streaming = Streaming { response, decoder: Decoder::default(), data, events };
                (Event::Started, Stage::Stream(Box::new(streaming)))
            } else {
                (Event::Started, Stage::Whole(response))
            }
        }
        Stage::Whole(response) => {
            let body = collect(response, LARGEST_ANSWER, timeouts.first_byte).await?;
            rest(format::parse_answer(&body)?.into_iter())
        }
        Stage::Rest(events) => rest(events),
        Stage::Stream(mut streaming) => match streaming.next(timeouts.idle).await? {
            Some(event) => (event, Stage::Stream(streaming)),
            None => (FINISHED, Stage::Ended),
        },
        Stage::Ended => return Ok(None),
    }))
}

const FINISHED: Event = Event::Finished { compute_ms: 0 };

fn rest(mut events: std::vec::IntoIter<Event>) -> (Event, Stage) {
    match events.next() {
        Some(event) => (event, Stage::Rest(events)),
        None => (FINISHED, Stage::Ended),
    }
}

impl Streaming {
    /// The next event; none after the stream's own end.
    async fn next(&mut self, idle: Duration) -> Result<Option<Event>, Failure> {
        loop {
            if let Some(event) = self.events.next() {
                return Ok(Some(event));
            }
            if let Some(piece) = self.data.next() {
                match format::parse_chunk(&piece)? {
                    Chunk::Done => return Ok(None),
                    Chunk::Events(events) => self.events = events.into_iter(),
                }
                continue;
            }
            let Some(bytes) = next(&mut self.response, idle).await? else {
                return Err(Failure::Transport("the provider's stream was cut".into()));
            };
            let mut data = Vec::new();
            self.decoder.feed(&bytes, &mut data).map_err(|error| Failure::Transport(error.to_string()))?;
            self.data = data.into_iter();
        }
    }
}

/// Why there is no response.
enum SendError {
    /// The connection was closed before the first byte of one.
    Closed(Failure),
    Other(Failure),
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        let (SendError::Closed(failure) | SendError::Other(failure)) = error;
        failure
    }
}

async fn send(request: RequestBuilder, first_byte: Duration) -> Result<Response, SendError> {
    match timeout(first_byte, request.send()).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) if error.is_connect() && error.is_timeout() => {
            Err(SendError::Other(Failure::Timeout("connect")))
        }
        Ok(Err(error)) if was_closed(&error) => Err(SendError::Closed(transport(&error))),
        Ok(Err(error)) => Err(SendError::Other(transport(&error))),
        Err(_) => Err(SendError::Other(Failure::Timeout("first byte"))),
    }
}

fn was_closed(error: &reqwest::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    let sources = std::iter::successors(std::error::Error::source(error), |error| error.source());
    !error.is_connect()
        && sources.into_iter().any(|source| {
            let closed = source.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message);
            let io = source.downcast_ref::<std::io::Error>();
            closed || io.is_some_and(|error| matches!(error.kind(), BrokenPipe | ConnectionReset))
        })
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

#[cfg(test)]
mod tests;
