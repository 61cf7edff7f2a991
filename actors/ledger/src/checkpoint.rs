//! SQLite's log, brought into the database by a thread beside the writer's: most of it while batches are written, the
//! rest between two of them. SQLite's own way is that the batch which fills the log does all of it, and keeps everyone
//! waiting for tens of milliseconds.

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

/// Pages of the log after which they are brought into the database: what many batches write again and again is written
/// there once, and synced once. 64 MiB; SQLite's own default is 4.
const DUE: i32 = 16_000;
/// Pages more after which it is tried again, where a long reading kept it from being finished.
const AGAIN: i32 = 1_000;

thread_local! {
    /// Pages in the log after the last commit of this thread.
    static PAGES: Cell<i32> = const { Cell::new(0) };
}

/// Takes it over from SQLite for a connection.
pub(super) fn take_over(connection: &Connection) {
    // In place of SQLite's own, which is such a hook too.
    connection.wal_hook(Some(|_, pages| {
        PAGES.set(pages);
        Ok(())
    }));
}

/// Has the log brought in when it is due.
#[derive(Debug)]
pub(super) struct Checkpoints {
    ask: mpsc::SyncSender<()>,
    due: AtomicI32,
}

impl Checkpoints {
    /// Starts the thread. The code that commits with `writer`'s connection calls `look` afterwards.
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
                // What is damaged is not written to.
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

    /// Looks, after a commit of this thread, whether it is time.
    pub(super) fn look(&self) {
        let pages = PAGES.get();
        if pages < DUE {
            self.due.store(DUE, Ordering::Relaxed);
        } else if pages >= self.due.load(Ordering::Relaxed) {
            self.due.store(pages.saturating_add(AGAIN), Ordering::Relaxed);
            // Where it is asked already, or at it, that will do.
            let _ = self.ask.try_send(());
        }
    }
}

/// Once nothing is left of it that is not in the database, the next commit begins the log anew.
fn bring_in(beside: &Connection, writer: &FairMutex<Connection>, watch: &Watch) -> rusqlite::Result<()> {
    pass(beside, watch)?;
    let _turn = writer.blocking_lock();
    pass(beside, watch)
}

/// Brings all of it in, and empties the log. An error where somebody still reads what is in it.
pub(super) fn truncate(connection: &Connection) -> Result<(), LedgerError> {
    let is_busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if is_busy {
        return Err(LedgerError::Writer("SQLite's log is still read".into()));
    }
    Ok(())
}

/// Brings in what no reader still needs to be where it is, and waits for nobody.
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

        /// Commits of about 100 pages, so many.
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

        /// Pages of the log that are in use.
        fn used(&self) -> i32 {
            self.commit(1);
            PAGES.get()
        }

        /// Commits until the log begins anew.
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
        // Ten times what makes it due.
        for _ in 0..1_600 {
            load.commit(1);
            let pages = PAGES.get();
            fell += usize::from(pages < last);
            last = pages;
            // As a batch waits for its disk.
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
        // It is tried again each thousand pages.
        assert!(load.begins_anew());
    }
}
