//! The files of keys: each is whole and durable under its name, or not there. Only their owner reads them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// Writes a new file. One that is there is left as it is.
///
/// # Errors
///
/// The file can't be written.
pub(super) fn begin(path: &Path, text: &str) -> io::Result<()> {
    let part = write_beside(path, text)?;
    let linked = fs::hard_link(&part, path);
    fs::remove_file(&part)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => sync_folder(path),
    }
}

/// Writes a file, in the place of an earlier one.
///
/// # Errors
///
/// The file can't be written. The earlier one is as it was.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let part = write_beside(path, text)?;
    fs::rename(&part, path)?;
    sync_folder(path)
}

fn write_beside(path: &Path, text: &str) -> io::Result<PathBuf> {
    let folder = folder_of(path);
    fs::create_dir_all(folder)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", uuid::Uuid::new_v4().simple()));
    let part = folder.join(name);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(part)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
