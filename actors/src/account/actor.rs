//! The actor itself: loads its account, decides commands, feeds the journal, opens its outbox. Handlers are synchronous;
//! the only future is the load at the start of its life, during which messages wait in a bounded queue.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Handler, WeakRecipient, WrapFuture};
use billing::{
    account::{Account, Balance},
    command::{Admit, Answer, Command, Reply},
    decide::{self, Decision, decide},
    entry::UsageRecord,
    hold::Hold,
    ids::{AccountId, GrantId, PaymentId, RequestId},
    key::KeyWindow,
    payment::{Payment, PaymentStatus},
};
use runtime::{
    exit::ExitGuard,
    health::{Kind, OfKind},
    mailbox::Ask,
};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{
    AccountError, Bought, Buy, Enter, Entered, KeyUse, Live, Look, Open, Panic, Picture, Preview, Subscribe, Tick,
    Waits, outbox::Outbox, queue::Queue,
};
use crate::{
    context::AccountContext,
    journal::{Committed, protocol::Pending},
    running::Amounts,
};

/// Messages that wait in a mailbox, at most.
const MAILBOX: usize = 1_024;
/// Messages that wait while an account loads or its outbox is shut, at most.
const WAITING: usize = 16_384;
/// Ticks, a second each, without a message after which an actor gives back the room of busier times.
const QUIET_TICKS: u32 = 5;
/// Ticks without a message after which an actor with nothing running ends.
const IDLE_TICKS: u32 = 300;
/// Live watchers of one account, at most.
const WATCHERS: usize = 256;

type Parked = Box<dyn FnOnce(&mut AccountActor, &mut actix::Context<AccountActor>) + Send>;

pub(super) enum State {
    Loading(VecDeque<Parked>),
    Missing,
    Ready(Box<Account>),
}

/// The actor.
pub struct AccountActor {
    pub(super) id: AccountId,
    pub(super) context: AccountContext,
    pub(super) state: State,
    pub(super) outbox: Outbox,
    /// What its journal lines carry as their sender.
    own: Option<WeakRecipient<Committed>>,
    /// The requests it set something aside for.
    pub(super) holds: BTreeSet<RequestId>,
    purchases: BTreeMap<PaymentId, oneshot::Sender<Result<Bought, AccountError>>>,
    watchers: Vec<mpsc::Sender<Live>>,
    pub(super) line: Queue,
    /// Whether anyone but the sweeper came.
    pub(super) is_used: bool,
    idle_ticks: u32,
    exit: ExitGuard,
}

impl AccountActor {
    /// A new life of an account.
    pub fn new(id: AccountId, context: AccountContext, exit: ExitGuard) -> Self {
        Self {
            id,
            context,
            state: State::Loading(VecDeque::new()),
            outbox: Outbox::default(),
            own: None,
            holds: BTreeSet::new(),
            purchases: BTreeMap::new(),
            watchers: Vec::new(),
            line: Queue::default(),
            is_used: false,
            idle_ticks: 0,
            exit,
        }
    }

    /// Runs when the account is loaded; at once where it is.
    fn when_ready(&mut self, ctx: &mut actix::Context<Self>, run: Parked) {
        match &mut self.state {
            // Dropping what does not fit drops its reply: the asker learns that the account is not there now.
            State::Loading(parked) if parked.len() >= WAITING => drop(run),
            State::Loading(parked) => parked.push_back(run),
            State::Missing | State::Ready(_) => run(self, ctx),
        }
    }

    /// Decides a command and sends what it changed to the journal. The answer must leave through the outbox.
    pub(super) fn decide(&mut self, command: Command, ctx: &mut actix::Context<Self>) -> Result<Answer, AccountError> {
        let State::Ready(account) = &mut self.state else { return Err(AccountError::NoAccount) };
        if self.outbox.len() >= WAITING {
            return Err(AccountError::Overloaded);
        }
        let decision = decide(account, command, self.context.around.clock.now());
        Ok(self.hand_on(decision, ctx))
    }

    /// Sends what was decided to the journal, and has what follows from it leave afterwards.
    fn hand_on(&mut self, Decision { transition, answer }: Decision, ctx: &mut actix::Context<Self>) -> Answer {
        if let Some(transition) = transition {
            let payments = transition.payments.clone();
            let entry = Pending {
                transition,
                ticket: self.outbox.next_ticket(),
                incarnation: self.context.incarnation,
                sender: self.own.get_or_insert_with(|| ctx.address().downgrade().recipient()).clone(),
            };
            // Bounded by the outbox, which is full before more than that many are on their way.
            if let Err(error) = self.context.around.journal.append(entry) {
                ctx.notify(Committed { result: Err(error.to_string()) });
            }
            self.announce(answer.balance.clone());
            for payment in payments {
                self.follow(payment, &answer);
            }
        }
        answer
    }

