//! Departures from accounts, and their receivers. Each departure must depend only on durable entries.

use actors::account::{AccountError, Bought, Entered, machine};
use billing::command::Answer;

use crate::{
    account::Departure,
    asks::Who,
    check::{Checked, OUTBOX, ensure},
    pursuits::Chase,
    world::World,
};

/// An answer as its caller receives it.
pub(crate) enum Answered {
    Entered(Box<Entered>),
    Command(Box<Answer>),
    Bought(Box<Bought>),
}

/// The outcome of a question.
pub(crate) type Got = Result<Answered, AccountError>;

impl World {
    /// Checks that a departure from an account depends only on durable entries.
    pub(crate) fn departed(&mut self, departure: Departure) -> Checked {
        let Departure { owner, account, seq, what } = departure;
        let durable = self.disk.rows(account).header.seq;
        let name = what.name();
        ensure(durable >= seq, OUTBOX, || {
            format!("{name} of {account} at {seq} left while the journal was at {durable}")
        })?;
        match what {
            machine::Departure::Balance(..) | machine::Departure::Picture(..) => {}
            machine::Departure::Holds(id, amounts) => self.holds(owner, id, amounts),
            machine::Departure::Charge(payment) => {
                let is_there = self.disk.rows(account).payments.contains_key(&payment.id);
                ensure(is_there, OUTBOX, || format!("{payment:?} is to be charged and is not on disk"))?;
                let now = self.now_of(owner);
                // A dead payment actor takes up the pending payments when it is started again.
                if let Some(owner) = self.owner(owner).filter(|owner| owner.has_payments()) {
                    owner.pursuits.entry(payment.id).or_insert_with(|| Chase::new(account, *payment, now));
                }
            }
            machine::Departure::Entered(way, entered) => {
                self.resolve(way.id, entered.map(|it| Answered::Entered(Box::new(it))))?;
            }
            machine::Departure::Answer(way, answer) => {
                self.resolve(way.id, answer.map(|it| Answered::Command(Box::new(it))))?;
            }
            machine::Departure::Bought(way, bought) => {
                self.resolve(way.id, (*bought).map(|it| Answered::Bought(Box::new(it))))?;
            }
        }
        Ok(())
    }

    /// Gives a caller its answer, or tells it that none will come.
    pub(crate) fn answered(&mut self, owner: u64, who: Who, got: Got) -> Checked {
        match who {
            Who::Entering(request) => self.entered(request, got),
            Who::Settling(request) => self.settled(request, got)?,
            Who::Parking(request) => self.is_parked(request),
            Who::Resuming(request) => self.resumed(request, got),
            Who::Buying(account) => {
                if let Ok(Answered::Bought(bought)) = got {
                    self.bought(account, &bought.payment);
                }
            }
            Who::Pursuing(payment) => self.pursued(owner, payment, got),
            Who::Task(task) => self.task_answered(task, got),
            Who::Acting(act) => self.acted(act, got),
            Who::Nobody => {}
        }
        Ok(())
    }
}
