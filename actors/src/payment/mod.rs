//! Card charges: takes a pending payment whose row is durable and carries it to its end ([`pursue`], which carries out
//! the decisions of the pure [`pursuit`]), applies the processor's events ([`notice`]), and gives money back
//! ([`refund`]). The account settles all results; the decisions on reversals are in the pure [`reversing`]. No rule of
//! money is known here. Each payment or refund has one pursuit at a time, on a future of its own: the mailbox never
//! waits for a processor. A new life resumes the payments that an earlier one left pending. One whose place was taken while
//! it worked ends once nobody waits for it: its pursuits end with it, as the new life has them too, under the same ids.

mod notice;
mod pursue;
pub mod pursuit;
pub mod reconcile;
mod refund;
mod reversal;
pub mod reversing;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix::{Actor, ActorContext as _, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use billing::{
    ids::{AccountId, PaymentId, ReversalId},
    payment::Payment,
};
use cards::{NextAction, ProcessorEvent};
use ledger::reversals::Unanswered;
use runtime::{
    exit::ExitGuard,
    health::{Kind, OfKind, Posted},
    mailbox::{self, Ask, Handle},
    supervisor::{LINGERS, Retire},
};
use tokio::sync::{Notify, watch};

pub use notice::{Applied, EventNotApplied};
pub use refund::{Given, NotRefunded, Refund};

use crate::{accounts::Accounts, context::Charges};

/// The most events handled at once.
pub const MOST_NOTICES: usize = 256;
/// The most refunds on their way at once, besides those that an earlier life left.
pub const MOST_REFUNDS: usize = 256;

/// How long after a failed write a refund is looked for: its commit may have been late.
const LATE: Duration = Duration::from_secs(30);

/// The name of [`Charge`] where messages are counted.
const CHARGE: &str = "Charge";

/// Charge this payment, and report to its account. Bounded by the accounts' pending payments.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Charge {
    /// The account.
    pub account_id: AccountId,
    /// The payment.
    pub payment: Payment,
    /// Counts the message.
    pub posted: Posted,
}

/// Apply an event of the processor. Answered when all its changes are durable.
#[derive(Debug, Clone)]
pub struct ApplyEvent(pub ProcessorEvent);

/// Resume what another node, or an earlier life, has left: some of the accounts are this process's from now on.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct TakeUp;

/// Ask for the step that a payment's owner must take.
#[derive(Debug, Clone, Copy)]
pub struct ActionOf(pub PaymentId);

/// A payment on its way to its end, shared by its pursuit and the actor.
#[derive(Debug, Clone, Default)]
struct Open {
    action: Arc<Mutex<Option<NextAction>>>,
    /// Notified when the payment may have ended.
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
    accounts: Accounts,
    open: HashMap<PaymentId, Open>,
    /// Refunds on their way to the processor's answer. Each sender is dropped at its refund's end.
    refunds: HashMap<ReversalId, watch::Sender<()>>,
    /// Refunds being written, looks for those that wait, and askers that wait for one that is on its way.
    beginning: usize,
    /// Refunds whose commit may arrive late.
    late: usize,
    hearing: usize,
    /// Whether another life took this one's place, long enough ago that nobody asks it any more.
    has_lingered: bool,
    _exit: ExitGuard,
}

impl PaymentActor {
    /// A new life.
    pub fn new(accounts: Accounts, exit: ExitGuard) -> Self {
        let (open, refunds) = (HashMap::new(), HashMap::new());
        Self { accounts, open, refunds, beginning: 0, late: 0, hearing: 0, has_lingered: false, _exit: exit }
    }

    /// Resumes what an earlier life left.
    fn take_up(&mut self, ctx: &mut Context<Self>) {
        self.take_up_refunds(ctx);
        let accounts = self.accounts.clone();
        let health = accounts.health().clone();
        let load = async move { accounts.ledger().pending_payments().await };
        ctx.spawn(load.into_actor(self).map(move |pending, _, ctx| match pending {
            Ok(pending) => {
                for (account_id, payment) in pending {
                    ctx.notify(Charge { account_id, payment, posted: health.posted(Self::KIND).named(CHARGE) });
                }
            }
            // Their accounts resume them when they are next loaded.
            Err(error) => tracing::error!(%error, "pending payments could not be taken up"),
        }));
    }

    /// Resumes refunds that an earlier life left without an answer. Only this actor does, so it retries until it
    /// succeeds.
    fn take_up_refunds(&mut self, ctx: &mut Context<Self>) {
        let of = self.accounts.clone();
        let load = async move {
            let mut back_off = pursuit::BackOff::default();
            loop {
                match of.ledger().unanswered_refunds().await {
                    Ok(unanswered) => return unanswered,
                    Err(error) => tracing::error!(%error, "unanswered refunds could not be read"),
                }
                pursue::wait(&mut back_off, &of).await;
            }
        };
        self.beginning += 1;
        ctx.spawn(load.into_actor(self).map(|unanswered, actor, ctx| {
            actor.beginning -= 1;
            for refund in unanswered {
                actor.carry(refund, None, ctx);
            }
            actor.end_if_it_may(ctx);
        }));
    }