    /// A payment that was begun is charged; one that ended is told to who waits for it.
    fn follow(&mut self, payment: Payment, answer: &Answer) {
        if payment.status == PaymentStatus::Pending {
            self.charge(payment);
        } else if let Some(buyer) = self.purchases.remove(&payment.id) {
            let bought = Bought { payment, answer: answer.clone(), action: None };
            self.outbox.leave(move || drop(buyer.send(Ok(bought))));
        }
    }

    /// Tells watchers of a balance once it is durable. One that does not keep up is dropped.
    fn announce(&mut self, balance: Balance) {
        self.watchers.retain(|watcher| !watcher.is_closed());
        if self.watchers.is_empty() {
            return;
        }
        let watchers = self.watchers.clone();
        self.outbox.leave(move || {
            for watcher in &watchers {
                let _ = watcher.try_send(Live::Balance(balance.clone()));
            }
        });
    }

    fn loaded(&mut self, loaded: Result<Option<Account>, String>, ctx: &mut actix::Context<Self>) {
        let State::Loading(parked) = std::mem::replace(&mut self.state, State::Missing) else { return };
        match loaded {
            Ok(Some(account)) => {
                self.state = State::Ready(Box::new(account));
                self.recover(ctx);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(account.id = %self.id, %error, "account could not be loaded");
                self.exit.failed();
                ctx.stop();
                return;
            }
        }
        for run in parked {
            run(self, ctx);
        }
        if matches!(self.state, State::Missing) {
            ctx.stop();
        }
    }

    /// Ends the holds whose requests run nowhere, and takes up payments nobody answered.
    fn recover(&mut self, ctx: &mut actix::Context<Self>) {
        let State::Ready(account) = &self.state else { return };
        let running = self.context.around.running.clone();
        let (mut abandoned, mut alive) = (Vec::new(), Vec::new());
        for hold in account.holds() {
            if running.contains(hold.request_id) { alive.push(hold.clone()) } else { abandoned.push(hold.clone()) }
        }
        let payments: Vec<_> = account.pending_payments().cloned().collect();
        for hold in alive {
            // What an earlier life did not come to tell its request, this one does.
            running.holds(hold.request_id, Amounts { held: hold.total(), claimed: hold.claimed });
            self.holds.insert(hold.request_id);
        }
        for hold in abandoned {
            self.settle_abandoned(&hold, ctx);
        }
        for payment in payments {
            self.charge(payment);
        }
    }

    /// By the table of the design's chapter 2.5: the last durable checkpoint, else a write-off.
    fn settle_abandoned(&mut self, hold: &Hold, ctx: &mut actix::Context<Self>) {
        let record = UsageRecord::abandoned(hold, self.context.around.clock.now());
        tracing::warn!(request.id = %hold.request_id, cost_nanos = hold.accrued.get(), "abandoned hold settled");
        if let Err(error) = self.decide(Command::Settle(record), ctx) {
            tracing::error!(request.id = %hold.request_id, %error, "abandoned hold not settled");
        }
    }

    /// Has a card charged once everything sent so far is durable.
    fn charge(&mut self, payment: Payment) {
        let (around, account_id) = (Arc::clone(&self.context.around), self.id);
        // Bounded by the account's pending payments.
        self.outbox.leave(move || around.charges.charge(account_id, payment));
    }

    fn command(
        &mut self,
        command: Command,
        reply: oneshot::Sender<Result<Answer, AccountError>>,
        ctx: &mut actix::Context<Self>,
    ) {
        let subject = match &command {
            Command::Accrue { request_id, .. } => Some((*request_id, false)),
            Command::Settle(usage) => Some((usage.request_id, true)),
            _ => None,
        };
        let is_sweep = matches!(command, Command::Sweep);
        self.is_used |= !is_sweep;
        if is_sweep && !self.is_used {
            // Woken for this alone: nobody will miss it.
            self.idle_ticks = IDLE_TICKS;
        }
        // Whatever frees a permit or brings credits.
        let may_let_in = !matches!(command, Command::Accrue { .. });
        let answer = match self.decide(command, ctx) {
            Ok(answer) => answer,
            Err(error) => {
                drop(reply.send(Err(error)));
                return;
            }
        };
        match (&answer.result, subject) {
            (Ok(Reply::Accrued { held, claimed }), Some((id, _))) => {
                let (amounts, running) =
                    (Amounts { held: *held, claimed: *claimed }, self.context.around.running.clone());
                self.outbox.leave(move || running.holds(id, amounts));
            }
            (Ok(_), Some((id, true))) => drop(self.holds.remove(&id)),
            _ => {}
        }
        if may_let_in {
            self.call_line(ctx);
        }
        self.outbox.leave(move || drop(reply.send(Ok(answer))));
    }

