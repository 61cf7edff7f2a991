//! The place of a SQLite ledger: one path for a file, however its address spells it, and whatever links lead to it.
//! Also checks the place before the database is opened: a place that was used and has no database is not treated as
//! new.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use sea_orm::sqlx::sqlite::SqliteConnectOptions;

use super::{LedgerError, owner::lock::Lock};

/// The most links that are followed.
const LINKS: usize = 16;

/// The path of a database's file. Its folder is created if it is missing.
pub(super) fn file_of(url: &str) -> Result<PathBuf, LedgerError> {
    let unusable = |why: String| LedgerError::Unusable(why);
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Err(unusable("a database in memory keeps no ledger: name a file".into()));
    }
    let options = url.parse::<SqliteConnectOptions>().map_err(|error| unusable(error.to_string()))?;
    let file = options.get_filename();
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let made = fs::create_dir_all(folder).and_then(|()| resolved(file));
    made.map_err(|error| unusable(format!("can't use {}: {error}", file.display())))
}

/// The file at the end of all links, even if it does not exist yet.
fn resolved(file: &Path) -> io::Result<PathBuf> {
    let mut file = file.to_owned();
    for _ in 0..LINKS {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = file.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        let whole = fs::canonicalize(folder)?.join(name);
        match fs::read_link(&whole) {
            Ok(target) => file = whole.parent().unwrap_or(Path::new("/")).join(target),
            Err(_) => return Ok(whole),
        }
    }
    Err(io::Error::other("too many links"))
}

/// The path of a file beside the database, with this suffix.
pub(super) fn beside(database: &Path, more: &str) -> PathBuf {
    let mut name = database.file_name().unwrap_or_default().to_owned();
    name.push(more);
    database.with_file_name(name)
}

/// The path of a database's log: `farebox-log.db` beside `farebox.db`.
pub(super) fn log_of(database: &Path) -> PathBuf {
    let mut name = database.file_stem().unwrap_or_default().to_owned();
    name.push("-log");
    if let Some(extension) = database.extension() {
        name.push(".");
        name.push(extension);
    }
    database.with_file_name(name)
}

/// The address of a database's file.
pub(super) fn url_of(file: &Path) -> String {
    let path = file.display().to_string();
    format!("sqlite://{}", path.replace('%', "%25").replace('?', "%3F"))
}

/// The size of a file in bytes; `None` if it does not exist.
fn size(file: &Path) -> Option<u64> {
    fs::metadata(file).ok().map(|found| found.len())
}

/// Refuses a place that had a ledger and whose database is gone. Otherwise SQLite would create a new one, and delete
/// the log that remained. `kept` are other files that exist only beside a ledger that was served.
pub(super) fn check_before(database: &Path, kept: &[PathBuf]) -> Result<(), LedgerError> {
    if size(database).is_some_and(|bytes| bytes > 0) {
        return Ok(());
    }
    refuse_used(database, kept)
}

/// [`check_before`] for a database that was opened and has no tables.
pub(super) fn check_empty(database: &Path, kept: &[PathBuf]) -> Result<(), LedgerError> {
    refuse_used(database, kept)
}

/// Refuses a place that has a ledger, or a part of one. Signs of a ledger that is gone are not in the way of its backup.
pub(super) fn check_free(database: &Path) -> Result<(), LedgerError> {
    let log = log_of(database);
    let files = [database.to_owned(), beside(database, "-wal"), beside(&log, "-wal"), log];
    let found = files.iter().filter(|file| size(file).is_some_and(|bytes| bytes > 0));
    let found: Vec<_> = found.map(|file| file.display().to_string()).collect();
    if found.is_empty() {
        return Ok(());
    }
    Err(LedgerError::Unusable(format!(
        "there is a ledger, or a part of one, and nothing was changed; found: {}. Move these files away together, and keep \
         them: they may have what the backup lacks",
        found.join(", ")
    )))
}

fn refuse_used(database: &Path, kept: &[PathBuf]) -> Result<(), LedgerError> {
    let mut found = Vec::new();
    let log = beside(database, "-wal");
    if let Some(bytes) = size(&log).filter(|bytes| *bytes > 0) {
        found.push(format!("{} ({bytes} bytes of a database's write-ahead log)", log.display()));
    }
    if Lock::was_served(database) {
        found.push(format!("{} (a ledger was served here)", Lock::path_of(database).display()));
    }
    let of_log = log_of(database);
    if let Some(bytes) = size(&of_log).filter(|bytes| *bytes > 0) {
        found.push(format!("{} ({bytes} bytes of a ledger's log)", of_log.display()));
    }
    found.extend(kept.iter().filter(|file| file.exists()).map(|file| file.display().to_string()));
    if found.is_empty() {
        return Ok(());
    }
    let state = match size(database) {
        None => "is not there".to_owned(),
        Some(bytes) => format!("is empty ({bytes} bytes, no tables)"),
    };
    Err(LedgerError::Unusable(format!(
        "the database {} {state}, but a ledger was used here; found: {}. Bring the database back, together with its -wal file \
         and the log beside it. To begin a new ledger instead, move these files away and start again",
        database.display(),
        found.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn however_a_file_is_spelled_it_is_one_place() {
        let folder = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(folder.path()).unwrap().join("data/farebox.db");
        let base = folder.path().display().to_string();
        let plain = file_of(&format!("sqlite://{base}/data/farebox.db")).unwrap();
        assert_eq!(plain, real, "its folder was made");
        // Before the file exists, and after.
        symlink("data", folder.path().join("linked")).unwrap();
        symlink("data/farebox.db", folder.path().join("other.db")).unwrap();
        for there in [false, true] {
            if there {
                fs::write(&real, "x").unwrap();
            }
            for spelled in [
                format!("sqlite:{base}/data/farebox.db"),
                format!("sqlite://{base}/data/farebox.db?mode=rwc"),
                format!("sqlite://{base}/data/../data/./farebox.db"),
                format!("sqlite://{base}/linked/farebox.db"),
                format!("sqlite://{base}/other.db"),
            ] {
                assert_eq!(file_of(&spelled).unwrap(), real, "{spelled}");
            }
        }
        for memory in ["sqlite::memory:", "sqlite://x.db?mode=memory"] {
            assert!(file_of(memory).unwrap_err().to_string().contains("in memory"));
        }
    }

    #[test]
    fn a_files_address_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let folder = fs::canonicalize(folder.path()).unwrap();
        for name in ["farebox.db", "a b%20c.db", "what?.db", "é#.db"] {
            assert_eq!(file_of(&url_of(&folder.join(name))).unwrap(), folder.join(name));
        }
    }

    #[test]
    fn a_used_place_without_a_database_is_no_new_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("farebox.db");
        let kept = [folder.path().join("admin_token"), folder.path().join("quickstart.json")];
        check_before(&database, &kept).unwrap();
        for sign in ["admin_token", "quickstart.json", "farebox.db-wal"] {
            let sign = folder.path().join(sign);
            fs::write(&sign, "something").unwrap();
            for state in [None, Some("")] {
                if let Some(bytes) = state {
                    fs::write(&database, bytes).unwrap();
                }
                let said = check_before(&database, &kept).unwrap_err().to_string();
                assert!(said.contains(&sign.display().to_string()) && said.contains("move these files away"), "{said}");
            }
            fs::remove_file(&database).unwrap();
            fs::remove_file(&sign).unwrap();
        }
        fs::write(folder.path().join("farebox.db-wal"), "").unwrap();
        check_before(&database, &kept).unwrap();
    }
}
