//! The journal's thread, the only one that writes. It takes everything that waits as one batch, writes it, reports to
//! the accounts, and takes the next batch, without another task scheduled in between. A panic ends one of its lives,
//! not the thread: the queue is kept, and the accounts of the current batch are rebuilt. It knows no rule of money; the
//! protocol alone decides the order.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use actix::WeakRecipient;
use billing::{entry::Transition, ids::AccountId};
use futures::FutureExt;
use ledger::{Ledger, LedgerError};
use runtime::{
    clock::Clock,
    exit::ExitGuard,
    health::{BEAT, Health, Kind, Name, Verdict},
    mailbox,
};
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use super::{
    Append, Committed, EarlierLife,
    protocol::{Incarnation, Pending, Protocol, Report, Step},
};

type Opened = oneshot::Sender<()>;

#[derive(Default)]
struct Queue {
    protocol: Protocol<WeakRecipient<Committed>, Opened>,
    /// Since when the oldest entry waits.
    since: Option<Instant>,
}

struct Shared {
    health: Health,
    queue: Mutex<Queue>,
    /// Notified when an entry waits, or when no further entry can come.
    wake: Notify,
    closed: AtomicBool,
    /// It is to die of a panic, as a test asks.
    #[cfg(feature = "faults")]
    dies: AtomicBool,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handle of the journal's thread. The thread ends when the handle is dropped.
pub struct Journal(Arc<Shared>);

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.wake.notify_one();
    }
}

impl Journal {
    /// Starts the thread that writes to this ledger. The thread also reports to the ledger how its commits go.
    ///
    /// # Errors
    ///
    /// The system can't start the thread or its runtime.
    pub fn start(ledger: Arc<Ledger>, clock: Clock, health: Health) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            health,
            queue: Mutex::default(),
            wake: Notify::new(),
            closed: AtomicBool::new(false),
            #[cfg(feature = "faults")]
            dies: AtomicBool::new(false),
        });
        // A runtime of its own, because writing to SQLite blocks. While the thread waits, the runtime serves
        // PostgreSQL's connections.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let writer = Writer { shared: Arc::clone(&shared), ledger, clock };
        std::thread::Builder::new().name("journal".into()).spawn(move || runtime.block_on(writer.run()))?;
        Ok(Self(shared))
    }

    /// Whether nothing waits to be written, and nothing is being written.
    pub fn is_idle(&self) -> bool {
        self.0.queue().protocol.is_idle()
    }

    /// Has it die of a panic.
    #[cfg(feature = "faults")]
    pub fn panic(&self) {
        self.0.dies.store(true, Ordering::Release);
        self.0.wake.notify_one();
    }
}

impl Append for Journal {
    fn append(&self, entry: Pending<WeakRecipient<Committed>>) -> Result<(), EarlierLife> {
        let mut queue = self.0.queue();
        queue.protocol.push(entry).map_err(|_| EarlierLife)?;
        queue.since.get_or_insert_with(Instant::now);
        self.0.health.queued(Kind::Journal, queue.protocol.waiting());
        drop(queue);
        self.0.wake.notify_one();
        Ok(())
    }

    fn open(&self, account_id: AccountId, incarnation: Incarnation, ready: oneshot::Sender<()>) {
        self.0.queue().protocol.open(account_id, incarnation, ready);
        self.0.wake.notify_one();
    }

    fn ended(&self, account_id: AccountId, incarnation: Incarnation) {
        self.0.queue().protocol.ended(account_id, incarnation);
    }
}

struct Writer {
    shared: Arc<Shared>,
    ledger: Arc<Ledger>,
    clock: Clock,
}

impl Writer {
    async fn run(self) {
        loop {
            let exit = ExitGuard::new(&self.shared.health, Kind::Journal, Name::Text("journal".into()), |_| {});
            if AssertUnwindSafe(self.live(exit)).catch_unwind().await.is_ok() {
                return;
            }
            // Whether the current batch was committed is unknown: the accounts' rows show it.
            let told = self.shared.queue().protocol.interrupted("the journal died");
            tell(told);
        }
    }

    /// One life. It ends when no further entry can come.
    async fn live(&self, _exit: ExitGuard) {
        loop {
            self.shared.health.beats(Kind::Journal, Kind::Journal.name());
            let (step, since) = {
                let mut queue = self.shared.queue();
                let step = queue.protocol.next_step();
                self.shared.health.queued(Kind::Journal, queue.protocol.waiting());
                (step, queue.since.take())
            };
            #[cfg(feature = "faults")]
            assert!(!self.shared.dies.swap(false, Ordering::AcqRel), "asked to die");
            match step {
                Some(Step::Write(batch)) => {
                    let began = Instant::now();
                    let failed = self.commit(&batch).await;
                    self.fares(&failed);
                    metrics::histogram!("farebox_journal_commit_seconds").record(began.elapsed().as_secs_f64());
                    let told = self.shared.queue().protocol.written(failed);
                    tell(told);
                    // Nobody waits for the rest of the work.
                    self.note(batch.len(), since.unwrap_or(began), began);
                }
                Some(Step::Open(opened)) => answer(opened),
                None if self.shared.closed.load(Ordering::Acquire) => return,
                // Nothing to do, and alive.
                None => drop(tokio::time::timeout(BEAT, self.shared.wake.notified()).await),
            }
        }
    }

