//! SQLite writes each frame of its write-ahead log in two writes: forty for a usual batch, which took as long as the
//! sync of the disk. This shim of the platform's VFS ("The SQLite OS Interface or VFS", its section on shims) buffers
//! them, and writes them in one piece when the log is synced. Only the writer's connection uses it, and only for the
//! log.
//!
//! No other connection needs the buffered frames before they are written: with `synchronous = FULL` a commit syncs the
//! log before it publishes its frames, and this connection's own reads flush the buffer first.
#![expect(unsafe_code, reason = "SQLite's interface for files is made of pointers to functions")]

use std::{
    ffi::{CStr, c_int, c_void},
    path::Path,
    sync::OnceLock,
};

use rusqlite::{
    Connection, OpenFlags,
    ffi::{
        self, SQLITE_IOCAP_POWERSAFE_OVERWRITE, SQLITE_IOERR_WRITE, SQLITE_OK, SQLITE_OPEN_WAL, sqlite3_file,
        sqlite3_io_methods, sqlite3_vfs,
    },
};

use super::LedgerError;

/// The shim's name.
const NAME: &CStr = c"farebox-frames";
/// The size of the buffer in bytes. A full buffer is written at once. The platform's VFS writes at most 128 KiB at a
/// time.
const ROOM: usize = 120 * 1024;

/// Opens a connection with a buffered log. The connection must sync the log at every commit: `synchronous = FULL`.
pub(super) fn open(file: &Path) -> Result<Connection, LedgerError> {
    static REGISTERED: OnceLock<c_int> = OnceLock::new();
    match *REGISTERED.get_or_init(register) {
        SQLITE_OK => Ok(Connection::open_with_flags_and_vfs(file, OpenFlags::default(), NAME)?),
        code => Err(LedgerError::Writer(format!("SQLite has no files here: {}", ffi::code_to_str(code)))),
    }
}

/// The platform's VFS with its own function to open files.
#[repr(C)]
struct Shim {
    /// The first field, so that SQLite's pointer to the VFS is a pointer to the shim.
    vfs: sqlite3_vfs,
    platform: *mut sqlite3_vfs,
}

fn register() -> c_int {
    // SAFETY: finding a VFS initializes SQLite. The VFS found lives as long as the process, as does the shim, which is
    // leaked. All functions but the one to open files are the platform's, with its data.
    unsafe {
        let platform = ffi::sqlite3_vfs_find(std::ptr::null());
        if platform.is_null() {
            return ffi::SQLITE_ERROR;
        }
        let mut vfs = *platform;
        vfs.pNext = std::ptr::null_mut();
        vfs.zName = NAME.as_ptr();
        vfs.xOpen = Some(open_file);
        let shim = Box::into_raw(Box::new(Shim { vfs, platform }));
        ffi::sqlite3_vfs_register(shim.cast(), 0)
    }
}

/// An open log. SQLite identifies a file by its methods, as do these functions.
#[repr(C)]
struct Log {
    /// The first field, so that the file's pointer to its methods is a pointer to the log.
    methods: sqlite3_io_methods,
    platform: *const sqlite3_io_methods,
    /// Consecutive bytes to be written, and their offset.
    gathered: Vec<u8>,
    begins_at: i64,
}

/// # Safety
/// Called by SQLite, with the shim's own VFS and a file of the size that the VFS asks for.
unsafe extern "C" fn open_file(
    vfs: *mut sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    opened: *mut c_int,
) -> c_int {
    // SAFETY: the VFS is the one that was registered. A file opened by the platform has the platform's methods, which
    // are called only with such files.
    unsafe {
        let platform = (*vfs.cast::<Shim>()).platform;
        let Some(open) = (*platform).xOpen else { return ffi::SQLITE_CANTOPEN };
        let code = open(platform, name, file, flags, opened);
        if code == SQLITE_OK && flags & SQLITE_OPEN_WAL != 0 && is_safe_to_overwrite(file) {
            let platform = (*file).pMethods;
            let methods = sqlite3_io_methods {
                xClose: Some(close),
                xRead: Some(read),
                xWrite: Some(write),
                xTruncate: Some(truncate),
                xSync: Some(sync),
                xFileSize: Some(file_size),
                ..*platform
            };
            let log = Log { methods, platform, gathered: Vec::with_capacity(ROOM), begins_at: 0 };
            (*file).pMethods = Box::into_raw(Box::new(log)).cast();
        }
        code
    }
}

