//! The only writer. It takes decided transitions from many accounts, commits whatever is waiting as one batch (no timer:
//! batches grow under load), and only then tells the accounts. It knows no rule of money.
//!
//! After a failed or unknown commit nothing is retried from memory: every account in it is told, stops, and is rebuilt
//! from the database. What such an account had sent since is refused by its incarnation.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, WrapFuture};
use billing::{entry::Transition, ids::AccountId};
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use crate::{
    account::{AccountActor, Committed},
    clock::Clock,
    health::{Health, Kind, Obituary},
    ledger::{Ledger, LedgerError},
    mailbox,
};

/// Transitions in one batch, at most.
pub const LARGEST_BATCH: usize = 1_024;

/// Which life of an account's actor something came from; rises with every rebuild.
pub type Incarnation = u64;

/// A transition to commit. Its number is bounded by the mailboxes of the accounts it comes from.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Append {
    /// What to write.
    pub transition: Transition,
    /// Its place in its actor's outbox.
    pub ticket: u64,
    /// The actor's life.
    pub incarnation: Incarnation,
    /// The actor.
    pub account: Addr<AccountActor>,
    /// When it was posted.
    pub posted_at: Instant,
}

/// Asks that everything this account sent before be committed or refused, and nothing of an earlier life accepted any
/// more. After the answer, its rows are its state.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Open {
    /// Whose.
    pub account_id: AccountId,
    /// The new life.
    pub incarnation: Incarnation,
    /// Told when it is so.
    pub ready: oneshot::Sender<()>,
}

/// Test-only: dies of a panic.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Panic;

enum Waiting {
    Append(Box<Append>),
    Open(oneshot::Sender<()>),
}

/// Who waits for a transition.
struct Sender {
    account_id: AccountId,
    ticket: u64,
    incarnation: Incarnation,
    account: Addr<AccountActor>,
}

/// The actor.
pub struct Journal {
    ledger: Arc<Ledger>,
    clock: Clock,
    health: Health,
    /// Notified when another process has taken the ledger over: nothing can be written here any more.
    fenced: Arc<Notify>,
    queue: VecDeque<Waiting>,
    committing: bool,
    /// The oldest life of each account that is still accepted: an entry for each account this process has known.
    accepted: HashMap<AccountId, Incarnation>,
    _obituary: Obituary,
}

impl Journal {
    /// A journal over a ledger.
    pub fn new(ledger: Arc<Ledger>, clock: Clock, health: Health, fenced: Arc<Notify>, obituary: Obituary) -> Self {
        let accepted = HashMap::new();
        Self { ledger, clock, health, fenced, queue: VecDeque::new(), committing: false, accepted, _obituary: obituary }
    }

    fn commit_next(&mut self, ctx: &mut Context<Self>) {
        if self.committing {
            return;
        }
        let (mut batch, mut senders, mut opens) = (Vec::new(), Vec::new(), Vec::new());
        while batch.len() < LARGEST_BATCH {
            match self.queue.pop_front() {
                // What was queued before an open is in this batch or an earlier one.
                Some(Waiting::Open(ready)) => opens.push(ready),
                Some(Waiting::Append(append)) => {
                    let Append { transition, ticket, incarnation, account, .. } = *append;
                    senders.push(Sender { account_id: transition.account_id, ticket, incarnation, account });
                    batch.push(transition);
                }
                None => break,
            }
        }
        if batch.is_empty() {
            answer_opens(opens);
            return;
        }
        self.committing = true;
        let (ledger, clock, fenced) = (Arc::clone(&self.ledger), self.clock.clone(), Arc::clone(&self.fenced));
        let work = async move {
            let failed = commit(&ledger, &clock, &fenced, batch).await;
            (senders, failed, opens)
        };
        ctx.spawn(work.into_actor(self).map(|(senders, failed, opens), actor, ctx| {
            actor.committing = false;
            actor.answer(senders, &failed);
            answer_opens(opens);
            actor.commit_next(ctx);
        }));
    }

