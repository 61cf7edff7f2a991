//! HTTP servers of the tests' own, each on a thread and a port of its own.

use std::{net::SocketAddr, sync::mpsc};

use actix_web::{App, HttpServer, web::ServiceConfig};

/// Starts a server with these routes, gone with the test's process. It speaks HTTP/1.1, and HTTP/2 to those who begin
/// with it.
pub(crate) fn serve(routes: impl Fn(&mut ServiceConfig) + Clone + Send + 'static) -> SocketAddr {
    let (ready, address) = mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let server = HttpServer::new(move || App::new().configure(routes.clone()));
            let server = server.workers(1).disable_signals().bind_auto_h2c("127.0.0.1:0").unwrap();
            ready.send(server.addrs()[0]).unwrap();
            server.run().await.unwrap();
        });
    });
    address.recv().unwrap()
}
