//! Card charges: takes a pending payment whose row is durable and carries it to its end ([`pursue`]), listens to what the
//! processor tells ([`notice`]), gives money back ([`refund`]), and has the account settle it all. Knows no rule of money. A
//! payment is carried by one pursuit at a time, on a future of its own: the mailbox never waits for a processor. A new life takes up what an earlier
//! one left pending.

mod notice;
mod pursue;
mod refund;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use billing::{
    ids::{AccountId, PaymentId},
    payment::Payment,
};
use tokio::sync::Notify;

pub use notice::{Heard, NotHeard};
pub use refund::{NotRefunded, Refund};

use crate::{
    card::{NextAction, Told},
    directory::Directory,
    health::{Kind, Obituary, OfKind, Posted},
    mailbox::Ask,
};

/// Notices and refunds worked on at once, at most.
pub const MOST_NOTICES: usize = 256;

/// Charge this, and tell its account. Bounded by the accounts' pending payments.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Charge {
    /// Whose.
    pub account_id: AccountId,
    /// What.
    pub payment: Payment,
    /// Counts it.
    pub posted: Posted,
}

/// Where to find accounts: set once both are there.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Meet(pub Directory);

/// Hear what the processor tells; answered when what it changes is durable.
#[derive(Debug, Clone)]
pub struct Hear(pub Told);

/// Ask what a payment's owner must do.
#[derive(Debug, Clone, Copy)]
pub struct ActionOf(pub PaymentId);

/// A payment that is carried to its end, as its pursuit and the actor share it.
#[derive(Debug, Clone, Default)]
struct Open {
    action: Arc<Mutex<Option<NextAction>>>,
    /// Notified when it may have ended.
    nudged: Arc<Notify>,
}

impl Open {
    fn set_action(&self, action: NextAction) {
        *self.action.lock().unwrap_or_else(PoisonError::into_inner) = Some(action);
    }

    fn action(&self) -> Option<NextAction> {
        self.action.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The actor.
#[derive(Debug)]
pub struct PaymentActor {
    directory: Option<Directory>,
    /// Charges that came before the directory.
    early: Vec<Charge>,
    open: HashMap<PaymentId, Open>,
    hearing: usize,
    _obituary: Obituary,
}

impl PaymentActor {
    /// A new life.
    pub fn new(directory: Option<Directory>, obituary: Obituary) -> Self {
        Self { directory, early: Vec::new(), open: HashMap::new(), hearing: 0, _obituary: obituary }
    }

    /// Takes up what an earlier life left.
    fn take_up(&self, directory: Directory, ctx: &mut Context<Self>) {
        let health = directory.health().clone();
        let load = async move { directory.ledger().pending_payments().await };
        ctx.spawn(load.into_actor(self).map(move |pending, _, ctx| match pending {
            Ok(pending) => {
                for (account_id, payment) in pending {
                    ctx.notify(Charge { account_id, payment, posted: health.posted(Self::KIND) });
                }
            }
            // Their accounts take them up when they are next loaded.
            Err(error) => tracing::error!(%error, "pending payments could not be taken up"),
        }));
    }
}

impl OfKind for PaymentActor {
    const KIND: Kind = Kind::Payment;
}

impl Actor for PaymentActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // The first life has none yet: its accounts bring what is pending.
        if let Some(directory) = self.directory.clone() {
            self.take_up(directory, ctx);
        }
    }
}

impl Handler<Meet> for PaymentActor {
    type Result = ();

    fn handle(&mut self, Meet(directory): Meet, ctx: &mut Self::Context) {
        self.directory = Some(directory);
        for charge in self.early.drain(..) {
            ctx.notify(charge);
        }
    }
}

impl Handler<Charge> for PaymentActor {
    type Result = ();

    fn handle(&mut self, charge: Charge, ctx: &mut Self::Context) {
        let began = Instant::now();
        let Some(directory) = self.directory.clone() else {
            self.early.push(charge);
            return;
        };
        let Charge { account_id, payment, posted } = charge;
        let id = payment.id;
        if self.open.contains_key(&id) {
            return;
        }
        let open = Open::default();
        self.open.insert(id, open.clone());
        let work = pursue::pursue(directory, account_id, payment, open);
        ctx.spawn(work.into_actor(self).map(move |(), actor, _| drop(actor.open.remove(&id))));
        posted.handled(began);
    }
}

impl Handler<Ask<Hear, Result<Heard, NotHeard>>> for PaymentActor {
    type Result = ();

    fn handle(&mut self, ask: Ask<Hear, Result<Heard, NotHeard>>, ctx: &mut Self::Context) {
        let began = Instant::now();
        let Ask { question: Hear(told), reply, posted } = ask;
        let Some(directory) = self.directory.clone().filter(|_| self.hearing < MOST_NOTICES) else {
            // Told again later.
            drop(reply.send(Err(NotHeard::Overloaded)));
            return;
        };
        self.hearing += 1;
        posted.handled(began);
        let work = async move { notice::hear(&directory, &told).await };
        ctx.spawn(work.into_actor(self).map(|heard, actor, _| {
            actor.hearing -= 1;
            let outcome = match &heard {
                Ok(heard) if heard.repeated => "repeated",
                Ok(heard) if heard.payments.is_empty() => "ignored",
                Ok(_) => "heard",
                Err(_) => "refused",
            };
            metrics::counter!("farebox_webhooks_total", "outcome" => outcome).increment(1);
            for id in heard.iter().flat_map(|heard| &heard.payments) {
                if let Some(open) = actor.open.get(id) {
                    open.nudged.notify_one();
                }
            }
            drop(reply.send(heard));
        }));
    }
}

impl Handler<Ask<Refund, Result<Payment, NotRefunded>>> for PaymentActor {
    type Result = ();

    fn handle(&mut self, ask: Ask<Refund, Result<Payment, NotRefunded>>, ctx: &mut Self::Context) {
        let began = Instant::now();
        let Ask { question, reply, posted } = ask;
        let Some(directory) = self.directory.clone().filter(|_| self.hearing < MOST_NOTICES) else {
            drop(reply.send(Err(NotRefunded::NotNow("too much is waiting".into()))));
            return;
        };
        self.hearing += 1;
        posted.handled(began);
        let work = async move { refund::refund(&directory, question).await };
        ctx.spawn(work.into_actor(self).map(|refunded, actor, _| {
            actor.hearing -= 1;
            drop(reply.send(refunded));
        }));
    }
}

impl Handler<Ask<ActionOf, Option<NextAction>>> for PaymentActor {
    type Result = ();

    fn handle(&mut self, ask: Ask<ActionOf, Option<NextAction>>, _: &mut Self::Context) {
        let began = Instant::now();
        let Ask { question: ActionOf(id), reply, posted } = ask;
        drop(reply.send(self.open.get(&id).and_then(Open::action)));
        posted.handled(began);
    }
}

/// Test-only: dies of a panic.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Panic;

impl Handler<Panic> for PaymentActor {
    type Result = ();

    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("asked to panic");
    }
}
