//! The journal's thread, the only one that appends to the log. It takes everything that waits as one batch, appends it as
//! one row, reports to the accounts, and takes the next batch, without another task scheduled in between. A panic ends one
//! of its lives, not the thread: the queue is kept, and the accounts of the current batch are rebuilt. It knows no rule of
//! money; the protocol alone decides the order.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    slice,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use actix::WeakRecipient;
use billing::{entry::Transition, ids::AccountId};
use futures::FutureExt;
use ledger::{
    Ledger, LedgerError,
    claims::{self, Claims},
    log::{
        Row, Shard,
        body::PriceBook,
        tail::{Tail, Tails},
    },
    project::Logged,
};
use runtime::{
    clock::Clock,
    exit::ExitGuard,
    health::{BEAT, Health, Kind, Name, Verdict},
    mailbox,
};
use tokio::sync::{Notify, oneshot};

use super::{
    Append, Committed, EarlierLife,
    projector::Projector,
    protocol::{Incarnation, Pending, Protocol, Report, Step},
};

type Opened = oneshot::Sender<()>;

/// A price book that is to have a version.
struct Book {
    hash: String,
    prices: String,
    answer: oneshot::Sender<Result<i64, LedgerError>>,
}

/// A change of what the journal owns.
enum Order {
    /// From now on it appends to this log.
    Own(Tail),
    /// It appends to this shard's log no longer. What waits for it fails.
    Disown(Shard),
}

/// Is told a shard, and the epoch in which it was this process's.
type OnLost = Box<dyn Fn(Shard, i64) + Send + Sync>;

#[derive(Default)]
struct Queue {
    protocol: Protocol<WeakRecipient<Committed>, Opened>,
    /// Since when the oldest entry waits.
    since: Option<Instant>,
    orders: Vec<Order>,
    /// The price book that waits. The next one takes its place: nobody waits for a book that was changed meanwhile.
    book: Option<Book>,
}

