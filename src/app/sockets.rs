//! Where the process listens: at addresses of its own, at a socket that the system's service manager holds, or at the
//! sockets of a predecessor, which then ends. An address of its own is bound before the ledger is opened and listens after
//! it: a client that comes during the start is refused, not kept waiting. At the other sockets clients wait, as they did
//! before.

use std::{
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use tokio::net::TcpSocket;

use super::succession::{
    self,
    offer::{Offer, Own, Place},
    predecessor::Predecessor,
};
use crate::config::{MetricsAt, Settings};

/// The most connections that wait to be accepted.
const BACKLOG: u32 = 1_024;

/// Where the process will listen.
pub(super) struct Places {
    http: Http,
    /// Where metrics alone are served.
    pub(super) metrics: Option<TcpListener>,
    /// Where a successor asks, of a predecessor.
    pub(super) offer: Option<UnixListener>,
    /// The process whose place is taken.
    pub(super) predecessor: Option<Predecessor>,
    /// Whether another process holds the socket for requests, and goes on listening when this one has ended.
    pub(super) is_held: bool,
}

enum Http {
    Bound(TcpSocket),
    Listening(TcpListener),
}

impl Places {
    /// Takes the settings' addresses.
    ///
    /// # Errors
    ///
    /// An address is taken, or is not the one that the service manager or the predecessor listens at.
    pub(super) fn take(settings: &Settings) -> Result<Self> {
        let managed = managed()?;
        let is_held = managed.is_some();
        let http = match managed {
            Some(listener) => Http::Listening(listener),
            None => Http::Bound(bind(settings.listen)?),
        };
        let metrics = of_metrics(settings).map(bind_metrics).transpose()?;
        Ok(Self { http, metrics, offer: None, predecessor: None, is_held })
    }

    /// Takes the sockets of the process that serves from this data folder. Where none does, the settings' addresses.
    ///
    /// # Errors
    ///
    /// The process does not give them, or listens elsewhere than the settings say.
    pub(super) fn inherit(settings: &Settings) -> Result<Self> {
        let path = succession::path_in(&settings.data_dir);
        let predecessor = Predecessor::find(&path).with_context(|| format!("can't ask at {}", path.display()))?;
        let Some(mut predecessor) = predecessor else {
            tracing::info!(path = %path.display(), "there is no process to replace");
            return Self::take(settings);
        };
        let asked = predecessor.sockets();
        let found = asked.with_context(|| format!("the process at {} gives its place to nobody", path.display()))?;
        check("listen", settings.listen, found.http.local_addr()?)?;
        let metrics = match (of_metrics(settings), found.metrics) {
            (Some(address), Some(metrics)) => {
                check("http.metrics", address, metrics.local_addr()?)?;
                Some(metrics)
            }
            (Some(address), None) => Some(bind_metrics(address)?),
            (None, _) => None,
        };
        let is_held = found.is_held;
        let http = Http::Listening(found.http);
        Ok(Self { http, metrics, offer: Some(found.offer), predecessor: Some(predecessor), is_held })
    }

    /// Listens for requests.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub(super) fn listen(self) -> Result<TcpListener> {
        let listener = match self.http {
            Http::Bound(socket) => socket.listen(BACKLOG).and_then(tokio::net::TcpListener::into_std),
            Http::Listening(listener) => Ok(listener),
        };
        listener.context("can't listen for requests")
    }
}

const fn of_metrics(settings: &Settings) -> Option<SocketAddr> {
    match settings.http.metrics {
        MetricsAt::Address(address) => Some(address),
        MetricsAt::Open | MetricsAt::Token => None,
    }
}

/// A socket of the system's service manager (systemd's `LISTEN_FDS`).
fn managed() -> Result<Option<TcpListener>> {
    let mut given = listenfd::ListenFd::from_env();
    if given.len() > 1 {
        bail!("the service manager gives {} sockets, and one is expected: for requests", given.len());
    }
    given.take_tcp_listener(0).context("the service manager's socket is none for requests")
}

/// A predecessor must listen where the settings say. Port 0 is any port.
fn check(setting: &str, wanted: SocketAddr, found: SocketAddr) -> Result<()> {
    let is_it = wanted.ip() == found.ip() && [0, found.port()].contains(&wanted.port());
    ensure!(
        is_it,
        "setting `{setting}`: the process to be replaced listens on {found}, not {wanted}; stop it, and start anew"
    );
    Ok(())
}

/// Binds an address without listening yet.
fn bind(address: SocketAddr) -> Result<TcpSocket> {
    let take = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        std::io::Result::Ok(socket)
    };
    take().with_context(|| format!("can't listen on {address}; nothing was changed"))
}

fn bind_metrics(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("can't serve metrics at {address}; nothing was changed"))
}

/// Offers this process's place to a successor. Without an offer it is only stopped and started anew.
pub(super) fn offer(data_dir: &Path, place: Place, sockets: Own<'_>) -> Option<Offer> {
    let path = succession::path_in(data_dir);
    match Offer::open(path.clone(), place, sockets) {
        Ok(offer) => Some(offer),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "no process can replace this one while it serves");
            None
        }
    }
}
