//! The HTTP client: providers, owners' webhooks, Stripe and the command line's own server are called with it. It keeps
//! connections, and speaks HTTP/2 where the other side would; it follows no redirect, decodes no body and has no cookies. It
//! knows no format and no money: only what became of a request.

mod body;
mod connect;
mod error;
mod names;

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header::PROXY_AUTHORIZATION, uri::Scheme};
use http_body_util::Full;
use hyper::rt::Executor;
use hyper_util::{client::legacy, rt::TokioTimer};
use url::Url;

pub use body::{Idle, collect, next, within};
pub use error::CallError;
pub use hyper::body::Incoming;
pub use hyper_util::client::proxy::matcher::Matcher;
pub use names::Admits;
pub use rustls::Error as TlsError;

/// How long a connection is kept that nothing uses.
const KEPT: Duration = Duration::from_mins(1);
/// Bytes of an answer that are read before they are wanted, at most: a reader that does not read its answer is not to fill
/// this process's memory.
const READ_AHEAD: usize = 64 << 10;
/// The same where a connection carries many answers, and of all those: so much that some which nobody reads do not stop the
/// others.
const READ_AHEAD_STREAM: u32 = 128 << 10;
const READ_AHEAD_STREAMS: u32 = 64 << 20;
/// How often a request is sent again that its server says it did not begin with.
const REPEATS: usize = 2;

/// A request's body: all of it is there when it is sent.
pub type Body = Full<Bytes>;

/// How a client connects.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a connection may take to be there: its name, its proxy and TLS among it.
    pub connect: Duration,
    /// Who is asked to pass requests on.
    pub proxies: Arc<Matcher>,
    /// Which addresses a name may lead to.
    pub admits: Admits,
    /// The most connections to one server that are kept while nothing uses them; with none, each request has its own.
    pub kept: usize,
    /// Where connections are served.
    pub served: Served,
}

/// Where a client's connections are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// Among the tasks of the runtime.
    Anywhere,
    /// Among the local tasks of the thread that asks, where it must have such (actix's threads have): the task that waits for
    /// an answer then runs in the same turn.
    Beside,
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Served {
    fn execute(&self, connection: F) {
        match self {
            Self::Anywhere => drop(tokio::spawn(connection)),
            Self::Beside => drop(tokio::task::spawn_local(connection)),
        }
    }
}

/// By the proxies of the environment, to anywhere, as many connections as there were calls at once, of any runtime.
impl Default for Options {
    fn default() -> Self {
        let (connect, proxies) = (Duration::from_secs(10), proxies().clone());
        Self { connect, proxies, admits: |_| true, kept: usize::MAX, served: Served::Anywhere }
    }
}

/// The proxies that the environment names, by the variables that curl reads too. They are read once.
pub fn proxies() -> &'static Arc<Matcher> {
    static PROXIES: LazyLock<Arc<Matcher>> = LazyLock::new(|| Arc::new(Matcher::from_system()));
    &PROXIES
}

/// No proxy, whatever the environment names.
pub fn no_proxies() -> Arc<Matcher> {
    Arc::new(Matcher::builder().build())
}

/// What opens the proxy that is told each request to an address, where one is: a tunnel is opened once, when it is made.
pub fn proxy_authorization(proxies: &Matcher, to: &Uri) -> Option<HeaderValue> {
    let is_told = to.scheme() == Some(&Scheme::HTTP);
    proxies.intercept(to).filter(|_| is_told).and_then(|proxy| proxy.basic_auth().cloned())
}

/// An address, read as a browser reads one. A user and a password in it are left out: a header opens what is called.
pub fn address(text: &str) -> Option<Uri> {
    let mut url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Uri::try_from(url.as_str()).ok()
}

/// What a key opens with, in the header `authorization`. None where it can't be a header.
pub fn bearer(key: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {key}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The value of a header that holds a secret alone. `None` where the secret can't stand in a header.
pub fn secret(key: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(key).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A pool of connections. Clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    pool: legacy::Client<connect::Connector, Body>,
    proxies: Arc<Matcher>,
}

impl Client {
    /// A client that connects so.
    ///
    /// # Errors
    ///
    /// Where this machine's way to check certificates can't be had.
    pub fn new(options: Options) -> Result<Self, TlsError> {
        let (kept, served, proxies) = (options.kept, options.served, options.proxies.clone());
        let connector = connect::Connector::new(options)?;
        let pool = legacy::Client::builder(served)
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT)
            .pool_max_idle_per_host(kept)
            .http1_max_buf_size(READ_AHEAD)
            .http2_initial_stream_window_size(READ_AHEAD_STREAM)
            .http2_initial_connection_window_size(READ_AHEAD_STREAMS)
            .build(connector);
        Ok(Self { pool, proxies })
    }

    /// Sends a request, once and as it is, and waits for the head of its answer.
    ///
    /// # Errors
    ///
    /// Where none came.
    pub fn send_once(
        &self,
        request: Request<Body>,
        limit: Duration,
    ) -> impl Future<Output = Result<Response<Incoming>, CallError>> + Send + use<> {
        let answer = self.pool.request(request);
        async move {
            match within(limit, answer).await {
                Some(answered) => answered.map_err(|error| CallError::of_request(&error)),
                None => Err(CallError::Timeout),
            }
        }
    }

    /// Sends a request, with what opens its proxy, and again where its server says that it did not begin with it; waits
    /// for the head of its answer.
    ///
    /// # Errors
    ///
    /// Where none came.
    pub async fn send(&self, mut request: Request<Body>, limit: Duration) -> Result<Response<Incoming>, CallError> {
        if let Some(authorization) = proxy_authorization(&self.proxies, request.uri()) {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization);
        }
        let sending = async {
            for _ in 0..REPEATS {
                match self.send_once(request.clone(), limit).await {
                    Err(CallError::Unbegun(_)) => {}
                    sent => return sent,
                }
            }
            self.send_once(request, limit).await
        };
        within(limit, sending).await.unwrap_or(Err(CallError::Timeout))
    }

    /// Sends a request as [`send`](Self::send) does, and reads the whole of its answer, which may be so long.
    ///
    /// # Errors
    ///
    /// Where it did not all come within the limit, or is longer.
    pub async fn call(
        &self,
        request: Request<Body>,
        limit: Duration,
        most: usize,
    ) -> Result<Response<Bytes>, CallError> {
        let calling = async {
            let (head, body) = self.send(request, limit).await?.into_parts();
            Ok(Response::from_parts(head, collect(body, most, limit).await?))
        };
        within(limit, calling).await.unwrap_or(Err(CallError::Timeout))
    }
}

#[cfg(test)]
mod tests;