/// Whether a commit ends with its sync. Where a write may damage neighbouring bytes, SQLite pads the log after the
/// sync.
///
/// # Safety
/// The file is open.
unsafe fn is_safe_to_overwrite(file: *mut sqlite3_file) -> bool {
    // SAFETY: the file's own method.
    unsafe {
        (*(*file).pMethods)
            .xDeviceCharacteristics
            .is_some_and(|ask| ask(file) & SQLITE_IOCAP_POWERSAFE_OVERWRITE == SQLITE_IOCAP_POWERSAFE_OVERWRITE)
    }
}

/// # Safety
/// The file's methods are a log's, and the file is not used concurrently, as SQLite promises for a connection's files.
unsafe fn log<'a>(file: *mut sqlite3_file) -> &'a mut Log {
    // SAFETY: the methods are the log's first field, and the pointer was made from a pointer to the whole log.
    unsafe { &mut *(*file).pMethods.cast_mut().cast::<Log>() }
}

/// Writes the buffer. If the write fails the bytes are dropped, and their commit fails.
///
/// # Safety
/// As for [`log`].
unsafe fn flush(file: *mut sqlite3_file) -> c_int {
    // SAFETY: as the caller promises; the bytes outlive the call.
    unsafe {
        let log = log(file);
        if log.gathered.is_empty() {
            return SQLITE_OK;
        }
        let code = pass(file, log.gathered.as_ptr().cast(), log.gathered.len(), log.begins_at);
        log.gathered.clear();
        code
    }
}

/// Writes bytes without the buffer.
///
/// # Safety
/// As for [`log`], and `bytes` has `length` bytes.
unsafe fn pass(file: *mut sqlite3_file, bytes: *const c_void, length: usize, at: i64) -> c_int {
    let Ok(length) = c_int::try_from(length) else { return SQLITE_IOERR_WRITE };
    // SAFETY: as the caller promises.
    unsafe { (*log(file).platform).xWrite.map_or(SQLITE_IOERR_WRITE, |write| write(file, bytes, length, at)) }
}

/// # Safety
/// Called by SQLite, with a file of this shim and `length` bytes.
unsafe extern "C" fn write(file: *mut sqlite3_file, bytes: *const c_void, length: c_int, at: i64) -> c_int {
    let Ok(length) = usize::try_from(length) else { return SQLITE_IOERR_WRITE };
    // SAFETY: as SQLite promises.
    unsafe {
        let known = log(file);
        let ends_at =
            i64::try_from(known.gathered.len()).ok().and_then(|gathered| known.begins_at.checked_add(gathered));
        if ends_at != Some(at) || known.gathered.len() + length > ROOM {
            let code = flush(file);
            if code != SQLITE_OK {
                return code;
            }
        }
        if length > ROOM {
            return pass(file, bytes, length, at);
        }
        let known = log(file);
        if known.gathered.is_empty() {
            known.begins_at = at;
        }
        known.gathered.extend_from_slice(std::slice::from_raw_parts(bytes.cast::<u8>(), length));
        SQLITE_OK
    }
}

