//! The files of a backup: whole and durable or not there, and readable by their owner alone. Knows nothing of their content.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{LedgerError, place};

/// The bytes read at once.
const CHUNK: usize = 256 * 1024;
/// The most names that are listed of a used folder.
const NAMED: usize = 5;

/// The content of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) bytes: u64,
    pub(crate) blake3: String,
}

/// The error of an operation on a file.
pub(crate) fn cannot(verb: &str, path: &Path, error: &io::Error) -> LedgerError {
    LedgerError::Unusable(format!("can't {verb} {}: {error}", path.display()))
}

/// Makes a folder, or finds it empty, and claims it with the file in which its manifest will be written. Returns whether the
/// folder was made.
pub(crate) fn begin(folder: &Path, claim: &Path) -> Result<bool, LedgerError> {
    let is_new = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|error| cannot("make", folder, &error))?;
            true
        }
        Err(error) => return Err(cannot("use", folder, &error)),
        Ok(entries) => {
            refuse_used(folder, entries, claim)?;
            false
        }
    };
    create(claim)?;
    Ok(is_new)
}

fn refuse_used(folder: &Path, entries: fs::ReadDir, claim: &Path) -> Result<(), LedgerError> {
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    if names.is_empty() {
        return Ok(());
    }
    names.sort();
    names.truncate(NAMED);
    let cut = if claim.exists() { " A backup was cut off there, or is on its way." } else { "" };
    Err(LedgerError::Unusable(format!(
        "the folder {} is not empty ({}): name another one. Nothing was written.{cut}",
        folder.display(),
        names.join(", ")
    )))
}

/// Removes what was written into a folder that was empty, and the folder if it was made.
pub(crate) fn clear(folder: &Path, is_new: bool) {
    // The error that led here is told; what can't be removed has no manifest, and is no backup.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let _ = fs::remove_file(entry.path());
    }
    if is_new {
        let _ = fs::remove_dir(folder);
    }
}

/// The name of a file while it is written.
pub(crate) fn part_of(path: &Path) -> PathBuf {
    place::beside(path, ".part")
}

/// Creates a file that its owner alone may read.
pub(crate) fn create(path: &Path) -> Result<File, LedgerError> {
    let made = File::options().write(true).create_new(true).mode(0o600).open(path);
    made.map_err(|error| cannot("make", path, &error))
}

/// Locks an opened file or folder; the error is `taken` if somebody else has.
pub(crate) fn take_turn(opened: io::Result<File>, path: &Path, taken: LedgerError) -> Result<File, LedgerError> {
    let file = opened.map_err(|error| cannot("lock", path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(taken),
        Err(TryLockError::Error(error)) => Err(cannot("lock", path, &error)),
    }
}

/// Gives a file its final name, once its content is durable.
pub(crate) fn publish(part: &Path, path: &Path) -> Result<(), LedgerError> {
    let synced = File::open(part).and_then(|file| file.sync_all());
    synced.and_then(|()| fs::rename(part, path)).map_err(|error| cannot("write", path, &error))?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), LedgerError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| cannot("write to", folder, &error))
}

/// Writes a new file. Its part may be there, empty.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), LedgerError> {
    let part = part_of(path);
    let written = File::options().write(true).create(true).truncate(true).mode(0o600).open(&part);
    let written = written.and_then(|mut file| file.write_all(content));
    written.map_err(|error| cannot("write", &part, &error))?;
    publish(&part, path)
}

/// Reads a file to its end.
pub(crate) fn content_of(path: &Path) -> Result<Content, LedgerError> {
    read(path, &mut io::sink())
}

/// Copies a file to a new one, and returns what was copied.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<Content, LedgerError> {
    let mut file = create(to)?;
    let content = read(from, &mut file)?;
    file.sync_all().map_err(|error| cannot("write", to, &error))?;
    Ok(content)
}

fn read(path: &Path, to: &mut impl io::Write) -> Result<Content, LedgerError> {
    let mut file = File::open(path).map_err(|error| cannot("read", path, &error))?;
    let (mut hasher, mut bytes, mut chunk) = (blake3::Hasher::new(), 0, vec![0; CHUNK]);
    loop {
        let count = file.read(&mut chunk).map_err(|error| cannot("read", path, &error))?;
        let Some(read) = chunk.get(..count).filter(|read| !read.is_empty()) else { break };
        hasher.update(read);
        bytes += read.len() as u64;
        to.write_all(read).map_err(|error| cannot("copy", path, &error))?;
    }
    Ok(Content { bytes, blake3: hasher.finalize().to_hex().to_string() })
}
