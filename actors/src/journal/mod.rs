//! The only writer. It takes decided transitions from many accounts, commits whatever is waiting as one batch (no timer:
//! batches grow under load), and only then tells the accounts. It knows no rule of money. What is said to whom is the pure
//! [`protocol`]; the [`writer`] is the thread that drives it. Not an actor of actix: accounts put what they decide straight
//! into its queue, as a mailbox between them was one more thread to wake for every request.
//!
//! After a failed or unknown commit nothing is retried from memory: every account in it is told, stops, and is rebuilt
//! from the database. What such an account had sent since is refused by its incarnation.

pub mod protocol;
mod writer;

pub use writer::Journal;

use actix::{Message, WeakRecipient};
use billing::ids::AccountId;
use tokio::sync::oneshot;

use protocol::{Incarnation, Pending};

/// Everything up to a ticket is durable, or the account that hears it must be rebuilt.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Committed {
    /// The last durable ticket, or why there is none.
    pub result: Result<u64, String>,
}

/// What was to be written is of an earlier life of its account: it is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("from an earlier life")]
pub struct EarlierLife;

/// The journal as accounts see it.
pub trait Append: Send + Sync {
    /// Takes a transition to commit, unless it is of an earlier life. Their number is bounded by the outboxes of the accounts
    /// they come from.
    fn append(&self, entry: Pending<WeakRecipient<Committed>>) -> Result<(), EarlierLife>;

    /// Asks that everything this account sent before be committed or refused, and nothing of an earlier life accepted any
    /// more. Once `ready` is told, its rows are its state.
    fn open(&self, account_id: AccountId, incarnation: Incarnation, ready: oneshot::Sender<()>);

    /// Notes that a life of an account has ended: it sends nothing more.
    fn ended(&self, account_id: AccountId, incarnation: Incarnation);
}
