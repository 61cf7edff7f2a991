//! The projector's thread: it makes the tables from the log, behind the answers. It takes what was appended a tenth of a
//! second long, or at once while somebody waits to read, merges it, and writes it in one transaction. Nothing that it does
//! is waited for by a request, but for a log that is far ahead. A panic or a failure is tried again.

use std::{
    collections::{HashMap, VecDeque},
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use billing::{entry::Transition, ids::AccountId};
use futures::FutureExt;
use ledger::{
    Ledger, LedgerError,
    project::{Logged, Stopped, lacking_of_all},
};
use runtime::{
    exit::ExitGuard,
    health::{BEAT, Health, Kind, Name, Verdict},
};
use tokio::sync::Notify;

/// How long rows are gathered. Many rows together cost much less than each by itself.
const GATHER: Duration = Duration::from_millis(100);
/// Transitions that are projected together.
const TOGETHER: usize = 8_192;
/// The most transitions that the tables may be behind the log. Beyond that the log waits.
const MOST_BEHIND: usize = 50_000;
/// How often SQLite's write-ahead log is brought into the tables' file.
const CHECKPOINT: Duration = Duration::from_secs(1);
/// The longest wait between two tries.
const AGAIN: Duration = Duration::from_secs(1);

/// Rows that were appended together, and the number of that append.
struct Appended {
    number: u64,
    rows: Vec<Logged>,
}

impl Appended {
    fn transitions(&self) -> usize {
        self.rows.iter().map(|row| row.transitions.len()).sum()
    }
}

struct Shared {
    ledger: Arc<Ledger>,
    health: Health,
    queue: Mutex<VecDeque<Appended>>,
    /// Transitions that are appended and not projected.
    behind: AtomicUsize,
    /// Notified when a row waits, and when no further row can come.
    wake: Notify,
    /// Notified when rows were projected.
    moved: Notify,
    closed: AtomicBool,
    /// Set when another thread is to go on.
    retires: AtomicBool,
    /// Accounts whose rows can't be made, each with the reason.
    stopped: Mutex<HashMap<AccountId, String>>,
}

/// The handle of the projector's thread. The thread ends once the handle is dropped and everything is projected.
pub(super) struct Projector(Arc<Shared>);

impl Drop for Projector {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.wake.notify_one();
    }
}

impl Projector {
    /// Starts the thread.
    pub(super) fn start(ledger: Arc<Ledger>, health: Health) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            ledger,
            health,
            queue: Mutex::default(),
            behind: AtomicUsize::new(0),
            wake: Notify::new(),
            moved: Notify::new(),
            closed: AtomicBool::new(false),
            retires: AtomicBool::new(false),
            stopped: Mutex::default(),
        });
        begin(&shared)?;
        let own = Arc::downgrade(&shared);
        // What waits stays where it is, and the thread that goes on takes it.
        shared.health.is_replaceable(Kind::Projector, Kind::Projector.name(), move || {
            let Some(shared) = own.upgrade() else { return false };
            shared.retires.store(true, Ordering::Release);
            shared.wake.notify_one();
            true
        });
        Ok(Self(shared))
    }

    /// Takes rows that are in the log, and the number of the append.
    pub(super) fn push(&self, number: u64, rows: Vec<Logged>) {
        let appended = Appended { number, rows };
        let count = appended.transitions();
        let behind = self.0.behind.fetch_add(count, Ordering::AcqRel) + count;
        self.0.is_behind(behind);
        self.0.queue().push_back(appended);
        self.0.wake.notify_one();
    }

    /// Waits while the tables are too far behind the log.
    pub(super) async fn room(&self) {
        loop {
            let moved = self.0.moved.notified();
            if self.0.behind.load(Ordering::Acquire) <= MOST_BEHIND {
                return;
            }
            moved.await;
        }
    }

    /// Waits until the tables have everything that was appended.
    pub(super) async fn caught_up(&self) -> Result<(), LedgerError> {
        self.0.ledger.progress().caught_up().await
    }

    /// Whether the tables have everything.
    pub(super) fn is_idle(&self) -> bool {
        self.0.behind.load(Ordering::Acquire) == 0 && self.0.ledger.progress().lag() == 0
    }

    /// The accounts of a batch whose rows can't be made, each with the reason.
    pub(super) fn stopped_among(&self, batch: &[Transition]) -> HashMap<AccountId, String> {
        let stopped = self.0.stopped();
        if stopped.is_empty() {
            return HashMap::new();
        }
        let accounts = batch.iter().map(|transition| transition.account_id);
        accounts.filter_map(|id| Some((id, stopped.get(&id)?.clone()))).collect()
    }
}