struct Shared {
    health: Health,
    queue: Mutex<Queue>,
    /// Notified when an entry waits, or when no further entry can come.
    wake: Notify,
    closed: AtomicBool,
    /// Hears of shards whose logs have a row of somebody else.
    on_lost: OnceLock<OnLost>,
    /// It is to die of a panic, as a test asks.
    #[cfg(feature = "faults")]
    dies: AtomicBool,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handle of the journal's threads. They end when the handle is dropped and everything is in the tables.
pub struct Journal {
    shared: Arc<Shared>,
    projector: Arc<Projector>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.wake.notify_one();
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
            on_lost: OnceLock::new(),
            #[cfg(feature = "faults")]
            dies: AtomicBool::new(false),
        });
        // A runtime of its own, because writing to SQLite blocks. While the thread waits, the runtime serves
        // PostgreSQL's connections.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let projector = Arc::new(Projector::start(Arc::clone(&ledger), shared.health.clone())?);
        let tails = Tails::new(ledger.shards(), ledger.tails());
        let (threads, projecting) = (Arc::clone(&shared), Arc::clone(&projector));
        let claims = Claims::default();
        let writer = Writer { shared: threads, ledger, clock, projector: projecting, tails, claims, books: Vec::new() };
        std::thread::Builder::new().name("journal".into()).spawn(move || runtime.block_on(writer.run()))?;
        Ok(Self { shared, projector })
    }

    /// Whether nothing waits to be written, nothing is being written, and the tables have everything.
    pub fn is_idle(&self) -> bool {
        self.shared.queue().protocol.is_idle() && self.projector.is_idle()
    }

    /// The version of a price book: its existing version, or a new one, which is durable when this returns. The journal
    /// writes it in its order, between two batches, as the log has one writer.
    ///
    /// # Errors
    ///
    /// The ledger can't be used now, or the journal ends, or died of it. Repeating the call is safe: a book has one
    /// version.
    pub async fn price_version(&self, hash: String, prices: String) -> Result<i64, LedgerError> {
        let (answer, answered) = oneshot::channel();
        self.shared.queue().book = Some(Book { hash, prices, answer });
        self.shared.wake.notify_one();
        answered.await.unwrap_or_else(|_| Err(LedgerError::Writer("the journal did not write the price book".into())))
    }

    /// Appends to this log from now on.
    pub fn own(&self, tail: Tail) {
        self.order(Order::Own(tail));
    }

    /// Appends to a shard's log no longer. Transitions of its accounts fail from now on.
    pub fn disown(&self, shard: Shard) {
        self.order(Order::Disown(shard));
    }

    /// Called with each shard whose log has a row of somebody else, and with the epoch in which it was owned here. Set once,
    /// before anything is owned.
    pub(crate) fn on_lost(&self, tell: impl Fn(Shard, i64) + Send + Sync + 'static) {
        // A second call changes nothing.
        let _ = self.shared.on_lost.set(Box::new(tell));
    }

    fn order(&self, order: Order) {
        self.shared.queue().orders.push(order);
        self.shared.wake.notify_one();
    }

    /// Waits until everything that was sent before is decided, and the tables have it.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Away`]: the tables did not get so far in time.
    pub async fn drained(&self) -> Result<(), LedgerError> {
        self.decided().await?;
        self.projector.caught_up().await
    }

    /// Waits until everything that was sent before is decided.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Away`]: the journal has ended.
    pub async fn decided(&self) -> Result<(), LedgerError> {
        // Nobody's account: its entry stands behind all that wait.
        let (nobody, incarnation) = (AccountId(uuid::Uuid::nil()), 0);
        let (ready, decided) = oneshot::channel();
        self.open(nobody, incarnation, ready);
        let decided = decided.await;
        self.ended(nobody, incarnation);
        decided.map_err(|_| LedgerError::Away("the journal has ended".into()))
    }

    /// Has it die of a panic.
    #[cfg(feature = "faults")]
    pub fn panic(&self) {
        self.shared.dies.store(true, Ordering::Release);
        self.shared.wake.notify_one();
    }
}

impl Append for Journal {
    fn append(&self, entry: Pending<WeakRecipient<Committed>>) -> Result<(), EarlierLife> {
        let mut queue = self.shared.queue();
        queue.protocol.push(entry).map_err(|_| EarlierLife)?;
        queue.since.get_or_insert_with(Instant::now);
        self.shared.health.queued(Kind::Journal, queue.protocol.waiting());
        drop(queue);
        self.shared.wake.notify_one();
        Ok(())
    }

    fn open(&self, account_id: AccountId, incarnation: Incarnation, ready: oneshot::Sender<()>) {
        self.shared.queue().protocol.open(account_id, incarnation, ready);
        self.shared.wake.notify_one();
    }

    fn ended(&self, account_id: AccountId, incarnation: Incarnation) {
        self.shared.queue().protocol.ended(account_id, incarnation);
    }
}

struct Writer {
    shared: Arc<Shared>,
    ledger: Arc<Ledger>,
    clock: Clock,
    projector: Arc<Projector>,
    tails: Tails,
    claims: Claims,
    /// The versions of price books that it appended, by hash: the tables may not have them yet.
    books: Vec<(String, i64)>,
}

impl Writer {
    async fn run(mut self) {
        self.shared.health.executors().watch(Kind::Journal.name());
        loop {
            let exit = ExitGuard::new(&self.shared.health, Kind::Journal, Name::Text("journal".into()), |_| {});
            if AssertUnwindSafe(self.live(exit)).catch_unwind().await.is_ok() {
                return;
            }
            // Whether the current batch is in the log is unknown: the accounts' rows show it.
            self.resume().await;
            let told = self.shared.queue().protocol.interrupted("the journal died");
            tell(told);
        }
    }

