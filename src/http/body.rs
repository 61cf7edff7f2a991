//! Reading of request bodies. Each body is bounded in bytes and time, and all bodies together in bytes. When the
//! process stops, missing parts are not awaited. A body stands before the handler that reads it, and its fault replaces
//! the handler's answer.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    dev::Payload,
    error::PayloadError,
    http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING},
};
use bytes::Bytes;
use futures::Stream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    connection::Held,
    error::ApiError,
    state::{Shared, Stage},
};
use crate::gateway::room::Share;

/// The time for any body, whatever its size.
const GRACE: Duration = Duration::from_secs(10);
/// The number of bytes for which a body gets another second.
const BYTES_A_SECOND: usize = 16 << 10;

/// The bounds of a body.
pub(super) struct Bounds {
    /// The most bytes.
    pub(super) bytes: usize,
    /// The longest time, for any size.
    pub(super) longest: Duration,
    /// The body's share of the room of all bodies.
    pub(super) share: Share,
}

/// Why a body was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The body has more bytes than this.
    TooLarge(usize),
    /// All bodies that are being read have too many bytes.
    NoRoom,
    /// The body arrives too slowly.
    TooSlow,
    /// The process is stopping.
    Stopping,
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::TooLarge(limit) => Self::too_large(limit),
            Fault::NoRoom => Self::overloaded("Too many request bodies are on their way; try again."),
            Fault::TooSlow => Self::too_slow("The request's body did not come in time.", "body"),
            Fault::Stopping => Self::not_ready("stopping"),
        }
    }
}

/// Whether a request announces a body.
pub(super) fn is_announced(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0")
}

/// How a body is encoded, where it is not sent as it is.
pub(super) fn encoding(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(CONTENT_ENCODING).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let mut all = values.flat_map(|value| value.split(',').map(|each| each.trim().to_lowercase()).collect::<Vec<_>>());
    all.find(|each| !each.is_empty() && each != "identity")
}

/// The announced number of bytes.
pub(super) fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The time by which more must arrive of a body that began then and has so many bytes.
pub(super) fn deadline(began: Instant, received: usize, longest: Duration) -> Instant {
    let earned = u64::try_from(received / BYTES_A_SECOND).unwrap_or(u64::MAX);
    began + GRACE.saturating_add(Duration::from_secs(earned)).min(longest)
}

/// The state of a body, known to the edge while the handler reads.
#[derive(Clone)]
pub(super) struct Incoming(Rc<Coming>);

struct Coming {
    payload: RefCell<Payload>,
    fault: Cell<Option<Fault>>,
    /// Whether the body was read to its end.
    is_whole: Cell<bool>,
    /// Keeps the connection from reading the body until the request is admitted, or answered.
    held: Cell<Option<Held>>,
}

impl Incoming {
    /// A body that is not read yet.
    pub(super) fn new(payload: Payload, held: Option<Held>) -> Self {
        let (payload, fault, is_whole) = (RefCell::new(payload), Cell::default(), Cell::default());
        Self(Rc::new(Coming { payload, fault, is_whole, held: Cell::new(held) }))
    }

    /// The payload for the handler of an admitted request: the same bytes, within bounds.
    pub(super) fn within(&self, bounds: Bounds, state: Shared) -> Payload {
        if let Some(held) = self.0.held.take() {
            held.admit();
        }
        let began = Instant::now();
        let reader = Reader { incoming: self.clone(), bounds, state, began, received: 0, wait: Wait::None };
        Payload::Stream { payload: Box::pin(reader) }
    }

    /// Why the body was not read to its end, if there was a fault.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.0.fault.get()
    }

    /// An answer's body. Where the request's body was not read to its end, the connection is closed after the answer.
    /// The rest of the request's body must not be dropped before, or it would be read.
    pub(super) fn before(self, answer: BoxBody) -> BoxBody {
        if self.0.is_whole.get() { answer } else { BoxBody::new(Closing { answer, _unread: self }) }
    }
}

/// The events that end a body early.
struct End {
    too_slow: Pin<Box<Sleep>>,
    stopping: Pin<Box<dyn Future<Output = ()>>>,
}

/// What a reader waited for.
enum Wait {
    /// Nothing yet.
    None,
    /// The bytes that came with the head, which actix reads only after it has polled the handler once.
    Bytes,
    /// More bytes, or an event that ends the body early.
    More(End),
}

struct Reader {
    incoming: Incoming,
    bounds: Bounds,
    state: Shared,
    began: Instant,
    received: usize,
    wait: Wait,
}

impl Reader {
    fn fail(&self, fault: Fault) -> Poll<Option<Result<Bytes, PayloadError>>> {
        self.incoming.0.fault.set(Some(fault));
        Poll::Ready(Some(Err(PayloadError::Overflow)))
    }

    /// The reason why the rest is not awaited any more, if there is one.
    fn ended(&mut self, cx: &mut Context<'_>) -> Option<Fault> {
        let deadline = deadline(self.began, self.received, self.bounds.longest);
        let end = match &mut self.wait {
            Wait::None if !self.state.takes_work() => return Some(Fault::Stopping),
            // Most bodies arrive with their heads, and need no timer.
            Wait::None => {
                self.wait = Wait::Bytes;
                cx.waker().wake_by_ref();
                return None;
            }
            Wait::Bytes => {
                let state = self.state.clone();
                let stopping = Box::pin(async move { state.reached(Stage::Stopping).await });
                self.wait = Wait::More(End { too_slow: Box::pin(sleep_until(deadline)), stopping });
                return self.ended(cx);
            }
            Wait::More(end) => end,
        };
        if end.stopping.as_mut().poll(cx).is_ready() {
            return Some(Fault::Stopping);
        }
        if end.too_slow.deadline() != deadline {
            end.too_slow.as_mut().reset(deadline);
        }
        end.too_slow.as_mut().poll(cx).is_ready().then_some(Fault::TooSlow)
    }
}

impl Stream for Reader {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.incoming.0.fault.get().is_some() {
            return Poll::Ready(None);
        }
        let next = Pin::new(&mut *this.incoming.0.payload.borrow_mut()).poll_next(cx);
        match next {
            Poll::Ready(Some(Ok(bytes))) => {
                this.received += bytes.len();
                if this.received > this.bounds.bytes {
                    return this.fail(Fault::TooLarge(this.bounds.bytes));
                }
                if !this.bounds.share.grow(bytes.len()) {
                    return this.fail(Fault::NoRoom);
                }
                Poll::Ready(Some(Ok(bytes)))
            }
            Poll::Ready(end) => {
                this.incoming.0.is_whole.set(end.is_none());
                Poll::Ready(end)
            }
            Poll::Pending => match this.ended(cx) {
                Some(fault) => this.fail(fault),
                None => Poll::Pending,
            },
        }
    }
}

/// An answer that keeps the request's body until the answer's end.
struct Closing {
    answer: BoxBody,
    _unread: Incoming,
}

impl MessageBody for Closing {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().answer).poll_next(cx)
    }
}
