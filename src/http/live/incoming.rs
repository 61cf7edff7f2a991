//! Messages from the client of a live socket, within bounds. A message that has begun is bounded in time as a request body
//! is, and takes its share of the room of all bodies until it is complete. Between messages nothing is kept.

use std::{io, sync::Arc, time::Duration};

use actix_http::ws::{CloseReason, OpCode, Parser, ProtocolError};
use actix_web::rt::net::TcpStream;
use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::{close::Close, feed::due};
use crate::{
    gateway::room::{Room, Share},
    http::body,
};

/// The bytes for which there is always room to read.
const PIECE: usize = 8 << 10;
/// The most bytes of a frame before its payload.
const HEAD: usize = 14;

/// A message of the client.
#[derive(Debug)]
pub(super) enum Message {
    Text(String),
    Binary,
    Ping(Bytes),
    Pong,
    Close(Option<CloseReason>),
}

/// Why no more messages are read.
#[derive(Debug)]
pub(super) enum Fault {
    NoRoom,
    TooSlow,
    /// A message has more bytes than this.
    TooLarge(usize),
    NotText,
    Protocol(ProtocolError),
    /// The connection is gone.
    Gone,
}

impl Fault {
    /// What the socket is closed with.
    pub(super) fn reason(&self) -> Option<CloseReason> {
        let reason = match self {
            Self::NoRoom => Close::NoRoom.reason(),
            Self::TooSlow => Close::SlowFrame.reason(),
            Self::TooLarge(limit) => Close::TooLarge.because(&format!("{}: {limit} bytes", Close::TooLarge.says())),
            Self::NotText => Close::NotText.reason(),
            Self::Protocol(error) => Close::Protocol.because(&format!("{}: {error}", Close::Protocol.says())),
            Self::Gone => return None,
        };
        Some(reason)
    }
}

/// The first frames of a message that has several.
struct Begun {
    is_text: bool,
    bytes: BytesMut,
}

/// The messages of one socket.
pub(super) struct Incoming {
    /// Frames that are not complete, or not looked at.
    unread: BytesMut,
    begun: Option<Begun>,
    /// The share of all these bytes.
    share: Share,
    /// When the incomplete message began.
    began: Instant,
    /// The most bytes of a message.
    limit: usize,
    /// The longest time of a message of any size.
    longest: Duration,
}

impl Incoming {
    /// The messages of a new socket, and what was read of it already.
    pub(super) fn new(room: &Arc<Room>, limit: usize, longest: Duration, early: BytesMut) -> Self {
        Self { unread: early, begun: None, share: room.share(), began: Instant::now(), limit, longest }
    }

