//! Captures that wait for the ledger, in a file: what a request costs is not lost with its process while the database is
//! away. The file stands in the data folder, is written and synced by a thread, and is this process's alone: it is locked.
//! Files of processes that are gone are taken over. Whether a capture was made already, the ledger alone knows.

mod frames;
mod thread;

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use billing::{
    entry::UsageRecord,
    ids::{AccountId, RequestId},
};
use tokio::sync::{oneshot, watch};

use thread::{Order, Thread};

/// The most captures that wait, and the most bytes of the file.
const MOST: usize = 100_000;
const MOST_BYTES: u64 = 256 << 20;

/// Why a capture does not wait in the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSpooled {
    /// As many wait as may.
    #[error("the file of captures is full")]
    Full,
    /// The file can't be written.
    #[error("the file of captures can't be written: {0}")]
    Unwritten(String),
}

/// A capture that waits.
pub type Capture = (AccountId, Arc<UsageRecord>);

/// What waits. A capture is here once it is on disk.
#[derive(Debug)]
struct Waiting {
    captures: Mutex<BTreeMap<RequestId, Capture>>,
    /// How many wait.
    count: watch::Sender<usize>,
}

impl Waiting {
    fn look<R>(&self, look: impl FnOnce(&BTreeMap<RequestId, Capture>) -> R) -> R {
        look(&self.captures.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<R>(&self, change: impl FnOnce(&mut BTreeMap<RequestId, Capture>) -> R) -> R {
        let mut captures = self.captures.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut captures);
        self.count.send_replace(captures.len());
        changed
    }
}

#[derive(Debug)]
struct Inner {
    waiting: Arc<Waiting>,
    /// Whether the process ends, so that nothing is waited for.
    hurries: watch::Sender<bool>,
    orders: mpsc::Sender<Order>,
    most: usize,
}

/// The captures that wait. Clones share them.
#[derive(Debug, Clone)]
pub struct Spool(Arc<Inner>);

impl Spool {
    /// The captures of a folder, which is made when the first one waits. Those that processes left which are gone wait again.
    ///
    /// # Errors
    ///
    /// A file of a process that is gone can't be read, or what it has can't be written again; or there is no thread.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        Self::with_limits(folder, MOST, MOST_BYTES)
    }

    fn with_limits(folder: PathBuf, most: usize, most_bytes: u64) -> io::Result<Self> {
        let waiting = Arc::new(Waiting { captures: Mutex::default(), count: watch::Sender::new(0) });
        let mut thread = Thread::new(folder, most_bytes, Arc::clone(&waiting));
        thread.take_over()?;
        let (orders, ordered) = mpsc::channel();
        std::thread::Builder::new().name("captures".into()).spawn(move || thread.run(&ordered))?;
        Ok(Self(Arc::new(Inner { waiting, hurries: watch::Sender::new(false), orders, most })))
    }

    /// Has a capture wait. Returns once it is on disk.
    ///
    /// # Errors
    ///
    /// See [`NotSpooled`]. Nothing waits then.
    pub async fn put(&self, account_id: AccountId, record: UsageRecord) -> Result<(), NotSpooled> {
        if self.count() >= self.0.most {
            return Err(NotSpooled::Full);
        }
        let (reply, written) = oneshot::channel();
        // Without the thread, or where it died, there is no answer.
        let _ = self.0.orders.send(Order::Put(account_id, Arc::new(record), reply));
        written.await.unwrap_or_else(|_| Err(NotSpooled::Unwritten("its thread is gone".to_owned())))
    }

    /// A capture is in the ledger, or can never be.
    pub fn over(&self, id: RequestId) {
        self.0.waiting.change(|captures| captures.remove(&id));
        // Without the thread it is read again at the next start, and the ledger knows it then.
        let _ = self.0.orders.send(Order::Over(id));
    }

    /// Takes over what processes have left since that are gone.
    pub fn take_over(&self) {
        let _ = self.0.orders.send(Order::TakeOver);
    }

    /// Whether a request's capture waits.
    pub fn has(&self, id: RequestId) -> bool {
        self.0.waiting.look(|captures| captures.contains_key(&id))
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        *self.0.waiting.count.borrow()
    }

    /// All that wait, the earliest requests first.
    pub fn waiting(&self) -> Vec<Capture> {
        self.0.waiting.look(|captures| captures.values().cloned().collect())
    }

