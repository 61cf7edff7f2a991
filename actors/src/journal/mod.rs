//! The only writer. It takes decided transitions from many accounts, commits whatever is waiting as one batch (no timer:
//! batches grow under load), and only then tells the accounts. It knows no rule of money. What is said to whom is the pure
//! [`protocol`]; the [`writer`]'s thread drives it; the actor here is where accounts reach it.
//!
//! After a failed or unknown commit nothing is retried from memory: every account in it is told, stops, and is rebuilt
//! from the database. What such an account had sent since is refused by its incarnation.

pub mod protocol;
pub mod writer;

use std::{sync::Arc, time::Instant};

use actix::{Actor, Context, Handler, Message, WeakAddr};
use billing::{entry::Transition, ids::AccountId};
use tokio::sync::oneshot;

use crate::{
    account::{AccountActor, Committed},
    health::{Health, Kind, Obituary},
    mailbox,
};
use protocol::Entry;
pub use protocol::{Incarnation, LARGEST_BATCH};
pub use writer::Queue;

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
    pub account: WeakAddr<AccountActor>,
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

/// The actor.
#[derive(Debug)]
pub struct Journal {
    queue: Arc<Queue>,
    health: Health,
    _obituary: Obituary,
}

impl Journal {
    /// A life of the journal, over the queue of all its lives.
    pub const fn new(queue: Arc<Queue>, health: Health, obituary: Obituary) -> Self {
        Self { queue, health, _obituary: obituary }
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

    fn handle(&mut self, append: Append, _: &mut Self::Context) {
        let began = Instant::now();
        let Append { transition, ticket, incarnation, account, posted_at } = append;
        let refused = self.queue.push(Entry { transition, ticket, incarnation, sender: account }).err();
        if let Some(sender) = refused.and_then(|sender| sender.upgrade()) {
            // At most one for each that an account sent.
            mailbox::tell(&sender, Committed { result: Err("from an earlier life".into()) });
        }
        self.health.handled(Kind::Journal, posted_at, began);
    }
}

impl Handler<Open> for Journal {
    type Result = ();

    fn handle(&mut self, open: Open, _: &mut Self::Context) {
        self.queue.open(open.account_id, open.incarnation, open.ready);
    }
}

impl Handler<Panic> for Journal {
    type Result = ();

    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("asked to panic");
    }
}