    fn buy(
        &mut self,
        payment: Payment,
        reply: oneshot::Sender<Result<Bought, AccountError>>,
        ctx: &mut actix::Context<Self>,
    ) {
        let id = payment.id;
        // Before the decision, which may end it.
        self.purchases.insert(id, reply);
        let refused = match self.decide(Command::BeginPayment(payment.clone()), ctx) {
            Ok(answer) if answer.result.is_ok() => return,
            Ok(answer) => Ok(Bought { payment, answer, action: None }),
            Err(error) => Err(error),
        };
        if let Some(reply) = self.purchases.remove(&id) {
            self.outbox.leave(move || drop(reply.send(refused)));
        }
    }

    fn tick(&mut self, ctx: &mut actix::Context<Self>) {
        self.idle_ticks += 1;
        let now = self.context.around.clock.now();
        let State::Ready(account) = &self.state else { return };
        if account.next_wake().is_some_and(|at| at <= now) {
            let running = &self.context.around.running;
            let late = |hold: &&Hold| hold.deadline <= now && !running.contains(hold.request_id);
            let abandoned: Vec<_> = account.holds().filter(late).cloned().collect();
            for hold in abandoned {
                self.settle_abandoned(&hold, ctx);
            }
            let _ = self.decide(Command::Sweep, ctx);
        }
        self.watchers.retain(|watcher| !watcher.is_closed());
        if self.idle_ticks == QUIET_TICKS {
            self.outbox.shrink();
            self.watchers.shrink_to_fit();
        }
        let nothing_runs =
            self.holds.is_empty() && self.purchases.is_empty() && self.watchers.is_empty() && self.line.is_empty();
        if self.idle_ticks >= IDLE_TICKS && nothing_runs && self.outbox.is_settled() {
            ctx.stop();
        }
    }

    fn picture(&mut self) -> Result<Picture, AccountError> {
        let State::Ready(account) = &self.state else { return Err(AccountError::NoAccount) };
        let now = self.context.around.clock.now();
        let mut holds: Vec<_> = account.holds().cloned().collect();
        holds.sort_by_key(|hold| hold.request_id);
        Ok(Picture {
            balance: account.balance(now),
            holds,
            payg: account.is_payg(now),
            header: account.header.clone(),
            subscription: account.subscription().cloned(),
            automatic: account.automatic().cloned(),
            fall: account.tier_fall(now),
            waiting: self.line.len(),
            keys: account
                .keys()
                .map(|(id, key)| KeyUse { id, amounts: KeyWindow::ALL.map(|window| key.used(window, now)) })
                .collect(),
        })
    }
}

impl OfKind for AccountActor {
    const KIND: Kind = Kind::Account;
}

impl Actor for AccountActor {
    type Context = actix::Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        let (ready, opened) = oneshot::channel();
        self.context.around.journal.open(self.id, self.context.incarnation, ready);
        let (around, id) = (Arc::clone(&self.context.around), self.id);
        let load = async move {
            opened.await.map_err(|_| "the journal is being rebuilt".to_owned())?;
            around.ledger.load_account(id, around.clock.now()).await.map_err(|error| error.to_string())
        };
        ctx.spawn(load.into_actor(self).map(|loaded, actor, ctx| actor.loaded(loaded, ctx)));
    }
}

impl Handler<Tick> for AccountActor {
    type Result = ();

    fn handle(&mut self, _: Tick, ctx: &mut Self::Context) {
        self.tick(ctx);
    }
}

impl Handler<Committed> for AccountActor {
    type Result = ();

    fn handle(&mut self, committed: Committed, ctx: &mut Self::Context) {
        match committed.result {
            Ok(ticket) => self.outbox.opened(ticket),
            Err(error) => {
                tracing::error!(account.id = %self.id, %error, "commit failed; rebuilding the account");
                self.exit.failed();
                ctx.stop();
            }
        }
    }
}