    /// The next message; nothing behind the last one. Dropping the future while it waits loses nothing.
    ///
    /// # Errors
    ///
    /// No more can be read.
    pub(super) async fn next(&mut self, stream: &TcpStream) -> Result<Option<Message>, Fault> {
        loop {
            let next = self.take()?;
            self.count(next.is_some())?;
            if next.is_some() {
                return Ok(next);
            }
            let received = self.share.bytes();
            let deadline = (received > 0).then(|| body::deadline(self.began, received, self.longest));
            tokio::select! {
                biased;
                ready = stream.readable() => ready.map_err(|_| Fault::Gone)?,
                () = due(deadline) => return Err(Fault::TooSlow),
            }
            self.unread.reserve(PIECE);
            match stream.try_read_buf(&mut self.unread) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Fault::Gone),
            }
        }
    }

    /// Counts what waits to be complete.
    fn count(&mut self, is_whole: bool) -> Result<(), Fault> {
        if self.unread.is_empty() {
            self.unread = BytesMut::new();
        }
        let waiting = self.unread.len() + self.begun.as_ref().map_or(0, |begun| begun.bytes.len());
        // A ping in the middle of a message makes it no newer.
        if self.share.bytes() == 0 || (is_whole && self.begun.is_none()) {
            self.began = Instant::now();
        }
        self.share.shrink(self.share.bytes().saturating_sub(waiting));
        let more = waiting - self.share.bytes();
        if more == 0 || self.share.grow(more) { Ok(()) } else { Err(Fault::NoRoom) }
    }

    /// The next message that was read completely.
    fn take(&mut self) -> Result<Option<Message>, Fault> {
        while let Some((is_last, code, bytes)) = self.frame()? {
            let bytes = bytes.unwrap_or_default();
            let message = match code {
                OpCode::Ping if is_last => Message::Ping(Bytes::copy_from_slice(&bytes)),
                OpCode::Pong if is_last => Message::Pong,
                OpCode::Close if is_last => {
                    Message::Close(Parser::try_parse_close_payload(&bytes).map_err(Fault::Protocol)?)
                }
                OpCode::Ping | OpCode::Pong | OpCode::Close => {
                    return Err(Fault::Protocol(ProtocolError::ContinuationFragment(code)));
                }
                OpCode::Text | OpCode::Binary if self.begun.is_some() => {
                    return Err(Fault::Protocol(ProtocolError::ContinuationStarted));
                }
                OpCode::Text | OpCode::Binary => {
                    let begun = Begun { is_text: code == OpCode::Text, bytes };
                    if !is_last {
                        // A copy, as the frame's bytes are a part of all that was read with it.
                        self.begun = Some(Begun { bytes: BytesMut::from(&*begun.bytes), ..begun });
                        continue;
                    }
                    begun.whole()?
                }
                OpCode::Continue => {
                    let Some(mut begun) = self.begun.take() else {
                        return Err(Fault::Protocol(ProtocolError::ContinuationNotStarted));
                    };
                    if begun.bytes.len() + bytes.len() > self.limit {
                        return Err(Fault::TooLarge(self.limit));
                    }
                    begun.bytes.extend_from_slice(&bytes);
                    if !is_last {
                        self.begun = Some(begun);
                        continue;
                    }
                    begun.whole()?
                }
                OpCode::Bad => return Err(Fault::Protocol(ProtocolError::BadOpCode)),
            };
            return Ok(Some(message));
        }
        Ok(None)
    }

    /// The next frame that was read completely: whether its message ends with it, its kind and its payload.
    fn frame(&mut self) -> Result<Option<(bool, OpCode, Option<BytesMut>)>, Fault> {
        let frame = Parser::parse(&mut self.unread, true, self.limit);
        // One that announces more than may be is not read to its end.
        let is_too_large = matches!(&frame, Ok(None)) && self.unread.len() > self.limit.saturating_add(HEAD);
        match frame {
            Err(ProtocolError::Overflow) => Err(Fault::TooLarge(self.limit)),
            _ if is_too_large => Err(Fault::TooLarge(self.limit)),
            frame => frame.map_err(Fault::Protocol),
        }
    }
}

