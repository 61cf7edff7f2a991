//! How far the tables are behind the log. Whoever reads the tables waits until they have everything that was appended
//! before the read began, so that a read sees its own writes. The projector is told that somebody waits. What is appended
//! is counted in the order of this process, whichever shards' rows it is.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};

use super::LedgerError;

/// How long a read waits for the tables.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Inner {
    /// The number of the last append.
    appended: AtomicU64,
    /// The number of the last append that the tables have.
    projected: watch::Sender<u64>,
    /// A copy of `projected`, which every read looks at.
    known: AtomicU64,
    /// Readers that wait.
    waiting: AtomicUsize,
    /// Notified when a reader begins to wait.
    wanted: Notify,
    /// When the tables last moved, or fell behind.
    moved_at: Mutex<Instant>,
}

/// A handle; clones share the progress.
#[derive(Debug, Clone)]
pub struct Progress(Arc<Inner>);

impl Default for Progress {
    fn default() -> Self {
        Self(Arc::new(Inner {
            appended: AtomicU64::new(0),
            projected: watch::channel(0).0,
            known: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            wanted: Notify::new(),
            moved_at: Mutex::new(Instant::now()),
        }))
    }
}

/// A reader that waits, however its wait ends.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Progress {
    /// The number of the last append.
    pub fn last(&self) -> u64 {
        self.0.appended.load(Ordering::Acquire)
    }

    /// Notes an append. Called before anything is answered.
    pub fn appended(&self, number: u64) {
        if self.lag() == 0 {
            self.moved();
        }
        self.0.appended.fetch_max(number, Ordering::AcqRel);
    }

    /// Notes that the tables have everything up to an append.
    pub fn projected(&self, number: u64) {
        self.moved();
        self.0.known.fetch_max(number, Ordering::AcqRel);
        self.0.projected.send_if_modified(|known| {
            let is_new = number > *known;
            *known = number.max(*known);
            is_new
        });
    }

    /// The number of the last append that the tables have.
    pub fn place(&self) -> u64 {
        self.0.known.load(Ordering::Acquire)
    }

    /// The number of appends that the tables are behind the log.
    pub fn lag(&self) -> u64 {
        self.last().saturating_sub(self.place())
    }

    fn moved(&self) {
        *self.0.moved_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether the tables are behind, and have not moved as long as a read would wait.
    pub fn is_stalled(&self) -> bool {
        let moved_at = *self.0.moved_at.lock().unwrap_or_else(PoisonError::into_inner);
        self.lag() > 0 && moved_at.elapsed() > PATIENCE
    }

    /// Whether a reader waits.
    pub fn is_wanted(&self) -> bool {
        self.0.waiting.load(Ordering::Acquire) > 0
    }

    /// Completes when a reader begins to wait.
    pub async fn wanted(&self) {
        self.0.wanted.notified().await;
    }

    /// Waits until the tables have everything that is in the log now.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Away`]: the tables did not get so far in time. Try again later.
    pub async fn caught_up(&self) -> Result<(), LedgerError> {
        self.caught_up_within(PATIENCE).await
    }

    async fn caught_up_within(&self, patience: Duration) -> Result<(), LedgerError> {
        let target = self.last();
        if self.place() >= target {
            return Ok(());
        }
        self.0.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.0.waiting);
        self.0.wanted.notify_one();
        let mut projected = self.0.projected.subscribe();
        let reached = projected.wait_for(|projected| *projected >= target);
        match tokio::time::timeout(patience, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(LedgerError::Away("the tables are behind the log".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_read_waits_for_what_was_written_before_it_and_for_nothing_else() {
        let progress = Progress::default();
        progress.caught_up().await.unwrap();
        progress.appended(3);
        let reader = tokio::spawn({
            let progress = progress.clone();
            async move { progress.caught_up().await }
        });
        progress.wanted().await;
        assert!(progress.is_wanted() && progress.lag() == 3);
        // Written after the read began.
        progress.appended(9);
        progress.projected(2);
        tokio::task::yield_now().await;
        assert!(!reader.is_finished());
        progress.projected(3);
        reader.await.unwrap().unwrap();
        assert!(!progress.is_wanted() && progress.lag() == 6);
    }

    #[tokio::test]
    async fn a_read_does_not_wait_for_ever() {
        let progress = Progress::default();
        progress.appended(1);
        let patience = Duration::from_millis(20);
        assert!(matches!(progress.caught_up_within(patience).await, Err(LedgerError::Away(_))));
        assert!(!progress.is_wanted());
        // A reader that leaves is not waited for either.
        drop(tokio::time::timeout(Duration::from_millis(1), progress.caught_up()).await);
        assert!(!progress.is_wanted());
    }
}
