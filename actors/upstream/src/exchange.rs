//! One request to a provider and its answer, by a client of the thread's own: a connection is served by the thread that
//! opened it. It repeats nothing: it says only whether repeating is safe. It knows no format.

use std::{
    cell::OnceCell,
    time::{Duration, Instant},
};

use bytes::Bytes;
use client::{Body, CallError, Client, Idle, Incoming, Options, Served, TlsError};
use http::{Request, Response};
use wire::inference::Failure;

/// A kept connection that its provider closed as a request was sent shows it within a round trip. What ends later may have
/// been worked on, and is not to be paid twice.
const CROSSED: Duration = Duration::from_secs(1);

/// Beside the tasks of the requests that they are for.
fn options() -> Options {
    Options { served: Served::Beside, ..Options::default() }
}

thread_local! {
    static CLIENT: OnceCell<Client> = const { OnceCell::new() };
}

/// This thread asks these proxies from now on, and not the environment's.
#[cfg(test)]
pub(super) fn ask_proxies(proxies: std::sync::Arc<client::Matcher>) {
    let client = Client::new(Options { proxies, ..options() }).unwrap();
    CLIENT.with(|kept| assert!(kept.set(client).is_ok(), "the thread has a client already"));
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
pub(super) async fn send(request: Request<Body>, first_byte: Duration) -> Result<Response<Incoming>, SendError> {
    let sent_at = Instant::now();
    let answer = CLIENT.with(|kept| {
        if let Some(client) = kept.get() {
            return Ok(client.send_once(request, first_byte));
        }
        let client = Client::new(options())?;
        Ok(kept.get_or_init(|| client).send_once(request, first_byte))
    });
    let answer = answer.map_err(|error: TlsError| SendError::Other(Failure::Transport(error.to_string())))?;
    answer.await.map_err(|error| {
        let is_unbegun = match error {
            CallError::Unbegun(_) => true,
            CallError::Closed(_) => sent_at.elapsed() < CROSSED,
            _ => false,
        };
        let failure = failure(&error, "first byte");
        if is_unbegun { SendError::Unbegun(failure) } else { SendError::Other(failure) }
    })
}

/// The next piece of a body; none at its end.
pub(super) async fn next(body: &mut Incoming, idle: &mut Idle) -> Result<Option<Bytes>, Failure> {
    client::next(body, idle).await.map_err(|error| failure(&error, "idle"))
}

/// A whole body, which may be so long.
pub(super) async fn collect(body: Incoming, most: usize, idle: Duration) -> Result<Bytes, Failure> {
    client::collect(body, most, idle).await.map_err(|error| failure(&error, "idle"))
}

/// What a provider's failure is called; `waiting` is what was waited for.
fn failure(error: &CallError, waiting: &'static str) -> Failure {
    match error {
        CallError::ConnectTimeout => Failure::Timeout("connect"),
        CallError::Timeout => Failure::Timeout(waiting),
        CallError::TooLarge(most) => Failure::TooLarge(*most),
        CallError::Connect(_) | CallError::Unbegun(_) => Failure::Unreached(error.to_string()),
        CallError::Forbidden(_) | CallError::Closed(_) | CallError::Unreceived(_) | CallError::Broken(_) => {
            Failure::Transport(error.to_string())
        }
    }
}
