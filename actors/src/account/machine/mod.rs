//! All decisions of one life of an account, pure: which messages wait for the load, which requests are admitted or wait
//! in line, what goes to the journal, what waits in the outbox, and when the life ends. Its inputs are methods that
//! take the time. Its outputs go in order to its driver: the actor or the simulation. It knows no clock, no channel, no
//! journal and no actor.
//!
//! Its invariants: nothing departs before everything that it depends on was reported durable; each question is answered
//! once, or its reply is dropped; the machine gets no further input after [`Stop`].

mod ask;
mod ended;
mod enter;
mod outbox;
mod port;
mod queue;
#[cfg(test)]
mod tests;

pub use port::{Askers, Departure, Input, Moment, Output, Outputs, Stop};
pub use queue::{LINE, PURCHASE};

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use billing::{
    account::{Account, Balance},
    command::{Answer, Command},
    decide::{Decision, decide},
    entry::UsageRecord,
    hold::Hold,
    ids::{AccountId, PaymentId, RequestId},
    payment::{Payment, PaymentStatus},
};

use super::{AccountError, Bought};
use crate::running::{Amounts, Whereabouts};
use ended::Ended;
use outbox::Outbox;
use queue::Queue;

/// The most messages that wait while an account loads or its outbox is closed.
const WAITING: usize = 16_384;
/// Ticks (one a second) without a message after which an account frees memory of busier times.
const QUIET_TICKS: u32 = 5;
/// Ticks without a message after which an account without running requests ends.
const IDLE_TICKS: u32 = 300;
/// The most that wait for the end of one payment.
const BUYERS: usize = 64;
/// How long after its hold's deadline a request counts as running at another node that lives. A call that says nothing renews
/// no hold, and may be waited for an hour (`providers.*.first_byte_seconds`); what ends it may have been lost on its way.
pub const SILENT_MS: i64 = 2 * 60 * 60_000;
/// The most live watchers of one account.
const WATCHERS: usize = 256;

type Parked<A> = (Input<A>, Option<<A as Askers>::Counted>);

enum State<A: Askers> {
    Loading(VecDeque<Parked<A>>),
    Missing,
    Ready(Box<Account>),
}

/// One life of an account.
pub struct Machine<A: Askers> {
    id: AccountId,
    state: State<A>,
    outbox: Outbox<Departure<A>>,
    /// The requests with an open hold.
    holds: BTreeSet<RequestId>,
    /// The requests whose holds have ended.
    ended: Ended,
    purchases: BTreeMap<PaymentId, Vec<A::Reply<Bought>>>,
    watchers: Vec<A::Watcher>,
    line: Queue<A>,
    /// Whether another node answers for the account from now on.
    is_leaving: bool,
    /// Whether a message came from anyone other than the sweeper.
    is_used: bool,
    idle_ticks: u32,
}

impl<A: Askers> std::fmt::Debug for Machine<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<A: Askers> Machine<A> {
    /// A new life, which waits for [`Machine::loaded`].
    pub fn new(id: AccountId) -> Self {
        Self {
            id,
            state: State::Loading(VecDeque::new()),
            outbox: Outbox::default(),
            holds: BTreeSet::new(),
            ended: Ended::default(),
            purchases: BTreeMap::new(),
            watchers: Vec::new(),
            line: Queue::default(),
            is_leaving: false,
            is_used: false,
            idle_ticks: 0,
        }
    }

    /// The account, once it is loaded.
    pub fn account(&self) -> Option<&Account> {
        match &self.state {
            State::Ready(account) => Some(account),
            State::Loading(_) | State::Missing => None,
        }
    }

    /// Whether everything sent to the journal is durable.
    pub const fn is_settled(&self) -> bool {
        self.outbox.is_settled()
    }

    /// Whether nobody waits for this account, and it waits for nobody.
    fn is_unwatched(&self) -> bool {
        self.holds.is_empty() && self.purchases.is_empty() && self.watchers.is_empty() && self.line.is_empty()
    }

    /// Handles a message, or keeps it until the account is loaded.
    pub fn handle(&mut self, input: Input<A>, counted: Option<A::Counted>, now: Moment, out: &mut impl Outputs<A>) {
        if input.is_question() {
            self.idle_ticks = 0;
        }
        match &mut self.state {
            // A dropped message drops its reply: the asker learns that the account is unavailable.
            State::Loading(parked) if parked.len() >= WAITING => {}
            State::Loading(parked) => parked.push_back((input, counted)),
            State::Missing | State::Ready(_) => self.run(input, counted, now, out),
        }
    }

