//! What stands between a node and its database, or between two nodes, and can cut, delay and freeze what passes, each way
//! by itself, and lose the answer to one append. It runs on a thread of its own: a test that waits for a command does
//! not stop it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    runtime::Runtime,
    sync::watch,
    time::sleep,
};

/// The statement that only the connection which appends prepares.
const APPENDS: &[u8] = b"INSERT INTO log (";
/// The first byte of PostgreSQL's message that runs a prepared statement.
const BIND: u8 = b'B';

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From who connects.
    There,
    /// To who connects.
    Back,
}

/// What becomes of the next append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trap {
    /// It reaches the database whole, and is carried out; its answer is lost with the connection.
    AnswerLost,
    /// Half of it reaches the database, and the connection is cut.
    HalfSent,
}

struct Faults {
    /// No connection is taken.
    is_closed: AtomicBool,
    /// Nothing passes there, or back, and nothing is closed.
    is_frozen: [AtomicBool; 2],
    delay_ms: AtomicU64,
    trap: Mutex<Option<Trap>>,
    sprung: AtomicUsize,
    /// Raised when all connections are cut.
    cut: watch::Sender<u64>,
    /// Connections up to this one are stranded.
    stranded: AtomicU64,
    connections: AtomicU64,
}

/// A proxy to one address. Gone with the test's process.
pub(crate) struct Proxy {
    address: SocketAddr,
    faults: Arc<Faults>,
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("proxies")
            .enable_all()
            .build()
            .unwrap()
    })
}

impl Proxy {
    pub(crate) fn start(to: SocketAddr) -> Self {
        let faults = Arc::new(Faults {
            is_closed: AtomicBool::default(),
            is_frozen: [AtomicBool::default(), AtomicBool::default()],
            delay_ms: AtomicU64::default(),
            trap: Mutex::default(),
            sprung: AtomicUsize::default(),
            cut: watch::channel(0).0,
            stranded: AtomicU64::default(),
            connections: AtomicU64::default(),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let proxy = Self { address: listener.local_addr().unwrap(), faults: Arc::clone(&faults) };
        runtime().spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((near, _)) = listener.accept().await {
                if !faults.is_closed.load(SeqCst) {
                    tokio::spawn(carry(near, to, Arc::clone(&faults)));
                }
            }
        });
        proxy
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts all connections; new ones are taken.
    pub(crate) fn cut(&self) {
        self.faults.cut.send_modify(|cut| *cut += 1);
    }

    /// Cuts all connections, and takes no more.
    pub(crate) fn close(&self) {
        self.faults.is_closed.store(true, SeqCst);
        self.cut();
    }

    pub(crate) fn open(&self) {
        self.faults.is_closed.store(false, SeqCst);
    }

    /// Nothing passes one way any more, and nothing is closed.
    pub(crate) fn freeze(&self, way: Way) {
        self.faults.is_frozen[way as usize].store(true, SeqCst);
    }

    /// Nothing passes any more, and nothing is closed.
    pub(crate) fn freeze_both(&self) {
        self.freeze(Way::There);
        self.freeze(Way::Back);
    }

    /// Everything passes again, what was held back first.
    pub(crate) fn thaw(&self) {
        self.faults.is_frozen.iter().for_each(|frozen| frozen.store(false, SeqCst));
    }

    /// Nothing passes any more on the connections that there are, and nobody is told; new ones are sound. So does a firewall
    /// that has forgotten them.
    pub(crate) fn strand(&self) {
        self.faults.stranded.store(self.faults.connections.load(SeqCst), SeqCst);
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.faults.delay_ms.store(u64::try_from(delay.as_millis()).unwrap(), SeqCst);
    }

    /// The next append meets this.
    pub(crate) fn set(&self, trap: Trap) {
        *self.faults.trap.lock().unwrap() = Some(trap);
    }

    /// How many appends have met what was set.
    pub(crate) fn sprung(&self) -> usize {
        self.faults.sprung.load(SeqCst)
    }
}

/// What is known of one connection.
#[derive(Default)]
struct Known {
    number: u64,
    /// It has prepared an append.
    appends: AtomicBool,
    /// Its next answer is lost.
    is_deaf: AtomicBool,
}

/// Carries one connection, until either side ends it or it is cut.
async fn carry(mut near: TcpStream, to: SocketAddr, faults: Arc<Faults>) {
    let mut cut = faults.cut.subscribe();
    let Ok(mut far) = TcpStream::connect(to).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.split(), far.split());
    let known = Known { number: faults.connections.fetch_add(1, SeqCst) + 1, ..Known::default() };
    tokio::select! {
        _ = cut.changed() => {}
        () = pass(near_in, far_out, &faults, &known, Way::There) => {}
        () = pass(far_in, near_out, &faults, &known, Way::Back) => {}
    }
}

async fn pass(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, faults: &Faults, known: &Known, way: Way) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        let delay = faults.delay_ms.load(SeqCst);
        if delay > 0 {
            sleep(Duration::from_millis(delay)).await;
        }
        while faults.is_frozen[way as usize].load(SeqCst) || known.number <= faults.stranded.load(SeqCst) {
            sleep(Duration::from_millis(5)).await;
        }
        let mut bytes = &buffer[..count];
        match way {
            Way::Back if known.is_deaf.load(SeqCst) => return,
            Way::Back => {}
            Way::There => {
                let is_append = known.appends.load(SeqCst) && bytes[0] == BIND;
                let trap = if is_append { faults.trap.lock().unwrap().take() } else { None };
                if trap.is_some() {
                    faults.sprung.fetch_add(1, SeqCst);
                }
                match trap {
                    Some(Trap::AnswerLost) => known.is_deaf.store(true, SeqCst),
                    Some(Trap::HalfSent) => bytes = &bytes[..count / 2],
                    None => {}
                }
                if trap == Some(Trap::HalfSent) {
                    let _ = to.write_all(bytes).await;
                    return;
                }
                if bytes.windows(APPENDS.len()).any(|part| part == APPENDS) {
                    known.appends.store(true, SeqCst);
                }
            }
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