    /// One life. It ends when no further entry can come.
    async fn live(&mut self, _exit: ExitGuard) {
        loop {
            self.shared.health.beats(Kind::Journal, Kind::Journal.name());
            self.carry_out_orders();
            let book = self.shared.queue().book.take();
            if let Some(Book { hash, prices, answer }) = book {
                // Who asked may have stopped meanwhile.
                let _ = answer.send(self.price_version(hash, prices).await);
            }
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
                    let (began, count) = (Instant::now(), batch.len());
                    let failed = self.commit(batch).await;
                    self.fares(&failed);
                    metrics::histogram!("farebox_journal_commit_seconds").record(began.elapsed().as_secs_f64());
                    let told = self.shared.queue().protocol.written(&failed);
                    tell(told);
                    // Nobody waits for the rest of the work.
                    self.note(count, since.unwrap_or(began), began);
                    self.ledger.checkpoint_log().await;
                    self.wait_for_room().await;
                }
                Some(Step::Open(opened)) => answer(opened),
                None if self.shared.closed.load(Ordering::Acquire) => return,
                // Nothing to do, and alive.
                None => drop(tokio::time::timeout(BEAT, self.shared.wake.notified()).await),
            }
        }
    }

    fn carry_out_orders(&mut self) {
        let orders = std::mem::take(&mut self.shared.queue().orders);
        for order in orders {
            match order {
                Order::Own(tail) => self.tails.own(tail),
                Order::Disown(shard) => self.tails.disown(shard),
            }
        }
    }

    /// Takes over the rows that are in the logs and were not noted before a panic.
    async fn resume(&mut self) {
        for Tail { shard, epoch, .. } in self.tails.all() {
            while let Some(Tail { head, .. }) = self.tails.of(shard) {
                match self.ledger.logged_after(shard, head.seq).await {
                    Ok(rows) if rows.is_empty() => break,
                    // Another owner appends now.
                    Ok(rows) if rows.iter().any(|row| row.epoch != epoch) => self.has_lost(&[shard]),
                    Ok(rows) => rows.into_iter().for_each(|row| self.appended(vec![row])),
                    Err(error) => {
                        tracing::error!(%error, "the log can't be read after a panic");
                        if !self.ledger.standing().back().await {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// While the tables are too far behind the log, nothing is appended.
    async fn wait_for_room(&self) {
        let mut room = std::pin::pin!(self.projector.room());
        while tokio::time::timeout(BEAT, &mut room).await.is_err() {
            let why = "the tables are too far behind the log: new work waits".to_owned();
            self.shared.health.trouble(Kind::Journal, Kind::Journal.name(), Some((Verdict::Degraded, why)));
            self.shared.health.beats(Kind::Journal, Kind::Journal.name());
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

    /// Appends a batch to the log. Returns the accounts whose transitions are not durable (or not known to be), each
    /// with the reason.
    async fn commit(&mut self, mut batch: Vec<Transition>) -> HashMap<AccountId, String> {
        let mut failed = match self.refused(&batch).await {
            Ok(failed) => failed,
            Err(error) => return all(&batch, &error),
        };
        batch.retain(|transition| !failed.contains_key(&transition.account_id));
        if batch.is_empty() {
            return failed;
        }
        let (batches, not_owned) = self.tails.next(batch, self.clock.now());
        failed.extend(all(&not_owned, &LedgerError::Fenced));
        let (rows, transitions): (Vec<_>, Vec<_>) = batches.into_iter().unzip();
        if rows.is_empty() {
            return failed;
        }
        match self.append(&rows).await {
            Ok(lost) => {
                self.has_lost(&lost);
                let (mut logged, batches) = (Vec::new(), rows.iter().zip(transitions));
                for (row, transitions) in batches {
                    if lost.contains(&row.shard) {
                        failed.extend(all(&transitions, &LedgerError::Fenced));
                    } else {
                        logged.push(Logged::new(row, transitions, None));
                    }
                }
                self.appended(logged);
            }
            Err(error) => {
                let batch = transitions.concat();
                tracing::error!(%error, transitions = batch.len(), "a batch was not appended to the log");
                failed.extend(all(&batch, &error));
            }
        }
        failed
    }

    /// The version of a price book, which is appended if it is new.
    async fn price_version(&mut self, hash: String, prices: String) -> Result<i64, LedgerError> {
        let known = self.ledger.known_prices(&hash).await?;
        let own = self.books.iter().find(|(own, _)| *own == hash).map(|(_, version)| *version);
        if let Some(version) = own.or(known.version) {
            return Ok(version);
        }
        let last = self.books.iter().map(|(_, version)| *version).max().unwrap_or(0).max(known.last);
        let book = PriceBook { version: last + 1, hash, at: self.clock.now(), prices };
        let row = self.tails.next_prices(&book).ok_or(LedgerError::Fenced)?;
        let lost = self.append(slice::from_ref(&row)).await?;
        if !lost.is_empty() {
            self.has_lost(&lost);
            return Err(LedgerError::Fenced);
        }
        self.appended(vec![Logged::new(&row, Vec::new(), Some(book))]);
        Ok(last + 1)
    }

    /// Other nodes, or another process, own these shards now.
    fn has_lost(&mut self, lost: &[Shard]) {
        for shard in lost {
            if let (Some(tail), Some(tell)) = (self.tails.of(*shard), self.shared.on_lost.get()) {
                tell(*shard, tail.epoch);
            }
            self.tails.disown(*shard);
        }
        if !lost.is_empty() && !self.ledger.is_shared() {
            self.ledger.standing().not_committed(&LedgerError::Fenced);
        }
    }

    /// Goes on after rows that are in the log.
    fn appended(&mut self, rows: Vec<Logged>) {
        let number = self.ledger.appended(&rows);
        for row in &rows {
            self.tails.advance(row.shard, row.head());
            self.claims.take(number, &row.transitions);
            self.books.extend(row.prices.as_ref().map(|book| (book.hash.clone(), book.version)));
        }
        self.projector.push(number, rows);
    }

    /// The accounts whose transitions may not become a part of the log, each with the reason.
    async fn refused(&mut self, batch: &[Transition]) -> Result<HashMap<AccountId, String>, LedgerError> {
        self.claims.forget(self.ledger.progress().place());
        let mut refused = claims::refused(batch, &self.claims, &self.ledger.tabled(batch).await?);
        refused.extend(self.projector.stopped_among(batch));
        for (account, why) in &refused {
            tracing::error!(account.id = %account, why, "a transition was refused");
        }
        Ok(refused)
    }

    /// Appends rows until the outcome is known. While the ledger is away, the rows wait for it; nothing else is appended
    /// meanwhile, so that their places stay free. Returns the shards that have a newer owner.
    async fn append(&self, rows: &[Row]) -> Result<Vec<Shard>, LedgerError> {
        let (standing, mut was_unknown) = (self.ledger.standing(), false);
        loop {
            let append = AssertUnwindSafe(self.ledger.append(rows)).catch_unwind().await;
            let error = match append.unwrap_or_else(|_| Err(LedgerError::Writer("a batch made it panic".into()))) {
                Ok(lost) => {
                    standing.committed();
                    return Ok(lost);
                }
                Err(error) => error,
            };
            standing.not_committed(&error);
            // What failed after a try of unknown outcome says nothing of that try.
            if !(was_unknown || error.leaves_unknown()) {
                return Err(error);
            }
            was_unknown = true;
            tracing::error!(%error, rows = rows.len(), "whether a batch is in the log is not known yet");
            if !standing.back().await {
                return Err(LedgerError::Fenced);
            }
        }
    }
}

/// All accounts of a batch, with the same reason.
fn all(batch: &[Transition], error: &LedgerError) -> HashMap<AccountId, String> {
    batch.iter().map(|transition| (transition.account_id, error.to_string())).collect()
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
