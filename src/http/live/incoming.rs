//! Frames from the client of a live socket, within bounds. A frame that has begun is bounded in time as a request body
//! is, and takes its share of the room of all bodies until it is complete.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{dev::Payload, error::PayloadError};
use actix_ws::{CloseReason, ProtocolError};
use bytes::Bytes;
use futures::Stream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::close::Close;
use crate::{
    gateway::room::{Room, Share},
    http::body,
};

/// Why no more frames are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    NoRoom,
    TooSlow,
}

struct State {
    /// The share of the incomplete frame.
    share: RefCell<Share>,
    /// When the incomplete frame began.
    began: Cell<Instant>,
    fault: Cell<Option<Fault>>,
}

/// The state of one socket's frames, shared with the task that reads its bytes.
#[derive(Clone)]
pub(super) struct Frames(Rc<State>);

impl Frames {
    /// The state of a new socket.
    pub(super) fn new(room: &Arc<Room>) -> Self {
        let share = RefCell::new(room.share());
        Self(Rc::new(State { share, began: Cell::new(Instant::now()), fault: Cell::new(None) }))
    }

    /// The same bytes, within bounds.
    pub(super) fn within(&self, payload: Payload, longest: Duration) -> Payload {
        let reader = Reader { frames: self.clone(), payload, longest, too_slow: Box::pin(sleep_until(Instant::now())) };
        Payload::Stream { payload: Box::pin(reader) }
    }

    /// Notes that a frame was read completely.
    pub(super) fn is_whole(&self) {
        let mut share = self.0.share.borrow_mut();
        let all = share.bytes();
        share.shrink(all);
    }

    /// The reason for closing a socket whose frames can't be read; `limit` is the largest frame.
    pub(super) fn close_reason(&self, error: &ProtocolError, limit: usize) -> Option<CloseReason> {
        let reason = match (self.0.fault.get(), error) {
            (Some(Fault::NoRoom), _) => Close::NoRoom.reason(),
            (Some(Fault::TooSlow), _) => Close::SlowFrame.reason(),
            (None, ProtocolError::Overflow) => too_large(limit),
            (None, ProtocolError::Io(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                Close::NotText.reason()
            }
            (None, ProtocolError::Io(error)) if error.to_string().contains("continuation size") => too_large(limit),
            // The connection is gone.
            (None, ProtocolError::Io(_)) => return None,
            (None, error) => Close::Protocol.because(&format!("{}: {error}", Close::Protocol.says())),
        };
        Some(reason)
    }
}

fn too_large(limit: usize) -> CloseReason {
    Close::TooLarge.because(&format!("{}: {limit} bytes", Close::TooLarge.says()))
}

struct Reader {
    frames: Frames,
    payload: Payload,
    longest: Duration,
    too_slow: Pin<Box<Sleep>>,
}

impl Reader {
    fn fail(&self, fault: Fault) -> Poll<Option<Result<Bytes, PayloadError>>> {
        self.frames.0.fault.set(Some(fault));
        Poll::Ready(Some(Err(PayloadError::Overflow)))
    }
}

impl Stream for Reader {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let state = Rc::clone(&this.frames.0);
        match Pin::new(&mut this.payload).poll_next(cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                let mut share = state.share.borrow_mut();
                if share.bytes() == 0 {
                    state.began.set(Instant::now());
                }
                if share.grow(bytes.len()) { Poll::Ready(Some(Ok(bytes))) } else { this.fail(Fault::NoRoom) }
            }
            Poll::Ready(end) => Poll::Ready(end),
            Poll::Pending => {
                let received = state.share.borrow().bytes();
                if received == 0 {
                    return Poll::Pending;
                }
                let deadline = body::deadline(state.began.get(), received, this.longest);
                if this.too_slow.deadline() != deadline {
                    this.too_slow.as_mut().reset(deadline);
                }
                if this.too_slow.as_mut().poll(cx).is_ready() { this.fail(Fault::TooSlow) } else { Poll::Pending }
            }
        }
    }
}
