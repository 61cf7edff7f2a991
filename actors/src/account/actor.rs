//! The actor itself, a shell around one life's [`Machine`]. It loads the account, turns messages into inputs with the
//! current time, and carries the outputs out (the journal, replies, timers, the actor's end). It decides nothing.
//! Handlers are synchronous; the only future is the load at the start of a life.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Handler, WeakRecipient, WrapFuture};
use billing::ids::{AccountId, GrantId};
use runtime::{
    exit::ExitGuard,
    health::{Kind, OfKind, Posted},
    mailbox::{self, Ask},
};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{
    AccountError, Asked, End, Leave, Live, Retire, Subscribe, Tick, Waits,
    machine::{Askers, Departure, Input, Machine, Moment, Output, Outputs, Stop},
};
use crate::{
    context::AccountContext,
    journal::{Committed, protocol::Pending},
};

/// The most messages in a mailbox.
const MAILBOX: usize = 1_024;
/// How long a life whose place was taken passes on what still comes to it: whoever asked for its address before has asked by
/// then.
const LINGERS: Duration = Duration::from_secs(1);

/// The askers of an actor: each waits at the other end of a channel.
enum Channels {}

impl Askers for Channels {
    type Reply<T> = oneshot::Sender<Result<T, AccountError>>;
    type Watcher = mpsc::Sender<Live>;
    type Counted = Posted;

    fn is_waited_for<T>(reply: &Self::Reply<T>) -> bool {
        !reply.is_closed()
    }

    fn is_watching(watcher: &Self::Watcher) -> bool {
        !watcher.is_closed()
    }
}

/// The actor.
pub struct AccountActor {
    machine: Machine<Channels>,
    shell: Shell,
    /// Asked to let a new life take its place.
    retire: Option<Retire>,
}

/// Everything that carries outputs out, except the actor's own context.
struct Shell {
    id: AccountId,
    context: AccountContext,
    /// The sender in the actor's journal entries.
    own: Option<WeakRecipient<Committed>>,
    /// When this life began.
    born: Instant,
    /// The life that has taken this one's place.
    successor: Option<Addr<AccountActor>>,
    exit: ExitGuard,
}

impl Shell {
    fn at(&self, instant: Instant) -> Moment {
        let elapsed = instant.saturating_duration_since(self.born);
        Moment { ledger: self.context.around.clock.now(), elapsed }
    }
}

impl AccountActor {
    /// A new life of an account.
    pub fn new(id: AccountId, context: AccountContext, exit: ExitGuard) -> Self {
        let shell = Shell { id, context, own: None, born: Instant::now(), successor: None, exit };
        Self { machine: Machine::new(id), shell, retire: None }
    }

    /// Gives the machine an input, and carries out its outputs.
    fn drive(
        &mut self,
        ctx: &mut actix::Context<Self>,
        input: impl FnOnce(&mut Machine<Channels>, Moment, &mut Hands<'_>),
    ) {
        let began = Instant::now();
        let now = self.shell.at(began);
        input(&mut self.machine, now, &mut Hands { shell: &mut self.shell, ctx, began });
        self.retire_if_it_may(ctx);
    }

    /// Lets a new life take the place of this one, if that was asked for and nobody waits here.
    fn retire_if_it_may(&mut self, ctx: &mut actix::Context<Self>) {
        if !self.machine.may_leave() {
            return;
        }
        // Who asked may wait no longer.
        let Some(Retire { succeed, done }) = self.retire.take().filter(|retire| !retire.done.is_closed()) else {
            return;
        };
        self.shell.successor = Some(succeed());
        let mut hands = Hands { shell: &mut self.shell, ctx, began: Instant::now() };
        self.machine.leave_to_others(&mut hands);
        // Who asked may have gone just now.
        let _ = done.send(());
    }

    fn ask(&mut self, input: Input<Channels>, posted: Posted, ctx: &mut actix::Context<Self>) {
        self.drive(ctx, |machine, now, hands| machine.handle(input, Some(posted), now, hands));
    }

    fn tell(&mut self, input: Input<Channels>, ctx: &mut actix::Context<Self>) {
        self.drive(ctx, |machine, now, hands| machine.handle(input, None, now, hands));
    }
}

/// Carries out a machine's outputs while one input is handled.
struct Hands<'a> {
    shell: &'a mut Shell,
    ctx: &'a mut actix::Context<AccountActor>,
    /// When the handling of the current message began.
    began: Instant,
}

impl Outputs<Channels> for Hands<'_> {
    fn put(&mut self, output: Output<Channels>) {
        let id = self.shell.id;
        match output {
            Output::Append { transition, ticket } => {
                let ctx = &*self.ctx;
                let sender = self.shell.own.get_or_insert_with(|| ctx.address().downgrade().recipient()).clone();
                let incarnation = self.shell.context.incarnation;
                let entry = Pending { transition, ticket, incarnation, sender };
                // Bounded by the outbox, which is full before more entries are on their way.
                if let Err(error) = self.shell.context.around.journal.append(entry) {
                    self.ctx.notify(Committed { result: Err(error.to_string()) });
                }
            }
            Output::Depart(departure) => self.shell.let_out(departure),
            Output::CallLine { after } => self.call_line(after),
            Output::Abandoned { request_id, accrued, settled: Ok(()) } => {
                tracing::warn!(request.id = %request_id, cost_nanos = accrued.get(), "abandoned hold settled");
            }
            Output::Abandoned { request_id, accrued: _, settled: Err(error) } => {
                tracing::error!(request.id = %request_id, %error, "abandoned hold not settled");
            }
            Output::Stop(Stop::Done) if self.shell.successor.is_some() => {
                self.ctx.run_later(LINGERS, |_, ctx| ctx.stop());
            }
            Output::Stop(stop) => {
                match stop {
                    Stop::Done => {}
                    Stop::NotLoaded(error) => {
                        tracing::error!(account.id = %id, %error, "account could not be loaded");
                        self.shell.exit.failed();
                    }
                    Stop::NotCommitted(error) => {
                        tracing::error!(account.id = %id, %error, "commit failed; rebuilding the account");
                        self.shell.exit.failed();
                    }
                }
                self.ctx.stop();
            }
        }
    }

    fn handled(&mut self, posted: Posted) {
        // The next message that waited for the load begins now.
        self.began = posted.handled(self.began);
    }
}

