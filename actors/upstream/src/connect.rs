//! How a connection to a provider is opened: straight, or by the proxy that the environment names for its address; in
//! clear, or with TLS, where the other side may choose HTTP/2; within a time. It knows no request.

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

/// How long a connection may take to be there, its proxy and TLS among it.
const CONNECT: Duration = Duration::from_secs(10);
/// A quiet connection is asked so often whether its other side is there, and is given up after so many silences.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_TRIES: u32 = 3;
/// How long what was sent may go without being received.
#[cfg(target_os = "linux")]
const UNRECEIVED: Duration = Duration::from_secs(30);

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Opening<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// The proxies that the environment names, by the variables that curl reads too. They are read once.
pub(super) fn proxies() -> &'static Arc<Matcher> {
    static PROXIES: LazyLock<Arc<Matcher>> = LazyLock::new(|| Arc::new(Matcher::from_system()));
    &PROXIES
}

/// Certificates are checked as this machine does, and what was agreed with a provider is remembered for all threads.
fn tls() -> Result<Arc<ClientConfig>, rustls::Error> {
    static TLS: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(made) = TLS.get() {
        return Ok(made.clone());
    }
    // Another provider may have been installed before; either will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = ClientConfig::with_platform_verifier()?;
    config.alpn_protocols = vec!["h2".into(), "http/1.1".into()];
    Ok(TLS.get_or_init(|| Arc::new(config)).clone())
}

/// Opens connections. Clones share it.
#[derive(Clone)]
pub(super) struct Connector(Arc<HttpsConnector<Route>>);

impl Connector {
    /// One that asks these proxies.
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

/// What TLS is spoken through, where it is.
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
    /// Whether it ends at a proxy, which is told the whole address with every request.
    forwards: bool,
}

impl Connection for Way {
    fn connected(&self) -> Connected {
        // Not what the socket says of itself too: it would be handed out with every answer.
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
