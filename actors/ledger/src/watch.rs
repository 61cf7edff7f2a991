//! A watch over SQLite's files: whether commits go to the files that the next start will open. SQLite does not check
//! this: if its database is deleted, replaced, truncated or overwritten, it continues with the open file, and
//! everything is lost with the process. The file system's metadata is checked after every commit, before the commit
//! counts as durable. The content is read only after a change that this process did not make.

use std::{
    fs::{self, File, Metadata},
    mem::ManuallyDrop,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use sea_orm::sqlx::{self, ConnectOptions as _, sqlite::SqliteConnectOptions};

use super::place::beside;

/// The first bytes of a database ("Database File Format", chapter 1.3).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// The first bytes of a log, except for the last bit ("Database File Format", chapter 4.1).
const LOG_MAGIC: u32 = 0x377f_0682;
/// The longest time to read a database that another program wrote to.
const READ_FOR: Duration = Duration::from_secs(2);
/// SQLite's steps between two checks of the time.
const STEPS: i32 = 10_000;
/// SQLite's code of an operation that was interrupted.
const INTERRUPTED: &str = "9";

/// The identity of a file.
type Inode = (u64, u64);

fn inode(found: &Metadata) -> Inode {
    (found.dev(), found.ino())
}

/// The last change of a file's content or place.
type Changed = (i64, i64);

fn changed(found: &Metadata) -> Changed {
    (found.ctime(), found.ctime_nsec())
}

/// A file's name. Its folder is left out, because readers of the ledger's health need not know it.
fn name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

/// The known state of the files.
#[derive(Debug, Clone, Copy)]
struct Known {
    changed: Changed,
    bytes: u64,
    log_bytes: u64,
}

/// The watch over a database and its log.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    log: PathBuf,
    file: Inode,
    log_file: Inode,
    /// Never closed: closing any handle of the file would release the locks that SQLite holds on a database (`fcntl`,
    /// POSIX).
    opened: ManuallyDrop<File>,
    log_opened: File,
    known: Mutex<Known>,
    /// The number of guards under which this process writes to the database's file.
    writing: AtomicUsize,
}

/// A guard: while it lives, this process writes to the database's file.
pub(super) struct Writing<'a>(&'a Watch);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if let Ok(found) = fs::metadata(&self.0.path) {
            let mut known = self.0.known();
            known.changed = changed(&found);
            known.bytes = known.bytes.max(found.len());
        }
        self.0.writing.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Watch {
    /// Begins to watch a database whose log is open.
    pub(super) fn begin(path: &Path) -> std::io::Result<Self> {
        let log = beside(path, "-wal");
        let opened = ManuallyDrop::new(File::open(path)?);
        let log_opened = File::open(&log)?;
        let (found, log_found) = (fs::metadata(path)?, fs::metadata(&log)?);
        let known = Known { changed: changed(&found), bytes: found.len(), log_bytes: log_found.len() };
        Ok(Self {
            path: path.to_owned(),
            log,
            file: inode(&found),
            log_file: inode(&log_found),
            opened,
            log_opened,
            known: Mutex::new(known),
            writing: AtomicUsize::new(0),
        })
    }

    /// Marks that this process writes to the database's file, until the guard is dropped.
    pub(super) fn writing(&self) -> Writing<'_> {
        self.writing.fetch_add(1, Ordering::AcqRel);
        Writing(self)
    }

    /// Checks the files, and returns what is wrong with them.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut known = self.known();
        let found = Self::same(&self.path, self.file)?;
        let log_bytes = self.log_bytes()?;
        if found.len() < known.bytes {
            return Err(format!("{} was cut from {} to {} bytes", name(&self.path), known.bytes, found.len()));
        }
        // A guard records the new state when its write ends.
        let is_strange = changed(&found) != known.changed && self.writing.load(Ordering::Acquire) == 0;
        if log_bytes >= 4 {
            self.log_begins()?;
        }
        if is_strange || log_bytes < known.log_bytes {
            self.read()?;
            known.changed = changed(&found);
        }
        (known.bytes, known.log_bytes) = (found.len(), log_bytes);
        Ok(())
    }

    fn same(path: &Path, expected: Inode) -> Result<Metadata, String> {
        match fs::metadata(path) {
            Ok(found) if inode(&found) == expected => Ok(found),
            Ok(_) => Err(replaced(path)),
            Err(error) => Err(unseen(path, &error)),
        }
    }

    /// The length of the write-ahead log, if it is the one that was opened.
    fn log_bytes(&self) -> Result<u64, String> {
        match place_and_bytes(&self.log) {
            Ok((place, bytes)) if place == self.log_file => Ok(bytes),
            Ok(_) => Err(replaced(&self.log)),
            Err(error) => Err(unseen(&self.log, &error)),
        }
    }

    fn log_begins(&self) -> Result<(), String> {
        let mut magic = [0; 4];
        match self.log_opened.read_exact_at(&mut magic, 0) {
            Ok(()) if u32::from_be_bytes(magic) & !1 == LOG_MAGIC => Ok(()),
            Ok(()) => Err(format!("{} was written over", name(&self.log))),
            Err(error) => Err(format!("{} can't be read: {error}", name(&self.log))),
        }
    }

    /// Reads the database as the next start would: the head without SQLite's memory, and the rest by a new connection,
    /// within a short time.
    fn read(&self) -> Result<(), String> {
        let broken = |why: &dyn std::fmt::Display| format!("{} is damaged: {why}", name(&self.path));
        let mut head = [0; 16];
        self.opened.read_exact_at(&mut head, 0).map_err(|error| broken(&error))?;
        if &head != MAGIC {
            return Err(format!("{} was written over", name(&self.path)));
        }
        let path = self.path.clone();
        // The caller may be within tokio, where no other runtime may wait.
        let reading = thread::Builder::new().name("ledger-read".into()).spawn(move || quick_check(&path, READ_FOR));
        let found = reading.map_err(|error| broken(&error))?.join();
        match found.unwrap_or_else(|_| Err("reading it made a thread panic".into())) {
            Ok(said) if said == "ok" => Ok(()),
            Ok(why) | Err(why) => Err(broken(&why)),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last change of the database's file that is known.
    #[cfg(test)]
    pub(super) fn known_change(&self) -> Changed {
        self.known().changed
    }
}

/// A file's identity and length, without its times. On Linux a file whose times were asked for gets finer ones with its
/// next write, and every commit then waits for them too (measured: 30 us of 100).
#[cfg(target_os = "linux")]
fn place_and_bytes(path: &Path) -> std::io::Result<(Inode, u64)> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::INO | StatxFlags::SIZE)?;
    Ok(((makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino), found.stx_size))
}

