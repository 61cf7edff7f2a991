//! The folder of one repository's downloads at one commit: whole files under their names, others under their checksums. It
//! is locked while a process works in it; a second one waits, and finds what the first has left.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::{HubError, Progress, Repository, Sum};

/// A locked folder of downloads.
#[derive(Debug)]
pub struct Workspace {
    folder: PathBuf,
    /// Held until this is dropped, or the process ends in any way.
    _lock: File,
}

impl Workspace {
    /// Opens the folder of a repository at its commit, below `root`, and waits while another process has it.
    ///
    /// # Errors
    ///
    /// A folder or the lock can't be made.
    pub fn open(root: &Path, of: &Repository, tell: &dyn Fn(Progress)) -> Result<Self, HubError> {
        let name = format!("{}@{}", of.id.replace('/', "--"), of.commit);
        let (folder, lock) = (root.join(&name), root.join(format!("{name}.lock")));
        fs::create_dir_all(root).map_err(HubError::io(root))?;
        let file = File::create(&lock).map_err(HubError::io(&lock))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                tell(Progress::Waits);
                file.lock().map_err(HubError::io(&lock))?;
            }
            Err(fs::TryLockError::Error(source)) => return Err(HubError::io(&lock)(source)),
        }
        for part in [folder.join("files"), folder.join("partial")] {
            fs::create_dir_all(&part).map_err(HubError::io(&part))?;
        }
        Ok(Self { folder, _lock: file })
    }

    /// The folder of the whole files, laid out as the repository is.
    pub fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    /// Where a file of the repository is, once it is whole. Its name is one that stays in the folder.
    pub fn file(&self, path: &str) -> PathBuf {
        self.files().join(path)
    }

    /// Where a file is until it is whole.
    pub(crate) fn partial(&self, sum: &Sum) -> PathBuf {
        self.folder.join("partial").join(sum.digits())
    }

    /// Bytes of this list of files that are not here yet.
    pub fn missing(&self, files: &[&crate::RemoteFile]) -> u64 {
        let size = |path: &Path| fs::metadata(path).map_or(0, |data| data.len());
        let left = |file: &&crate::RemoteFile| {
            let here = size(&self.file(&file.path)).max(size(&self.partial(&file.sum)));
            file.bytes.saturating_sub(here)
        };
        files.iter().map(left).fold(0, u64::saturating_add)
    }

    /// Removes the folder and all in it. The lock's file stays: another process may wait for it.
    ///
    /// # Errors
    ///
    /// Something can't be removed.
    pub fn remove(self) -> Result<(), HubError> {
        match fs::remove_dir_all(&self.folder) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(HubError::io(&self.folder)(source)),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
