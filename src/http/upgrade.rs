//! Connections that leave HTTP: a handler's answer says so, and once that is sent, a function of the handler's has the
//! socket. Nothing that HTTP kept for the connection stays: of an idle one its two buffers are the most.

use std::{
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_http::ws;
use actix_web::{
    HttpRequest, HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    dev::Payload,
    rt::net::TcpStream,
};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, future::LocalBoxFuture};

use super::{
    body,
    connection::{Held, Inlet, Next},
    error::ApiError,
};

/// The bytes behind a request that HTTP may have read before its answer. A payload takes no more, and what was read
/// beyond them would be lost.
const EARLY: usize = 32 << 10;

/// A socket that left HTTP.
pub(super) struct Upgraded {
    pub(super) stream: TcpStream,
    /// What the client sent before it had the answer.
    pub(super) early: BytesMut,
}

/// The answer that has a request's connection speak WebSocket, and then goes on with its socket. A client that sends much
/// before it has the answer is against the protocol (RFC 6455, 4.1), and is cut off.
///
/// # Errors
///
/// The request asks for no such thing.
pub(super) fn websocket(
    request: &HttpRequest,
    payload: Payload,
    next: impl FnOnce(Upgraded) -> LocalBoxFuture<'static, ()> + 'static,
) -> Result<HttpResponse, ApiError> {
    let refused = |message: &'static str| ApiError::invalid("upgrade", message);
    let inlet = request.conn_data::<Rc<Inlet>>().ok_or_else(|| refused("this connection speaks HTTP only"))?;
    if body::is_announced(request.headers()) {
        return Err(refused("the request that opens a socket has no body"));
    }
    let mut answer = ws::handshake(request.head()).map_err(|_| refused("this path speaks WebSocket only"))?;
    let next: Next = Box::new(move |stream| {
        Box::pin(async move {
            if let Some(early) = early(payload).await {
                next(Upgraded { stream, early }).await;
            }
        })
    });
    let leaving = Leaving { inlet: Rc::clone(inlet), next: Some(next), is_begun: false, _held: inlet.hold() };
    Ok(answer.message_body(BoxBody::new(leaving)).map_err(|_| refused("this path speaks WebSocket only"))?.into())
}

/// What HTTP read behind a request, once it reads no more.
async fn early(mut payload: Payload) -> Option<BytesMut> {
    let mut early = BytesMut::new();
    // It ends with an error: HTTP's reader is gone.
    while let Some(Ok(bytes)) = payload.next().await {
        early.extend_from_slice(&bytes);
    }
    (early.len() < EARLY).then_some(early)
}

/// The body of the last answer of a connection, of which nothing more is read. It is polled once the answer's head was
/// written, and has nothing to say itself. An answer that is replaced has its connection stay.
struct Leaving {
    inlet: Rc<Inlet>,
    next: Option<Next>,
    /// Whether it was polled: before the second time, HTTP has taken up all that it read.
    is_begun: bool,
    _held: Held,
}

impl MessageBody for Leaving {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        if !self.is_begun {
            self.is_begun = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(next) = self.next.take() {
            self.inlet.leave(next);
        }
        Poll::Ready(None)
    }
}
