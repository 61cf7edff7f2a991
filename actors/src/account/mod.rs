//! One account's actor: it alone changes the account's money. It decides in memory ([`billing::decide`]), sends what is to
//! be written to the journal, and keeps every reply, effect and live update in its outbox until the journal sequence it
//! depends on is durable. It does no I/O itself; when a commit fails it ends and is rebuilt from the ledger.

mod actor;
mod admission;
mod enter;
pub mod outbox;
mod queue;

pub(crate) use actor::new_grant_id;
pub use actor::{AccountActor, Context as AccountContext};
pub use admission::{Admission, Metered, SettleError};
pub use queue::{LINE, PURCHASE};

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use actix::Message;
use billing::{
    Nanos,
    account::{Automatic, Balance, Header, TierFall},
    command::Answer,
    hold::Hold,
    ids::{KeyId, PaymentId},
    payment::Payment,
    plan::Plan,
    subscription::Subscription,
};
use cards::NextAction;
use tokio::sync::mpsc;

/// Why an account can't answer; nothing was changed, or what was is being rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// There is no such account.
    #[error("no such account")]
    NoAccount,
    /// The ledger could not be read or written; worth another try.
    #[error("ledger unavailable: {0}")]
    Unavailable(String),
    /// Too much is waiting.
    #[error("account overloaded")]
    Overloaded,
}

/// From the journal: everything up to a ticket is durable, or the account must be rebuilt.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Committed {
    /// The last durable ticket, or why there is none.
    pub result: Result<u64, String>,
}

/// Let a request run: the question that [`Admitted`] answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enter {
    /// What it asks for.
    pub admit: billing::command::Admit,
    /// How long it may wait in line for a permit or the rate limit; none: it is refused at once.
    pub max_wait: Duration,
}

/// A second has passed: look whether something is due, or nothing is left to do.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct Tick;

/// A request that may run: its guard, and what to tell its client.
#[derive(Debug)]
pub struct Admitted {
    /// Reaching a pool or a provider takes it; dropping it unsettled abandons the request.
    pub admission: Admission,
    /// The account's balance with the hold placed.
    pub answer: Answer,
    /// Its place in the line when it joined it, if it had to wait.
    pub place: Option<usize>,
}

/// Begin a purchase; answered when the card network has answered, and that is durable.
#[derive(Debug, Clone)]
pub struct Buy(pub Payment);

/// What came of a purchase.
#[derive(Debug, Clone)]
pub struct Bought {
    /// The payment, as it ended.
    pub payment: Payment,
    /// The answer of its last step.
    pub answer: Answer,
    /// What the card's owner must do before it can end: then it is still pending.
    pub action: Option<NextAction>,
}

/// A card's owner must act before a payment can end: its buyer is told so, and waits no longer.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Waits {
    /// Which payment.
    pub payment_id: PaymentId,
    /// What must be done.
    pub action: NextAction,
}

/// Open an account that is not there: answered when it is durable with its plan's first credits. One that is there already
/// under this id was opened by the same request.
#[derive(Debug, Clone)]
pub struct Open {
    /// Its owner's address.
    pub email: String,
    /// Its plan.
    pub plan: Plan,
}

/// Ask for a picture of the account.
#[derive(Debug, Clone, Copy)]
pub struct Look;

/// Ask what would come of a request: decided on a copy, so that nothing is placed.
#[derive(Debug, Clone)]
pub struct Preview(pub billing::command::Admit);

/// The picture.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Its money.
    pub balance: Balance,
    /// Its open holds, oldest first.
    pub holds: Vec<Hold>,
    /// Whether it is pay-as-you-go now.
    pub payg: bool,
    /// Its row.
    pub header: Header,
    /// Its subscription, if it ever had one.
    pub subscription: Option<Subscription>,
    /// What it buys by itself, if it ever set that.
    pub automatic: Option<Automatic>,
    /// When its tier will fall.
    pub fall: Option<TierFall>,
    /// Requests that wait in line.
    pub waiting: usize,
    /// What its limited keys have used.
    pub keys: Vec<KeyUse>,
}

/// What a limited key has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUse {
    /// Which.
    pub id: KeyId,
    /// Spent in each window of now, with what it holds.
    pub amounts: [Nanos; 4],
}

/// A live update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Live {
    /// The balance changed.
    Balance(Balance),
}

/// Watch an account. A watcher that lags is dropped, and learns it by its channel's end.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Subscribe(pub mpsc::Sender<Live>);

/// What is set aside for a running request and what it may come to by its key's limits, as they last became durable: set by
/// its account, seen by its task.
#[derive(Debug, Clone)]
pub(crate) struct Held(Arc<Amounts>);

#[derive(Debug)]
struct Amounts {
    held: AtomicI64,
    /// The largest number where the key has no limits.
    claimed: AtomicI64,
}

impl Held {
    fn new(held: Nanos, claimed: Option<Nanos>) -> Self {
        let amounts = Amounts { held: AtomicI64::new(held.get()), claimed: AtomicI64::new(i64::MAX) };
        let new = Self(Arc::new(amounts));
        new.set(held, claimed);
        new
    }

    fn get(&self) -> Nanos {
        Nanos::new(self.0.held.load(Ordering::Relaxed))
    }

    fn claimed(&self) -> Option<Nanos> {
        Some(self.0.claimed.load(Ordering::Relaxed)).filter(|claimed| *claimed < i64::MAX).map(Nanos::new)
    }

    fn set(&self, held: Nanos, claimed: Option<Nanos>) {
        self.0.held.store(held.get(), Ordering::Relaxed);
        self.0.claimed.store(claimed.map_or(i64::MAX, Nanos::get), Ordering::Relaxed);
    }
}

/// Test-only: dies of a panic.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Panic;
