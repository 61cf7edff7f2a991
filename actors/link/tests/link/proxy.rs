//! What stands between two nodes, and can cut, delay, freeze or lose half of what passes.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
    time::sleep,
};

#[derive(Default)]
struct Faults {
    /// Nothing passes, and nothing is closed.
    is_frozen: AtomicBool,
    /// Answers do not pass.
    is_deaf: AtomicBool,
    /// No connection is taken.
    is_closed: AtomicBool,
    delay_ms: AtomicU64,
    /// After how many bytes more to the server everything is cut; 0: never.
    cut_after: AtomicU64,
    cut: Notify,
    connections: AtomicUsize,
}

/// A proxy to one address. Clones share it.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    faults: Arc<Faults>,
}

impl Proxy {
    pub(crate) async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self { address: listener.local_addr().unwrap(), faults: Arc::default() };
        let faults = Arc::clone(&proxy.faults);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if faults.is_closed.load(SeqCst) {
                    continue;
                }
                let Ok(far) = TcpStream::connect(to).await else { continue };
                faults.connections.fetch_add(1, SeqCst);
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                let (up, down) = (Arc::clone(&faults), Arc::clone(&faults));
                tokio::spawn(async move {
                    let cut = Arc::clone(&up);
                    tokio::select! {
                        () = pass(near_in, far_out, &up, Way::Up) => {}
                        () = pass(far_in, near_out, &down, Way::Down) => {}
                        () = cut.cut.notified() => {}
                    }
                });
            }
        });
        proxy
    }

    pub(crate) fn connections(&self) -> usize {
        self.faults.connections.load(SeqCst)
    }

    /// Cuts all connections.
    pub(crate) fn cut(&self) {
        self.faults.cut.notify_waiters();
    }

    /// Cuts all connections, and takes no more.
    pub(crate) fn close(&self) {
        self.faults.is_closed.store(true, SeqCst);
        self.cut();
    }

    pub(crate) fn open(&self) {
        self.faults.is_closed.store(false, SeqCst);
    }

    /// Lets so many bytes more pass to the server, then cuts.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.faults.cut_after.store(bytes, SeqCst);
    }

    pub(crate) fn freeze(&self) {
        self.faults.is_frozen.store(true, SeqCst);
    }

    pub(crate) fn thaw(&self) {
        self.faults.is_frozen.store(false, SeqCst);
    }

    /// Answers pass no more, as if half of the way were gone.
    pub(crate) fn halve(&self) {
        self.faults.is_deaf.store(true, SeqCst);
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.faults.delay_ms.store(u64::try_from(delay.as_millis()).unwrap(), SeqCst);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, faults: &Faults, way: Way) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        sleep(Duration::from_millis(faults.delay_ms.load(SeqCst))).await;
        while faults.is_frozen.load(SeqCst) {
            sleep(Duration::from_millis(5)).await;
        }
        if way == Way::Down && faults.is_deaf.load(SeqCst) {
            continue;
        }
        let mut passes = count;
        let left = faults.cut_after.load(SeqCst);
        if way == Way::Up && left > 0 {
            passes = count.min(usize::try_from(left).unwrap());
            faults.cut_after.store(left - passes as u64, SeqCst);
        }
        let is_over = way == Way::Up && left > 0 && left == passes as u64;
        if to.write_all(&buffer[..passes]).await.is_err() || is_over {
            return;
        }
    }
}
