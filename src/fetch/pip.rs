//! Runs Python's `pip` and `zipfile` as child processes, and finds in their output why they failed. Of the cache it
//! knows only the folder that is passed in. A child never outlives the call that started it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{FetchError, Item, cache_error, create_folder};

/// The interval of checks on a running child, and of progress messages.
const LOOK: Duration = Duration::from_millis(50);
const TELL: Duration = Duration::from_secs(1);

/// The last lines of pip's output that an error repeats.
const SAID_LINES: usize = 8;

/// Extracts one file of a package; arguments: the package, the file in it, the target.
const EXTRACT: &str = "import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as package, package.open(sys.argv[2]) as source, open(sys.argv[3], 'wb') as target:
    shutil.copyfileobj(source, target, 1 << 20)";

/// Texts in pip's output when its index can't be reached.
const NO_NETWORK: &[&str] = &[
    "NewConnectionError",
    "Failed to establish a new connection",
    "NameResolutionError",
    "Temporary failure in name resolution",
    "ConnectTimeoutError",
    "ConnectionError",
    "ReadTimeoutError",
    "ProxyError",
    "Max retries exceeded",
    "Network is unreachable",
];

/// A Python to run: a program and its first arguments.
#[derive(Debug, Clone)]
pub(super) struct Python(Vec<OsString>);

impl Python {
    /// The `python3` of this machine.
    pub(super) fn from_path() -> Self {
        Self(vec!["python3".into()])
    }

    #[cfg(test)]
    pub(super) fn of(command: &[&Path]) -> Self {
        Self(command.iter().map(|part| part.as_os_str().to_owned()).collect())
    }

    fn command(&self) -> Command {
        let mut parts = self.0.iter();
        let mut command = Command::new(parts.next().cloned().unwrap_or_default());
        command.args(parts).stdin(Stdio::null());
        command
    }

    /// Downloads the item's package to `folder/package`. pip works in `folder/working`, whose size is the progress.
    pub(super) fn download(&self, folder: &Path, item: &Item, progress: &dyn Fn(u64)) -> Result<(), FetchError> {
        let working = folder.join("working");
        let package = folder.join("package");
        create_folder(&working)?;
        let log = folder.join("pip.log");
        let open_log = || File::create(&log).and_then(|file| Ok((file.try_clone()?, file)));
        let (stdout, stderr) = open_log().map_err(|source| cache_error(&log, source))?;
        let mut command = self.command();
        command
            .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"])
            .args(["--disable-pip-version-check", "--progress-bar=off", "--retries=2", "--timeout=20"])
            .args(item.platform)
            .arg("-d")
            .arg(&package)
            .arg(item.package)
            .env("TMPDIR", &working)
            .stdout(stdout)
            .stderr(stderr);
        let child = command.spawn().map_err(|error| no_python(item, &error))?;
        let status = wait(Running(child), &mut || progress(size_of(&working).max(size_of(&package))));
        let status = status.map_err(|source| cache_error(folder, source))?;
        if status.success() {
            return Ok(());
        }
        let said = fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        Err(why(item, &said))
    }

    /// Extracts one file of a package, and syncs it to the disk.
    pub(super) fn extract(&self, package: &Path, member: &str, target: &Path) -> io::Result<()> {
        let output = self.command().args(["-c", EXTRACT]).arg(package).arg(member).arg(target).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(io::Error::other(said.lines().last().unwrap_or("python3 failed").to_owned()));
        }
        File::open(target)?.sync_all()
    }
}

/// A child process that does not outlive its guard.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait(mut running: Running, each_second: &mut dyn FnMut()) -> io::Result<ExitStatus> {
    let mut told = Instant::now();
    loop {
        if let Some(status) = running.0.try_wait()? {
            return Ok(status);
        }
        if told.elapsed() >= TELL {
            told = Instant::now();
            each_second();
        }
        thread::sleep(LOOK);
    }
}

fn no_python(item: &Item, error: &io::Error) -> FetchError {
    let Item { what, instead, .. } = *item;
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
            FetchError::NoPip { what, needs: "python3 with pip", instead }
        }
        _ => FetchError::Pip { what, instead, said: format!("python3 did not start: {error}") },
    }
}

fn why(item: &Item, said: &str) -> FetchError {
    let Item { what, instead, .. } = *item;
    if said.contains("No module named pip") {
        return FetchError::NoPip { what, needs: "pip (python3 -m pip)", instead };
    }
    if NO_NETWORK.iter().any(|sign| said.contains(sign)) {
        return FetchError::NoNetwork { what, instead };
    }
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(SAID_LINES)..];
    FetchError::Pip { what, instead, said: last.join("\n") }
}

/// The size of a folder in bytes; other processes may change it meanwhile.
fn size_of(folder: &Path) -> u64 {
    let entries: Vec<PathBuf> = match fs::read_dir(folder) {
        Ok(entries) => entries.filter_map(Result::ok).map(|entry| entry.path()).collect(),
        Err(_) => return 0,
    };
    let sizes = entries.iter().map(|path| match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => size_of(path),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
