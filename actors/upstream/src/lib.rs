//! Calls to closed providers: one request out, events to the request's task. The only place that speaks HTTP to
//! providers. It knows no money and no circuit breaker: the provider's handle passes an [`Endpoint`].

// Callers of this crate learn from its rustdoc when a function fails; crates whose rustdoc lacks that do not warn yet.
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub mod delivery;
mod exchange;
mod own;
mod passed;
mod request;
mod retry;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use client::{Idle, Incoming, Matcher};
use futures::{StreamExt, future::Either, stream};
use http::{
    HeaderMap, Uri,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue},
    uri::Scheme,
};
use wire::{
    format::{AnswerReader, Answers, KeyHeader, ProviderCall, ProviderFormat},
    inference::{Event, Failure, Header},
    usage::Report,
};

use exchange::SendError;
pub use own::{call_json, read_json};

/// A provider's address and key. Made once, so that no call parses addresses or makes headers.
#[derive(Clone)]
pub struct Endpoint {
    format: &'static dyn ProviderFormat,
    routes: Arc<Routes>,
    /// The headers of every request, with the key.
    headers: Arc<HeaderMap>,
}

struct Routes {
    /// The provider's address, without a slash at its end.
    base: String,
    /// The format's paths, each with its whole address.
    addresses: Vec<(&'static str, Uri)>,
    /// The `Host` header, where only HTTP/1.1 is spoken. HTTP/2, which TLS may negotiate, has a pseudo-header instead.
    host: Option<HeaderValue>,
    /// The credentials of the proxy that forwards the requests, if there is one.
    proxy_authorization: Option<HeaderValue>,
}

impl Endpoint {
    /// The endpoint at an address (`https://api.openai.com/v1`), where this format is spoken. `None` where the text is no address.
    pub fn new(base_url: &str, format: &'static dyn ProviderFormat) -> Option<Self> {
        Self::reached(base_url, format, client::proxies())
    }

    fn reached(base_url: &str, format: &'static dyn ProviderFormat, proxies: &Matcher) -> Option<Self> {
        let base = base_url.trim_end_matches('/');
        let version = format.version().filter(|version| !base.ends_with(version)).unwrap_or_default();
        let base = format!("{base}{version}");
        let addresses = format.paths().iter().map(|path| Some((*path, client::address(&format!("{base}{path}"))?)));
        let addresses: Vec<(&'static str, Uri)> = addresses.collect::<Option<_>>()?;
        let (_, first) = addresses.first()?;
        let clear = Some(first).filter(|first| first.scheme() == Some(&Scheme::HTTP));
        let host = clear.and_then(Uri::authority).and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        let proxy_authorization = client::proxy_authorization(proxies, first);
        let routes = Routes { base, addresses, host, proxy_authorization };
        let headers = Arc::new(request::headers(&routes, None));
        Some(Self { format, routes: Arc::new(routes), headers })
    }

    /// The endpoint with this key, in the format's header or in another. `None` where the key or the header's name can't
    /// stand in a request.
    pub fn with_key(mut self, key: &str, named: Option<&str>) -> Option<Self> {
        let header = match (named, self.format.key_header()) {
            (Some(name), _) if !name.eq_ignore_ascii_case("authorization") => {
                (HeaderName::from_bytes(name.as_bytes()).ok()?, client::secret(key)?)
            }
            (Some(_), _) | (None, KeyHeader::Bearer) => (AUTHORIZATION, client::bearer(key)?),
            (None, KeyHeader::Named(name)) => (HeaderName::from_static(name), client::secret(key)?),
        };
        self.headers = Arc::new(request::headers(&self.routes, Some(header)));
        Some(self)
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("addresses", &self.routes.addresses).finish_non_exhaustive()
    }
}

/// How long a provider may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// The longest wait for the first byte.
    pub first_byte: Duration,
    /// The longest wait between two bytes.
    pub idle: Duration,
}

/// As long as the providers' own SDKs wait. A provider may send nothing for minutes, while it makes a long answer that
/// comes whole or while its model reasons; and an aborted call must be paid all the same.
impl Default for Timeouts {
    fn default() -> Self {
        Self { first_byte: Duration::from_mins(10), idle: Duration::from_mins(10) }
    }
}

/// The most bytes of a stream that are made to events at once. Events take several times the memory of their bytes, and
/// wait here while their reader does not read.
const READ_AT_ONCE: usize = 4 << 10;
/// The largest body of an error.
const LARGEST_ERROR: usize = 64 << 10;

/// One call to a provider, in its endpoint's format.
#[derive(Debug)]
pub struct Call {
    /// The provider's address and key.
    pub endpoint: Endpoint,
    /// The request as its provider's format writes it; shared, because it may be made again.
    pub call: Arc<ProviderCall>,
}

/// The stage of a streamed call.
enum Stage {
    Begin(Box<Call>),
    Stream(Box<Streaming>),
    Ended,
}

struct Streaming {
    body: Incoming,
    /// The limit on each wait for more of it.
    idle: Idle,
    /// Bytes that came and are not read yet.
    unread: Bytes,
    reader: Box<dyn AnswerReader>,
    events: std::vec::IntoIter<Event>,
}

/// Makes a call while its events are read. The last event is `Finished` or `Failed`. Dropping the stream cuts the call.
pub fn events(call: Call, timeouts: Timeouts) -> impl futures::Stream<Item = Event> + Send + 'static {
    if !call.call.is_streamed {
        // Boxed here, as streams are moved into one another before they are boxed as a whole.
        return Either::Left(stream::once(Box::pin(whole(call, timeouts))).flat_map(stream::iter));
    }
    Either::Right(stream::unfold(Stage::Begin(Box::new(call)), move |stage| async move {
        match step(stage, timeouts).await {
            Ok(next) => next,
            Err(failure) => Some((Event::Failed(failure), Stage::Ended)),
        }
    }))
}

