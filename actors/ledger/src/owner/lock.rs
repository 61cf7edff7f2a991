//! The lock file beside SQLite's database: `farebox.db.lock`, held by the operating system for as long as its process
//! lives, with the process id in it. The file stays after its owner has ended: deleting it would race with a process
//! that waits for it. Its second line records that there was a ledger, so that a missing one is noticed.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{Claim, in_use};
use crate::LedgerError;

/// The beginning of the second line.
const SERVED: &str = "ledger served";
/// The most bytes read of a lock file.
const LONGEST: u64 = 4_096;

/// A lock that is held, or awaited after a takeover. Released on drop.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    file: Mutex<Arc<File>>,
}

impl Lock {
    /// The path of a database's lock file.
    pub(crate) fn path_of(database: &Path) -> PathBuf {
        let mut name = database.file_name().unwrap_or_default().to_owned();
        name.push(".lock");
        database.with_file_name(name)
    }

    /// Whether a ledger was ever served here, by its lock file.
    pub(crate) fn was_served(database: &Path) -> bool {
        read(&Self::path_of(database)).is_some_and(|text| text.contains(SERVED))
    }

    /// Takes the lock. If a living process holds it, that is an error with the process id, unless the ledger is to be
    /// taken over. In that case the owner finds another process id in the file, and a thread waits for the lock.
    pub(crate) fn take(database: &Path, claim: Claim) -> Result<Self, LedgerError> {
        if claim == Claim::Share {
            let why = "a ledger in SQLite has one node: several need PostgreSQL (setting `database.url`)";
            return Err(LedgerError::Unusable(why.into()));
        }
        let path = Self::path_of(database);
        let file = Arc::new(open(&path).map_err(|error| cannot(&path, &error))?);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if claim == Claim::TakeOver => wait_for(Arc::clone(&file)),
            Err(TryLockError::WouldBlock) => return Err(LedgerError::Owned(in_use(&holder(&path)))),
            Err(TryLockError::Error(error)) => return Err(cannot(&path, &error)),
        }
        let lock = Self { path, file: Mutex::new(file) };
        lock.sign("").map_err(|error| cannot(&lock.path, &error))?;
        Ok(lock)
    }

    /// The path of the lock file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Records that there is a ledger now.
    pub(crate) fn served(&self) -> Result<(), LedgerError> {
        self.sign(SERVED).map_err(|error| cannot(&self.path, &error))
    }

    /// Restores a lock file that was deleted by hand, so that a second process still finds it held.
    pub(crate) fn mend(&self) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.metadata().ok().map(|ours| (ours.dev(), ours.ino())) == inode(&self.path) {
            return;
        }
        if let Ok(again) = open(&self.path)
            && again.try_lock().is_ok()
            && sign(&again, SERVED).is_ok()
        {
            *file = Arc::new(again);
        }
    }

    fn sign(&self, more: &str) -> io::Result<()> {
        sign(&self.file.lock().unwrap_or_else(PoisonError::into_inner), more)
    }
}

/// Whether the process `by` holds the lock at this path. Finds the owner of a database that was moved.
pub(crate) fn is_held(path: &Path, by: u32) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let is_held = matches!(file.try_lock(), Err(TryLockError::WouldBlock));
    is_held && read(path).and_then(|text| number(&text)) == Some(by)
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|there| (there.dev(), there.ino()))
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).open(path)
}

fn cannot(path: &Path, error: &io::Error) -> LedgerError {
    LedgerError::Unusable(format!("can't lock {}: {error}", path.display()))
}

/// Writes this process's id and `more`. A record of a served ledger is kept.
fn sign(mut file: &File, more: &str) -> io::Result<()> {
    let mut before = String::new();
    file.rewind()?;
    // Content that is not text was not written by us.
    let _ = file.take(LONGEST).read_to_string(&mut before);
    let served = if more.is_empty() && before.contains(SERVED) { SERVED } else { more };
    file.rewind()?;
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    if !served.is_empty() {
        writeln!(file, "{served}")?;
    }
    Ok(())
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

fn number(text: &str) -> Option<u32> {
    text.lines().next()?.trim().parse().ok()
}

fn holder(path: &Path) -> String {
    let known = read(path).and_then(|text| number(&text));
    known.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// Waits for the lock in a thread, so that a third process finds it held once its holder has ended.
fn wait_for(file: Arc<File>) {
    let wait = move || {
        if file.lock().is_ok() {
            let _ = sign(&file, SERVED);
        }
    };
    // Without a thread the lock is not taken: the epoch alone protects the ledger.
    drop(std::thread::Builder::new().name("ledger-lock".into()).spawn(wait));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_one_owners_and_free_when_that_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("farebox.db");
        assert!(!Lock::was_served(&database));
        let first = Lock::take(&database, Claim::IfFree).unwrap();
        assert!(!Lock::was_served(&database), "not before there is a ledger");
        first.served().unwrap();
        assert!(is_held(first.path(), std::process::id()));
        let refused = Lock::take(&database, Claim::IfFree).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        assert!(refused.contains("--take-over"), "{refused}");
        drop(first);
        let second = Lock::take(&database, Claim::IfFree).unwrap();
        assert!(Lock::was_served(&database), "it is not forgotten");
        drop(second);
    }

    #[test]
    fn a_lock_that_was_deleted_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("farebox.db");
        let lock = Lock::take(&database, Claim::IfFree).unwrap();
        fs::remove_file(lock.path()).unwrap();
        lock.mend();
        assert!(matches!(Lock::take(&database, Claim::IfFree), Err(LedgerError::Owned(_))));
    }

    #[test]
    fn a_lock_that_was_taken_over_is_its_new_owners_when_the_old_one_ends() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("farebox.db");
        let old = Lock::take(&database, Claim::IfFree).unwrap();
        let _new = Lock::take(&database, Claim::TakeOver).unwrap();
        drop(old);
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !is_held(&Lock::path_of(&database), std::process::id()) {
            assert!(std::time::Instant::now() < until, "nobody has it");
            std::thread::yield_now();
        }
        assert!(matches!(Lock::take(&database, Claim::IfFree), Err(LedgerError::Owned(_))));
    }
}
