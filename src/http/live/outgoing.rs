//! Frames to the reader of a live socket, in order, counted in bytes until they are written. A slow reader may have so many
//! bytes waiting, and all slow readers together share a room. Beyond either the socket is closed, so that nothing here waits.

use std::{cell::RefCell, collections::VecDeque, io, rc::Rc, sync::Arc};

use actix_http::ws::{CloseReason, OpCode, Parser};
use actix_web::rt::net::TcpStream;
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::sync::Notify;

use crate::gateway::room::{Room, Share};

/// The bytes that may always wait for a reader.
const FREE: usize = 64 << 10;
/// The bytes of a frame beside its text.
const FRAME: usize = 64;
/// The bytes that are written at once, if so many wait.
const AT_ONCE: usize = 32 << 10;

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

    fn write(&self, into: &mut BytesMut) {
        let (code, payload) = match self {
            Self::Text(text) => (OpCode::Text, text.as_bytes()),
            Self::Ping => (OpCode::Ping, &b""[..]),
            Self::Pong(bytes) => (OpCode::Pong, &**bytes),
        };
        Parser::write_message(into, payload, code, true, false);
    }
}

struct Waiting {
    frames: VecDeque<Frame>,
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

struct Shared {
    waiting: RefCell<Waiting>,
    limit: usize,
    overflow: Notify,
    /// Notified when a frame waits.
    queued: Notify,
    /// Notified when frames were written.
    written: Notify,
}

/// The sender of frames, shared by clones on one thread.
#[derive(Clone)]
pub(super) struct Outgoing(Rc<Shared>);

/// The frames of a reader that may have so many bytes waiting: their sender and their writer.
pub(super) fn outgoing(limit: usize, room: &Arc<Room>) -> (Outgoing, Writer) {
    let waiting = RefCell::new(Waiting { frames: VecDeque::new(), bytes: 0, share: room.share() });
    let (overflow, queued, written) = (Notify::new(), Notify::new(), Notify::new());
    let outgoing = Outgoing(Rc::new(Shared { waiting, limit, overflow, queued, written }));
    (outgoing.clone(), Writer { outgoing, bytes: BytesMut::new(), weight: 0 })
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
        let shared = &self.0;
        let mut waiting = shared.waiting.borrow_mut();
        if waiting.add(frame.weight(), shared.limit) {
            waiting.frames.push_back(frame);
            shared.queued.notify_one();
        } else {
            shared.overflow.notify_one();
        }
    }

    /// Waits until few bytes wait: for frames that are kept elsewhere until they are sent.
    pub(super) async fn has_room(&self) {
        loop {
            let written = self.0.written.notified();
            if self.0.waiting.borrow().bytes < FREE {
                return;
            }
            written.await;
        }
    }

    /// Resolves when more bytes wait than may.
    pub(super) async fn overflowed(&self) {
        self.0.overflow.notified().await;
    }
}

/// The one that writes a socket's frames.
pub(super) struct Writer {
    outgoing: Outgoing,
    /// What is being written: whole frames, but for what was written of the first.
    bytes: BytesMut,
    /// How much of what waits that is.
    weight: usize,
}

impl Writer {
    /// Writes frames as they come, as long as the socket can be written. Dropping the future while it waits loses nothing.
    pub(super) async fn write(&mut self, stream: &TcpStream) -> io::Error {
        loop {
            if let Err(error) = self.write_all(stream).await {
                return error;
            }
            self.outgoing.0.queued.notified().await;
        }
    }

    /// Drops the frames that are not being written.
    pub(super) fn forget(&mut self) {
        let mut waiting = self.outgoing.0.waiting.borrow_mut();
        let weight = waiting.frames.drain(..).map(|frame| frame.weight()).sum();
        waiting.remove(weight);
    }