/// The successful answer to a call.
struct Answered {
    /// What its headers tell: those that the client gets, and the service tier that served it.
    told: Vec<Event>,
    body: Incoming,
}

/// What an answer's headers tell.
fn told(call: &Call, headers: &HeaderMap, passed: Vec<Header>) -> Vec<Event> {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let tier = call.endpoint.format.served(&value);
    let served = tier.map(|tier| Event::Reported(Box::new(Report { tier: Some(tier), ..Report::default() })));
    let passed = (!passed.is_empty()).then_some(Event::Headers(passed));
    passed.into_iter().chain(served).collect()
}

async fn answer(call: &Call, timeouts: Timeouts) -> Result<Answered, Failure> {
    let response = match exchange::send(request::of(call)?, timeouts.first_byte).await {
        // A kept connection that its provider closed meanwhile: no fault of anyone's, and asked once more.
        Err(SendError::Unbegun(_)) => exchange::send(request::of(call)?, timeouts.first_byte).await?,
        sent => sent?,
    };
    let (head, body) = response.into_parts();
    let is_sound = call.call.answers == Answers::Sound;
    let is_wanted = head.status.is_success() && !(is_sound && is_text(&head.headers));
    if is_wanted {
        let passed = match unread_encoding(&head.headers) {
            None if is_sound => passed::of_sound(&head.headers),
            None if call.call.is_forwarded => passed::of(&head.headers),
            None => Vec::new(),
            Some(encoding) => {
                let says = format!("the provider's answer is encoded, and that was not asked for: {encoding}");
                return Err(Failure::Transport(says));
            }
        };
        return Ok(Answered { told: told(call, &head.headers, passed), body });
    }
    let body = exchange::collect(body, LARGEST_ERROR, timeouts.idle).await.unwrap_or_default();
    let mut refusal = call.endpoint.format.read_refusal(head.status.as_u16(), &body);
    refusal.retry_after = retry::seconds(&head.headers, &body, SystemTime::now());
    Err(Failure::Provider(Box::new(refusal)))
}

/// Whether a body is a text, or an object: never a sound.
fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    ["application/json", "application/problem+json", "text/"].iter().any(|begin| kind.starts_with(begin))
}

/// The encoding of a body that is encoded although the request asked for none.
fn unread_encoding(headers: &HeaderMap) -> Option<String> {
    let encoding = headers.get(CONTENT_ENCODING)?.to_str().unwrap_or("unknown").trim();
    (!encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity")).then(|| encoding.chars().take(40).collect())
}

/// All events of a call whose answer comes whole.
async fn whole(call: Call, timeouts: Timeouts) -> Vec<Event> {
    let read = async {
        let Answered { mut told, body } = answer(&call, timeouts).await?;
        let body = exchange::collect(body, call.call.largest_answer(), timeouts.first_byte).await?;
        told.append(&mut call.call.read_whole(&*call.endpoint.format, &body));
        Ok(told)
    };
    read.await.unwrap_or_else(|failure| vec![Event::Failed(failure)])
}

async fn step(stage: Stage, timeouts: Timeouts) -> Result<Option<(Event, Stage)>, Failure> {
    Ok(match stage {
        Stage::Begin(call) => {
            let Answered { told, body } = answer(&call, timeouts).await?;
            let reader = call.call.reader(call.endpoint.format);
            let (idle, events) = (Idle::new(timeouts.idle), told.into_iter());
            let streaming = Streaming { body, idle, unread: Bytes::new(), reader, events };
            Some((Event::Started, Stage::Stream(Box::new(streaming))))
        }
        Stage::Stream(mut streaming) => match streaming.next().await {
            Some(event @ (Event::Finished { .. } | Event::Failed(_))) => Some((event, Stage::Ended)),
            Some(event) => Some((event, Stage::Stream(streaming))),
            None => None,
        },
        Stage::Ended => None,
    })
}

impl Streaming {
    /// The next event; `None` after the last.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.next() {
                return Some(event);
            }
            if self.reader.is_over() {
                return None;
            }
            let mut events = Vec::new();
            if self.unread.is_empty() {
                match exchange::next(&mut self.body, &mut self.idle).await {
                    Ok(Some(bytes)) => self.unread = bytes,
                    Ok(None) => self.reader.end(&mut events),
                    Err(failure) => self.reader.cut(failure, &mut events),
                }
            }
            let piece = self.unread.split_to(self.unread.len().min(READ_AT_ONCE));
            if !piece.is_empty() {
                self.reader.feed(&piece, &mut events);
            }
            self.events = events.into_iter();
        }
    }
}

#[cfg(test)]
mod tests;
