//! Admission: a request is decided at once, or waits in line for credits, permits or the rate limit. Part of
//! [`Machine`]; the line itself is in [`super::queue`].

use std::time::Duration;

use billing::{
    class::Units,
    command::{Admit, Answer, Command, Refusal, Reply, Scale},
    hold::{Hold, Work},
};

use super::{
    super::{Enter, Entered, Placed},
    Machine, State,
    port::{Askers, Departure, Moment, Output, Outputs},
    queue::{For, Next, Visitor},
};
use crate::running::Amounts;

impl<A: Askers> Machine<A> {
    pub(super) fn enter(
        &mut self,
        Enter { admit, max_wait }: Enter,
        reply: A::Reply<Entered>,
        now: Moment,
        out: &mut impl Outputs<A>,
    ) {
        self.is_used = true;
        let visitor = Visitor { admit, reply, came_at: now.elapsed, max_wait, place: None };
        // No request overtakes one that waits for a permit.
        if visitor.is_open() && self.line.has_permits_wanted() {
            let (until, refusal) = (visitor.came_at + max_wait, self.in_line(&visitor.admit, now));
            if max_wait.is_zero() {
                self.refuse(visitor, refusal, now, out);
            } else {
                self.join(visitor, (For::Permits, until), refusal, now, out);
            }
            return;
        }
        match self.decide(Command::Admit(visitor.admit.clone()), now, out) {
            Err(error) => out.put(Output::Depart(Departure::Entered(visitor.reply, Err(error)))),
            Ok(Answer { result: Err(refusal), balance }) => match visitor.waits(&refusal) {
                Some(what) => self.join(visitor, what, refusal, now, out),
                None => self.answer(visitor, Answer { result: Err(refusal), balance }, out),
            },
            Ok(answer) => self.answer(visitor, answer, out),
        }
    }

    /// The refusal of a request that would have to join the line.
    fn in_line(&self, admit: &Admit, now: Moment) -> Refusal {
        let State::Ready(account) = &self.state else { return Refusal::NoHold(admit.request_id) };
        let tier = account.tier(now.ledger);
        let needed = if let Work::Open { units, .. } = admit.work { units } else { Units::default() };
        let used = account.balance(now.ledger).units_used;
        Refusal::ConcurrencyLimit { allowed: tier.units, used, needed, next: None, scale: Scale::Off }
    }

    fn join(
        &mut self,
        visitor: Visitor<A>,
        (what, until): (For, Duration),
        refusal: Refusal,
        now: Moment,
        out: &mut impl Outputs<A>,
    ) {
        match self.line.join(visitor, what, until) {
            Ok(()) => {
                let mut wake = until.saturating_sub(now.elapsed);
                if let For::Rate(free_in) = what {
                    out.put(Output::CallLine { after: free_in });
                    wake = wake.max(free_in);
                }
                out.put(Output::CallLine { after: wake });
            }
            Err(visitor) => self.refuse(visitor, refusal, now, out),
        }
    }

    /// Tries the waiting requests, in order.
    pub fn call_line(&mut self, now: Moment, out: &mut impl Outputs<A>) {
        if self.line.is_empty() {
            return;
        }
        let mut trial = self.line.call();
        while let Some(next) = trial.next(&mut self.line, now.elapsed) {
            let (visitor, may_wait) = match next {
                Next::Try(visitor) => (visitor, true),
                Next::Late(visitor) => (visitor, false),
            };
            match self.decide(Command::Admit(visitor.admit.clone()), now, out) {
                Err(error) => out.put(Output::Depart(Departure::Entered(visitor.reply, Err(error)))),
                Ok(answer) => match answer.result.as_ref().err().and_then(|refusal| visitor.waits(refusal)) {
                    Some((what, until)) if may_wait => {
                        if let For::Rate(free_in) = what {
                            out.put(Output::CallLine { after: free_in });
                        }
                        trial.keep(&mut self.line, visitor, what, until);
                    }
                    Some(_) | None => self.answer(visitor, answer, out),
                },
            }
        }
    }

    /// Answers a request that was refused without a decision.
    fn refuse(&mut self, visitor: Visitor<A>, refusal: Refusal, now: Moment, out: &mut impl Outputs<A>) {
        let State::Ready(account) = &self.state else { return };
        let balance = account.balance(now.ledger);
        self.answer(visitor, Answer { result: Err(refusal), balance }, out);
    }

    /// Answers a request. The reader of the answer makes the guard. A reader that leaves earlier gives the hold back by
    /// a message, which comes after the question.
    fn answer(&mut self, visitor: Visitor<A>, answer: Answer, out: &mut impl Outputs<A>) {
        let Visitor { admit, reply, place, .. } = visitor;
        let placed = match &answer.result {
            Ok(Reply::Admitted { held, claimed, .. }) => {
                self.placed(&admit, Amounts { held: *held, claimed: *claimed })
            }
            Ok(Reply::Accrued { .. } | Reply::Settled { .. } | Reply::Done) | Err(_) => None,
        };
        if placed.is_some() {
            self.holds.insert(admit.request_id);
        }
        let entered = Entered { request_id: admit.request_id, placed, answer, place };
        self.leave(Departure::Entered(reply, Ok(entered)), out);
    }

    /// The hold of an admitted request.
    fn placed(&self, admit: &Admit, amounts: Amounts) -> Option<Placed> {
        let State::Ready(account) = &self.state else { return None };
        let Hold { placed_at, deadline, .. } = account.hold(admit.request_id)?;
        Some(Placed { amounts, placed_at: *placed_at, deadline: *deadline })
    }
}
