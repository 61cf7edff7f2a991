//! Frames to the reader of a live socket, in order, counted in bytes. A slow reader may have so many bytes waiting, and
//! all slow readers together share a room. Beyond either the socket is closed, so that nothing here waits.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use actix_ws::Session;
use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use crate::gateway::room::{Room, Share};

/// The bytes that may always wait for a reader.
const FREE: usize = 64 << 10;
/// The bytes of a frame beside its text.
const FRAME: usize = 64;

/// A frame that waits.
enum Frame {
    Text(String),
    Ping,
    Pong(Bytes),
}

impl Frame {
    fn weight(&self) -> usize {
        FRAME
            + match self {
                Self::Text(text) => text.len(),
                Self::Ping => 0,
                Self::Pong(bytes) => bytes.len(),
            }
    }
}

struct Waiting {
    bytes: usize,
    /// The waiting bytes beyond [`FREE`].
    share: Share,
}

impl Waiting {
    /// Counts a frame, and returns whether it may wait.
    fn add(&mut self, bytes: usize, limit: usize) -> bool {
        self.bytes += bytes;
        let beyond = self.bytes.saturating_sub(FREE).saturating_sub(self.share.bytes());
        self.bytes <= limit && (beyond == 0 || self.share.grow(beyond))
    }

    fn remove(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        let spare = self.share.bytes().saturating_sub(self.bytes.saturating_sub(FREE));
        self.share.shrink(spare);
    }
}

/// The sender of frames, shared by clones on one thread.
#[derive(Clone)]
pub(super) struct Outgoing {
    frames: mpsc::UnboundedSender<Frame>,
    waiting: Rc<RefCell<Waiting>>,
    limit: usize,
    overflow: Rc<Notify>,
    /// Notified when a frame was written.
    written: Rc<Notify>,
}

/// The waiting frames, for the task that writes them.
pub(super) struct Queue {
    frames: mpsc::UnboundedReceiver<Frame>,
    waiting: Rc<RefCell<Waiting>>,
    written: Rc<Notify>,
}

/// The sender and receiver of a reader that may have so many bytes waiting.
pub(super) fn outgoing(limit: usize, room: &Arc<Room>) -> (Outgoing, Queue) {
    let (sender, frames) = mpsc::unbounded_channel();
    let waiting = Rc::new(RefCell::new(Waiting { bytes: 0, share: room.share() }));
    let written = Rc::<Notify>::default();
    let (overflow, queue) =
        (Rc::default(), Queue { frames, waiting: Rc::clone(&waiting), written: Rc::clone(&written) });
    (Outgoing { frames: sender, waiting, limit, overflow, written }, queue)
}

impl Outgoing {
    /// Sends a frame.
    pub(super) fn send(&self, frame: String) {
        self.queue(Frame::Text(frame));
    }

    /// Sends a ping, which also keeps proxies from closing an idle socket.
    pub(super) fn ping(&self) {
        self.queue(Frame::Ping);
    }

    /// Answers a ping.
    pub(super) fn pong(&self, bytes: Bytes) {
        self.queue(Frame::Pong(bytes));
    }

    fn queue(&self, frame: Frame) {
        if self.waiting.borrow_mut().add(frame.weight(), self.limit) {
            // The writer only ends with the socket.
            let _ = self.frames.send(frame);
        } else {
            self.overflow.notify_one();
        }
    }

    /// Waits until few bytes wait: for frames that are kept elsewhere until they are sent.
    pub(super) async fn has_room(&self) {
        loop {
            let written = self.written.notified();
            if self.waiting.borrow().bytes < FREE {
                return;
            }
            written.await;
        }
    }

    /// Resolves when more bytes wait than may.
    pub(super) async fn overflowed(&self) {
        self.overflow.notified().await;
    }
}

impl Queue {
    /// Writes frames until all senders or the socket are gone.
    pub(super) async fn write(mut self, mut session: Session) {
        while let Some(frame) = self.frames.recv().await {
            let weight = frame.weight();
            let written = match frame {
                Frame::Text(text) => session.text(text).await,
                Frame::Ping => session.ping(b"").await,
                Frame::Pong(bytes) => session.pong(&bytes).await,
            };
            if written.is_err() {
                return;
            }
            self.waiting.borrow_mut().remove(weight);
            self.written.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_reader_is_given_so_much_alone_and_with_all_others() {
        let room = Room::new(300_000);
        let frame = json!("x".repeat(10_000));
        let fill = || {
            let (outgoing, queue) = outgoing(200_000, &room);
            let mut sent = 0;
            while outgoing.waiting.borrow().bytes <= 200_000 && sent < 100 {
                outgoing.send(frame.to_string());
                sent += 1;
            }
            (outgoing, queue)
        };
        let (first, mut queue) = fill();
        first.overflowed().await;
        assert!(room.taken() > 100_000 && room.taken() <= 200_000 - FREE, "{}", room.taken());
        let others: Vec<_> = (0..3).map(|_| fill()).collect();
        assert!(room.taken() <= 300_000);
        for (other, _) in &others {
            other.overflowed().await;
        }
        drop(others);
        while let Ok(frame) = queue.frames.try_recv() {
            queue.waiting.borrow_mut().remove(frame.weight());
        }
        assert_eq!(room.taken(), 0, "what is read is given back");
    }
}
