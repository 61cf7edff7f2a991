//! The only writer of the log. It takes decided transitions from many accounts, appends everything that waits as one row
//! (without a timer: batches grow under load), and only then reports to the accounts. It knows no rule of money. The
//! pure [`protocol`] decides which reports go to which accounts; the [`writer`] is the thread that drives it; the
//! [`projector`] is the thread that makes the tables from the log behind it. Not an actor of actix: accounts append
//! directly to the queue, because a mailbox in between was one more thread to wake for every request.
//!
//! An append of unknown outcome is repeated with the same row until it is known. After one that failed every account in
//! the batch is informed, stops, and is rebuilt from the tables. Entries that such an account sent since are refused by
//! their incarnation.

mod projector;
pub mod protocol;
mod writer;

pub use writer::Journal;

use actix::{Message, WeakRecipient};
use billing::ids::AccountId;
use tokio::sync::oneshot;

use protocol::{Incarnation, Pending};

/// Everything up to a ticket is durable, or the receiving account must be rebuilt.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Committed {
    /// The last durable ticket, or why there is none.
    pub result: Result<u64, String>,
}

/// The entry is from an earlier life of its account, and was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("from an earlier life")]
pub struct EarlierLife;

/// The journal as accounts see it.
pub trait Append: Send + Sync {
    /// Takes a transition to commit. Their number is bounded by the accounts' outboxes.
    ///
    /// # Errors
    ///
    /// The entry is from an earlier life of its account. The sender must end.
    fn append(&self, entry: Pending<WeakRecipient<Committed>>) -> Result<(), EarlierLife>;

    /// Asks that everything this account sent before be committed or refused, and nothing of an earlier life accepted
    /// any more. After `ready`, the account's rows are its state.
    fn open(&self, account_id: AccountId, incarnation: Incarnation, ready: oneshot::Sender<()>);

    /// Notes that a life of an account has ended: it sends nothing more.
    fn ended(&self, account_id: AccountId, incarnation: Incarnation);
}