    fn run(&mut self, input: Input<A>, counted: Option<A::Counted>, now: Moment, out: &mut impl Outputs<A>) {
        match input {
            input if self.is_leaving => out.put_all(input.refused(&AccountError::Moved)),
            Input::Enter(enter, reply) => self.enter(enter, reply, now, out),
            Input::Decide(Command::Resume { request_id }, reply) => self.resume(request_id, reply, now, out),
            Input::Decide(command, reply) => self.command(command, reply, now, out),
            Input::Buy(payment, reply) => self.buy(payment, reply, now, out),
            Input::Open(open, reply) => self.open(open, reply, now, out),
            Input::Look(reply) => self.look(reply, now, out),
            Input::Preview(admit, reply) => self.preview(admit, reply, now, out),
            Input::Watch(watcher) => self.watch(watcher, now, out),
            Input::Waits(waits) => self.owner_must_act(waits, now, out),
        }
        if let Some(counted) = counted {
            out.handled(counted);
        }
    }

    /// Continues after the load; `None` where there is no such account. `whereabouts` tells which requests run: the holds
    /// of all others are settled as abandoned.
    pub fn loaded(
        &mut self,
        loaded: Result<Option<Account>, String>,
        whereabouts: impl Fn(RequestId) -> Whereabouts,
        now: Moment,
        out: &mut impl Outputs<A>,
    ) {
        let State::Loading(parked) = std::mem::replace(&mut self.state, State::Missing) else { return };
        match loaded {
            Ok(Some(account)) => {
                self.state = State::Ready(Box::new(account));
                self.recover(whereabouts, now, out);
            }
            Ok(None) => {}
            Err(error) => {
                out.put(Output::Stop(Stop::NotLoaded(error)));
                return;
            }
        }
        for (input, counted) in parked {
            self.run(input, counted, now, out);
        }
        if matches!(self.state, State::Missing) {
            out.put(Output::Stop(Stop::Done));
        }
    }

    /// Everything up to a ticket is durable, or something that was sent is not known to be durable.
    pub fn committed(&mut self, result: Result<u64, String>, out: &mut impl Outputs<A>) {
        match result {
            Ok(ticket) => {
                self.outbox.open(ticket);
                while let Some(departure) = self.outbox.next() {
                    out.put(Output::Depart(departure));
                }
                if self.is_leaving && self.outbox.is_settled() {
                    out.put(Output::Stop(Stop::Done));
                }
            }
            Err(error) => out.put(Output::Stop(Stop::NotCommitted(error))),
        }
    }

    /// Whether nobody waits here for more than what was sent to the journal: another life may take this one's place, and nobody
    /// notices.
    pub fn may_leave(&self) -> bool {
        let is_ready = matches!(self.state, State::Ready(_)) && !self.is_leaving;
        is_ready && self.purchases.is_empty() && self.line.is_empty()
    }

    /// Leaves the account to another node: whoever waits is told to ask there, and the life ends once everything that was
    /// sent to the journal is durable, and answered. Purchases go on there, under the same ids.
    pub fn leave_to_others(&mut self, out: &mut impl Outputs<A>) {
        if self.is_leaving {
            return;
        }
        self.is_leaving = true;
        if let State::Loading(parked) = &mut self.state {
            for (input, counted) in std::mem::take(parked) {
                out.put_all(input.refused(&AccountError::Moved));
                if let Some(counted) = counted {
                    out.handled(counted);
                }
            }
        }
        for visitor in self.line.leave() {
            visitor.unanswered(AccountError::Moved, out);
        }
        if self.outbox.is_settled() {
            out.put(Output::Stop(Stop::Done));
        }
    }

    /// Does what is due after a second, and ends the life where nothing is left to do.
    pub fn tick(&mut self, whereabouts: impl Fn(RequestId) -> Whereabouts, now: Moment, out: &mut impl Outputs<A>) {
        self.idle_ticks += 1;
        let State::Ready(account) = &self.state else { return };
        if self.is_leaving {
            return;
        }
        let is_due = account.next_wake().is_some_and(|at| at <= now.ledger);
        let is_abandoned = |hold: &Hold| match whereabouts(hold.request_id) {
            Whereabouts::Runs => false,
            Whereabouts::Elsewhere => is_due && is_lost(hold, now),
            Whereabouts::Unknown => is_due && hold.deadline <= now.ledger,
            Whereabouts::Gone => true,
        };
        for hold in holds_that(account, is_abandoned) {
            self.settle_abandoned(&hold, now, out);
        }
        if is_due {
            // Nobody waits for the answer.
            let _ = self.decide(Command::Sweep, now, out);
        }
        self.watchers.retain(A::is_watching);
        if self.idle_ticks == QUIET_TICKS {
            self.outbox.shrink();
            self.watchers.shrink_to_fit();
        }
        if self.idle_ticks >= IDLE_TICKS && self.is_unwatched() && self.outbox.is_settled() {
            out.put(Output::Stop(Stop::Done));
        }
    }

