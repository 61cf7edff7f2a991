//! A private Redis: one for each test that asks, which it may stop and start.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::companion::{As, Companion};
use super::{find_program, free_port, skip};

const START_WITHIN: Duration = Duration::from_secs(30);

/// A running Redis, which keeps nothing.
pub(crate) struct Redis {
    companion: Companion,
    port: u16,
}

impl Redis {
    /// Starts one; `None` where Redis is not installed.
    pub(crate) fn start() -> Option<Self> {
        let Some(server) = find_program("redis-server", &[]) else {
            skip("redis-server is not installed, and tests/setup.sh could not install it");
            return None;
        };
        let port = free_port();
        let (server, port_text) = (server.display().to_string(), port.to_string());
        let command =
            [&server, "--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "."];
        let companion = Companion::start("redis", As::Ourselves, "KILL", "true", &command);
        let redis = Self { companion, port };
        redis.wait_until_ready();
        Some(redis)
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Stops it at once.
    pub(crate) fn stop(&mut self) {
        self.companion.stop();
    }

    /// Starts it again, empty, on the same port.
    pub(crate) fn resume(&mut self) {
        self.companion.resume();
        self.wait_until_ready();
    }

    /// It stands still, and keeps its connections, until it is told to go on.
    pub(crate) fn freeze(&self, is_frozen: bool) {
        let (port, signal) =
            (format!("redis-server 127.0.0.1:{}", self.port), if is_frozen { "-STOP" } else { "-CONT" });
        assert!(Command::new("pkill").args([signal, "-f", &port]).status().unwrap().success());
    }

    /// It forgets everything.
    pub(crate) fn flush(&self) {
        assert_eq!(self.ask("FLUSHALL").unwrap(), "+OK");
    }

    /// Its answer to a ping.
    pub(crate) fn ping(&self) -> io::Result<String> {
        self.ask("PING")
    }

    /// The first line of its answer.
    fn ask(&self, command: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    fn wait_until_ready(&self) {
        let began = Instant::now();
        while let Err(error) = self.ping() {
            assert!(began.elapsed() < START_WITHIN, "Redis did not start: {error}\n{}", self.companion.log());
            thread::sleep(Duration::from_millis(10));
        }
    }
}
