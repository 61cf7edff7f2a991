//! The side of a process that is to take a running one's place.

use std::{
    io::{Error, ErrorKind, Result},
    net::TcpListener,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    time::Duration,
};

use super::{Asks, IsPrepared, Offered, PROTOCOL, Use, WORD_WITHIN, passing};

/// A running process that offers its place.
#[derive(Debug)]
pub(in crate::app) struct Predecessor(UnixStream);

/// The listening sockets of a predecessor.
#[derive(Debug)]
pub(in crate::app) struct Sockets {
    /// For requests.
    pub(in crate::app) http: TcpListener,
    /// For metrics, where they have an address of their own.
    pub(in crate::app) metrics: Option<TcpListener>,
    /// For the next successor.
    pub(in crate::app) offer: UnixListener,
    /// Whether the service manager holds the one for requests, too.
    pub(in crate::app) is_held: bool,
}

impl Predecessor {
    /// The process that offers its place at this path; `None` if there is none.
    ///
    /// # Errors
    ///
    /// The path can't be used.
    pub(in crate::app) fn find(path: &Path) -> Result<Option<Self>> {
        match UnixStream::connect(path) {
            Ok(stream) => Ok(Some(Self(stream))),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Its listening sockets, at which it goes on listening.
    ///
    /// # Errors
    ///
    /// It does not answer, or is another version that says something else.
    pub(in crate::app) fn sockets(&mut self) -> Result<Sockets> {
        self.0.set_read_timeout(Some(WORD_WITHIN))?;
        self.0.set_write_timeout(Some(WORD_WITHIN))?;
        passing::send(&self.0, &Asks { protocol: PROTOCOL })?;
        let (offered, sockets): (Offered, _) = passing::receive_with(&self.0)?;
        if offered.protocol != PROTOCOL || offered.sockets.len() != sockets.len() {
            return Err(Error::new(ErrorKind::InvalidData, "it speaks another protocol"));
        }
        let (mut http, mut metrics, mut offer) = (None, None, None);
        for (its, socket) in offered.sockets.into_iter().zip(sockets) {
            match its {
                Use::Http => http = Some(TcpListener::from(socket)),
                Use::Metrics => metrics = Some(TcpListener::from(socket)),
                Use::Offer => offer = Some(UnixListener::from(socket)),
            }
        }
        let missing = || Error::new(ErrorKind::InvalidData, "a socket is missing");
        let (http, offer) = (http.ok_or_else(missing)?, offer.ok_or_else(missing)?);
        Ok(Sockets { http, metrics, offer, is_held: offered.is_held })
    }

    /// Tells it that this process is prepared: it lets nobody new in, finishes, and ends.
    ///
    /// # Errors
    ///
    /// It is gone, or does not listen.
    pub(in crate::app) fn is_prepared(&mut self) -> Result<()> {
        passing::send(&self.0, &IsPrepared { prepared: true })
    }

    /// Waits for its end, for so long.
    ///
    /// # Errors
    ///
    /// It did not end in time.
    pub(in crate::app) async fn has_ended(self, within: Duration) -> Result<()> {
        self.0.set_nonblocking(true)?;
        let stream = tokio::net::UnixStream::from_std(self.0)?;
        // It says nothing more: what can be read is the end.
        tokio::time::timeout(within, stream.readable()).await.map_err(|_| ErrorKind::TimedOut)?
    }
}