    /// Returns once some wait.
    pub async fn has_some(&self) {
        let mut count = self.0.waiting.count.subscribe();
        // The sender is this value's own.
        let _ = count.wait_for(|count| *count > 0).await;
    }

    /// The process ends: captures that can't be made at once are to wait here.
    pub fn hurry(&self) {
        self.0.hurries.send_replace(true);
    }

    /// Returns once the process ends.
    pub async fn hurried(&self) {
        let mut hurries = self.0.hurries.subscribe();
        let _ = hurries.wait_for(|hurries| *hurries).await;
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{frames::tests::record, *};

    const ACCOUNT: AccountId = AccountId(Uuid::from_u128(7));

    fn folder() -> PathBuf {
        std::env::temp_dir().join(format!("farebox-captures-{}", Uuid::new_v4()))
    }

    fn files(folder: &PathBuf) -> Vec<u64> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap());
        entries.map(|entry| entry.metadata().unwrap().len()).collect()
    }

    fn ids(spool: &Spool) -> Vec<u128> {
        spool.waiting().iter().map(|(_, record)| record.request_id.0.as_u128()).collect()
    }

    /// Waits for the thread, which ends with the last handle.
    async fn ended(spool: Spool, folder: &PathBuf) {
        drop(spool);
        let free = || {
            let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            entries.into_iter().all(|path| std::fs::File::open(path).unwrap().try_lock().is_ok())
        };
        while !free() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn what_waits_is_there_after_the_process_and_what_is_over_is_not() {
        let folder = folder();
        let spool = Spool::open(folder.clone()).unwrap();
        assert!(files(&folder).is_empty(), "nothing is written before something waits");
        for number in [3, 1, 2] {
            spool.put(ACCOUNT, record(number)).await.unwrap();
        }
        spool.over(record(1).request_id);
        assert_eq!((ids(&spool), spool.count()), (vec![2, 3], 2));
        // A process beside it takes nothing of it.
        let beside = Spool::open(folder.clone()).unwrap();
        assert_eq!((beside.count(), files(&folder).len()), (0, 1));
        ended(spool, &folder).await;

        let next = Spool::open(folder.clone()).unwrap();
        assert_eq!((ids(&next), next.waiting()[0].0), (vec![2, 3], ACCOUNT));
        assert_eq!(*next.waiting()[0].1, record(2));
        assert!(next.has(record(3).request_id) && !next.has(record(1).request_id));
        assert_eq!(files(&folder).len(), 1, "the old file is gone");
        next.over(record(2).request_id);
        next.over(record(3).request_id);
        ended(next, &folder).await;
        let last = Spool::open(folder.clone()).unwrap();
        assert_eq!((last.count(), files(&folder).len()), (0, 0));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn what_is_beyond_a_limit_is_refused_and_does_not_wait() {
        let folder = folder();
        let spool = Spool::with_limits(folder.clone(), 2, 4_000).unwrap();
        for number in 0..2 {
            spool.put(ACCOUNT, record(number)).await.unwrap();
        }
        assert_eq!(spool.put(ACCOUNT, record(9)).await, Err(NotSpooled::Full));
        assert_eq!(ids(&spool), [0, 1]);
        spool.over(record(0).request_id);
        let mut put = 10;
        while spool.put(ACCOUNT, record(put)).await.is_ok() {
            spool.over(record(put).request_id);
            put += 1;
            assert!(put < 100, "the file grows beyond its limit");
        }
        assert_eq!(ids(&spool), [1], "what was refused does not wait");
        // Once nothing waits, the file begins anew.
        spool.over(record(1).request_id);
        spool.put(ACCOUNT, record(5)).await.unwrap();
        assert_eq!(ids(&spool), [5]);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_folder_that_can_not_be_written_is_told() {
        let folder = folder();
        std::fs::write(&folder, "no folder").unwrap();
        let spool = Spool::with_limits(folder.join("below"), 2, 4_000).unwrap();
        let refused = spool.put(ACCOUNT, record(1)).await;
        assert!(matches!(refused, Err(NotSpooled::Unwritten(_))), "{refused:?}");
        assert_eq!(spool.count(), 0);
        std::fs::remove_file(folder).unwrap();
    }
}