impl Hands<'_> {
    fn call_line(&mut self, after: Duration) {
        self.ctx.run_later(after, |actor, ctx| {
            actor.drive(ctx, |machine, now, hands| machine.call_line(now, hands));
        });
    }
}

impl Shell {
    /// Sends a departure to its destination. An asker that no longer waits gets nothing.
    fn let_out(&self, departure: Departure<Channels>) {
        let around = &self.context.around;
        match departure {
            Departure::Entered(reply, mut entered) => {
                if let Ok(entered) = &mut entered {
                    entered.logged = self.born.elapsed().saturating_sub(entered.decided);
                }
                drop(reply.send(entered));
            }
            Departure::Answer(reply, answer) => drop(reply.send(answer)),
            Departure::Bought(reply, bought) => drop(reply.send(*bought)),
            Departure::Picture(reply, picture) => drop(reply.send(*picture)),
            // Bounded by the account's pending payments.
            Departure::Charge(payment) => around.charges.charge(self.id, *payment),
            Departure::Holds(request_id, amounts) => around.running.holds(request_id, amounts),
            Departure::Balance(watchers, balance) => {
                let place = around.balances.tell(self.id, &balance);
                let balance = Arc::new(balance);
                for watcher in &watchers {
                    // A slow watcher is dropped, and learns it by its channel's end.
                    let _ = watcher.try_send(Live::Balance { place, balance: Arc::clone(&balance) });
                }
            }
        }
    }
}

impl OfKind for AccountActor {
    const KIND: Kind = Kind::Account;
    const MAILBOX: usize = MAILBOX;
}

impl Actor for AccountActor {
    type Context = actix::Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        let (ready, opened) = oneshot::channel();
        let Shell { id, context, .. } = &self.shell;
        context.around.journal.open(*id, context.incarnation, ready);
        let (around, id) = (context.around.clone(), *id);
        let load = async move {
            opened.await.map_err(|_| "the journal is being rebuilt".to_owned())?;
            around.ledger.load_account(id, around.clock.now()).await.map_err(|error| error.to_string())
        };
        ctx.spawn(load.into_actor(self).map(|loaded, actor, ctx| {
            let running = actor.shell.context.around.running.clone();
            actor.drive(ctx, |machine, now, hands| machine.loaded(loaded, |id| running.whereabouts(id), now, hands));
        }));
    }
}

impl Handler<Tick> for AccountActor {
    type Result = ();

    fn handle(&mut self, _: Tick, ctx: &mut Self::Context) {
        let running = self.shell.context.around.running.clone();
        self.drive(ctx, |machine, now, hands| machine.tick(|id| running.whereabouts(id), now, hands));
    }
}

impl Handler<Leave> for AccountActor {
    type Result = ();

    fn handle(&mut self, _: Leave, ctx: &mut Self::Context) {
        self.drive(ctx, |machine, _, hands| machine.leave_to_others(hands));
    }
}

impl Handler<End> for AccountActor {
    type Result = ();

    fn handle(&mut self, _: End, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl Handler<Committed> for AccountActor {
    type Result = ();

    fn handle(&mut self, Committed { result }: Committed, ctx: &mut Self::Context) {
        let mut hands = Hands { shell: &mut self.shell, ctx, began: Instant::now() };
        self.machine.committed(result, &mut hands);
        self.retire_if_it_may(ctx);
    }
}

impl Handler<Retire> for AccountActor {
    type Result = ();

    fn handle(&mut self, retire: Retire, ctx: &mut Self::Context) {
        // Asked a second time, one restart is enough for both that ask: the first is told that nothing was done.
        self.retire = Some(retire);
        self.retire_if_it_may(ctx);
    }
}

impl<Q: Asked> Handler<Ask<Q, Result<Q::Answer, AccountError>>> for AccountActor {
    type Result = ();

    fn handle(&mut self, ask: Ask<Q, Result<Q::Answer, AccountError>>, ctx: &mut Self::Context) {
        if let Some(successor) = &self.shell.successor {
            // Bounded by this mailbox.
            return mailbox::tell(successor, ask);
        }
        let (question, reply, posted) = ask.open();
        let posted = posted.named(question.name());
        self.ask(question.input(reply), posted, ctx);
    }
}

impl Handler<Subscribe> for AccountActor {
    type Result = ();

    fn handle(&mut self, Subscribe(watcher): Subscribe, ctx: &mut Self::Context) {
        if let Some(successor) = &self.shell.successor {
            return mailbox::tell(successor, Subscribe(watcher));
        }
        self.tell(Input::Watch(watcher), ctx);
    }
}

impl Handler<Waits> for AccountActor {
    type Result = ();

    fn handle(&mut self, waits: Waits, ctx: &mut Self::Context) {
        if let Some(successor) = &self.shell.successor {
            return mailbox::tell(successor, waits);
        }
        self.tell(Input::Waits(waits), ctx);
    }
}

/// A new grant's id.
pub(crate) fn new_grant_id() -> GrantId {
    GrantId(Uuid::now_v7())
}
