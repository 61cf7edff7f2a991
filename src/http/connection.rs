//! Client connections: how long a request's head may take, and when a connection is given up.

use std::{any::Any, time::Duration};

use actix_web::{dev::Extensions, rt::net::TcpStream};
use socket2::SockRef;

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

/// The most bytes of a body in transit before it is read. A client that is refused by its head has sent no more. TLS,
/// and with it distant clients, ends at a proxy nearby, so this does not slow uploads.
const UNDER_WAY: usize = 16 << 10;

/// Configures a new connection.
pub fn opened(connection: &dyn Any, _: &mut Extensions) {
    if let Some(stream) = connection.downcast_ref::<TcpStream>() {
        let socket = SockRef::from(stream);
        // A connection without the option is served too.
        #[cfg(target_os = "linux")]
        let _ = socket.set_tcp_user_timeout(Some(UNRECEIVED));
        let _ = socket.set_tcp_nodelay(true);
        let _ = socket.set_recv_buffer_size(UNDER_WAY);
    }
}
