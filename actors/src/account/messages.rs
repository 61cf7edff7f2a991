//! The messages to an account and their answers: plain values, which may come from another process.

use std::{sync::Arc, time::Duration};

use actix::{Addr, Message};
use billing::{
    Nanos, Timestamp,
    account::{Automatic, Balance, Header, TierFall},
    command::Answer,
    hold::Hold,
    ids::{KeyId, PaymentId, RequestId},
    key::KeyLimits,
    payment::Payment,
    plan::Plan,
    subscription::Subscription,
};
use cards::NextAction;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::AccountActor;
use crate::running::Amounts;

/// Why an account can't answer. Nothing was changed, or the change is being read again from the ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum AccountError {
    /// There is no such account.
    #[error("no such account")]
    NoAccount,
    /// The ledger could not be read or written; another attempt may succeed.
    #[error("ledger unavailable: {0}")]
    Unavailable(String),
    /// Too many messages are waiting.
    #[error("account overloaded")]
    Overloaded,
    /// Another node answers for the account from now on. Nothing was changed: ask there.
    #[error("the account moves to another node")]
    Moved,
    /// This node and the one that answers for the account do not work together. Nothing was changed.
    #[error("the account is at a node that this one does not work with: {0}")]
    Apart(String),
}

/// Let a request run. [`Entered`] is the answer. Asked again, a request that was let in has the hold that it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enter {
    /// The request's admission.
    pub admit: billing::command::Admit,
    /// The longest wait in line for a permit or the rate limit; zero for none.
    pub max_wait: Duration,
}

/// A second has passed: do what is due, or end.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct Tick;

/// Another node answers for the account from now on: tell whoever waits, and end once everything sent is durable.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct Leave;

/// Let a new life take the place of this one as soon as nobody waits here for a purchase or in line. What comes from then on is
/// passed on to it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Retire {
    /// Starts the new life.
    pub(crate) succeed: Box<dyn FnOnce() -> Addr<AccountActor> + Send>,
    /// Told that it was started. Whoever does not wait any more has nothing done.
    pub(crate) done: oneshot::Sender<()>,
}

/// Another node may answer for the account by now: end, and tell nobody anything.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct End;

/// The answer to [`Enter`]. A plain value, because it may come from another process; its reader makes the guard.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entered {
    /// The request.
    pub request_id: RequestId,
    /// The request's durable hold; `None` where it was refused.
    pub placed: Option<Placed>,
    /// Whether it was admitted, and the account's balance with the hold placed.
    pub answer: Answer,
    /// The request's place when it joined the line, if it had to wait.
    pub place: Option<usize>,
    /// When it was decided, in real time since this life of the account began.
    pub decided: Duration,
    /// How long the answer waited then until the log had the hold.
    pub logged: Duration,
}

/// A hold as it was placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// The amount held, and the amount claimed by the limits of the request's key.
    pub amounts: Amounts,
    /// When the hold was placed.
    pub placed_at: Timestamp,
    /// When the hold counts as abandoned unless renewed.
    pub deadline: Timestamp,
}

/// Begin a purchase. Answered when the card network's answer is durable.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Buy(pub Payment);

/// The result of a purchase.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bought {
    /// The payment, as it ended.
    pub payment: Payment,
    /// The answer to its last step.
    pub answer: Answer,
    /// The step that the card's owner must take first: the payment is still pending.
    pub action: Option<NextAction>,
}

/// The card's owner must take a step before a payment can end. The buyer is informed, and waits no longer.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Waits {
    /// The payment.
    pub payment_id: PaymentId,
    /// The step.
    pub action: NextAction,
}

/// Open an account that does not exist. Answered when the account is durable with its plan's first credits. An existing
/// account with this id was opened by the same request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Open {
    /// The owner's e-mail address.
    pub email: String,
    /// The account's plan.
    pub plan: Plan,
}

/// Ask for a picture of the account.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Look;

/// Ask for the decision on a request. It is made on a copy, so that nothing is placed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Preview(pub billing::command::Admit);

/// A picture of the account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Picture {
    /// The account's money.
    pub balance: Balance,
    /// The open holds, oldest first.
    pub holds: Vec<Hold>,
    /// Whether it is pay-as-you-go now.
    pub payg: bool,
    /// The account's row.
    pub header: Header,
    /// The subscription, if the account ever had one.
    pub subscription: Option<Subscription>,
    /// The automatic purchases, if they were ever set.
    pub automatic: Option<Automatic>,
    /// When the tier will fall.
    pub fall: Option<TierFall>,
    /// The number of requests in line.
    pub waiting: usize,
    /// The use of keys with limits.
    pub keys: Vec<KeyUse>,
}

/// The use of a key with limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUse {
    /// The key.
    pub id: KeyId,
    /// The key's limits.
    pub limits: KeyLimits,
    /// The amount spent in each current window, including holds.
    pub amounts: [Nanos; 4],
    /// The lines at which the owner is told, in percent of each limit.
    pub alerts: Vec<u8>,
}

/// A live update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Live {
    /// The balance changed.
    Balance {
        /// Its place among those that this process told: one with a lower place is older.
        place: u64,
        /// The balance, one for all watchers: each keeps room for many updates.
        balance: Arc<Balance>,
    },
}

/// Watch an account. A slow watcher is dropped, and learns it by its channel's end.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Subscribe(pub mpsc::Sender<Live>);
