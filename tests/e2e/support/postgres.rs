//! A private PostgreSQL: one cluster for the whole run with a fresh database for each test, or one of a test's own that
//! it may stop and start. Its data need not outlive a power cut, so it does not wait for the disk.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::companion::{As, Companion};
use super::{find_program, free_port, skip};

const START_WITHIN: Duration = Duration::from_mins(1);

/// A running cluster.
pub(crate) struct Postgres {
    companion: Companion,
    port: u16,
    databases: AtomicU32,
}

/// The run's cluster, started by the first test that asks; `None` where PostgreSQL is not to be had.
pub(crate) fn shared() -> Option<&'static Postgres> {
    static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
    SHARED.get_or_init(Postgres::start).as_ref()
}

/// The address of a new, empty database in the run's cluster.
pub(crate) fn fresh_database() -> Option<String> {
    shared().map(Postgres::fresh_database)
}

/// Runs SQL with `psql`; rows as unaligned text, or what went wrong.
pub(crate) fn query(url: &str, sql: &str) -> Result<String, String> {
    psql(url, "-c", OsStr::new(sql))
}

/// Runs a file of SQL with `psql`.
pub(crate) fn run_file(url: &str, file: &Path) -> Result<String, String> {
    psql(url, "-f", file.as_os_str())
}

/// Dumps a whole database with `pg_dump`, as SQL.
pub(crate) fn dump(url: &str, file: &Path) -> Result<(), String> {
    let pg_dump = find_program("pg_dump", &programs().into_iter().collect::<Vec<_>>()).ok_or("no pg_dump")?;
    let output = Command::new(pg_dump).arg("--no-owner").arg("--file").arg(file).arg(url).output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

/// A session that is kept open, for what is to be held. Whatever it began is undone when it is dropped.
pub(crate) struct HeldSession {
    psql: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl HeldSession {
    pub(crate) fn open(url: &str) -> Self {
        let psql = find_program("psql", &programs().into_iter().collect::<Vec<_>>()).unwrap();
        let mut psql = Command::new(psql)
            .args(["-X", "-q", "-A", "-t", url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, answers) = (psql.stdin.take(), BufReader::new(psql.stdout.take().unwrap()));
        Self { psql, orders, answers }
    }

    /// Runs statements; returns once they are done.
    pub(crate) fn run(&mut self, sql: &str) {
        writeln!(self.orders.as_mut().unwrap(), "{sql};\n\\echo done").unwrap();
        let mut line = String::new();
        while line.trim() != "done" {
            line.clear();
            assert!(self.answers.read_line(&mut line).unwrap() > 0, "the session ended: {sql}");
        }
    }
}

impl Drop for HeldSession {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.psql.wait();
    }
}

fn psql(url: &str, option: &str, value: &OsStr) -> Result<String, String> {
    let psql = find_program("psql", &programs().into_iter().collect::<Vec<_>>()).ok_or("no psql")?;
    let output = Command::new(psql)
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", option])
        .args([value, OsStr::new(url)])
        .env("PGCONNECT_TIMEOUT", "10")
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Postgres {
    /// Starts a cluster, installing PostgreSQL first where that is possible.
    pub(crate) fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            skip("PostgreSQL is not installed, and tests/setup.sh could not install it");
            return None;
        };
        let initdb = programs.join("initdb");
        let prepare =
            format!("'{}' -D data -U farebox --auth=trust --no-sync --encoding=UTF8 --locale=C", initdb.display());
        let server = programs.join("postgres").display().to_string();
        let port = free_port();
        let given = [
            format!("port={port}"),
            "listen_addresses=127.0.0.1".to_owned(),
            "unix_socket_directories=".to_owned(),
            "max_connections=200".to_owned(),
            "fsync=off".to_owned(),
        ];
        let mut command = vec![server.as_str(), "-D", "{folder}/data"];
        command.extend(given.iter().flat_map(|setting| ["-c", setting.as_str()]));
        let companion = Companion::start("postgres", As::NotRoot, "QUIT", &prepare, &command);
        let postgres = Self { companion, port, databases: AtomicU32::new(0) };
        postgres.wait_until_ready();
        Some(postgres)
    }

    /// The address of a new, empty database.
    pub(crate) fn fresh_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        query(&self.url("postgres"), &format!("CREATE DATABASE {name}")).unwrap();
        self.url(&name)
    }

    /// Stops the server at once, as a crash would; its data stays.
    pub(crate) fn stop(&mut self) {
        self.companion.stop();
    }

    /// Stops the server as an operator would (PostgreSQL's fast mode): it ends all sessions, and writes what it has.
    pub(crate) fn stop_fast(&mut self) {
        self.companion.stop_by("INT");
    }

    /// Starts it again, on the same port.
    pub(crate) fn resume(&mut self) {
        self.companion.resume();
        self.wait_until_ready();
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://farebox@127.0.0.1:{}/{database}", self.port)
    }

    fn wait_until_ready(&self) {
        let began = Instant::now();
        while let Err(error) = query(&self.url("postgres"), "SELECT 1") {
            assert!(began.elapsed() < START_WITHIN, "PostgreSQL did not start: {error}\n{}", self.companion.log());
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The folder of the newest installed PostgreSQL's programs; tries once to install it.
fn programs() -> Option<PathBuf> {
    static PROGRAMS: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = PROGRAMS.get_or_init(|| {
        installed().or_else(|| {
            let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/setup.sh");
            Command::new(setup).status().ok()?;
            installed()
        })
    });
    found.clone()
}

fn installed() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let mut folders: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    folders.sort();
    let newest_first: Vec<PathBuf> = folders.into_iter().rev().map(|(_, folder)| folder).collect();
    find_program("initdb", &newest_first)?.parent().map(Path::to_owned)
}
