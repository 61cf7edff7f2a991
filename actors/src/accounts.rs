//! Where an account lives: finds its actor, spawns it on the first message and again after it ended, and asks it. The
//! meaning of a question is not known here.

pub mod asking;
mod elsewhere;
mod restart;
mod watching;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use actix::{Actor, Arbiter, ArbiterHandle, Handler, Message};
use actix::{Addr, WeakAddr};
use billing::{
    card::PaymentMethod,
    command::{Answer, Command},
    entry::UsageRecord,
    ids::{AccountId, IdMap, RequestId},
};
use cards::Processor;
use ledger::{Ledger, LedgerError, log::Shard};
use runtime::{
    clock::Clock,
    exit::ExitGuard,
    health::{ExitReason, Health, Kind, Name, Waiting},
    mailbox::{self, Ask, AskError},
};
use tokio::sync::oneshot;

use crate::{
    account::{AccountActor, AccountError, Asked, End, Enter, Entered, Leave, Tick},
    context::{AccountContext, Announces, Balances, Charges, Surroundings},
    journal::Append,
    running::Running,
    spool::Spool,
};

pub use elsewhere::Elsewhere;
pub use restart::NotRestarted;
pub(crate) use watching::BEHIND;

/// The longest that an account may take to answer.
pub const DEADLINE: Duration = Duration::from_secs(15);

/// How long a running request waits for its permit before it asks again, at the end of the line.
pub const IN_LINE: Duration = Duration::from_mins(30);

/// The turns that accounts share.
const TURNS: usize = 1_024;

/// Accounts ticked before other tasks get their turn.
const TICKED_AT_ONCE: usize = 64;

/// An account's actor.
struct Living {
    /// The number of its life.
    incarnation: u64,
    address: Addr<AccountActor>,
    /// How much waits for it.
    waiting: Waiting,
}

struct Inner {
    accounts: Mutex<IdMap<AccountId, Living>>,
    incarnations: AtomicU64,
    arbiters: Vec<ArbiterHandle>,
    around: Arc<Surroundings>,
    processor: Processor,
    health: Health,
    /// The other nodes, where there may be some.
    elsewhere: OnceLock<Arc<dyn Elsewhere>>,
    /// Where captures wait while the ledger is away.
    spool: OnceLock<Spool>,
    /// One change of an account's resources is decided at a time; accounts share turns by their ids.
    turns: Vec<tokio::sync::Mutex<()>>,
}

/// The accounts of this process and their actors, shared by clones.
#[derive(Clone)]
pub struct Accounts(Arc<Inner>);

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accounts").finish_non_exhaustive()
    }
}

impl Accounts {
    /// The accounts of a ledger. Their actors are spawned on the caller's arbiter, or on one of `arbiters` where the
    /// caller has none.
    ///
    /// # Panics
    ///
    /// `arbiters` is empty.
    pub fn new(
        arbiters: Vec<ArbiterHandle>,
        ledger: Arc<Ledger>,
        journal: Arc<dyn Append>,
        charges: Arc<dyn Charges>,
        processor: Processor,
        clock: Clock,
        health: Health,
    ) -> Self {
        assert!(!arbiters.is_empty(), "accounts need a thread");
        Self(Arc::new(Inner {
            accounts: Mutex::default(),
            incarnations: AtomicU64::new(1),
            arbiters,
            around: Arc::new(Surroundings {
                ledger,
                journal,
                charges,
                running: Running::default(),
                balances: Balances::default(),
                clock,
            }),
            processor,
            health,
            elsewhere: OnceLock::new(),
            spool: OnceLock::new(),
            turns: (0..TURNS).map(|_| tokio::sync::Mutex::new(())).collect(),
        }))
    }

    /// From now on other nodes own some of the shards. Called once, before any account is asked.
    pub fn join(&self, elsewhere: Arc<dyn Elsewhere>) {
        // A second call changes nothing.
        let _ = self.0.elsewhere.set(elsewhere);
    }

