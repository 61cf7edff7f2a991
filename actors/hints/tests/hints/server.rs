//! A Redis of a test's own, and what only answers like one.

use std::{
    fmt::Write as _,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use hints::{Hints, Options, Place, Told, Watch};
use runtime::node::NodeId;
use uuid::Uuid;

/// Long enough for anything that happens.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The node that owns all accounts, and another.
pub(crate) const OWNER: NodeId = NodeId(Uuid::from_u128(7));
pub(crate) const OTHER: NodeId = NodeId(Uuid::from_u128(8));

/// Runs what it is told, until its input ends: so nothing is left behind, however a test ends.
const KEEPER: &str = r#""$@" >/dev/null 2>&1 </dev/null & echo $!; read -r _; kill -9 $! 2>/dev/null; wait"#;

/// A running Redis, which keeps nothing.
pub(crate) struct Server {
    keeper: Child,
    pid: String,
    pub(crate) port: u16,
    more: Vec<String>,
    folder: tempfile::TempDir,
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join("redis-server")).find(|program| program.is_file())
}

/// A port nobody listened on a moment ago, as one higher by 10,000 (a cluster's) must be.
fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let bus = port.checked_add(10_000);
        if bus.is_some_and(|bus| TcpListener::bind(("127.0.0.1", bus)).is_ok()) {
            return port;
        }
    }
}

impl Server {
    /// Starts one; none where Redis is not installed and nobody has promised that it is.
    pub(crate) fn start(more: &[&str]) -> Option<Self> {
        if program().is_none() {
            let is_promised = std::env::var("FAREBOX_TEST_REQUIRE_SERVERS").is_ok_and(|set| !matches!(&*set, "" | "0"));
            assert!(!is_promised, "redis-server was promised, and is not installed");
            let _ = writeln!(
                io::stderr(),
                "SKIPPED: redis-server is not installed, and tests/setup.sh could not install it"
            );
            return None;
        }
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let more: Vec<String> = more.iter().map(|&part| part.to_owned()).collect();
        let (keeper, pid) = run(port, &more, &folder);
        let server = Self { keeper, pid, port, more, folder };
        server.wait_until_ready();
        Some(server)
    }

    pub(crate) fn place(&self) -> Place {
        Place::parse(&format!("redis://127.0.0.1:{}", self.port)).unwrap()
    }

    /// The hints of the node that owns all accounts.
    pub(crate) fn hints(&self) -> Hints {
        Hints::open(self.place(), "ledger", OWNER, quick())
    }

    /// Those of another node.
    pub(crate) fn others(&self) -> Hints {
        Hints::open(self.place(), "ledger", OTHER, quick())
    }

    fn wait_until_ready(&self) {
        let began = Instant::now();
        while !self.ask(&["PING"]).is_ok_and(|answer| answer == "+PONG") {
            assert!(began.elapsed() < SOON, "Redis did not start");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The first line of what it answers.
    pub(crate) fn ask(&self, command: &[&str]) -> io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut text = format!("*{}\r\n", command.len());
        for part in command {
            let _ = write!(text, "${}\r\n{part}\r\n", part.len());
        }
        stream.write_all(text.as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Kills it.
    pub(crate) fn stop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }

    /// Starts it again, empty, on the same port.
    pub(crate) fn resume(&mut self) {
        (self.keeper, self.pid) = run(self.port, &self.more, &self.folder);
        self.wait_until_ready();
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("sh").args(["-c", "kill \"$1\" \"$2\"", "kill", signal, &self.pid]).status().unwrap();
        assert!(sent.success());
    }

    /// It stands still, and keeps its connections.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(port: u16, more: &[String], folder: &tempfile::TempDir) -> (Child, String) {
    let mut keeper = Command::new("sh")
        .args(["-c", KEEPER, "keeper"])
        .arg(program().unwrap())
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "."])
        .args(more)
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pid = String::new();
    BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut pid).unwrap();
    (keeper, pid.trim().to_owned())
}

/// Bounds that a loaded machine keeps, with short rests.
pub(crate) fn quick() -> Options {
    Options {
        call: Duration::from_secs(1),
        rest: (Duration::from_millis(50), Duration::from_millis(200)),
        silence: Duration::from_secs(5),
        ..Options::default()
    }
}

/// What answers whatever it reads with the same bytes.
pub(crate) fn talker(says: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut read = [0; 4_096];
                while stream.read(&mut read).is_ok_and(|count| count > 0) && stream.write_all(says).is_ok() {}
            });
        }
    });
    address
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < SOON, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What a watch hears next.
pub(crate) async fn next(watch: &mut Watch) -> Told {
    tokio::time::timeout(SOON, watch.next()).await.unwrap().unwrap()
}

/// Waits until a watch hears that.
pub(crate) async fn hears(watch: &mut Watch, told: &Told) {
    while next(watch).await != *told {}
}
