//! A folder being written, beside its target and under a temporary name, until it is renamed. The folder is locked
//! while its process lives: the next import beside it recognizes and removes the draft of a killed process.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use super::ImportError;

/// The draft folder. It is removed unless it was published.
pub(crate) struct Draft {
    path: PathBuf,
    /// The lock held by this process; `None` where the file system has no locks.
    _lock: Option<File>,
}

impl Draft {
    /// A new draft for a target folder, whose parent is created where it is missing.
    pub(crate) fn new(target: &Path) -> Result<Self, ImportError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        sweep(target.parent().unwrap_or(Path::new("")));
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = target.with_file_name(format!(".{name}.{}-{count}.part", std::process::id()));
            fs::create_dir_all(&path).map_err(|source| ImportError::Write { path: path.clone(), source })?;
            let lock = File::open(&path).ok().filter(|folder| folder.lock().is_ok());
            // Another import may have removed the folder before it was locked.
            if path.is_dir() {
                return Ok(Self { path, _lock: lock });
            }
        }
    }

    /// The draft's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ImportError> {
        let path = self.path.join(name);
        fs::write(&path, bytes).map_err(|source| ImportError::Write { path, source })
    }

    /// Renames the draft to its target, which must not exist.
    pub(crate) fn publish(self, target: &Path) -> Result<(), ImportError> {
        match fs::rename(&self.path, target) {
            Ok(()) => Ok(()),
            Err(_) if target.exists() => Err(ImportError::Exists(target.to_owned())),
            Err(source) => Err(ImportError::Write { path: target.to_owned(), source }),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After publishing the folder is gone already.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes the drafts in a folder that no process writes any more. A draft that can't be removed does no harm.
fn sweep(folder: &Path) {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_draft = entry.file_name().to_str().is_some_and(is_draft) && entry.path().is_dir();
        let locked = is_draft.then(|| File::open(entry.path()).ok().filter(|draft| draft.try_lock().is_ok()));
        // The lock is held until the folder is gone.
        if let Some(_lock) = locked.flatten() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether a name is `.NAME.PROCESS-COUNT.part`.
fn is_draft(name: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.starts_with('.')
        && name
            .strip_suffix(".part")
            .and_then(|name| name.rsplit_once('.'))
            .and_then(|(_, made)| made.split_once('-'))
            .is_some_and(|(process, count)| number(process) && number(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_of_a_dead_process_is_swept_and_a_living_ones_stays() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("model");
        let [dead, other, kept] =
            [".model.7-0.part", ".other.b.8-1.part", ".model.part"].map(|name| root.path().join(name));
        for folder in [&dead, &other, &kept] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("file"), "").unwrap();
        }
        let living = Draft::new(&root.path().join("living")).unwrap();
        let draft = Draft::new(&target).unwrap();
        assert!(!dead.exists() && !other.exists(), "nobody writes them");
        assert!(kept.exists() && living.path().exists());
        draft.write("a", b"x").unwrap();
        draft.publish(&target).unwrap();
        assert!(target.join("a").is_file());
        drop(living);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2, "the model, and what is no draft");
    }
}