    /// From now on balances are told to other nodes, too.
    pub(crate) fn announce_by(&self, beyond: Arc<dyn Announces>) {
        self.0.around.balances.announce_by(beyond);
    }

    /// From now on captures that can't be made wait there. Called once, before any account is asked: the requests of those
    /// that wait already are settled by nobody else.
    pub fn spool_to(&self, spool: Spool) {
        for (_, record) in spool.waiting() {
            self.running().waits(record.request_id);
        }
        // A second call changes nothing.
        let _ = self.0.spool.set(spool);
    }

    /// Where captures wait while the ledger is away.
    pub fn spool(&self) -> Option<&Spool> {
        self.0.spool.get()
    }

    pub(crate) fn elsewhere(&self) -> Option<&Arc<dyn Elsewhere>> {
        self.0.elsewhere.get()
    }

    /// Whether several nodes may own accounts.
    pub(crate) fn is_shared(&self) -> bool {
        self.elsewhere().is_some()
    }

    /// The card processor.
    pub fn processor(&self) -> &Processor {
        &self.0.processor
    }

    /// The card for purchases that name no card; automatic purchases always use it.
    ///
    /// # Errors
    ///
    /// The ledger could not be read: ask again.
    pub async fn default_method(&self, id: AccountId) -> Result<Option<PaymentMethod>, LedgerError> {
        self.ledger().default_method(id, self.0.processor.name()).await
    }

    /// Requests that run in this process.
    pub fn running(&self) -> &Running {
        &self.0.around.running
    }

    /// The turn of an account to change its resources.
    pub(crate) fn turn(&self, id: AccountId) -> &tokio::sync::Mutex<()> {
        let [.., high, low] = *id.0.as_bytes();
        &self.0.turns[usize::from(u16::from_be_bytes([high, low])) % TURNS]
    }

    /// The process's clock.
    pub fn clock(&self) -> &Clock {
        &self.0.around.clock
    }

    /// The vitals of all actors.
    pub fn health(&self) -> &Health {
        &self.0.health
    }

