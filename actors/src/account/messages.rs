//! What an account is asked and told, and what it answers: plain values, which may come from another process.

use std::time::Duration;

use actix::Message;
use billing::{
    Nanos, Timestamp,
    account::{Automatic, Balance, Header, TierFall},
    command::Answer,
    hold::Hold,
    ids::{KeyId, PaymentId, RequestId},
    payment::Payment,
    plan::Plan,
    subscription::Subscription,
};
use cards::NextAction;
use tokio::sync::mpsc;

use crate::running::Amounts;

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

/// Let a request run: the question that [`Entered`] answers.
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

/// What an account says to a request that asks to run. A plain value: it may come from another process, and whoever reads it
/// makes the guard.
#[derive(Debug, Clone)]
pub struct Entered {
    /// Which request.
    pub request_id: RequestId,
    /// Its hold, which is durable; none where it was refused.
    pub placed: Option<Placed>,
    /// Whether it was admitted, and the account's balance with the hold placed.
    pub answer: Answer,
    /// Its place in the line when it joined it, if it had to wait.
    pub place: Option<usize>,
}

/// A hold as it was placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// What was set aside, and what the limits of the request's key claim.
    pub amounts: Amounts,
    /// When.
    pub placed_at: Timestamp,
    /// When it is abandoned unless renewed.
    pub deadline: Timestamp,
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
