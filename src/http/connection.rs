//! Client connections: how long a request's head may take, when a connection is given up, and how much of a body is
//! read before its request may have it.
//!
//! A connection can leave HTTP ([`super::upgrade`]): once its last answer is sent, its socket goes to whoever goes on with it,
//! and what HTTP kept for it is given back.
//!
//! A connection gives its bytes in small portions, and none of a body while its request is judged by its head. So a
//! stranger's body takes no memory, however fast it is sent. A connection whose request was admitted gets a larger
//! buffer in the kernel: in a small one the large segments of a network on one machine stall.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use actix_web::{dev::Extensions, rt::net::TcpStream};
use futures::future::LocalBoxFuture;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest time for the head of a connection's first request.
pub const HEAD: Duration = Duration::from_secs(10);
/// How long an idle connection is kept open. Clients and load balancers keep theirs for less time (often 60 s), and the
/// side that closes later never sends a request into a closing connection.
pub const IDLE: Duration = Duration::from_secs(75);
/// How long the body of a refused request is still read, so that the client has time to read the refusal, and how long
/// a closing connection is awaited.
pub const GOODBYE: Duration = Duration::from_secs(3);
/// The longest time that sent data may stay unacknowledged. A client that reads nothing for so long is gone, and its
/// resources are freed.
#[cfg(target_os = "linux")]
const UNRECEIVED: Duration = Duration::from_mins(1);

/// How a connection is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    /// The size of the kernel's buffer.
    buffer: usize,
    /// The most bytes that are read before the requests in them are looked at.
    portion: usize,
}

/// Before a request is admitted. The buffer holds a segment of a network on one machine (64 KiB): a sender of larger
/// segments than its receiver's buffer waits for a timer again and again.
const STRANGER: Pace = Pace { buffer: 64 << 10, portion: 8 << 10 };
/// Once a request was admitted.
const ADMITTED: Pace = Pace { buffer: 256 << 10, portion: 64 << 10 };

/// A client's connection, as HTTP has it.
pub struct Connection {
    /// The socket, until it leaves HTTP.
    stream: Option<TcpStream>,
    inlet: Rc<Inlet>,
    pace: Pace,
    /// The bytes of the current portion.
    read: usize,
}

/// What goes on with a socket that left HTTP.
pub(super) type Next = Box<dyn FnOnce(TcpStream) -> LocalBoxFuture<'static, ()>>;

impl Connection {
    /// Configures a new connection.
    pub fn new(stream: TcpStream) -> Self {
        let socket = SockRef::from(&stream);
        // A connection without the option is served too.
        #[cfg(target_os = "linux")]
        let _ = socket.set_tcp_user_timeout(Some(UNRECEIVED));
        let _ = socket.set_tcp_nodelay(true);
        let _ = socket.set_recv_buffer_size(STRANGER.buffer);
        Self { stream: Some(stream), inlet: Rc::default(), pace: STRANGER, read: 0 }
    }

    /// The connection's inlet, which outlives it.
    pub(super) fn inlet(&self) -> Rc<Inlet> {
        Rc::clone(&self.inlet)
    }

    /// Tells a connection's requests about its inlet.
    pub fn opened(&self, data: &mut Extensions) {
        data.insert(Rc::clone(&self.inlet));
    }
}

/// What a connection's requests say about the reading of it, and whether it leaves HTTP.
#[derive(Default)]
pub(super) struct Inlet {
    is_held: Cell<bool>,
    is_admitted: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
    /// Whether its last answer was given. HTTP reads its end, and shuts it down once that answer is sent.
    is_leaving: Cell<bool>,
    next: Cell<Option<Next>>,
    /// The socket, once HTTP is done with it.
    left: Cell<Option<TcpStream>>,
}

impl Inlet {
    /// Reads nothing more until the result is dropped.
    pub(super) fn hold(self: &Rc<Self>) -> Held {
        self.is_held.set(true);
        Held(Rc::clone(self))
    }

    /// Has the connection leave HTTP behind the answer that is being sent.
    pub(super) fn leave(&self, next: Next) {
        self.is_leaving.set(true);
        self.next.set(Some(next));
    }

    /// What goes on with the connection; nothing where it ended with HTTP.
    pub(super) fn goes_on(&self) -> Option<LocalBoxFuture<'static, ()>> {
        let (stream, next) = (self.left.take()?, self.next.take()?);
        Some(next(stream))
    }
}

/// While this exists, nothing more is read of a connection.
pub(super) struct Held(Rc<Inlet>);

impl Held {
    /// Goes on reading, for a request that was admitted with its body.
    pub(super) fn admit(self) {
        self.0.is_admitted.set(true);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.is_held.set(false);
        if let Some(waiting) = self.0.waiting.take() {
            waiting.wake();
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(stream) = this.stream.as_mut().filter(|_| !this.inlet.is_leaving.get()) else {
            return Poll::Ready(Ok(()));
        };
        if this.inlet.is_held.get() {
            this.read = 0;
            this.inlet.waiting.replace(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        if this.inlet.is_admitted.get() && this.pace == STRANGER {
            this.pace = ADMITTED;
            let _ = SockRef::from(&*stream).set_recv_buffer_size(ADMITTED.buffer);
        }
        let left = this.pace.portion - this.read;
        if left == 0 && into.remaining() > 0 {
            this.read = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = into.filled().len();
        let read = if into.remaining() <= left {
            Pin::new(stream).poll_read(cx, into)
        } else {
            // A reader's buffer grows with each read that fills it.
            let mut portion = ReadBuf::new(into.initialize_unfilled_to(left));
            let read = Pin::new(stream).poll_read(cx, &mut portion);
            let count = portion.filled().len();
            into.advance(count);
            read
        };
        this.read = if read.is_pending() { 0 } else { this.read + into.filled().len() - before };
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Some(stream) => Pin::new(stream).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Some(stream) => Pin::new(stream).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.inlet.is_leaving.get() {
            this.inlet.left.set(this.stream.take());
        }
        match &mut this.stream {
            Some(stream) => Pin::new(stream).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}