    /// The ledger, for reading.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.0.around.ledger
    }

    fn accounts(&self) -> MutexGuard<'_, IdMap<AccountId, Living>> {
        self.0.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The actor of an account, spawned where there is none.
    pub fn address(&self, id: AccountId) -> Addr<AccountActor> {
        self.living(id).0
    }

    /// The same, and how much waits for it.
    fn living(&self, id: AccountId) -> (Addr<AccountActor>, Waiting) {
        let mut accounts = self.accounts();
        if let Some(Living { address, waiting, .. }) = accounts.get(&id)
            && address.connected()
        {
            return (address.clone(), waiting.clone());
        }
        self.spawn(&mut accounts, id)
    }

    /// Spawns a life of an account, which all who ask from now on find.
    fn spawn(&self, accounts: &mut IdMap<AccountId, Living>, id: AccountId) -> (Addr<AccountActor>, Waiting) {
        let incarnation = self.0.incarnations.fetch_add(1, Ordering::Relaxed);
        let own = self.clone();
        let on_exit = move |_: ExitReason| own.forget(id, incarnation);
        let exit = ExitGuard::new(&self.0.health, Kind::Account, Name::Id(id.0), on_exit);
        let context = AccountContext { around: Arc::clone(&self.0.around), incarnation };
        // Spawned on the caller's worker thread, where it is one: connections stay with their workers, so that most questions
        // to an account wake no other thread.
        let here = Arbiter::try_current().unwrap_or_else(|| {
            let bytes = id.0.as_bytes();
            self.0.arbiters[usize::from(bytes[15]) % self.0.arbiters.len()].clone()
        });
        let address = AccountActor::start_in_arbiter(&here, move |_| AccountActor::new(id, context, exit));
        let waiting = Waiting::default();
        accounts.insert(id, Living { incarnation, address: address.clone(), waiting: waiting.clone() });
        (address, waiting)
    }

    fn forget(&self, id: AccountId, incarnation: u64) {
        let mut accounts = self.accounts();
        if accounts.get(&id).is_some_and(|living| living.incarnation == incarnation) {
            accounts.remove(&id);
        }
        drop(accounts);
        self.0.around.journal.ended(id, incarnation);
    }

    /// Has every account do what is due, a few at a time. An account whose mailbox is full is not idle, and does what
    /// is due with its next command.
    pub async fn tick(&self) {
        let accounts: Vec<_> = self.accounts().values().map(|living| living.address.downgrade()).collect();
        for some in accounts.chunks(TICKED_AT_ONCE) {
            for account in some.iter().filter_map(WeakAddr::upgrade) {
                mailbox::offer(&account, Tick);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Asks an account.
    ///
    /// # Errors
    ///
    /// [`Overloaded`](AccountError::Overloaded) where the account's mailbox is full: nothing was done.
    /// [`Unavailable`](AccountError::Unavailable) where the ledger is away, or no answer came in time: the question may
    /// have been handled, so the caller must look before it repeats an act. Other errors are the account's own answer.
    pub async fn ask<Q: Asked>(&self, id: AccountId, question: Q) -> Result<Q::Answer, AccountError> {
        self.unless_away(self.ask_anywhere(id, question, DEADLINE)).await
    }

    /// Asks nothing, and stops waiting, while the ledger is known to be away: no answer could leave. Whether a question
    /// that was asked already is handled stays unknown.
    async fn unless_away<R>(&self, asked: impl Future<Output = Result<R, AccountError>>) -> Result<R, AccountError> {
        self.check()?;
        tokio::select! {
            biased;
            answer = asked => answer,
            fault = self.ledger().standing().broken() => Err(unavailable(&fault.into())),
        }
    }

    /// Fails where the ledger is known to be away, or this process may let nothing in.
    pub(crate) fn check(&self) -> Result<(), AccountError> {
        self.ledger().standing().check().map_err(|error| unavailable(&error))?;
        self.elsewhere().and_then(|elsewhere| elsewhere.fault()).map_or(Ok(()), |why| Err(AccountError::Apart(why)))
    }

    /// Asks an account to let a request in, which may wait in line. The caller must settle a hold that is placed, even
    /// where no answer comes: [`crate::admission::enter`] does.
    pub(crate) async fn enter(&self, id: AccountId, enter: Enter) -> Result<Entered, AccountError> {
        let deadline = DEADLINE + enter.max_wait;
        self.unless_away(self.ask_anywhere(id, enter, deadline)).await
    }

    /// Asks an account for the permit that a running request gave back. The request may wait in line for it, and does not run
    /// meanwhile.
    pub(crate) async fn resume(&self, id: AccountId, request_id: RequestId) -> Result<Answer, AccountError> {
        self.unless_away(self.ask_anywhere(id, Command::Resume { request_id }, IN_LINE)).await
    }

    /// Asks an account whose actor lives in this process.
    pub(crate) async fn ask_here<Q: Asked>(
        &self,
        id: AccountId,
        question: Q,
        deadline: Duration,
    ) -> Result<Q::Answer, AccountError> {
        let find = || {
            // Its shard may have left meanwhile, with its last life.
            let is_here = self.elsewhere().is_none_or(|elsewhere| elsewhere.is_here(self.shard_of(id)));
            let (address, waiting) = is_here.then(|| self.living(id))?;
            Some((address, self.health().posted_to(Kind::Account, &waiting)))
        };
        match mailbox::ask(find, question, deadline).await {
            Ok(answer) => answer,
            Err(AskError::Full) => Err(AccountError::Overloaded),
            Err(AskError::Nobody) => Err(AccountError::Moved),
            Err(AskError::Gone) => Err(AccountError::Unavailable("the account is being rebuilt".into())),
            Err(AskError::Late) => Err(AccountError::Unavailable("no answer in time".into())),
        }
    }

    /// Asks an account to decide a command. A settlement is sent even while the ledger is away: it waits in the
    /// journal.
    ///
    /// # Errors
    ///
    /// As for [`Self::ask`].
    pub async fn decide(&self, id: AccountId, command: Command) -> Result<Answer, AccountError> {
        let is_cost = matches!(command, Command::Settle(_));
        let asked = self.ask_anywhere(id, command, DEADLINE);
        if is_cost { asked.await } else { self.unless_away(asked).await }
    }

    /// Posts a command without waiting for an answer. Bounded by the running requests: each posts one command a second,
    /// one at its end, and one for each permit that it gets.
    pub fn post(&self, id: AccountId, command: Command) {
        // Nobody waits for it.
        drop(self.post_in_order(id, command));
    }

    /// The same. What it returns, if anything, ends once the command is handled, or nobody knows whether it is: what is asked
    /// before may be handled before. Otherwise it precedes in the account's mailbox what is asked later.
    pub(crate) fn post_in_order(&self, id: AccountId, command: Command) -> Option<oneshot::Receiver<()>> {
        if self.is_shared() {
            return Some(self.post_anywhere(id, command));
        }
        let (reply, _) = oneshot::channel::<Result<Answer, AccountError>>();
        let (address, waiting) = self.living(id);
        let posted = self.health().posted_to(Kind::Account, &waiting).named(command.name());
        mailbox::tell(&address, Ask::of(command, reply, posted));
        None
    }

    /// Sends an account of this process a message without an answer. The caller names the bound of such messages.
    pub fn tell<M>(&self, id: AccountId, message: M)
    where
        AccountActor: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        mailbox::tell(&self.address(id), message);
    }

    /// Has the actors of a shard's accounts end, each once everything that it sent is durable and answered. Returns when
    /// the last has ended. Nobody may ask them any more.
    pub async fn leave(&self, shard: Shard) {
        loop {
            let addresses = self.of_shard(shard);
            if addresses.is_empty() {
                return;
            }
            for address in addresses {
                mailbox::tell(&address, Leave);
            }
            tokio::time::sleep(LEAVES_WITHIN).await;
        }
    }

    /// Has the actors of a shard's accounts end now. They tell nobody anything any more.
    pub fn end(&self, shard: Shard) {
        for address in self.of_shard(shard) {
            mailbox::tell(&address, End);
        }
    }

    /// Waits, for a while, until no actor of a shard's accounts is left: what one still has in its mailbox comes before its end.
    pub async fn gone(&self, shard: Shard) {
        let until = Instant::now() + GONE_WITHIN;
        while !self.of_shard(shard).is_empty() {
            if Instant::now() > until {
                tracing::warn!(shard = shard.0, "accounts of an earlier use of a shard do not end");
                return;
            }
            tokio::time::sleep(LEAVES_WITHIN).await;
        }
    }

    fn of_shard(&self, shard: Shard) -> Vec<Addr<AccountActor>> {
        let shards = self.ledger().shards();
        let accounts = self.accounts();
        let its = accounts.iter().filter(|(id, living)| shards.of(**id) == shard && living.address.connected());
        its.map(|(_, living)| living.address.clone()).collect()
    }

    /// Whether exactly this record is in the ledger.
    pub async fn is_recorded(&self, id: AccountId, record: &UsageRecord) -> bool {
        let found = self.ledger().charged(id, record.request_id).await;
        matches!(found, Ok(Some(charged)) if charged == record.charged)
    }
}

/// How long the end of a shard's accounts is waited for before the shard is used again.
const GONE_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked whether the last account of a shard has ended.
const LEAVES_WITHIN: Duration = Duration::from_millis(5);

fn unavailable(error: &LedgerError) -> AccountError {
    AccountError::Unavailable(error.to_string())
}
