//! The HTTP client of a thread: it sends a request, and returns the answer's head and then its body. Each wait has a
//! limit. The client follows no redirect and repeats nothing: it reports only whether repeating is safe. It knows no
//! format.

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

/// The longest a connection that the provider closed while a request was sent takes to fail: about a round trip. After
/// a later failure the provider may have worked on the request, and must not be paid twice.
const CROSSED: Duration = Duration::from_secs(1);
/// How long an unused connection is kept.
const KEPT: Duration = Duration::from_mins(1);
/// The most bytes of an answer read ahead of the reader: a client that does not read its answer must not fill this
/// process's memory.
const READ_AHEAD: usize = 64 << 10;
/// The same limit for one stream of an HTTP/2 connection, and for the whole connection. The connection's is so large
/// that a few unread answers do not stop the others.
const READ_AHEAD_STREAM: u32 = 128 << 10;
const READ_AHEAD_STREAMS: u32 = 64 << 20;

type Http = Client<Connector, Full<Bytes>>;

thread_local! {
    /// Each calling thread has a connection pool of its own: a connection is served by the thread that opened it.
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

/// From now on this thread uses these proxies, and not the environment's.
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

/// Why a request has no response.
pub(super) enum SendError {
    /// The provider did not begin with the request: the connection was closed, or refused a further request.
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

/// The next piece of a body; `None` at its end.
pub(super) async fn next(body: &mut Incoming, idle: Duration) -> Result<Option<Bytes>, Failure> {
    while !body.is_end_stream() {
        match within(idle, body.frame()).await {
            Some(Some(Ok(frame))) => {
                // Trailers after the body carry nothing that is read here.
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

/// A whole body of at most `most` bytes.
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

/// The result of a future; `None` after the limit. A result that is ready at once costs no timer.
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

/// Whether an HTTP/2 error says that the request was not begun.
fn is_refused(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<h2::Error>().is_some_and(|error| {
        let left = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
        let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (left || refused)
    })
}

/// The error's cause without the address, which may carry secrets.
fn transport(stage: &str, error: &(dyn Error + 'static)) -> Failure {
    let cause = sources(error).last().unwrap_or(error);
    Failure::Transport(format!("{stage}: {cause}"))
}
