//! A client's connection, below its requests: how long its head may take, and when it is given up.

use std::{any::Any, time::Duration};

use actix_web::{dev::Extensions, rt::net::TcpStream};
use socket2::SockRef;

/// How long the head of a connection's first request may take.
pub const HEAD: Duration = Duration::from_secs(10);
/// How long a connection is kept without a request. Longer than clients and load balancers keep theirs (often 60 s): the
/// side that closes second never sends a request into a connection that is being closed.
pub const IDLE: Duration = Duration::from_secs(75);
/// How long a refused request's body is read on, so that its client has time to read why, and a closed connection waited
/// for.
pub const GOODBYE: Duration = Duration::from_secs(3);
/// How long what was sent may go without being received. A client that reads nothing for so long is gone, and what was
/// kept for it is given back.
#[cfg(target_os = "linux")]
const UNRECEIVED: Duration = Duration::from_mins(1);

/// How much of a body may be under way before it is read: a client that is refused on its head has sent no more. TLS, and
/// with it whatever is far away, ends at a proxy nearby, so that uploads are no slower for it.
const UNDER_WAY: usize = 16 << 10;

/// A connection was opened.
pub fn opened(connection: &dyn Any, _: &mut Extensions) {
    if let Some(stream) = connection.downcast_ref::<TcpStream>() {
        let socket = SockRef::from(stream);
        // One that can't be set is served all the same.
        #[cfg(target_os = "linux")]
        let _ = socket.set_tcp_user_timeout(Some(UNRECEIVED));
        let _ = socket.set_tcp_nodelay(true);
        let _ = socket.set_recv_buffer_size(UNDER_WAY);
    }
}