    /// Settles the holds of requests that run nowhere, and resumes unanswered payments.
    fn recover(&mut self, whereabouts: impl Fn(RequestId) -> Whereabouts, now: Moment, out: &mut impl Outputs<A>) {
        let State::Ready(account) = &self.state else { return };
        let mut payments: Vec<_> = account.pending_payments().cloned().collect();
        payments.sort_by_key(|payment| payment.id);
        let is_alive = |hold: &Hold| match whereabouts(hold.request_id) {
            Whereabouts::Runs => true,
            Whereabouts::Elsewhere => !is_lost(hold, now),
            Whereabouts::Unknown | Whereabouts::Gone => false,
        };
        let (alive, abandoned): (Vec<_>, Vec<_>) = holds_that(account, |_| true).into_iter().partition(is_alive);
        for hold in alive {
            // An earlier life may have ended before it informed the request; this life does.
            let amounts = Amounts { held: hold.total(), claimed: hold.claimed };
            self.leave(Departure::Holds(hold.request_id, amounts), out);
            self.holds.insert(hold.request_id);
        }
        for hold in abandoned {
            self.settle_abandoned(&hold, now, out);
        }
        for payment in payments {
            self.charge(payment, out);
        }
    }

    /// Settles by the table of the design's chapter 2.5: the last durable checkpoint, else a write-off.
    fn settle_abandoned(&mut self, hold: &Hold, now: Moment, out: &mut impl Outputs<A>) {
        let record = UsageRecord::abandoned(hold, now.ledger);
        let settled = self.decide(Command::Settle(record), now, out).map(drop);
        out.put(Output::Abandoned { request_id: hold.request_id, accrued: hold.accrued, settled });
    }

    /// Decides a command, and sends the transition to the journal. The answer must leave through the outbox.
    fn decide(&mut self, command: Command, now: Moment, out: &mut impl Outputs<A>) -> Result<Answer, AccountError> {
        let State::Ready(account) = &mut self.state else { return Err(AccountError::NoAccount) };
        if self.outbox.len() >= WAITING {
            return Err(AccountError::Overloaded);
        }
        let ends = match &command {
            Command::Settle(usage) => Some(usage.request_id),
            _ => None,
        };
        let decision = decide(account, command, now.ledger);
        if let Some(id) = ends.filter(|_| decision.answer.result.is_ok()) {
            self.ended.note(id);
        }
        Ok(self.hand_on(decision, out))
    }

    /// Sends a decision to the journal, and queues its consequences in the outbox.
    fn hand_on(&mut self, Decision { transition, answer }: Decision, out: &mut impl Outputs<A>) -> Answer {
        if let Some(transition) = transition {
            let payments = transition.payments.clone();
            out.put(Output::Append { transition, ticket: self.outbox.next_ticket() });
            self.announce(&answer.balance, out);
            for payment in payments {
                self.follow(payment, &answer, out);
            }
        }
        answer
    }

    /// Releases a departure once everything sent so far is durable.
    fn leave(&mut self, departure: Departure<A>, out: &mut impl Outputs<A>) {
        if let Some(departure) = self.outbox.keep(departure) {
            out.put(Output::Depart(departure));
        }
    }

    /// Charges a payment that was begun; reports a payment that ended to its buyer.
    fn follow(&mut self, payment: Payment, answer: &Answer, out: &mut impl Outputs<A>) {
        match payment.status {
            PaymentStatus::Pending => self.charge(payment, out),
            PaymentStatus::Succeeded | PaymentStatus::Declined => {
                let bought = Bought { payment, answer: answer.clone(), action: None };
                self.bought(bought.payment.id, &Ok(bought), out);
            }
        }
    }

    /// Has a card charged once everything sent so far is durable.
    fn charge(&mut self, payment: Payment, out: &mut impl Outputs<A>) {
        self.leave(Departure::Charge(Box::new(payment)), out);
    }

    /// Announces a balance once it is durable.
    fn announce(&mut self, balance: &Balance, out: &mut impl Outputs<A>) {
        self.watchers.retain(A::is_watching);
        self.leave(Departure::Balance(self.watchers.clone(), balance.clone()), out);
    }
}

/// Whether a request that may run at another node has been silent for so long that it does not.
fn is_lost(hold: &Hold, now: Moment) -> bool {
    hold.deadline.plus_ms(SILENT_MS) <= now.ledger
}

/// The account's holds that match, oldest first.
fn holds_that(account: &Account, is_wanted: impl Fn(&Hold) -> bool) -> Vec<Hold> {
    let mut holds: Vec<_> = account.holds().filter(|hold| is_wanted(hold)).cloned().collect();
    holds.sort_by_key(|hold| hold.request_id);
    holds
}
