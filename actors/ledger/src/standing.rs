//! Whether the ledger can be used now, and why not: one place that all callers ask before they begin, and that wakes callers who wait
//! for an answer which will not come. It is told by the thread that looks after the database (a session with PostgreSQL, a watch
//! over SQLite's files) and by the journal, whose last commit is the best sign there is. It knows no database.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::LedgerError;

/// How soon a fault is known that somebody met.
const LOOKED_AT_WITHIN: Duration = Duration::from_millis(1_200);

/// Why a ledger can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Its database is not there, or not what it was. It may come back.
    Away(String),
    /// Another process owns it now. That is for ever.
    Fenced,
}

impl From<Fault> for LedgerError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Away(why) => Self::Away(why),
            Fault::Fenced => Self::Fenced,
        }
    }
}

/// How the last commit went.
#[derive(Debug)]
struct Commits {
    /// When one was durable last.
    good_at: Instant,
    /// Why the last one was not.
    failure: Option<String>,
}

#[derive(Debug)]
struct Inner {
    /// Whether there is no fault: read by every request.
    is_sound: AtomicBool,
    fault: watch::Sender<Option<Fault>>,
    commits: Mutex<Commits>,
}

/// Shared by clones.
#[derive(Debug, Clone)]
pub struct Standing(Arc<Inner>);

impl Default for Standing {
    fn default() -> Self {
        let commits = Mutex::new(Commits { good_at: Instant::now(), failure: None });
        Self(Arc::new(Inner { is_sound: AtomicBool::new(true), fault: watch::channel(None).0, commits }))
    }
}

impl Standing {
    /// An error while the ledger can't be used.
    pub fn check(&self) -> Result<(), LedgerError> {
        if self.0.is_sound.load(Ordering::Acquire) {
            return Ok(());
        }
        self.fault().map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// What is wrong, if anything is.
    pub fn fault(&self) -> Option<Fault> {
        self.0.fault.borrow().clone()
    }

    /// Notes what is wrong now, or that nothing is. A ledger that was taken by another stays so.
    pub(super) fn set(&self, fault: Option<Fault>) {
        self.0.fault.send_if_modified(|known| {
            if *known == fault || *known == Some(Fault::Fenced) {
                return false;
            }
            match &fault {
                Some(Fault::Away(why)) => tracing::error!(why, "the ledger can't be used"),
                Some(Fault::Fenced) => tracing::error!("another process has taken this ledger over"),
                None => tracing::info!("the ledger can be used again"),
            }
            self.0.is_sound.store(fault.is_none(), Ordering::Release);
            *known = fault;
            true
        });
    }

    /// Comes when the ledger can't be used; at once where it can't.
    pub async fn broken(&self) -> Fault {
        let mut faults = self.0.fault.subscribe();
        // The sender is this value's own, so it can't be gone.
        match faults.wait_for(Option::is_some).await.map(|fault| fault.clone()) {
            Ok(Some(fault)) => fault,
            _ => std::future::pending().await,
        }
    }

    /// Comes when another process owns the ledger.
    pub async fn fenced(&self) {
        let mut faults = self.0.fault.subscribe();
        let _ = faults.wait_for(|fault| *fault == Some(Fault::Fenced)).await;
    }

    /// Waits until the ledger can be used again; false where it never will. Asked by callers that met a fault which is perhaps not
    /// known here yet: at least until that thread has looked again.
    pub async fn back(&self) -> bool {
        tokio::time::sleep(LOOKED_AT_WITHIN).await;
        let mut faults = self.0.fault.subscribe();
        let known = faults.wait_for(|fault| !matches!(fault, Some(Fault::Away(_)))).await;
        known.is_ok_and(|fault| fault.is_none())
    }

    /// Waits until the ledger can be used, at most so long. Whether it can.
    pub async fn sound_within(&self, longest: Duration) -> bool {
        let mut faults = self.0.fault.subscribe();
        matches!(tokio::time::timeout(longest, faults.wait_for(Option::is_none)).await, Ok(Ok(_)))
    }

    /// Notes that something was made durable.
    pub fn committed(&self) {
        let mut commits = self.commits();
        *commits = Commits { good_at: Instant::now(), failure: None };
    }

    /// Notes that something could not be made durable.
    pub fn not_committed(&self, error: &LedgerError) {
        match error {
            LedgerError::Fenced => self.set(Some(Fault::Fenced)),
            // The thread that looks after the database says when it is back.
            LedgerError::Away(why) => self.set(Some(Fault::Away(why.clone()))),
            _ => {}
        }
        // A row that was refused says nothing of the disk.
        if !matches!(error, LedgerError::Refused(_)) {
            self.commits().failure = Some(error.to_string());
        }
    }

    /// Why the last commit failed, if it did; else how long ago it was.
    pub fn last_commit(&self) -> Result<Duration, String> {
        let commits = self.commits();
        commits.failure.clone().map_or_else(|| Ok(commits.good_at.elapsed()), Err)
    }

    fn commits(&self) -> std::sync::MutexGuard<'_, Commits> {
        self.0.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fault_wakes_who_waits_and_goes_away_unless_another_owns_the_ledger() {
        let standing = Standing::default();
        assert!(standing.check().is_ok());
        let waiting = tokio::spawn({
            let standing = standing.clone();
            async move { standing.broken().await }
        });
        let away = Fault::Away("gone".into());
        standing.set(Some(away.clone()));
        assert_eq!(waiting.await.unwrap(), away);
        assert!(matches!(standing.check(), Err(LedgerError::Away(why)) if why == "gone"));
        assert!(!standing.sound_within(Duration::from_millis(5)).await);
        standing.set(None);
        assert!(standing.check().is_ok() && standing.sound_within(Duration::ZERO).await);
        standing.not_committed(&LedgerError::Fenced);
        standing.set(None);
        assert!(matches!(standing.check(), Err(LedgerError::Fenced)), "it stays another's");
        standing.fenced().await;
    }

    #[test]
    fn the_last_commit_tells_how_the_disk_is() {
        let standing = Standing::default();
        standing.not_committed(&LedgerError::Refused("a row".into()));
        assert!(standing.last_commit().is_ok());
        standing.not_committed(&LedgerError::Writer("disk full".into()));
        assert!(standing.last_commit().unwrap_err().contains("disk full"));
        standing.committed();
        assert!(standing.last_commit().unwrap() < Duration::from_mins(1));
    }
}