    /// Reports to the health how the last batch went.
    fn fares(&self, failed: &HashMap<AccountId, String>) {
        let trouble = failed.values().next().map(|why| {
            let why = format!("the last batch was not written for {} accounts: {why}", failed.len());
            (Verdict::Degraded, why)
        });
        self.shared.health.trouble(Kind::Journal, Kind::Journal.name(), trouble);
    }

    /// Counts a batch whose oldest entry waited since `since`.
    fn note(&self, count: usize, since: Instant, began: Instant) {
        #[expect(clippy::cast_precision_loss, reason = "a batch has at most 1,024")]
        metrics::histogram!("farebox_journal_batch_transitions").record(count as f64);
        self.shared.health.handled(Kind::Journal, count, since, began);
    }

    /// Commits a batch. Returns the accounts whose transitions are not durable (or not known to be), each with the
    /// reason.
    async fn commit(&self, batch: &[Transition]) -> HashMap<AccountId, String> {
        let Err(error) = self.commit_lasting(batch).await else { return HashMap::new() };
        tracing::error!(%error, transitions = batch.len(), "commit failed");
        if !matches!(error, LedgerError::Refused(_)) {
            return batch.iter().map(|transition| (transition.account_id, error.to_string())).collect();
        }
        // A row that the database refused must not fail other accounts. The batch is known to be rolled back, so each
        // account's part is committed by itself.
        let mut by_account: HashMap<AccountId, Vec<Transition>> = HashMap::new();
        for transition in batch {
            by_account.entry(transition.account_id).or_default().push(transition.clone());
        }
        let mut failed = HashMap::new();
        for (account_id, alone) in by_account {
            if let Err(own) = self.commit_lasting(&alone).await {
                failed.insert(account_id, own.to_string());
            }
        }
        failed
    }

    /// Commits until the outcome is known: while the ledger is known to be away, the transitions wait for it.
    /// Transitions known to be missing then are written again; they were reported to nobody.
    async fn commit_lasting(&self, transitions: &[Transition]) -> Result<(), LedgerError> {
        loop {
            let result = self.commit_once(transitions).await;
            match &result {
                Ok(()) => self.ledger.standing().committed(),
                Err(LedgerError::Away(why)) => {
                    tracing::error!(why, transitions = transitions.len(), "a commit waits for the ledger");
                    self.ledger.standing().not_committed(&LedgerError::Away(why.clone()));
                    if self.ledger.standing().back().await {
                        continue;
                    }
                    return Err(LedgerError::Fenced);
                }
                Err(error) => self.ledger.standing().not_committed(error),
            }
            return result;
        }
    }

    /// Commits one transaction. Where its outcome is unknown, the batch's row shows it once the ledger is back.
    async fn commit_once(&self, transitions: &[Transition]) -> Result<(), LedgerError> {
        let id = Uuid::now_v7();
        let append = AssertUnwindSafe(self.ledger.append(id, transitions, self.clock.now()));
        // A panic drops its transaction, which rolls back; the next batch finds a sound connection.
        let result =
            append.catch_unwind().await.unwrap_or_else(|_| Err(LedgerError::Writer("a batch made it panic".into())));
        let Err(error @ (LedgerError::Database(_) | LedgerError::Writer(_) | LedgerError::Away(_))) = result else {
            return result;
        };
        loop {
            match self.ledger.was_committed(id, self.clock.now()).await {
                Ok(true) => return Ok(()),
                Err(LedgerError::Away(_)) if self.ledger.standing().back().await => {}
                Ok(false) | Err(_) => return Err(error),
            }
        }
    }
}

fn tell(Report { senders, opened }: Report<WeakRecipient<Committed>, Opened>) {
    for (sender, result) in senders {
        // At most one message a batch for an account that waits for it, if it still lives.
        if let Some(account) = sender.upgrade() {
            mailbox::tell_recipient(&account, Committed { result });
        }
    }
    answer(opened);
}

fn answer(opened: Vec<Opened>) {
    for ready in opened {
        // An account that ended meanwhile no longer waits.
        let _ = ready.send(());
    }
}
