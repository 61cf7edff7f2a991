//! SQLite writes each frame of its write-ahead log in two writes: forty for a usual batch, which took as long as waiting
//! for the disk. Here they are gathered, and written in one piece when the log is synced. A shim of the platform's own VFS
//! ("The SQLite OS Interface or VFS", its section on shims), for the writer's connection alone; no file but the log is
//! touched.
//!
//! What is gathered is nobody's to see before it is written: with `synchronous = FULL` a commit syncs the log before it
//! publishes the commit's frames, and this connection's own reads write what is gathered first.
#![expect(unsafe_code, reason = "SQLite's interface for files is made of pointers to functions")]

use std::{
    ffi::{CStr, c_int, c_void},
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
use std::path::Path;

/// The shim's name.
const NAME: &CStr = c"farebox-frames";
/// Bytes gathered before they are written in any case. The platform's VFS writes at most 128 KiB at once.
const ROOM: usize = 120 * 1024;

/// Opens a connection whose log is written in pieces. It must sync it at every commit: `synchronous = FULL`.
pub(super) fn open(file: &Path) -> Result<Connection, LedgerError> {
    static REGISTERED: OnceLock<c_int> = OnceLock::new();
    match *REGISTERED.get_or_init(register) {
        SQLITE_OK => Ok(Connection::open_with_flags_and_vfs(file, OpenFlags::default(), NAME)?),
        code => Err(LedgerError::Writer(format!("SQLite has no files here: {}", ffi::code_to_str(code)))),
    }
}

/// The platform's VFS with another way to open files.
#[repr(C)]
struct Shim {
    /// First, so that SQLite's pointer to it is one to the shim.
    vfs: sqlite3_vfs,
    platform: *mut sqlite3_vfs,
}

fn register() -> c_int {
    // SAFETY: finding initializes SQLite; what is found lives as long as the process, and so does the shim, which is
    // leaked. All but the way to open is the platform's, with its data.
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

/// A log that is open. SQLite knows a file by its methods, and so do they.
#[repr(C)]
struct Log {
    /// First, so that the file's pointer to its methods is one to the log.
    methods: sqlite3_io_methods,
    platform: *const sqlite3_io_methods,
    /// What is to be written, all of it in a row, and where it begins.
    gathered: Vec<u8>,
    begins_at: i64,
}

/// # Safety
/// As SQLite calls it: the shim's own VFS, and a file of the size it asks for.
unsafe extern "C" fn open_file(
    vfs: *mut sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    opened: *mut c_int,
) -> c_int {
    // SAFETY: the VFS is the one that was registered. What the platform opened has its methods, of which each is called
    // with a file that it made.
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

/// Whether a commit ends with its sync. Where a write may harm what is beside it, SQLite pads the log behind the sync.
///
/// # Safety
/// A file that is open.
unsafe fn is_safe_to_overwrite(file: *mut sqlite3_file) -> bool {
    // SAFETY: the file's own method.
    unsafe {
        (*(*file).pMethods)
            .xDeviceCharacteristics
            .is_some_and(|ask| ask(file) & SQLITE_IOCAP_POWERSAFE_OVERWRITE == SQLITE_IOCAP_POWERSAFE_OVERWRITE)
    }
}

/// # Safety
/// A file whose methods are a log's; nobody else uses it meanwhile, as SQLite promises for a connection's files.
unsafe fn log<'a>(file: *mut sqlite3_file) -> &'a mut Log {
    // SAFETY: the methods are the log's first field, and the pointer was made from one to all of it.
    unsafe { &mut *(*file).pMethods.cast_mut().cast::<Log>() }
}

/// Writes what is gathered. What can't be written is nobody's: its commit fails.
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

/// Writes past what is gathered.
///
/// # Safety
/// As for [`log`], and as many bytes as it says.
unsafe fn pass(file: *mut sqlite3_file, bytes: *const c_void, length: usize, at: i64) -> c_int {
    let Ok(length) = c_int::try_from(length) else { return SQLITE_IOERR_WRITE };
    // SAFETY: as the caller promises.
    unsafe { (*log(file).platform).xWrite.map_or(SQLITE_IOERR_WRITE, |write| write(file, bytes, length, at)) }
}

/// # Safety
/// As SQLite calls it: a file of this shim's, and as many bytes as it says.
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
/// As SQLite calls it: a file of this shim's, and room for as many bytes as it says.
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
/// As SQLite calls it: a file of this shim's.
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
/// As SQLite calls it: a file of this shim's.
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
/// As SQLite calls it: a file of this shim's, and where its size is wanted.
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
/// As SQLite calls it: a file of this shim's, which it does not use again.
unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: as SQLite promises; the log was made by `open_file`, and ends here, where the file is the platform's again.
    unsafe {
        let code = flush(file);
        let log = Box::from_raw((*file).pMethods.cast_mut().cast::<Log>());
        (*file).pMethods = log.platform;
        let closed = (*log.platform).xClose.map_or(ffi::SQLITE_IOERR_CLOSE, |close| close(file));
        if code == SQLITE_OK { closed } else { code }
    }
}
