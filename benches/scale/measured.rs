//! What Farebox takes: the time from its start to its first ready answer, its memory, and the time of an audit.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags};

use crate::made;

/// How often is looked.
pub(crate) const LOOK: Duration = Duration::from_millis(5);

/// The program that is measured: the one that was built with the benchmark, or another, as a release.
pub(crate) fn program() -> OsString {
    let given = env::var_os("FAREBOX_BENCH_PROGRAM").filter(|path| !path.is_empty());
    let path = given.unwrap_or_else(|| env!("CARGO_BIN_EXE_farebox").into());
    // It is started in another folder.
    fs::canonicalize(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(program());
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FAREBOX_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).env("FAREBOX_DATABASE__URL", format!("sqlite://{}", made::file(folder).display()));
    command
}

/// Starts Farebox twice: after a process that was killed, and again once what that had left is settled.
pub(crate) fn restart(folder: &Path) {
    for what in ["after a crash", "again"] {
        let began = Instant::now();
        let mut serving = serve(folder);
        let address = address(&mut serving);
        let listening = began.elapsed();
        while !is_ready(&address) {
            thread::sleep(LOOK);
        }
        let ready = began.elapsed();
        let (resident, most) = (memory_kib(&serving, "VmRSS"), memory_kib(&serving, "VmHWM"));
        println!(
            "  {what}: listens after {listening:.2?}, ready after {ready:.2?}, {resident} KiB then, at most {most} KiB"
        );
        let left = holds(folder);
        while holds(folder) > 0 {
            thread::sleep(10 * LOOK);
        }
        if left > 0 {
            let (settled, most) = (began.elapsed(), memory_kib(&serving, "VmHWM"));
            println!("  {left} requests settled {settled:.2?} after the start, at most {most} KiB");
        }
        serving.kill().unwrap();
        serving.wait().unwrap();
    }
}

/// The operator's token.
pub(crate) const TOKEN: &str = "a-token-for-the-benchmark-alone-000000";

/// Starts Farebox.
pub(crate) fn serve(folder: &Path) -> Child {
    let mut command = command(folder);
    let command = command.arg("serve").env("FAREBOX_LISTEN", "127.0.0.1:0").env("FAREBOX_LOG__LEVEL", "warn");
    command.env("FAREBOX_ADMIN_TOKEN", TOKEN).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Where it listens.
pub(crate) fn address(serving: &mut Child) -> String {
    let lines = BufReader::new(serving.stdout.take().unwrap()).lines();
    let line = lines.map_while(Result::ok).find(|line| line.starts_with("listening on ")).unwrap();
    line.trim_start_matches("listening on http://").to_owned()
}

/// Whether it is ready.
pub(crate) fn is_ready(address: &str) -> bool {
    let Ok(mut connection) = TcpStream::connect(address) else { return false };
    connection.write_all(b"GET /readyz HTTP/1.1\r\nhost: farebox\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
}

/// The requests whose holds are in the tables.
fn holds(folder: &Path) -> i64 {
    let tables = Connection::open_with_flags(made::file(folder), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    tables.query_row("SELECT COUNT(*) FROM hold", [], |row| row.get(0)).unwrap_or(i64::MAX)
}

/// Has the ledger audited. It must be clean.
pub(crate) fn audit(folder: &Path) {
    let began = Instant::now();
    let mut auditing = command(folder).arg("audit").stdout(Stdio::piped()).spawn().unwrap();
    let mut most = 0;
    while auditing.try_wait().unwrap().is_none() {
        most = memory_kib(&auditing, "VmHWM").max(most);
        thread::sleep(LOOK);
    }
    let took = began.elapsed();
    let said = std::io::read_to_string(auditing.stdout.take().unwrap()).unwrap();
    println!("  {took:.2?}, at most {most} KiB: {}", said.lines().last().unwrap_or_default());
    assert!(said.starts_with("clean"), "{said}");
}

/// A figure of a process's memory in KiB, such as `VmRSS`.
fn memory_kib(process: &Child, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap_or(0)
}
