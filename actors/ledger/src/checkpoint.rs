//! Checkpoints of SQLite's log by a thread of their own: most of the log while batches are written, the rest between
//! two batches. SQLite's own checkpoint runs within the batch that fills the log, and delays all callers by tens of
//! milliseconds.

use std::{
    cell::Cell,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
        mpsc,
    },
};

use rusqlite::Connection;
use tokio::sync::Mutex as FairMutex;

use super::{LedgerError, watch::Watch, writer::BUSY};

/// Pages in the log before a checkpoint. Pages that many batches write are copied and synced once. 64 MiB; SQLite's own
/// default is 4.
const DUE: i32 = 16_000;
/// Further pages before the next attempt, if a long read kept a checkpoint from finishing.
const AGAIN: i32 = 1_000;

thread_local! {
    /// Pages in the log after the last commit of this thread.
    static PAGES: Cell<i32> = const { Cell::new(0) };
}

/// Replaces SQLite's own checkpoints for a connection.
pub(super) fn take_over(connection: &Connection) {
    // SQLite's own checkpoint is such a hook too, and is replaced.
    connection.wal_hook(Some(|_, pages| {
        PAGES.set(pages);
        Ok(())
    }));
}

/// Requests checkpoints when they are due.
#[derive(Debug)]
pub(super) struct Checkpoints {
    ask: mpsc::SyncSender<()>,
    due: AtomicI32,
}

impl Checkpoints {
    /// Starts the thread. Code that commits with `writer`'s connection must call `look` afterwards.
    pub(super) fn start(
        file: &Path,
        writer: Arc<FairMutex<Connection>>,
        watch: Arc<Watch>,
    ) -> Result<Self, LedgerError> {
        let beside = Connection::open(file)?;
        beside.busy_timeout(BUSY)?;
        beside.pragma_update(None, "synchronous", "FULL")?;
        let (ask, asked) = mpsc::sync_channel(1);
        let run = move || {
            while asked.recv().is_ok() {
                // A damaged database is not written to.
                let sound = watch.check().map_err(LedgerError::Away);
                if let Err(error) = sound.and_then(|()| Ok(bring_in(&beside, &writer, &watch)?)) {
                    tracing::warn!(%error, "SQLite's log could not be brought into the database; it grows");
                }
            }
        };
        std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(run)
            .map_err(|error| LedgerError::Writer(error.to_string()))?;
        Ok(Self { ask, due: AtomicI32::new(DUE) })
    }

    /// Requests a checkpoint after a commit of this thread, if one is due.
    pub(super) fn look(&self) {
        let pages = PAGES.get();
        if pages < DUE {
            self.due.store(DUE, Ordering::Relaxed);
        } else if pages >= self.due.load(Ordering::Relaxed) {
            self.due.store(pages.saturating_add(AGAIN), Ordering::Relaxed);
            // A request that is already waiting is enough.
            let _ = self.ask.try_send(());
        }
    }
}

/// Checkpoints the log. Once all of it is in the database, the next commit starts the log from its beginning.
fn bring_in(beside: &Connection, writer: &FairMutex<Connection>, watch: &Watch) -> rusqlite::Result<()> {
    pass(beside, watch)?;
    let _turn = writer.blocking_lock();
    pass(beside, watch)
}

/// Checkpoints the whole log and empties it. An error if a reader still uses the log.
pub(super) fn truncate(connection: &Connection) -> Result<(), LedgerError> {
    let is_busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if is_busy {
        return Err(LedgerError::Writer("SQLite's log is still read".into()));
    }
    Ok(())
}

/// Checkpoints the pages that no reader needs, without waiting for anyone.
fn pass(beside: &Connection, watch: &Watch) -> rusqlite::Result<()> {
    let _writing = watch.writing();
    beside.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?.query_row([], |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    struct Load {
        folder: tempfile::TempDir,
        writer: Arc<FairMutex<Connection>>,
        checkpoints: Checkpoints,
    }

    impl Load {
        fn start() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("t.db");
            let connection = Connection::open(&file).unwrap();
            connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
            connection.pragma_update(None, "synchronous", "OFF").unwrap();
            connection.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL)").unwrap();
            take_over(&connection);
            let writer = Arc::new(FairMutex::new(connection));
            let watch = Arc::new(Watch::begin(&file).unwrap());
            let checkpoints = Checkpoints::start(&file, Arc::clone(&writer), watch).unwrap();
            Self { folder, writer, checkpoints }
        }

        /// Makes a number of commits of about 100 pages.
        fn commit(&self, count: usize) {
            for _ in 0..count {
                let connection = self.writer.blocking_lock();
                connection.execute("REPLACE INTO t VALUES (1, zeroblob(400000))", []).unwrap();
                drop(connection);
                self.checkpoints.look();
            }
        }

        fn log_pages(&self) -> u64 {
            std::fs::metadata(self.folder.path().join("t.db-wal")).unwrap().len() / 4_120
        }

        /// The pages of the log in use.
        fn used(&self) -> i32 {
            self.commit(1);
            PAGES.get()
        }

        /// Commits until the log starts from its beginning.
        fn begins_anew(&self) -> bool {
            let until = Instant::now() + Duration::from_secs(20);
            while Instant::now() < until {
                if self.used() < DUE {
                    return true;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            false
        }
    }

    #[test]
    fn a_log_that_is_written_all_the_time_does_not_grow() {
        let load = Load::start();
        let mut fell = 0;
        let mut last = 0;
        // Ten times the pages that make a checkpoint due.
        for _ in 0..1_600 {
            load.commit(1);
            let pages = PAGES.get();
            fell += usize::from(pages < last);
            last = pages;
            // The time in which a batch would wait for its disk.
            std::thread::sleep(Duration::from_micros(300));
        }
        assert!(fell >= 2, "it began anew {fell} times");
        let most = u64::try_from(DUE).unwrap() * 4;
        assert!(load.log_pages() < most, "{} pages", load.log_pages());
    }

    #[test]
    fn a_long_reading_keeps_the_log_until_it_ends() {
        let load = Load::start();
        load.commit(1);
        let reader = Connection::open(load.folder.path().join("t.db")).unwrap();
        reader.execute_batch("BEGIN").unwrap();
        let read = || -> i64 { reader.query_row("SELECT COUNT(*) FROM t", [], |row| row.get(0)).unwrap() };
        assert_eq!(read(), 1);
        load.commit(200);
        std::thread::sleep(Duration::from_millis(200));
        assert!(load.used() > DUE, "what is read was overwritten");
        assert_eq!(read(), 1);
        reader.execute_batch("COMMIT").unwrap();
        // The checkpoint is tried again every thousand pages.
        assert!(load.begins_anew());
    }
}