/// Begins a life of the thread.
fn begin(shared: &Arc<Shared>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = Arc::clone(shared);
    std::thread::Builder::new().name("projector".into()).spawn(move || runtime.block_on(thread.run()))?;
    Ok(())
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, VecDeque<Appended>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> MutexGuard<'_, HashMap<AccountId, String>> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows how many transitions the tables are behind the log.
    fn is_behind(&self, behind: usize) {
        self.health.queued(Kind::Projector, behind);
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        metrics::gauge!("farebox_projection_behind_transitions").set(behind as f64);
    }

    async fn run(self: Arc<Self>) {
        self.health.executors().watch(Kind::Projector.name());
        let _exit = ExitGuard::new(&self.health, Kind::Projector, Name::Text(Kind::Projector.name().into()), |_| {});
        let mut checkpointed = Instant::now();
        loop {
            self.health.beats(Kind::Projector, Kind::Projector.name());
            if self.retires.swap(false, Ordering::AcqRel) {
                match begin(&self) {
                    Ok(()) => return,
                    Err(error) => tracing::error!(%error, "no other thread can make the tables: this one goes on"),
                }
            }
            let is_empty = self.queue().is_empty();
            if is_empty && self.closed.load(Ordering::Acquire) {
                return;
            }
            if is_empty {
                // Nothing to do, and alive.
                drop(tokio::time::timeout(BEAT, self.wake.notified()).await);
                continue;
            }
            self.gather().await;
            let (number, rows) = self.take();
            if !self.project(number, rows).await {
                return;
            }
            if checkpointed.elapsed() >= CHECKPOINT {
                self.ledger.keep_small().await;
                checkpointed = Instant::now();
            }
        }
    }

    /// Waits until there is enough, or somebody waits to read, or long enough has passed.
    async fn gather(&self) {
        let until = tokio::time::Instant::now() + GATHER;
        let progress = self.ledger.progress();
        while !progress.is_wanted()
            && !self.closed.load(Ordering::Acquire)
            && self.behind.load(Ordering::Acquire) < TOGETHER
        {
            tokio::select! {
                () = progress.wanted() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }

    /// Takes rows from the queue, and the number of the append that has the last of them.
    fn take(&self) -> (u64, Vec<Logged>) {
        let mut queue = self.queue();
        let (mut last, mut rows, mut transitions) = (0, Vec::new(), 0);
        while transitions < TOGETHER
            && let Some(appended) = queue.pop_front()
        {
            transitions += appended.transitions();
            last = appended.number;
            rows.extend(appended.rows);
        }
        (last, rows)
    }

    /// Projects rows, as often as it takes. Returns whether this process may go on to project.
    async fn project(&self, number: u64, rows: Vec<Logged>) -> bool {
        let began = Instant::now();
        let transitions: usize = rows.iter().map(|row| row.transitions.len()).sum();
        let (mut pause, mut left) = (GATHER, rows);
        while !left.is_empty() {
            let error = match self.project_once(&left).await {
                Ok(stopped) => {
                    self.note(stopped);
                    break;
                }
                Err(error) => error,
            };
            tracing::error!(%error, transitions, "the tables can't be made from the log now");
            let why = format!("the tables are behind the log: {error}");
            self.health.trouble(Kind::Projector, Kind::Projector.name(), Some((Verdict::Degraded, why)));
            // An earlier try may have taken place, though its answer was lost.
            if let Ok(places) = self.ledger.places().await {
                let before = left.len();
                let Some(rest) = lacking_of_all(&left, &places) else {
                    self.ledger.standing().not_committed(&LedgerError::Fenced);
                    return false;
                };
                // What that try stopped was not heard either.
                if rest.len() < before
                    && let Ok(stopped) = self.ledger.stopped_accounts().await
                {
                    self.note(stopped);
                }
                left = rest;
            }
            if !left.is_empty() {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(AGAIN);
            }
        }
        self.health.trouble(Kind::Projector, Kind::Projector.name(), None);
        self.health.handled(Kind::Projector, transitions, began, began);
        metrics::histogram!("farebox_projection_seconds").record(began.elapsed().as_secs_f64());
        self.ledger.projected(number);
        let behind = self.behind.fetch_sub(transitions, Ordering::AcqRel) - transitions;
        self.is_behind(behind);
        self.moved.notify_waiters();
        true
    }

    async fn project_once(&self, rows: &[Logged]) -> Result<Vec<Stopped>, LedgerError> {
        let projected = AssertUnwindSafe(self.ledger.project(rows)).catch_unwind().await;
        projected.unwrap_or_else(|_| Err(LedgerError::Writer("a projection made it panic".into())))
    }

    fn note(&self, stopped: Vec<Stopped>) {
        let mut known = self.stopped();
        for Stopped { account_id, why } in stopped {
            known.insert(account_id, why);
        }
    }
}