/// # Safety
/// Called by SQLite, with a file of this shim and room for `length` bytes.
unsafe extern "C" fn read(file: *mut sqlite3_file, into: *mut c_void, length: c_int, at: i64) -> c_int {
    // SAFETY: as SQLite promises.
    unsafe {
        match flush(file) {
            SQLITE_OK => {
                (*log(file).platform).xRead.map_or(ffi::SQLITE_IOERR_READ, |read| read(file, into, length, at))
            }
            code => code,
        }
    }
}

/// # Safety
/// Called by SQLite, with a file of this shim.
unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: i64) -> c_int {
    // SAFETY: as SQLite promises.
    unsafe {
        match flush(file) {
            SQLITE_OK => (*log(file).platform).xTruncate.map_or(ffi::SQLITE_IOERR_TRUNCATE, |cut| cut(file, size)),
            code => code,
        }
    }
}

/// # Safety
/// Called by SQLite, with a file of this shim.
unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: as SQLite promises.
    unsafe {
        match flush(file) {
            SQLITE_OK => (*log(file).platform).xSync.map_or(ffi::SQLITE_IOERR_FSYNC, |sync| sync(file, flags)),
            code => code,
        }
    }
}

/// # Safety
/// Called by SQLite, with a file of this shim and a place for the size.
unsafe extern "C" fn file_size(file: *mut sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: as SQLite promises.
    unsafe {
        match flush(file) {
            SQLITE_OK => (*log(file).platform).xFileSize.map_or(ffi::SQLITE_IOERR_FSTAT, |ask| ask(file, size)),
            code => code,
        }
    }
}

