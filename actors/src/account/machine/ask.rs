//! The questions to an account other than `Enter`: commands, purchases, pictures, watchers. Part of [`Machine`].

use billing::{
    Timestamp,
    command::{Admit, Answer, Command, Reply},
    decide::{self, Decision, decide},
    ids::PaymentId,
    key::KeyWindow,
    payment::Payment,
};

use super::{
    super::{AccountError, Bought, KeyUse, Open, Picture, Waits},
    BUYERS, IDLE_TICKS, Machine, State, WATCHERS, holds_that,
    port::{Askers, Departure, Moment, Output, Outputs},
};
use crate::running::Amounts;

impl<A: Askers> Machine<A> {
    pub(super) fn command(
        &mut self,
        command: Command,
        reply: A::Reply<Answer>,
        now: Moment,
        out: &mut impl Outputs<A>,
    ) {
        let subject = match &command {
            Command::Accrue { request_id, .. } => Some((*request_id, false)),
            Command::Settle(usage) => Some((usage.request_id, true)),
            _ => None,
        };
        let is_sweep = matches!(command, Command::Sweep);
        self.is_used |= !is_sweep;
        if is_sweep && !self.is_used {
            // The account was woken only for this sweep, and may end at the next tick.
            self.idle_ticks = IDLE_TICKS;
        }
        // Any command but `Accrue` may free a permit or bring credits.
        let may_let_in = !matches!(command, Command::Accrue { .. });
        let answer = match self.decide(command, now, out) {
            Ok(answer) => answer,
            Err(error) => {
                out.put(Output::Depart(Departure::Answer(reply, Err(error))));
                return;
            }
        };
        match (&answer.result, subject) {
            (Ok(Reply::Accrued { held, claimed }), Some((id, _))) => {
                let amounts = Amounts { held: *held, claimed: *claimed };
                self.leave(Departure::Holds(id, amounts), out);
            }
            (Ok(_), Some((id, true))) => drop(self.holds.remove(&id)),
            _ => {}
        }
        if may_let_in {
            self.call_line(now, out);
        }
        self.leave(Departure::Answer(reply, Ok(answer)), out);
    }

    pub(super) fn buy(&mut self, payment: Payment, reply: A::Reply<Bought>, now: Moment, out: &mut impl Outputs<A>) {
        let id = payment.id;
        // The same request, sent twice at once: both get the one payment's end.
        if let Some(buyers) = self.purchases.get_mut(&id) {
            if buyers.len() < BUYERS {
                buyers.push(reply);
            } else {
                self.leave(Departure::Bought(reply, Box::new(Err(AccountError::Overloaded))), out);
            }
            return;
        }
        // Kept before the decision, which may end the purchase.
        self.purchases.insert(id, vec![reply]);
        let refused = match self.decide(Command::BeginPayment(payment.clone()), now, out) {
            Ok(answer) if answer.result.is_ok() => return,
            Ok(answer) => Ok(Bought { payment, answer, action: None }),
            Err(error) => Err(error),
        };
        self.bought(id, &refused, out);
    }

    /// Tells the end of a payment, or that its owner must act, to all that wait for it.
    pub(super) fn bought(&mut self, id: PaymentId, bought: &Result<Bought, AccountError>, out: &mut impl Outputs<A>) {
        for buyer in self.purchases.remove(&id).unwrap_or_default() {
            self.leave(Departure::Bought(buyer, Box::new(bought.clone())), out);
        }
    }

    pub(super) fn open(
        &mut self,
        Open { email, plan }: Open,
        reply: A::Reply<Answer>,
        now: Moment,
        out: &mut impl Outputs<A>,
    ) {
        self.is_used = true;
        let answer = if matches!(self.state, State::Missing) {
            let (account, decision) = decide::open(self.id, email, plan, now.ledger);
            self.state = State::Ready(Box::new(account));
            Ok(self.hand_on(decision, out))
        } else {
            self.decide(Command::Sweep, now, out)
        };
        self.leave(Departure::Answer(reply, answer), out);
    }

    pub(super) fn look(&mut self, reply: A::Reply<Picture>, now: Moment, out: &mut impl Outputs<A>) {
        self.is_used = true;
        // The picture must show what a request would find now, so due changes are made first.
        let picture = self.decide(Command::Sweep, now, out).and_then(|_| self.picture(now.ledger));
        self.leave(Departure::Picture(reply, Box::new(picture)), out);
    }

    fn picture(&self, now: Timestamp) -> Result<Picture, AccountError> {
        let State::Ready(account) = &self.state else { return Err(AccountError::NoAccount) };
        Ok(Picture {
            balance: account.balance(now),
            holds: holds_that(account, |_| true),
            payg: account.is_payg(now),
            header: account.header.clone(),
            subscription: account.subscription().cloned(),
            automatic: account.automatic().cloned(),
            fall: account.tier_fall(now),
            waiting: self.line.len(),
            keys: account
                .keys()
                .map(|(id, key)| {
                    let amounts = KeyWindow::ALL.map(|window| key.used(window, now));
                    KeyUse { id, limits: key.limits().clone(), amounts, alerts: key.alerts().to_vec() }
                })
                .collect(),
        })
    }

    /// Decides on a copy of the account, and discards the copy.
    pub(super) fn preview(&mut self, admit: Admit, reply: A::Reply<Answer>, now: Moment, out: &mut impl Outputs<A>) {
        let answer = match &self.state {
            State::Ready(account) => {
                let Decision { answer, .. } = decide(&mut account.clone(), Command::Admit(admit), now.ledger);
                Ok(Answer { balance: account.balance(now.ledger), ..answer })
            }
            State::Loading(_) | State::Missing => Err(AccountError::NoAccount),
        };
        self.leave(Departure::Answer(reply, answer), out);
    }

    /// Tells a watcher how things are now, and from then on each change. Those who watch already know.
    pub(super) fn watch(&mut self, watcher: A::Watcher, now: Moment, out: &mut impl Outputs<A>) {
        self.watchers.retain(A::is_watching);
        if let (Some(account), true) = (self.account(), self.watchers.len() < WATCHERS) {
            let balance = account.balance(now.ledger);
            self.watchers.push(watcher.clone());
            self.leave(Departure::Balance(vec![watcher], balance), out);
        }
    }

    pub(super) fn owner_must_act(
        &mut self,
        Waits { payment_id, action }: Waits,
        now: Moment,
        out: &mut impl Outputs<A>,
    ) {
        let State::Ready(account) = &self.state else { return };
        let Some(payment) = account.pending_payment(payment_id).cloned() else { return };
        let answer = Answer { result: Ok(Reply::Done), balance: account.balance(now.ledger) };
        self.bought(payment_id, &Ok(Bought { payment, answer, action: Some(action) }), out);
    }
}