#[cfg(not(target_os = "linux"))]
fn place_and_bytes(path: &Path) -> std::io::Result<(Inode, u64)> {
    fs::metadata(path).map(|found| (inode(&found), found.len()))
}

fn replaced(path: &Path) -> String {
    format!("{} was replaced by another file", name(path))
}

fn unseen(path: &Path, error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::NotFound {
        return format!("{} was deleted or moved", name(path));
    }
    format!("{} can't be looked at: {error}", name(path))
}

/// Reads a whole database by a new connection, and returns `ok`, or the first fault. A database that can't be read in
/// time counts as sound.
fn quick_check(path: &Path, within: Duration) -> Result<String, String> {
    let until = Instant::now() + within;
    let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(READ_FOR);
    let check = async {
        let mut fresh = options.disable_statement_logging().connect().await?;
        fresh.lock_handle().await?.set_progress_handler(STEPS, move || Instant::now() <= until);
        sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut fresh).await
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
    match runtime.block_on(check) {
        Err(error)
            if error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref() == Some(INTERRUPTED) =>
        {
            Ok("ok".into())
        }
        done => done.map_err(|error: sqlx::Error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::sqlx::SqliteConnection;

    use super::*;

    /// A connection of a program to a database.
    struct Program {
        runtime: tokio::runtime::Runtime,
        connection: Mutex<SqliteConnection>,
    }

    impl Program {
        fn open(file: &Path) -> Self {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
            let connection = Mutex::new(runtime.block_on(options.connect()).unwrap());
            Self { runtime, connection }
        }

        fn run(&self, sql: &'static str) {
            let mut connection = self.connection.lock().unwrap();
            self.runtime.block_on(sqlx::query(sql).execute(&mut *connection)).unwrap();
        }
    }

    struct Stage {
        folder: tempfile::TempDir,
        writer: Program,
        watch: Watch,
    }

    impl Stage {
        /// A database with some hundred pages in its file, and more in its log.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("t.db");
            let writer = Program::open(&file);
            writer.run("PRAGMA journal_mode = WAL");
            writer.run("CREATE TABLE t (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL)");
            writer.run(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) \
                 INSERT INTO t SELECT i, randomblob(900) FROM n",
            );
            writer.run("PRAGMA wal_checkpoint(TRUNCATE)");
            let watch = Watch::begin(&file).unwrap();
            let stage = Self { folder, writer, watch };
            stage.commit();
            stage
        }

        fn commit(&self) {
            self.writer.run("UPDATE t SET bytes = randomblob(901) WHERE id = 1");
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }
    }

    #[test]
    fn what_is_written_here_is_no_surprise() {
        let stage = Stage::new();
        for _ in 0..3 {
            stage.commit();
            stage.watch.check().unwrap();
            let writing = stage.watch.writing();
            stage.writer.run("PRAGMA wal_checkpoint(PASSIVE)");
            stage.watch.check().unwrap();
            drop(writing);
            let known = stage.watch.known_change();
            assert_eq!(known, changed(&fs::metadata(stage.path("t.db")).unwrap()), "noted, not read");
            stage.watch.check().unwrap();
        }
    }

    #[test]
    fn another_program_that_writes_through_sqlite_is_no_fault() {
        let stage = Stage::new();
        let other = Program::open(&stage.path("t.db"));
        other.run("UPDATE t SET bytes = randomblob(7) WHERE id < 100");
        other.run("PRAGMA wal_checkpoint(TRUNCATE)");
        stage.watch.check().unwrap();
        drop(other);
        stage.commit();
        stage.watch.check().unwrap();
    }

    #[test]
    fn files_that_are_not_what_they_were_are_seen() {
        type Harm = fn(&Stage);
        let harms: [(&str, Harm, &str); 9] = [
            ("deleted", |stage| fs::remove_file(stage.path("t.db")).unwrap(), "deleted or moved"),
            ("moved", |stage| fs::rename(stage.path("t.db"), stage.path("u.db")).unwrap(), "deleted or moved"),
            (
                "replaced by a copy",
                |stage| {
                    fs::copy(stage.path("t.db"), stage.path("u.db")).unwrap();
                    fs::rename(stage.path("u.db"), stage.path("t.db")).unwrap();
                },
                "replaced",
            ),
            ("emptied", |stage| drop(File::create(stage.path("t.db")).unwrap()), "was cut"),
            (
                "cut in half",
                |stage| File::options().write(true).open(stage.path("t.db")).unwrap().set_len(100_000).unwrap(),
                "was cut",
            ),
            (
                "written over from its head",
                |stage| {
                    let file = File::options().write(true).open(stage.path("t.db")).unwrap();
                    file.write_all_at(&[0xa5; 8_192], 0).unwrap();
                },
                "written over",
            ),
            (
                "written over in its midst",
                |stage| {
                    let file = File::options().write(true).open(stage.path("t.db")).unwrap();
                    file.write_all_at(&vec![0xa5; 65_536], 131_072).unwrap();
                },
                "damaged",
            ),
            ("without its log", |stage| fs::remove_file(stage.path("t.db-wal")).unwrap(), "deleted or moved"),
            (
                "a log that is written over",
                |stage| {
                    let file = File::options().write(true).open(stage.path("t.db-wal")).unwrap();
                    file.write_all_at(&[0; 64], 0).unwrap();
                },
                "written over",
            ),
        ];
        for (what, harm, said) in harms {
            let stage = Stage::new();
            stage.watch.check().unwrap();
            harm(&stage);
            let found = stage.watch.check().expect_err(what);
            assert!(found.contains(said), "{what}: {found}");
        }
    }

    #[test]
    fn a_database_that_takes_long_to_read_counts_as_sound() {
        let stage = Stage::new();
        stage.writer.run(
            "WITH RECURSIVE n(i) AS (SELECT 501 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
             INSERT INTO t SELECT i, x'00' FROM n",
        );
        assert_eq!(quick_check(&stage.path("t.db"), Duration::ZERO).unwrap(), "ok");
    }

    #[tokio::test]
    async fn a_database_is_read_within_a_runtime_too() {
        let stage = thread::spawn(Stage::new).join().unwrap();
        drop(File::options().append(true).open(stage.path("t.db")).unwrap().set_len(10_000_000));
        stage.watch.check().unwrap();
        thread::spawn(move || drop(stage)).join().unwrap();
    }

    #[test]
    fn a_file_that_came_back_is_well_again() {
        let stage = Stage::new();
        fs::rename(stage.path("t.db"), stage.path("u.db")).unwrap();
        stage.watch.check().unwrap_err();
        fs::rename(stage.path("u.db"), stage.path("t.db")).unwrap();
        stage.watch.check().unwrap();
    }
}
