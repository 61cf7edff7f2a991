//! How a connection to a provider is opened: directly or through the proxy that the environment names for its address,
//! in clear or with TLS (where the provider may choose HTTP/2), and within a time limit. This file knows no request.

use std::{
    io,
    pin::Pin,
    sync::{Arc, LazyLock, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use hyper::{
    Uri,
    http::uri::Scheme,
    rt::{Read, ReadBufCursor, Write},
};
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

/// The longest that opening a connection may take, its proxy and TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// The interval of keep-alive probes on a quiet connection, and how many may go unanswered before the connection is
/// dropped.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_TRIES: u32 = 3;
/// How long sent bytes may go unacknowledged.
#[cfg(target_os = "linux")]
const UNRECEIVED: Duration = Duration::from_secs(30);

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Opening<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// The proxies that the environment names, in the variables that curl reads too. They are read once.
pub(super) fn proxies() -> &'static Arc<Matcher> {
    static PROXIES: LazyLock<Arc<Matcher>> = LazyLock::new(|| Arc::new(Matcher::from_system()));
    &PROXIES
}

/// The TLS settings: certificates are checked as this machine does, and sessions are kept for all threads.
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

/// Opens connections. Clones share its settings.
#[derive(Clone)]
pub(super) struct Connector(Arc<HttpsConnector<Route>>);

impl Connector {
    /// A connector that uses these proxies.
    pub(super) fn new(proxies: Arc<Matcher>) -> Result<Self, rustls::Error> {
        let mut straight = HttpConnector::new();
        straight.enforce_http(false);
        straight.set_nodelay(true);
        straight.set_connect_timeout(Some(CONNECT));
        straight.set_keepalive(Some(KEEPALIVE));
        straight.set_keepalive_interval(Some(KEEPALIVE));
        straight.set_keepalive_retries(Some(KEEPALIVE_TRIES));
        #[cfg(target_os = "linux")]
        straight.set_tcp_user_timeout(Some(UNRECEIVED));
        let tls = tls()?;
        let mut to_proxy = ClientConfig::clone(&tls);
        to_proxy.alpn_protocols.clear();
        let proxy = HttpsConnector::from((straight.clone(), to_proxy));
        Ok(Self(Arc::new(HttpsConnector::from((Route { straight, proxies, proxy }, tls)))))
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
        let opening = HttpsConnector::clone(&self.0).call(to);
        Box::pin(async move {
            match timeout(CONNECT, opening).await {
                Ok(opened) => opened,
                Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        })
    }
}

/// The stream under TLS, where there is TLS.
#[derive(Clone)]
struct Route {
    straight: HttpConnector,
    proxies: Arc<Matcher>,
    proxy: HttpsConnector<HttpConnector>,
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

/// A connection to a provider, or to a proxy.
pub(super) struct Way {
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
