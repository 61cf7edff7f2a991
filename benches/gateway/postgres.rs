//! A PostgreSQL of the benchmark's own, with its settings as they come: a commit waits for the disk.

use std::{
    cell::Cell,
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{self, Command},
    thread,
    time::{Duration, Instant},
};

#[path = "../../tests/e2e/support/companion.rs"]
#[expect(dead_code, reason = "the stories also stop and resume their servers")]
pub(crate) mod companion;

use companion::{As, Companion};

const START_WITHIN: Duration = Duration::from_mins(1);

/// A running cluster.
pub(crate) struct Postgres {
    /// Stops it when dropped.
    _companion: Companion,
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    databases: Cell<u32>,
}

impl Postgres {
    /// Starts a cluster; none where PostgreSQL is not installed.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// Starts one with more settings, each `NAME=VALUE`.
    pub(crate) fn start_with(more: &[&str]) -> Option<Self> {
        let programs = installed()?;
        let [initdb, server] = ["initdb", "postgres"].map(|name| programs.join(name).display().to_string());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let prepare = format!("'{initdb}' -D data -U farebox --auth=trust --encoding=UTF8 --locale=C");
        let given = [format!("port={port}"), "listen_addresses=127.0.0.1".into(), "unix_socket_directories=".into()];
        let mut command = vec![server.as_str(), "-D", "{folder}/data"];
        command
            .extend(given.iter().map(String::as_str).chain(more.iter().copied()).flat_map(|setting| ["-c", setting]));
        let companion = Companion::start("postgres", As::NotRoot, "INT", &prepare, &command);
        let folder = temporary("postgres");
        let postgres = Self { _companion: companion, programs, folder, port, databases: Cell::new(0) };
        postgres.wait_until_ready();
        Some(postgres)
    }

    /// The address of a new, empty database.
    pub(crate) fn fresh_database(&self) -> String {
        let name = format!("bench_{}", self.databases.replace(self.databases.get() + 1));
        self.query("postgres", &format!("CREATE DATABASE {name}")).unwrap();
        self.url(&name)
    }

    /// The bytes of the database at an address. The server's own log, which it uses again, is not in it.
    pub(crate) fn bytes_of(&self, url: &str) -> u64 {
        let name = url.rsplit('/').next().unwrap_or_default();
        self.query(name, "SELECT pg_database_size(current_database())").unwrap().parse().unwrap()
    }

    /// What a query on the database at an address answers.
    pub(crate) fn ask(&self, url: &str, sql: &str) -> String {
        self.query(url.rsplit('/').next().unwrap_or_default(), sql).unwrap()
    }

    /// The id of the server's first process, the parent of all others.
    pub(crate) fn id(&self) -> u32 {
        let file = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap();
        file.lines().next().unwrap_or_default().parse().unwrap()
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://farebox@127.0.0.1:{}/{database}", self.port)
    }

    fn query(&self, database: &str, sql: &str) -> Result<String, String> {
        let psql = self.programs.join("psql");
        let psql = if psql.is_file() { psql } else { "psql".into() };
        let output = Command::new(psql)
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql, &self.url(database)])
            .output()
            .map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn wait_until_ready(&self) {
        let began = Instant::now();
        while let Err(error) = self.query("postgres", "SELECT 1") {
            assert!(began.elapsed() < START_WITHIN, "PostgreSQL did not start: {error}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The folder of the newest installed PostgreSQL's programs.
fn installed() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let mut folders: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    folders.sort();
    let newest_first: Vec<PathBuf> = folders.into_iter().rev().map(|(_, folder)| folder).collect();
    find_program("initdb", &newest_first)?.parent().map(Path::to_owned)
}

/// A program, looked for in some folders and then on PATH.
fn find_program(name: &str, first: &[PathBuf]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = first.iter().cloned().chain(env::split_paths(&path));
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// The name of a server's folder; there is one server of a name.
fn temporary(name: &str) -> PathBuf {
    env::temp_dir().join(format!("farebox-bench-{name}-{}", process::id()))
}
