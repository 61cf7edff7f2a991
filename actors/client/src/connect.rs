//! How a connection is opened: straight, or by the proxy that is named for its address; in clear, or with TLS, where the
//! other side may choose HTTP/2; within a time. It knows no request.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use http::{Uri, uri::Scheme};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::{
        legacy::connect::{Connected, Connection, HttpConnector, proxy::Tunnel},
        proxy::matcher::Matcher,
    },
    rt::TokioIo,
};
use rustls::ClientConfig;
use rustls_platform_verifier::ConfigVerifierExt;
use tokio::{net::TcpStream, time::timeout};
use tower_service::Service;

use crate::{Options, names::Resolver};

/// A quiet connection is asked so often whether its other side is there, and is given up after so many silences.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_TRIES: u32 = 3;
/// How long sent bytes may go unacknowledged.
#[cfg(target_os = "linux")]
const UNRECEIVED: Duration = Duration::from_secs(30);

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Opening<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Certificates are checked as this machine does, and what was agreed with a server is remembered for all threads.
fn tls() -> Result<Arc<ClientConfig>, rustls::Error> {
    static TLS: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(made) = TLS.get() {
        return Ok(made.clone());
    }
    // Another crypto provider may be installed already; either serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = ClientConfig::with_platform_verifier()?;
    config.alpn_protocols = vec!["h2".into(), "http/1.1".into()];
    Ok(TLS.get_or_init(|| Arc::new(config)).clone())
}

type Straight = HttpConnector<Resolver>;

/// Opens connections. Clones share it.
#[derive(Clone)]
pub(crate) struct Connector {
    routes: Arc<HttpsConnector<Route>>,
    limit: Duration,
}

impl Connector {
    /// One that connects so.
    pub(crate) fn new(options: Options) -> Result<Self, rustls::Error> {
        let Options { connect: limit, proxies, admits, .. } = options;
        let mut straight = HttpConnector::new_with_resolver(Resolver(admits));
        straight.enforce_http(false);
        straight.set_nodelay(true);
        straight.set_connect_timeout(Some(limit));
        straight.set_keepalive(Some(KEEPALIVE));
        straight.set_keepalive_interval(Some(KEEPALIVE));
        straight.set_keepalive_retries(Some(KEEPALIVE_TRIES));
        #[cfg(target_os = "linux")]
        straight.set_tcp_user_timeout(Some(UNRECEIVED));
        let tls = tls()?;
        let mut to_proxy = ClientConfig::clone(&tls);
        to_proxy.alpn_protocols.clear();
        let proxy = HttpsConnector::from((straight.clone(), to_proxy));
        let routes = Arc::new(HttpsConnector::from((Route { straight, proxies, proxy }, tls)));
        Ok(Self { routes, limit })
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<Way>;
    type Error = BoxError;
    type Future = Opening<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (opening, limit) = (HttpsConnector::clone(&self.routes).call(to), self.limit);
        Box::pin(async move {
            match timeout(limit, opening).await {
                Ok(opened) => opened,
                Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        })
    }
}

/// The stream under TLS, where there is TLS.
#[derive(Clone)]
struct Route {
    straight: Straight,
    proxies: Arc<Matcher>,
    proxy: HttpsConnector<Straight>,
}

impl Service<Uri> for Route {
    type Response = Way;
    type Error = BoxError;
    type Future = Opening<Way>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let Some(proxy) = self.proxies.intercept(&to) else {
            let opening = self.straight.call(to);
            return Box::pin(async move { Ok(Way { io: MaybeHttpsStream::Http(opening.await?), forwards: false }) });
        };
        if to.scheme() != Some(&Scheme::HTTPS) {
            let opening = self.proxy.call(proxy.uri().clone());
            return Box::pin(async move { Ok(Way { io: opening.await?, forwards: true }) });
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.proxy.clone());
        if let Some(authorization) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        let opening = tunnel.call(to);
        Box::pin(async move { Ok(Way { io: opening.await?, forwards: false }) })
    }
}

/// A connection to a server, or to a proxy.
pub(crate) struct Way {
    io: MaybeHttpsStream<TokioIo<TcpStream>>,
    /// Whether the connection ends at a proxy, which gets the whole address with every request.
    forwards: bool,
}

impl Connection for Way {
    fn connected(&self) -> Connected {
        // The socket's own details are left out: they would travel with every answer.
        Connected::new().proxy(self.forwards)
    }
}

impl Read for Way {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, into)
    }
}

impl Write for Way {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, from)
    }
}