    /// Carries a refund to the processor's answer, once at a time. Who asks for one that is on its way hears what came of it.
    fn carry(&mut self, refund: Unanswered, asker: Option<refund::Asker>, ctx: &mut Context<Self>) {
        let id = refund.reversal.id;
        if let Some(ends) = self.refunds.get(&id) {
            let Some(asker) = asker else { return };
            self.beginning += 1;
            let work = refund::follow(self.accounts.clone(), refund, ends.subscribe(), asker);
            ctx.spawn(work.into_actor(self).map(|(), actor, ctx| {
                actor.beginning -= 1;
                actor.end_if_it_may(ctx);
            }));
            return;
        }
        self.refunds.insert(id, watch::Sender::new(()));
        let work = refund::carry(self.accounts.clone(), refund, asker);
        ctx.spawn(work.into_actor(self).map(move |(), actor, ctx| {
            actor.refunds.remove(&id);
            actor.end_if_it_may(ctx);
        }));
    }

    /// Ends a life whose place was taken, once nobody waits for its answer.
    fn end_if_it_may(&self, ctx: &mut Context<Self>) {
        let waits = self.hearing + self.beginning + self.late + self.refunds.len();
        if self.has_lingered && waits == 0 {
            ctx.stop();
        }
    }
}

impl Handler<TakeUp> for PaymentActor {
    type Result = ();

    fn handle(&mut self, _: TakeUp, ctx: &mut Self::Context) {
        self.take_up(ctx);
    }
}

impl Handler<Retire> for PaymentActor {
    type Result = ();

    fn handle(&mut self, _: Retire, ctx: &mut Self::Context) {
        ctx.run_later(LINGERS, |actor, ctx| {
            actor.has_lingered = true;
            actor.end_if_it_may(ctx);
        });
    }
}

impl Charges for Handle<PaymentActor> {
    fn charge(&self, account_id: AccountId, payment: Payment) {
        // Bounded by the accounts' pending payments.
        mailbox::tell(&self.address(), Charge { account_id, payment, posted: self.posted().named(CHARGE) });
    }
}

impl OfKind for PaymentActor {
    const KIND: Kind = Kind::Payment;
    const MAILBOX: usize = MOST_NOTICES;
}

impl Actor for PaymentActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.take_up(ctx);
    }
}

impl Handler<Charge> for PaymentActor {
    type Result = ();

    fn handle(&mut self, Charge { account_id, payment, mut posted }: Charge, ctx: &mut Self::Context) {
        let began = posted.begins();
        let id = payment.id;
        if self.open.contains_key(&id) {
            return;
        }
        let open = Open::default();
        self.open.insert(id, open.clone());
        let work = pursue::pursue(self.accounts.clone(), account_id, payment, open);
        ctx.spawn(work.into_actor(self).map(move |(), actor, _| drop(actor.open.remove(&id))));
        posted.handled(began);
    }
}

impl Handler<Ask<ApplyEvent, Result<Applied, EventNotApplied>>> for PaymentActor {
    type Result = ();

    fn handle(&mut self, ask: Ask<ApplyEvent, Result<Applied, EventNotApplied>>, ctx: &mut Self::Context) {
        let (ApplyEvent(event), reply, mut posted) = ask.open();
        let began = posted.begins();
        if self.hearing >= MOST_NOTICES {
            // The processor sends the event again later.
            drop(reply.send(Err(EventNotApplied::Overloaded)));
            return;
        }
        let accounts = self.accounts.clone();
        self.hearing += 1;
        posted.handled(began);
        let work = async move { notice::apply(&accounts, &event).await };
        ctx.spawn(work.into_actor(self).map(|applied, actor, ctx| {
            actor.hearing -= 1;
            let outcome = match &applied {
                Ok(applied) if applied.repeated => "repeated",
                Ok(applied) if applied.payments.is_empty() => "ignored",
                Ok(_) => "heard",
                Err(_) => "refused",
            };
            metrics::counter!("farebox_webhooks_total", "outcome" => outcome).increment(1);
            for id in applied.iter().flat_map(|applied| &applied.payments) {
                if let Some(open) = actor.open.get(id) {
                    open.nudged.notify_one();
                }
            }
            drop(reply.send(applied));
            actor.end_if_it_may(ctx);
        }));
    }
}

impl Handler<Ask<Refund, Result<Given, NotRefunded>>> for PaymentActor {
    type Result = ();

    fn handle(&mut self, ask: Ask<Refund, Result<Given, NotRefunded>>, ctx: &mut Self::Context) {
        let (question, reply, mut posted) = ask.open();
        let began = posted.begins();
        if self.beginning + self.refunds.len() >= MOST_REFUNDS {
            drop(reply.send(Err(NotRefunded::NotNow("too much is waiting".into()))));
            return;
        }
        let accounts = self.accounts.clone();
        self.beginning += 1;
        posted.handled(began);
        let work = async move { refund::begin(&accounts, &question).await };
        ctx.spawn(work.into_actor(self).map(move |begun, actor, ctx| {
            actor.beginning -= 1;
            match begun {
                Ok(refund) => actor.carry(refund, Some(reply), ctx),
                Err(error) => {
                    if matches!(error, NotRefunded::NotNow(_)) {
                        // The commit may still arrive, and then no task carries the refund yet.
                        actor.late += 1;
                        ctx.run_later(LATE, |actor, ctx| {
                            actor.late -= 1;
                            actor.take_up_refunds(ctx);
                        });
                    }
                    drop(reply.send(Err(error)));
                    actor.end_if_it_may(ctx);
                }
            }
        }));
    }
}

impl Handler<Ask<ActionOf, Option<NextAction>>> for PaymentActor {
    type Result = ();

    fn handle(&mut self, ask: Ask<ActionOf, Option<NextAction>>, _: &mut Self::Context) {
        let (ActionOf(id), reply, mut posted) = ask.open();
        let began = posted.begins();
        drop(reply.send(self.open.get(&id).and_then(Open::action)));
        posted.handled(began);
    }
}