    /// Writes what waits, and then the socket's last frame.
    ///
    /// # Errors
    ///
    /// The socket can't be written.
    pub(super) async fn end(mut self, stream: &TcpStream, reason: Option<CloseReason>) -> io::Result<()> {
        self.write_all(stream).await?;
        Parser::write_close(&mut self.bytes, reason, false);
        self.flush(stream).await
    }

    /// Writes what waits.
    async fn write_all(&mut self, stream: &TcpStream) -> io::Result<()> {
        loop {
            self.flush(stream).await?;
            if !self.take() {
                return Ok(());
            }
        }
    }

    /// Takes some of the frames that wait. Returns whether there are any.
    fn take(&mut self) -> bool {
        let mut waiting = self.outgoing.0.waiting.borrow_mut();
        while self.bytes.len() < AT_ONCE
            && let Some(frame) = waiting.frames.pop_front()
        {
            frame.write(&mut self.bytes);
            self.weight += frame.weight();
        }
        !self.bytes.is_empty()
    }

    /// Writes what was taken.
    async fn flush(&mut self, stream: &TcpStream) -> io::Result<()> {
        while !self.bytes.is_empty() {
            stream.writable().await?;
            match stream.try_write(&self.bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.bytes.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        if self.weight > 0 {
            self.bytes = BytesMut::new();
            self.outgoing.0.waiting.borrow_mut().remove(std::mem::take(&mut self.weight));
            self.outgoing.0.written.notify_waiters();
        }
        Ok(())
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
            let (outgoing, writer) = outgoing(200_000, &room);
            let mut sent = 0;
            while outgoing.0.waiting.borrow().bytes <= 200_000 && sent < 100 {
                outgoing.send(frame.to_string());
                sent += 1;
            }
            (outgoing, writer)
        };
        let (first, mut writer) = fill();
        first.overflowed().await;
        assert!(room.taken() > 100_000 && room.taken() <= 200_000 - FREE, "{}", room.taken());
        let others: Vec<_> = (0..3).map(|_| fill()).collect();
        assert!(room.taken() <= 300_000);
        for (other, _) in &others {
            other.overflowed().await;
        }
        drop(others);
        writer.forget();
        assert_eq!(room.taken(), 0, "what is dropped is given back");
        let refused = frame.to_string().len() + FRAME;
        assert_eq!(first.0.waiting.borrow().bytes, refused, "but for the frame that was one too many");
    }

    #[tokio::test]
    async fn frames_are_written_in_order_and_the_last_one_is_the_close() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let reading = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let room = Room::new(100 << 20);
        let (outgoing, mut writer) = outgoing(100 << 20, &room);
        let texts: Vec<_> = (0..5_000).map(|n| format!("{n} {}", "x".repeat(n))).collect();
        for text in &texts {
            outgoing.send(text.clone());
        }
        // A reader that does not read, and then does: what was begun is ended, wherever the writing was left.
        let left = tokio::time::timeout(std::time::Duration::from_millis(20), writer.write(&stream)).await;
        assert!(left.is_err() && room.taken() > 0, "it is written though nobody reads");
        let read = tokio::spawn(async move {
            let (mut all, mut reading) = (Vec::new(), reading);
            tokio::io::AsyncReadExt::read_to_end(&mut reading, &mut all).await.map(|_| BytesMut::from(&*all))
        });
        let left = tokio::time::timeout(std::time::Duration::from_millis(1), writer.write(&stream)).await;
        assert!(left.is_err());
        writer.end(&stream, Some(super::super::close::Close::Normal.reason())).await.unwrap();
        drop(stream);
        let mut read = read.await.unwrap().unwrap();
        for text in texts {
            let (is_last, code, payload) = Parser::parse(&mut read, false, 1 << 20).unwrap().unwrap();
            assert!(is_last && code == OpCode::Text && payload.unwrap() == text);
        }
        let (_, code, _) = Parser::parse(&mut read, false, 1 << 20).unwrap().unwrap();
        assert!(code == OpCode::Close && read.is_empty());
        assert_eq!(room.taken(), 0, "what is written is given back");
    }
}
