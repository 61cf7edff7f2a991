//! A Redis of the benchmark's own, which keeps nothing.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::postgres::companion::{As, Companion};

const START_WITHIN: Duration = Duration::from_secs(30);

/// A running Redis, stopped when dropped.
pub(crate) struct Redis {
    _companion: Companion,
    port: u16,
}

impl Redis {
    /// Starts one; none where it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let server = env::split_paths(&path).map(|folder| folder.join("redis-server")).find(|file| file.is_file())?;
        let (server, port) = (server.display().to_string(), free_port());
        let own = port.to_string();
        let command =
            [&server, "--port", &own, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "."];
        let redis = Self { _companion: Companion::start("redis", As::Ourselves, "KILL", "true", &command), port };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", redis.port)).is_err() {
            assert!(began.elapsed() < START_WITHIN, "Redis did not start");
            thread::sleep(Duration::from_millis(10));
        }
        Some(redis)
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.info("process_id").parse().unwrap()
    }

    /// The commands that it ever had.
    pub(crate) fn commands(&self) -> f64 {
        self.info("total_commands_processed").parse().unwrap()
    }

    /// A line of what it says of itself.
    fn info(&self, name: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(b"INFO everything\r\nQUIT\r\n").unwrap();
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned));
        found.unwrap_or_else(|| panic!("Redis does not tell {name}"))
    }
}

/// An address at which there is no Redis.
pub(crate) fn nowhere() -> String {
    format!("redis://127.0.0.1:{}", free_port())
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
