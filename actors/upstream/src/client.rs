//! The HTTP client of a thread: a request goes out, its answer's head and then its body come back, each wait with its
//! limit. It follows no redirect and repeats nothing: it says only whether repeating is safe. It knows no format.

use std::{
    cell::OnceCell,
    error::Error,
    future::poll_fn,
    io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut},
    iter::successors,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Body, Incoming},
};
use hyper_util::{
    client::{
        legacy::{self, Client, ResponseFuture},
        proxy::matcher::Matcher,
    },
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::sleep;
use wire::inference::Failure;

use super::connect::{self, Connector};

/// A kept connection that its provider closed as a request was sent shows it within a round trip. What ends later may have
/// been worked on, and is not to be paid twice.
const CROSSED: Duration = Duration::from_secs(1);
/// How long a connection is kept that nothing uses.
const KEPT: Duration = Duration::from_mins(1);
/// Bytes of an answer that are read before they are wanted, at most: a client that does not read its answer is not to
/// fill this process's memory.
const READ_AHEAD: usize = 64 << 10;
/// The same where a connection carries many answers, and of all those: so much that some which nobody reads do not stop the
/// others.
const READ_AHEAD_STREAM: u32 = 128 << 10;
const READ_AHEAD_STREAMS: u32 = 64 << 20;

type Http = Client<Connector, Full<Bytes>>;

thread_local! {
    /// Each thread that calls has a pool of its own: a connection is served by the thread that opened it.
    static CLIENT: OnceCell<Http> = const { OnceCell::new() };
}

fn new_client(proxies: Arc<Matcher>) -> Result<Http, rustls::Error> {
    let connector = Connector::new(proxies)?;
    Ok(Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEPT)
        .http1_max_buf_size(READ_AHEAD)
        .http2_initial_stream_window_size(READ_AHEAD_STREAM)
        .http2_initial_connection_window_size(READ_AHEAD_STREAMS)
        .build(connector))
}

/// This thread asks these proxies from now on, and not the environment's.
#[cfg(test)]
pub(super) fn ask_proxies(proxies: Arc<Matcher>) {
    CLIENT.with(|kept| assert!(kept.set(new_client(proxies).unwrap()).is_ok(), "the thread has a client already"));
}

fn start(request: Request<Full<Bytes>>) -> Result<ResponseFuture, rustls::Error> {
    CLIENT.with(|kept| {
        if let Some(client) = kept.get() {
            return Ok(client.request(request));
        }
        let client = new_client(connect::proxies().clone())?;
        Ok(kept.get_or_init(|| client).request(request))
    })
}

/// Why there is no response.
pub(super) enum SendError {
    /// The provider did not begin with the request: its connection was closed, or it refused to take one more on it.
    Unbegun(Failure),
    Other(Failure),
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        let (SendError::Unbegun(failure) | SendError::Other(failure)) = error;
        failure
    }
}

/// Sends a request and waits for the head of its answer.
pub(super) async fn send(request: Request<Full<Bytes>>, first_byte: Duration) -> Result<Response<Incoming>, SendError> {
    let sent_at = Instant::now();
    let answer = start(request).map_err(|error| SendError::Other(Failure::Transport(error.to_string())))?;
    match within(first_byte, answer).await {
        Some(answered) => answered.map_err(|error| not_answered(&error, sent_at.elapsed())),
        None => Err(SendError::Other(Failure::Timeout("first byte"))),
    }
}

/// The next piece of a body; none at its end.
pub(super) async fn next(body: &mut Incoming, idle: Duration) -> Result<Option<Bytes>, Failure> {
    while !body.is_end_stream() {
        match within(idle, body.frame()).await {
            Some(Some(Ok(frame))) => {
                // Headers after the body say nothing to us.
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
            Some(Some(Err(error))) => return Err(transport("the connection", &error)),
            Some(None) => break,
            None => return Err(Failure::Timeout("idle")),
        }
    }
    Ok(None)
}

/// A whole body, which may be so long.
pub(super) async fn collect(mut body: Incoming, most: usize, idle: Duration) -> Result<Bytes, Failure> {
    let Some(first) = next(&mut body, idle).await? else { return Ok(Bytes::new()) };
    let Some(mut piece) = next(&mut body, idle).await? else { return Ok(first) };
    let mut whole = Vec::from(first);
    loop {
        if whole.len() + piece.len() > most {
            return Err(Failure::TooLarge(most));
        }
        whole.extend_from_slice(&piece);
        match next(&mut body, idle).await? {
            Some(next) => piece = next,
            None => return Ok(whole.into()),
        }
    }
}

/// What comes of something, none after so long. What is there at once costs no timer.
async fn within<T>(limit: Duration, something: impl Future<Output = T>) -> Option<T> {
    let mut something = pin!(something);
    let mut end = pin!(None);
    poll_fn(|cx| {
        if let Poll::Ready(there) = something.as_mut().poll(cx) {
            return Poll::Ready(Some(there));
        }
        if end.is_none() {
            end.set(Some(sleep(limit)));
        }
        match end.as_mut().as_pin_mut() {
            Some(end) => end.poll(cx).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}

fn sources<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&error| error.source())
}

fn not_answered(error: &legacy::Error, after: Duration) -> SendError {
    let io = || sources(error).filter_map(|source| source.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    match error.is_connect() {
        true if io().any(|kind| kind == TimedOut) => SendError::Other(Failure::Timeout("connect")),
        true => SendError::Other(transport("connecting", error)),
        false => {
            let failure = transport("the connection", error);
            let closed = io().any(|kind| matches!(kind, BrokenPipe | ConnectionReset)) || sources(error).any(is_closed);
            if (closed && after < CROSSED) || sources(error).any(is_refused) {
                SendError::Unbegun(failure)
            } else {
                SendError::Other(failure)
            }
        }
    }
}

fn is_closed(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message)
}

/// HTTP/2 says itself what it did not begin with.
fn is_refused(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<h2::Error>().is_some_and(|error| {
        let left = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
        let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (left || refused)
    })
}

/// The error's cause, which has no address in it: an address may carry what should not be shown.
fn transport(stage: &str, error: &(dyn Error + 'static)) -> Failure {
    let cause = sources(error).last().unwrap_or(error);
    Failure::Transport(format!("{stage}: {cause}"))
}
