//! The server of the API: its workers, and the application on each connection.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix_http::HttpService;
use actix_server::Server;
use actix_service::{Service as _, apply_fn_factory, map_config};
use actix_web::{App, dev::AppConfig, middleware::from_fn, rt::net::TcpStream};

use super::{
    connection::{self, Connection},
    cors, edge, routes,
    state::Shared,
    traced,
};

/// Serves the API on a listening socket. This is actix-web's own server, but for its connections, which are
/// [`Connection`]s.
///
/// # Errors
///
/// The socket can't be used.
pub fn serve(listener: TcpListener, state: &Shared) -> io::Result<Server> {
    let settings = &state.settings;
    // The stopping code decides when shutdown is over.
    let mut server = Server::build().disable_signals().shutdown_timeout(settings.limits.stop_seconds.max(1));
    if let Some(workers) = settings.http.workers {
        server = server.workers(workers.get());
    }
    let stopping = server.graceful_shutdown_signal();
    let (state, origins) = (state.clone(), settings.http.cors_origins.clone());
    let address = listener.local_addr()?;
    let workers = Arc::new(AtomicUsize::new(0));
    let server = server.listen("api", listener, move || {
        // Each worker makes its own application, on its own thread.
        let number = workers.fetch_add(1, Ordering::Relaxed);
        state.gateway.accounts.health().executors().watch(format!("requests-{number}"));
        // The last wrapper comes first: pages from other origins can read refusals at the edge too.
        let app = App::new().wrap(from_fn(edge::edge)).wrap(cors::cors(&origins)).wrap(from_fn(traced::traced));
        let app = app.configure(|app| routes::configure(app, &state));
        let stopping = stopping.clone();
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(connection::IDLE)
            .client_request_timeout(connection::HEAD)
            .client_disconnect_timeout(connection::GOODBYE)
            // A client that closed its side has left, and pays for no further answer.
            .h1_allow_half_closed(false)
            .local_addr(address)
            .on_connect_ext(Connection::opened)
            .h1(map_config(app, |()| AppConfig::default()));
        let counting = state.clone();
        apply_fn_factory(http, move |stream: TcpStream, http| {
            let counted = counting.count_connection();
            let from: Option<SocketAddr> = stream.peer_addr().ok();
            let connection = Connection::new(stream);
            let inlet = connection.inlet();
            // Boxed, so that nothing of it is left for a connection that leaves HTTP.
            let served = Box::pin(http.call((connection, from)));
            async move {
                let _counted = counted;
                served.await?;
                if let Some(more) = inlet.goes_on() {
                    more.await;
                }
                Ok(())
            }
        })
    })?;
    Ok(server.run())
}
