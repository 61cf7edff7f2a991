//! The side of a process that serves: it waits for one that is to take its place, gives it the listening sockets, and lets it
//! get ready. Only a process of the same user, or root's, is answered.

use std::{
    fs,
    io::{Error, ErrorKind, Result},
    net::TcpListener,
    os::{
        fd::AsFd as _,
        unix::{
            fs::{MetadataExt as _, PermissionsExt as _},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{Asks, IsPrepared, Offered, PROTOCOL, Use, WORD_WITHIN, passing};

/// How long a successor may take to get ready.
const PREPARED_WITHIN: Duration = Duration::from_mins(10);

/// The place of this process, offered to a successor.
#[derive(Debug)]
pub(in crate::app) struct Offer {
    path: PathBuf,
    listener: UnixListener,
    /// The file of the socket: another process may put its own there.
    file: u64,
    http: TcpListener,
    metrics: Option<TcpListener>,
    is_held: bool,
}

/// Where the socket of an offer comes from.
#[derive(Debug)]
pub(in crate::app) enum Place {
    /// A predecessor's.
    Inherited(UnixListener),
    /// A new one, where no living process has one.
    IfFree,
    /// A new one, in the place of another process that ends.
    TakeOver,
}

/// The sockets at which a process listens.
#[derive(Debug, Clone, Copy)]
pub(in crate::app) struct Own<'a> {
    /// For requests.
    pub(in crate::app) http: &'a TcpListener,
    /// For metrics, where they have an address of their own.
    pub(in crate::app) metrics: Option<&'a TcpListener>,
    /// Whether the service manager holds the one for requests, too.
    pub(in crate::app) is_held: bool,
}

impl Offer {
    /// Listens at this path.
    ///
    /// # Errors
    ///
    /// Another process listens there and lives, or the folder can't be written.
    pub(in crate::app) fn open(path: PathBuf, place: Place, own: Own<'_>) -> Result<Self> {
        let listener = match place {
            Place::Inherited(listener) => listener,
            Place::IfFree => listen(&path)?,
            Place::TakeOver => {
                let _ = fs::remove_file(&path);
                listen(&path)?
            }
        };
        let file = fs::metadata(&path)?.ino();
        let Own { http, metrics, is_held } = own;
        let (http, metrics) = (http.try_clone()?, metrics.map(TcpListener::try_clone).transpose()?);
        Ok(Self { path, listener, file, http, metrics, is_held })
    }

    /// The next process that is prepared to take this one's place. Others that ask and go away again are of no consequence.
    ///
    /// # Errors
    ///
    /// No process can be waited for.
    pub(in crate::app) async fn next(&self) -> Result<Successor> {
        let (listener, path, is_held) = (self.listener.try_clone()?, self.path.clone(), self.is_held);
        let (http, metrics) = (self.http.try_clone()?, self.metrics.as_ref().map(TcpListener::try_clone).transpose()?);
        let (found, finds) = oneshot::channel();
        let wait = move || {
            while !found.is_closed() {
                let asked = listener.accept().and_then(|(stream, _)| {
                    let owner = fs::metadata(&path)?.uid();
                    prepared(stream, owner, &listener, Own { http: &http, metrics: metrics.as_ref(), is_held })
                });
                match asked {
                    Ok(successor) => {
                        let _ = found.send(successor);
                        return;
                    }
                    Err(error) => tracing::warn!(%error, "a process asked for this one's place, and did not take it"),
                }
            }
        };
        // The thread waits as long as the process serves.
        std::thread::Builder::new().name("successor".into()).spawn(wait)?;
        finds.await.map_err(|_| Error::other("nobody waits for a successor"))
    }

    /// Takes the offer back, at the end of a process that has no successor.
    pub(in crate::app) fn withdraw(&self) {
        if fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn listen(path: &Path) -> Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_left_behind(path) => {
            fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Whether nobody listens at the path any more.
fn is_left_behind(path: &Path) -> bool {
    matches!(UnixStream::connect(path), Err(error) if error.kind() == ErrorKind::ConnectionRefused)
}

/// Gives a process the sockets, and waits until it is prepared.
fn prepared(stream: UnixStream, owner: u32, offer: &UnixListener, own: Own<'_>) -> Result<Successor> {
    let Own { http, metrics, is_held } = own;
    let peer = rustix::net::sockopt::socket_peercred(&stream)?;
    if ![0, owner].contains(&peer.uid.as_raw()) {
        return Err(Error::new(ErrorKind::PermissionDenied, "it is another user's"));
    }
    stream.set_read_timeout(Some(WORD_WITHIN))?;
    stream.set_write_timeout(Some(WORD_WITHIN))?;
    let asks: Asks = passing::receive(&stream)?;
    if asks.protocol != PROTOCOL {
        return Err(Error::new(ErrorKind::InvalidData, format!("it speaks protocol {}", asks.protocol)));
    }
    let mut sockets = vec![(Use::Http, http.as_fd()), (Use::Offer, offer.as_fd())];
    sockets.extend(metrics.map(|metrics| (Use::Metrics, metrics.as_fd())));
    let (uses, sockets): (Vec<_>, Vec<_>) = sockets.into_iter().unzip();
    passing::send_with(&stream, &Offered { protocol: PROTOCOL, sockets: uses, is_held }, &sockets)?;
    let pid = peer.pid.as_raw_nonzero().get().unsigned_abs();
    tracing::info!(process = pid, "a process prepares to take this one's place");
    stream.set_read_timeout(Some(PREPARED_WITHIN))?;
    if !passing::receive::<IsPrepared>(&stream)?.prepared {
        return Err(ErrorKind::InvalidData.into());
    }
    Ok(Successor { pid, stream })
}

/// A process that is prepared, and waits for this one's end.
#[derive(Debug)]
pub(in crate::app) struct Successor {
    /// Its number.
    pub(in crate::app) pid: u32,
    stream: UnixStream,
}

impl Successor {
    /// Resolves once it has ended, and needs this process's place no more.
    pub(in crate::app) async fn is_gone(&self) {
        let watched = || {
            let stream = self.stream.try_clone()?;
            stream.set_nonblocking(true)?;
            tokio::net::UnixStream::from_std(stream)
        };
        match watched() {
            Ok(stream) => {
                // It says nothing more.
                let _ = stream.readable().await;
            }
            Err(error) => {
                tracing::warn!(%error, "the successor can't be watched");
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::app::succession::predecessor::Predecessor;

    fn serving(folder: &Path) -> (Offer, TcpListener) {
        let http = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = Own { http: &http, metrics: None, is_held: false };
        // A process that another test starts has this one's files for a moment.
        for _ in 0..100 {
            match Offer::open(folder.join("successor.sock"), Place::IfFree, own) {
                Err(error) if error.kind() == ErrorKind::AddrInUse => std::thread::sleep(Duration::from_millis(20)),
                opened => return (opened.unwrap(), http),
            }
        }
        panic!("the path stays in use")
    }

    #[tokio::test]
    async fn a_successor_has_the_same_sockets_and_sees_the_end() {
        let folder = std::env::temp_dir().join(format!("farebox-offer-{}", uuid::Uuid::new_v4().simple()));
        let (offer, http) = serving(&folder);
        let address = http.local_addr().unwrap();
        let path = offer.path.clone();
        let asked = std::thread::spawn(move || {
            let mut predecessor = Predecessor::find(&path).unwrap().unwrap();
            let sockets = predecessor.sockets().unwrap();
            predecessor.is_prepared().unwrap();
            (predecessor, sockets)
        });
        let successor = offer.next().await.unwrap();
        assert_eq!(successor.pid, std::process::id());
        let (predecessor, sockets) = asked.join().unwrap();
        let waiting = TcpStream::connect(address).unwrap();
        // What waits in the queue is not lost with the one that closes its own.
        drop(http);
        drop(offer);
        let (_, from) = sockets.http.accept().unwrap();
        assert_eq!(from, waiting.local_addr().unwrap());
        drop(successor);
        predecessor.has_ended(Duration::from_secs(20)).await.unwrap();
        assert!(UnixStream::connect(folder.join("successor.sock")).is_ok(), "the offer goes on");
        drop(sockets);
        let (offer, _) = serving(&folder);
        offer.withdraw();
        assert!(Predecessor::find(&folder.join("successor.sock")).unwrap().is_none());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn one_that_goes_away_before_it_is_prepared_changes_nothing() {
        let folder = std::env::temp_dir().join(format!("farebox-offer-{}", uuid::Uuid::new_v4().simple()));
        let (offer, http) = serving(&folder);
        let own = Own { http: &http, metrics: None, is_held: false };
        assert_eq!(Offer::open(offer.path.clone(), Place::IfFree, own).unwrap_err().kind(), ErrorKind::AddrInUse);
        let taken = Offer::open(offer.path.clone(), Place::TakeOver, own).unwrap();
        offer.withdraw();
        let offer = taken;
        let path = offer.path.clone();
        let asks = move || {
            let mut first = Predecessor::find(&path).unwrap().unwrap();
            first.sockets().unwrap();
            drop(first);
            let mut second = Predecessor::find(&path).unwrap().unwrap();
            second.sockets().unwrap();
            second.is_prepared().unwrap();
            second
        };
        let asked = std::thread::spawn(asks);
        let successor = offer.next().await.unwrap();
        let second = asked.join().unwrap();
        let gone = successor.is_gone();
        drop(second);
        tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }
}
