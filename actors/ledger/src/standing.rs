//! Whether the ledger can be used now, or the reason why not. Callers check it before they begin, and callers that wait
//! for an answer are woken when none will come. It is set by the thread that watches the database (a session with
//! PostgreSQL, a watch over SQLite's files) and by the journal, whose last commit is the best sign. No database is
//! known here.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::LedgerError;

/// How soon the watching thread finds a fault that a caller has met.
const LOOKED_AT_WITHIN: Duration = Duration::from_millis(1_200);

/// Why a ledger can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The database is missing, or is not the one that was opened. It may come back.
    Away(String),
    /// Another process owns the ledger now. This is final.
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

/// The outcome of the last commits.
#[derive(Debug)]
struct Commits {
    /// When a commit was last durable.
    good_at: Instant,
    /// Why the last commit failed.
    failure: Option<String>,
}

/// What is known of faults.
#[derive(Debug, Default)]
struct Known {
    /// The fault that there is.
    fault: Option<Fault>,
    /// The last one that there was, and how many there were: one may be over before anybody has seen it.
    last: Option<Fault>,
    count: u64,
}

#[derive(Debug)]
struct Inner {
    /// Whether there is no fault. Every request reads it.
    is_sound: AtomicBool,
    known: watch::Sender<Known>,
    commits: Mutex<Commits>,
}

/// A handle; clones share the standing.
#[derive(Debug, Clone)]
pub struct Standing(Arc<Inner>);

impl Default for Standing {
    fn default() -> Self {
        let commits = Mutex::new(Commits { good_at: Instant::now(), failure: None });
        Self(Arc::new(Inner { is_sound: AtomicBool::new(true), known: watch::channel(Known::default()).0, commits }))
    }
}

impl Standing {
    /// Checks whether the ledger can be used.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Away`] while the database is away: try again later. [`LedgerError::Fenced`] once another process
    /// owns the ledger: this process must stop.
    pub fn check(&self) -> Result<(), LedgerError> {
        if self.0.is_sound.load(Ordering::Acquire) {
            return Ok(());
        }
        self.fault().map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// The current fault.
    pub fn fault(&self) -> Option<Fault> {
        self.0.known.borrow().fault.clone()
    }

    /// Sets or clears the fault. A ledger taken by another process stays fenced.
    pub(super) fn set(&self, fault: Option<Fault>) {
        self.0.known.send_if_modified(|known| {
            if known.fault == fault || known.fault == Some(Fault::Fenced) {
                return false;
            }
            match &fault {
                Some(Fault::Away(why)) => tracing::error!(why, "the ledger can't be used"),
                Some(Fault::Fenced) => tracing::error!("another process has taken this ledger over"),
                None => tracing::info!("the ledger can be used again"),
            }
            self.0.is_sound.store(fault.is_none(), Ordering::Release);
            if fault.is_some() {
                known.last.clone_from(&fault);
                known.count += 1;
            }
            known.fault = fault;
            true
        });
    }

    /// Waits for a fault; returns at once if there is one. A fault that comes and goes is one: work that was under way may
    /// have lost its connection.
    pub async fn broken(&self) -> Fault {
        let mut faults = self.0.known.subscribe();
        let before = faults.borrow().count;
        let has_come = |known: &Known| known.fault.is_some() || known.count > before;
        // This value owns the sender, so the channel can't be closed.
        match faults.wait_for(has_come).await.map(|known| known.fault.clone().or_else(|| known.last.clone())) {
            Ok(Some(fault)) => fault,
            _ => std::future::pending().await,
        }
    }

    /// Does work on the database, and stops waiting if the database goes away: nobody may ever say what became of it.
    pub(super) fn unless_broken<T>(
        &self,
        work: impl Future<Output = Result<T, LedgerError>>,
    ) -> impl Future<Output = Result<T, LedgerError>> {
        // A future of a transaction is large, and would be twice as large in another one.
        let work = Box::pin(work);
        async move {
            tokio::select! {
                biased;
                done = work => done,
                fault = self.broken() => Err(fault.into()),
            }
        }
    }

    /// Waits until another process owns the ledger.
    pub async fn fenced(&self) {
        let mut faults = self.0.known.subscribe();
        let _ = faults.wait_for(|known| known.fault == Some(Fault::Fenced)).await;
    }

    /// Waits until the ledger can be used again. Returns `false` if it never will. The caller may have met a fault that
    /// is not known here yet, so this waits at least until the watching thread has checked again.
    pub async fn back(&self) -> bool {
        tokio::time::sleep(LOOKED_AT_WITHIN).await;
        let mut faults = self.0.known.subscribe();
        let known = faults.wait_for(|known| !matches!(known.fault, Some(Fault::Away(_)))).await;
        known.is_ok_and(|known| known.fault.is_none())
    }

    /// Waits until the ledger can be used, for a limited time. Returns whether it can.
    pub async fn sound_within(&self, longest: Duration) -> bool {
        let mut faults = self.0.known.subscribe();
        let is_sound = faults.wait_for(|known| known.fault.is_none());
        matches!(tokio::time::timeout(longest, is_sound).await, Ok(Ok(_)))
    }

    /// Records a durable commit.
    pub fn committed(&self) {
        let mut commits = self.commits();
        *commits = Commits { good_at: Instant::now(), failure: None };
    }

    /// Records a failed commit.
    pub fn not_committed(&self, error: &LedgerError) {
        match error {
            LedgerError::Fenced => self.set(Some(Fault::Fenced)),
            // The watching thread notices when the database is back.
            LedgerError::Away(why) => self.set(Some(Fault::Away(why.clone()))),
            _ => {}
        }
        // A refused row tells nothing about the disk.
        if !matches!(error, LedgerError::Refused(_)) {
            self.commits().failure = Some(error.to_string());
        }
    }

    /// The age of the last durable commit.
    ///
    /// # Errors
    ///
    /// The reason of the last failure, if no commit has succeeded since. The next successful commit clears it.
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

    #[tokio::test]
    async fn a_fault_that_is_over_at_once_wakes_who_waited_and_nobody_later() {
        let standing = Standing::default();
        let mut waiting = std::pin::pin!(standing.broken());
        assert!(futures::poll!(&mut waiting).is_pending());
        standing.set(Some(Fault::Away("for a moment".into())));
        standing.set(None);
        assert_eq!(waiting.await, Fault::Away("for a moment".into()));
        assert!(futures::poll!(std::pin::pin!(standing.broken())).is_pending());
        let done = standing.unless_broken(async { Ok(7) }).await;
        assert!(matches!(done, Ok(7)));
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