/// # Safety
/// Called by SQLite, with a file of this shim that is not used again.
unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: as SQLite promises. The log was made by `open_file` and is freed here, where the file gets the platform's
    // methods back.
    unsafe {
        let code = flush(file);
        let log = Box::from_raw((*file).pMethods.cast_mut().cast::<Log>());
        (*file).pMethods = log.platform;
        let closed = (*log.platform).xClose.map_or(ffi::SQLITE_IOERR_CLOSE, |close| close(file));
        if code == SQLITE_OK { closed } else { code }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use proptest::prelude::*;

    use super::*;

    type Table = BTreeMap<i64, Vec<u8>>;

    #[derive(Debug, Clone)]
    enum Step {
        Put(i64, usize),
        Delete(i64),
        /// Puts within a savepoint, which is kept or rolled back.
        Inner(Vec<(i64, usize)>, bool),
    }

    #[derive(Debug, Clone)]
    struct Transaction {
        steps: Vec<Step>,
        is_committed: bool,
        /// A checkpoint afterwards, by this connection or another.
        checkpoint: Option<(bool, &'static str)>,
    }

    fn put() -> impl Strategy<Value = (i64, usize)> {
        (0..40_i64, prop_oneof![3 => 0..300_usize, 1 => 3_000..40_000_usize])
    }

    fn transaction() -> impl Strategy<Value = Transaction> {
        let step = prop_oneof![
            4 => put().prop_map(|(key, size)| Step::Put(key, size)),
            1 => (0..40_i64).prop_map(Step::Delete),
            1 => (prop::collection::vec(put(), 1..6), any::<bool>()).prop_map(|(puts, kept)| Step::Inner(puts, kept)),
        ];
        let checkpoint =
            prop::option::weighted(0.2, (any::<bool>(), prop::sample::select(&["PASSIVE", "RESTART", "TRUNCATE"])));
        (prop::collection::vec(step, 1..12), prop::bool::weighted(0.8), checkpoint)
            .prop_map(|(steps, is_committed, checkpoint)| Transaction { steps, is_committed, checkpoint })
    }

    /// A connection like the writer's, with a cache so small that transactions spill into the log before they end.
    fn small(file: &Path) -> Connection {
        let connection = open(file).unwrap();
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
        connection.pragma_update(None, "synchronous", "FULL").unwrap();
        connection.pragma_update(None, "cache_size", 4).unwrap();
        connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        connection.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL)").unwrap();
        connection
    }

    fn table(connection: &Connection) -> Table {
        let mut rows = connection.prepare("SELECT id, bytes FROM t").unwrap();
        rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    }

    fn set(connection: &Connection, known: &mut Table, key: i64, size: usize) {
        // The new bytes differ from the old ones, so that an old page is not mistaken for the new one.
        let was = known.get(&key).and_then(|bytes| bytes.first()).copied().unwrap_or(0);
        let bytes = vec![was.wrapping_add(1); size + 1];
        connection.execute("REPLACE INTO t VALUES (?, ?)", (key, &bytes)).unwrap();
        known.insert(key, bytes);
    }

    fn run(connection: &Connection, known: &Table, transaction: &Transaction) -> Table {
        let mut after = known.clone();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        for step in &transaction.steps {
            match step {
                Step::Put(key, size) => set(connection, &mut after, *key, *size),
                Step::Delete(key) => {
                    connection.execute("DELETE FROM t WHERE id = ?", [key]).unwrap();
                    after.remove(key);
                }
                Step::Inner(puts, kept) => {
                    let before = after.clone();
                    connection.execute_batch("SAVEPOINT inside").unwrap();
                    for (key, size) in puts {
                        set(connection, &mut after, *key, *size);
                    }
                    if !kept {
                        connection.execute_batch("ROLLBACK TO inside").unwrap();
                        after = before;
                    }
                    connection.execute_batch("RELEASE inside").unwrap();
                }
            }
        }
        // The connection's own reads see the buffered frames.
        assert_eq!(table(connection), after);
        connection.execute_batch(if transaction.is_committed { "COMMIT" } else { "ROLLBACK" }).unwrap();
        if transaction.is_committed { after } else { known.clone() }
    }

    /// The table that another process would find if this one were killed now.
    fn found_later(folder: &Path) -> Table {
        let copy = folder.join("copy");
        fs::create_dir_all(&copy).unwrap();
        for name in ["t.db", "t.db-wal"] {
            fs::copy(folder.join(name), copy.join(name)).unwrap();
        }
        let connection = Connection::open(copy.join("t.db")).unwrap();
        let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(verdict, "ok");
        table(&connection)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn what_was_committed_is_in_the_files(transactions in prop::collection::vec(transaction(), 1..25)) {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("t.db");
            let writer = small(&file);
            let reader = Connection::open(&file).unwrap();
            let mut known = Table::new();
            for transaction in &transactions {
                known = run(&writer, &known, transaction);
                prop_assert_eq!(&found_later(folder.path()), &known);
                prop_assert_eq!(&table(&reader), &known);
                if let Some((by_writer, mode)) = transaction.checkpoint {
                    let connection = if by_writer { &writer } else { &reader };
                    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(())).unwrap();
                    prop_assert_eq!(&found_later(folder.path()), &known);
                }
            }
        }
    }

    #[test]
    fn a_log_is_written_when_it_is_synced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.db");
        let writer = small(&file);
        let length = || fs::metadata(folder.path().join("t.db-wal")).unwrap().len();
        let before = length();
        writer.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut known = Table::new();
        // Twenty pages, with a cache of four.
        (0..20).for_each(|key| set(&writer, &mut known, key, 3_500));
        assert_eq!(length(), before);
        writer.execute_batch("COMMIT").unwrap();
        assert!(length() >= before + 20 * 4_096, "{before} bytes, then {}", length());
        assert_eq!(found_later(folder.path()), known);
    }

    #[test]
    fn more_than_is_gathered_at_once_is_one_commit_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.db");
        let writer = small(&file);
        let mut known = Table::new();
        writer.execute_batch("BEGIN IMMEDIATE").unwrap();
        (0..200).for_each(|key| set(&writer, &mut known, key, 3_500));
        assert_eq!(found_later(folder.path()), Table::new());
        writer.execute_batch("COMMIT").unwrap();
        assert_eq!(found_later(folder.path()), known);
    }
}