/// A question: noted, and handled when the account is there.
macro_rules! answers {
    ($question:ty => $answer:ty, $method:ident($take:expr)) => {
        impl Handler<Ask<$question, Result<$answer, AccountError>>> for AccountActor {
            type Result = ();

            fn handle(&mut self, ask: Ask<$question, Result<$answer, AccountError>>, ctx: &mut Self::Context) {
                let Ask { question, reply, posted } = ask;
                self.idle_ticks = 0;
                self.when_ready(
                    ctx,
                    Box::new(move |actor, ctx| {
                        let began = Instant::now();
                        actor.$method($take(question), reply, ctx);
                        posted.handled(began);
                    }),
                );
            }
        }
    };
}

answers!(Enter => Entered, enter(|enter| enter));
answers!(Command => Answer, command(|command| command));
answers!(Buy => Bought, buy(|Buy(payment)| payment));
answers!(Open => Answer, open(|open| open));
answers!(Look => Picture, look(|Look| ()));
answers!(Preview => Answer, preview(|Preview(admit)| admit));

impl AccountActor {
    fn look(&mut self, (): (), reply: oneshot::Sender<Result<Picture, AccountError>>, ctx: &mut actix::Context<Self>) {
        self.is_used = true;
        // Time may have brought something: what is shown is what a request would find.
        let picture = self.decide(Command::Sweep, ctx).and_then(|_| self.picture());
        self.outbox.leave(move || drop(reply.send(picture)));
    }

    fn open(
        &mut self,
        Open { email, plan }: Open,
        reply: oneshot::Sender<Result<Answer, AccountError>>,
        ctx: &mut actix::Context<Self>,
    ) {
        self.is_used = true;
        let answer = if matches!(self.state, State::Missing) {
            let (account, decision) = decide::open(self.id, email, plan, self.context.around.clock.now());
            self.state = State::Ready(Box::new(account));
            Ok(self.hand_on(decision, ctx))
        } else {
            self.decide(Command::Sweep, ctx)
        };
        self.outbox.leave(move || drop(reply.send(answer)));
    }

    /// Decides on a copy, which is thrown away.
    fn preview(
        &mut self,
        admit: Admit,
        reply: oneshot::Sender<Result<Answer, AccountError>>,
        _: &mut actix::Context<Self>,
    ) {
        let answer = match &self.state {
            State::Ready(account) => {
                let now = self.context.around.clock.now();
                let Decision { answer, .. } = decide(&mut account.clone(), Command::Admit(admit), now);
                Ok(Answer { balance: account.balance(now), ..answer })
            }
            State::Loading(_) | State::Missing => Err(AccountError::NoAccount),
        };
        self.outbox.leave(move || drop(reply.send(answer)));
    }
}

impl Handler<Subscribe> for AccountActor {
    type Result = ();

    fn handle(&mut self, Subscribe(watcher): Subscribe, ctx: &mut Self::Context) {
        self.when_ready(
            ctx,
            Box::new(move |actor, _| {
                actor.watchers.retain(|watcher| !watcher.is_closed());
                if let (Ok(picture), true) = (actor.picture(), actor.watchers.len() < WATCHERS) {
                    actor.watchers.push(watcher);
                    actor.announce(picture.balance);
                }
            }),
        );
    }
}

impl Handler<Waits> for AccountActor {
    type Result = ();

    fn handle(&mut self, Waits { payment_id, action }: Waits, ctx: &mut Self::Context) {
        self.when_ready(
            ctx,
            Box::new(move |actor, _| {
                let State::Ready(account) = &actor.state else { return };
                let Some(payment) = account.pending_payment(payment_id).cloned() else { return };
                let Ok(picture) = actor.picture() else { return };
                if let Some(buyer) = actor.purchases.remove(&payment_id) {
                    let answer = Answer { result: Ok(Reply::Done), balance: picture.balance };
                    let bought = Bought { payment, answer, action: Some(action) };
                    actor.outbox.leave(move || drop(buyer.send(Ok(bought))));
                }
            }),
        );
    }
}

impl Handler<Panic> for AccountActor {
    type Result = ();

    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("asked to panic");
    }
}

/// A new grant's id.
pub(crate) fn new_grant_id() -> GrantId {
    GrantId(Uuid::now_v7())
}