impl Begun {
    /// The message, which has ended.
    fn whole(self) -> Result<Message, Fault> {
        if !self.is_text {
            return Ok(Message::Binary);
        }
        String::from_utf8(self.bytes.into()).map(Message::Text).map_err(|_| Fault::NotText)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1_000;

    fn incoming(bytes: &[u8]) -> Incoming {
        Incoming::new(&Room::new(10_000), LIMIT, Duration::from_secs(1), BytesMut::from(bytes))
    }

    fn frame(into: &mut BytesMut, code: OpCode, is_last: bool, payload: &[u8]) {
        Parser::write_message(into, payload, code, is_last, true);
    }

    /// What is read of these bytes, in words, and why no more is.
    fn read(incoming: &mut Incoming) -> (Vec<String>, Option<Fault>) {
        let mut said = Vec::new();
        loop {
            let next = incoming.take().and_then(|next| incoming.count(next.is_some()).map(|()| next));
            match next {
                Ok(Some(message)) => said.push(format!("{message:?}")),
                Ok(None) => return (said, None),
                Err(fault) => return (said, Some(fault)),
            }
        }
    }

    #[test]
    fn messages_are_the_same_wherever_their_bytes_are_cut() {
        let mut bytes = BytesMut::new();
        frame(&mut bytes, OpCode::Text, true, "whole \u{e9}".as_bytes());
        frame(&mut bytes, OpCode::Text, false, b"in ");
        frame(&mut bytes, OpCode::Ping, true, b"now");
        frame(&mut bytes, OpCode::Continue, false, b"three ");
        frame(&mut bytes, OpCode::Continue, true, b"parts");
        frame(&mut bytes, OpCode::Binary, true, &[0xff; 300]);
        frame(&mut bytes, OpCode::Text, true, b"");
        frame(&mut bytes, OpCode::Pong, true, b"");
        frame(&mut bytes, OpCode::Close, true, &[0x03, 0xe8]);
        let (whole, fault) = read(&mut incoming(&bytes));
        assert!(fault.is_none(), "{fault:?}");
        assert_eq!(whole[..3], [r#"Text("whole é")"#, r#"Ping(b"now")"#, r#"Text("in three parts")"#]);
        assert_eq!(whole[3..6], ["Binary", r#"Text("")"#, "Pong"]);
        assert!(whole[6].contains("Normal") && whole.len() == 7, "{whole:?}");
        for cut in 0..bytes.len() {
            let mut incoming = incoming(&bytes[..cut]);
            let (mut said, _) = read(&mut incoming);
            incoming.unread.extend_from_slice(&bytes[cut..]);
            said.extend(read(&mut incoming).0);
            assert_eq!(said, whole, "cut at {cut}");
            assert_eq!((incoming.share.bytes(), incoming.unread.capacity()), (0, 0), "nothing stays");
        }
    }

    #[test]
    fn what_is_no_message_is_named() {
        type Frames<'a> = &'a [(OpCode, bool, &'a [u8])];
        let large = vec![b'x'; LIMIT];
        let cases: [(Frames, u16); 9] = [
            (&[(OpCode::Text, true, &[0xff])], 1007),
            (&[(OpCode::Text, false, b"a"), (OpCode::Continue, true, &[0xff])], 1007),
            (&[(OpCode::Continue, true, b"a")], 1002),
            (&[(OpCode::Text, false, b"a"), (OpCode::Text, true, b"a")], 1002),
            (&[(OpCode::Ping, false, b"a")], 1002),
            (&[(OpCode::Ping, true, &[b'a'; 126])], 1002),
            (&[(OpCode::Close, true, b"a")], 1002),
            (&[(OpCode::Text, true, &[b'x'; LIMIT + 1])], 1009),
            (&[(OpCode::Text, false, &large), (OpCode::Continue, true, b"x")], 1009),
        ];
        for (frames, code) in cases {
            let mut bytes = BytesMut::new();
            for (kind, is_last, payload) in frames {
                frame(&mut bytes, *kind, *is_last, payload);
            }
            let fault = read(&mut incoming(&bytes)).1.unwrap();
            assert_eq!(fault.reason().map(|reason| reason.code.into()), Some(code), "{frames:?}: {fault:?}");
        }
        // One that would be too large is not awaited to its end.
        let mut begun = vec![0x81, 0xff];
        begun.extend_from_slice(&(1_u64 << 30).to_be_bytes());
        begun.extend_from_slice(&[0; LIMIT + 10]);
        assert!(matches!(read(&mut incoming(&begun)).1, Some(Fault::TooLarge(LIMIT))));
        // Nor one for which there is no room.
        let room = Room::new(50);
        let mut bytes = BytesMut::new();
        frame(&mut bytes, OpCode::Text, true, &[b'x'; 100]);
        bytes.truncate(80);
        let mut incoming = Incoming::new(&room, LIMIT, Duration::from_secs(1), bytes);
        assert!(matches!(read(&mut incoming).1, Some(Fault::NoRoom)));
        assert_eq!(room.taken(), 0);
    }
}
