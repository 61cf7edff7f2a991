//! One account's actor: only it changes the account's money. Its decisions are in [`machine`], which is pure: it
//! decides in memory ([`billing::decide`]), names the entries for the journal, and keeps every reply, effect and live
//! update in its outbox until the journal sequence that it depends on is durable. The actor drives the machine. It does
//! no I/O itself; when a commit fails, it ends and is rebuilt from the ledger.

mod actor;
pub mod machine;
mod messages;
mod questions;

pub use actor::AccountActor;
pub(crate) use actor::new_grant_id;
pub use machine::{LINE, PURCHASE};
pub use messages::{
    AccountError, Bought, Buy, Enter, Entered, KeyUse, Live, Look, Open, Picture, Placed, Preview, Subscribe, Waits,
};
pub(crate) use messages::{End, Leave, Retire, Tick};
pub use questions::{Asked, Question, Repeats, Said};