    /// Tells each account once how far it is durable, or that it must be rebuilt.
    fn answer(&mut self, senders: Vec<Sender>, failed: &HashMap<AccountId, String>) {
        let mut last: HashMap<AccountId, Sender> = HashMap::new();
        for sender in senders {
            last.insert(sender.account_id, sender);
        }
        for (account_id, sender) in last {
            let result = match failed.get(&account_id) {
                None => Ok(sender.ticket),
                Some(error) => {
                    self.accepted.insert(account_id, sender.incarnation + 1);
                    Err(error.clone())
                }
            };
            // At most one a batch for an account that waits for it.
            mailbox::tell(&sender.account, Committed { result });
        }
    }

    fn is_stale(&self, account_id: AccountId, incarnation: Incarnation) -> bool {
        self.accepted.get(&account_id).is_some_and(|oldest| incarnation < *oldest)
    }
}

fn answer_opens(opens: Vec<oneshot::Sender<()>>) {
    for ready in opens {
        // An account that ended meanwhile no longer waits.
        let _ = ready.send(());
    }
}

/// Commits a batch; the accounts whose transitions are not (or not known to be) durable, with why.
async fn commit(ledger: &Ledger, clock: &Clock, fenced: &Notify, batch: Vec<Transition>) -> HashMap<AccountId, String> {
    let batch = Arc::new(batch);
    let began = Instant::now();
    let result = commit_once(ledger, clock, Arc::clone(&batch)).await;
    metrics::histogram!("farebox_journal_commit_seconds").record(began.elapsed().as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "a batch has at most 1,024")]
    metrics::histogram!("farebox_journal_batch_transitions").record(batch.len() as f64);
    let Err(error) = result else { return HashMap::new() };
    tracing::error!(%error, transitions = batch.len(), "commit failed");
    if matches!(error, LedgerError::Fenced) {
        fenced.notify_one();
    }
    if !matches!(error, LedgerError::Refused(_)) {
        return batch.iter().map(|transition| (transition.account_id, error.to_string())).collect();
    }
    // A row the database refused must not fail its neighbours: the batch is known not to be there, so each account's
    // part is committed by itself.
    let mut by_account: HashMap<AccountId, Vec<Transition>> = HashMap::new();
    for transition in batch.iter() {
        by_account.entry(transition.account_id).or_default().push(transition.clone());
    }
    let mut failed = HashMap::new();
    for (account_id, alone) in by_account {
        if let Err(own) = commit_once(ledger, clock, Arc::new(alone)).await {
            failed.insert(account_id, own.to_string());
        }
    }
    failed
}

/// One transaction. Where its outcome is unknown, the batch's row tells.
async fn commit_once(ledger: &Ledger, clock: &Clock, transitions: Arc<Vec<Transition>>) -> Result<(), LedgerError> {
    let id = Uuid::now_v7();
    match ledger.append(id, transitions, clock.now()).await {
        Err(error @ (LedgerError::Database(_) | LedgerError::Writer(_))) => match ledger.has_batch(id).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(error),
        },
        result => result,
    }
}

impl Actor for Journal {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(LARGEST_BATCH);
    }
}

impl Handler<Append> for Journal {
    type Result = ();

    fn handle(&mut self, append: Append, ctx: &mut Self::Context) {
        let began = Instant::now();
        let posted_at = append.posted_at;
        if self.is_stale(append.transition.account_id, append.incarnation) {
            mailbox::tell(&append.account, Committed { result: Err("from an earlier life".into()) });
            return;
        }
        self.queue.push_back(Waiting::Append(Box::new(append)));
        self.commit_next(ctx);
        self.health.handled(Kind::Journal, posted_at, began);
    }
}

impl Handler<Open> for Journal {
    type Result = ();

    fn handle(&mut self, open: Open, ctx: &mut Self::Context) {
        self.accepted.insert(open.account_id, open.incarnation);
        self.queue.retain(|waiting| match waiting {
            Waiting::Append(append) if append.transition.account_id == open.account_id => {
                append.incarnation >= open.incarnation
            }
            Waiting::Append(_) | Waiting::Open(_) => true,
        });
        self.queue.push_back(Waiting::Open(open.ready));
        self.commit_next(ctx);
    }
}

impl Handler<Panic> for Journal {
    type Result = ();

    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("asked to panic");
    }
}
