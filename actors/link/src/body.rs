//! Bodies: what is sent whole or piece by piece, and what comes.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, mpsc::Receiver};

use crate::{error::cause, peer::Peer};

/// The rest of something does not come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cut: {0}")]
pub struct Cut(pub String);

/// A body that is sent.
#[derive(Debug)]
pub enum Sent {
    /// All of it is there.
    Whole(Bytes),
    /// Its pieces come one by one. Where one says that the rest does not come, whoever reads is told so.
    Pieces(Receiver<Result<Bytes, Cut>>),
}

/// A body that a server sends.
#[derive(Debug)]
pub(crate) enum Out {
    Sent(Sent),
    /// Messages, each with its length before it, behind a head.
    Messages {
        /// What comes before the first message; none once it is sent.
        head: Option<Bytes>,
        messages: Receiver<Bytes>,
        /// The place among subscriptions, which is given back with it.
        _place: Option<OwnedSemaphorePermit>,
    },
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Pieces(pieces) => pieces.poll_recv(cx).map(|piece| Some(piece?.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

impl Body for Out {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Sent(sent) => Pin::new(sent).poll_frame(cx),
            Self::Messages { head, messages, .. } => {
                if let Some(head) = head.take() {
                    return Poll::Ready(Some(Ok(Frame::data(head))));
                }
                messages.poll_recv(cx).map(|message| Some(Ok(Frame::data(framed(&message?)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Sent(sent) if sent.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Sent(sent) => sent.size_hint(),
            Self::Messages { .. } => SizeHint::default(),
        }
    }
}

/// A message with its length before it.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(4 + message.len());
    bytes.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    bytes.put_slice(message);
    bytes.freeze()
}

/// The whole of a body, which may be so long.
pub(crate) async fn whole(body: Incoming, most: usize) -> Result<Bytes, Cut> {
    match Limited::new(body, most).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) => Err(Cut(error.to_string())),
    }
}

/// A body as it comes.
pub struct Pieces {
    pub(crate) body: Incoming,
    /// The way that it comes by: a node that is forgotten meanwhile is heard to the end.
    pub(crate) _way: Peer,
}

impl std::fmt::Debug for Pieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pieces").field("body", &self.body).finish_non_exhaustive()
    }
}

impl Pieces {
    /// The next piece; none at the end.
    ///
    /// # Errors
    ///
    /// Where the rest does not come.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Cut> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(Cut(cause(&error))),
                Some(Ok(frame)) => {
                    // HTTP/2 may end a body with nothing.
                    if let Ok(bytes) = frame.into_data()
                        && !bytes.is_empty()
                    {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }
}

/// Messages out of the pieces of a body.
#[derive(Debug)]
pub(crate) struct Messages {
    pieces: Pieces,
    read: BytesMut,
    most: usize,
}

impl Messages {
    pub(crate) fn new(pieces: Pieces, most: usize) -> Self {
        Self { pieces, read: BytesMut::new(), most }
    }

    /// The next message; none after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Cut> {
        let most = self.most;
        while self.read.len() < 4 {
            match self.pieces.next().await? {
                Some(piece) => self.read.extend_from_slice(&piece),
                None if self.read.is_empty() => return Ok(None),
                None => return Err(Cut("a message is not whole".to_owned())),
            }
        }
        let length = usize::try_from((&self.read[..4]).get_u32()).unwrap_or(usize::MAX);
        if length > most {
            return Err(Cut(format!("a message of {length} bytes, at most {most}")));
        }
        // The length stays until all of its message is there: a wait may be given up and taken up again.
        while self.read.len() < 4 + length {
            match self.pieces.next().await? {
                Some(piece) => self.read.extend_from_slice(&piece),
                None => return Err(Cut("a message is not whole".to_owned())),
            }
        }
        self.read.advance(4);
        Ok(Some(self.read.split_to(length).freeze()))
    }
}
