//! The only writer. It takes decided transitions from many accounts, commits whatever is waiting as one batch (no timer:
//! batches grow under load), and only then tells the accounts. It knows no rule of money. What is said to whom is the pure
//! [`protocol`]; the [`writer`] is the thread that drives it. Not an actor of actix: accounts put what they decide straight
//! into its queue, as a mailbox between them was one more thread to wake for every request.
//!
//! After a failed or unknown commit nothing is retried from memory: every account in it is told, stops, and is rebuilt
//! from the database. What such an account had sent since is refused by its incarnation.

pub mod protocol;
mod writer;

pub use protocol::Incarnation;
pub use writer::Journal;
