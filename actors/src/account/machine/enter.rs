//! Admission: a request is decided at once, or waits in line for credits, permits or the rate limit. A running request
//! that gave its permit back waits in the same line to go on. Part of [`Machine`]; the line itself is in
//! [`super::queue`].

use std::time::Duration;

use billing::{
    command::{Admit, Answer, Command, Refusal, Reply, Scale},
    hold::{Hold, Work},
    ids::RequestId,
};

use super::{
    super::{AccountError, Enter, Entered, Placed},
    Machine, State,
    port::{Askers, Departure, Moment, Output, Outputs},
    queue::{For, Next, Visitor, Wish},
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
        let came_at = now.elapsed;
        let let_in = self.known_before(&admit, now);
        let visitor = Visitor { wish: Wish::Enter(admit, reply), came_at, max_wait, place: None };
        match let_in {
            Some(answer) => self.answer(visitor, answer, now, out),
            None => self.visit(visitor, now, out),
        }
    }

    /// A running request wants the permit again that it gave back. It is answered when it has it.
    pub(super) fn resume(&mut self, id: RequestId, reply: A::Reply<Answer>, now: Moment, out: &mut impl Outputs<A>) {
        self.is_used = true;
        let (wish, came_at) = (Wish::Resume(id, reply), now.elapsed);
        self.visit(Visitor { wish, came_at, max_wait: Duration::ZERO, place: None }, now, out);
    }

    /// The answer to a request that was let in before, and did not hear of it: it is asked again where the answer was lost
    /// on its way from another node. It has the hold that was placed then, and no other. One that has ended since has none.
    fn known_before(&self, admit: &Admit, now: Moment) -> Option<Answer> {
        let account = self.account()?;
        if self.ended.has(admit.request_id) {
            let result = Err(Refusal::AlreadyAdmitted(admit.request_id));
            return Some(Answer { result, balance: account.balance(now.ledger) });
        }
        let hold = account.hold(admit.request_id).filter(|hold| is_of(hold, admit))?;
        let (held, claimed, units_allowed) = (hold.total(), hold.claimed, account.tier(now.ledger).units);
        let result = Ok(Reply::Admitted { held, rate_remaining: None, units_allowed, claimed });
        Some(Answer { result, balance: account.balance(now.ledger) })
    }

    fn visit(&mut self, visitor: Visitor<A>, now: Moment, out: &mut impl Outputs<A>) {
        if let Wish::Resume(id, _) = &visitor.wish
            && self.is_behind(&visitor.wish)
        {
            let refusal = self.in_line(*id, now);
            match visitor.waits(&refusal) {
                Some(what) => self.join(visitor, what, refusal, now, out),
                None => self.refuse(visitor, refusal, now, out),
            }
            return;
        }
        match self.decide(self.command_of(&visitor.wish), now, out) {
            Err(error) => visitor.unanswered(error, out),
            Ok(Answer { result: Err(refusal), balance }) => match visitor.waits(&refusal) {
                Some(what) => self.join(visitor, what, refusal, now, out),
                None => self.answer(visitor, Answer { result: Err(refusal), balance }, now, out),
            },
            Ok(answer) => self.answer(visitor, answer, now, out),
        }
    }

    /// Whether a request would overtake one that waits for a permit.
    fn is_behind(&self, wish: &Wish<A>) -> bool {
        self.line.has_permits_wanted() && self.takes_permit(wish)
    }

    /// The command that gives a request what it asks for. One behind others has no permit left for it; all other limits are its
    /// own, and credits may be bought for it.
    fn command_of(&self, wish: &Wish<A>) -> Command {
        match wish {
            Wish::Enter(admit, _) if self.is_behind(wish) => Command::AdmitBehind(admit.clone()),
            Wish::Enter(admit, _) => Command::Admit(admit.clone()),
            Wish::Resume(request_id, _) => Command::Resume { request_id: *request_id },
        }
    }

    /// Whether a request needs a permit that it does not have. Of a frozen account none is given to who comes: the rules
    /// refuse it, whoever waits.
    fn takes_permit(&self, wish: &Wish<A>) -> bool {
        let is_frozen = self.account().is_some_and(|account| account.header.frozen_at.is_some());
        match wish {
            Wish::Enter(admit, _) => matches!(admit.work, Work::Open { .. }) && !is_frozen,
            Wish::Resume(id, _) => {
                self.account().and_then(|account| account.hold(*id)).is_some_and(|hold| hold.is_parked)
            }
        }
    }

    /// The refusal of a request that runs, and has to wait in line for its permit.
    fn in_line(&self, id: RequestId, now: Moment) -> Refusal {
        let State::Ready(account) = &self.state else { return Refusal::NoHold(id) };
        let needed = account.hold(id).map(Hold::weight).unwrap_or_default();
        let tier = account.tier(now.ledger);
        let used = account.balance(now.ledger).units_used;
        Refusal::ConcurrencyLimit { allowed: tier.units, used, needed, next: None, scale: Scale::Off }
    }

    fn join(
        &mut self,
        visitor: Visitor<A>,
        (what, until): (For, Option<Duration>),
        refusal: Refusal,
        now: Moment,
        out: &mut impl Outputs<A>,
    ) {
        match self.line.join(visitor, what, until) {
            Ok(()) => {
                let mut wake = until.map(|until| until.saturating_sub(now.elapsed));
                if let For::Rate(free_in) = what {
                    out.put(Output::CallLine { after: free_in });
                    wake = wake.map(|wake| wake.max(free_in));
                }
                if let Some(after) = wake {
                    out.put(Output::CallLine { after });
                }
            }
            Err(visitor) => self.refuse(*visitor, refusal, now, out),
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
            match self.decide(self.command_of(&visitor.wish), now, out) {
                Err(error) => visitor.unanswered(error, out),
                Ok(answer) => match answer.result.as_ref().err().and_then(|refusal| visitor.waits(refusal)) {
                    Some((what, until)) if may_wait => {
                        if let For::Rate(free_in) = what {
                            out.put(Output::CallLine { after: free_in });
                        }
                        trial.keep(&mut self.line, visitor, what, until);
                    }
                    Some(_) | None => self.answer(visitor, answer, now, out),
                },
            }
        }
    }

    /// Answers a request that was refused without a decision.
    fn refuse(&mut self, visitor: Visitor<A>, refusal: Refusal, now: Moment, out: &mut impl Outputs<A>) {
        let State::Ready(account) = &self.state else { return };
        let balance = account.balance(now.ledger);
        self.answer(visitor, Answer { result: Err(refusal), balance }, now, out);
    }

    /// Answers a request. The reader of the answer makes the guard. A reader that leaves earlier gives the hold back by
    /// a message, which comes after the question.
    fn answer(&mut self, visitor: Visitor<A>, answer: Answer, now: Moment, out: &mut impl Outputs<A>) {
        let Visitor { wish, place, .. } = visitor;
        let (admit, reply) = match wish {
            Wish::Enter(admit, reply) => (admit, reply),
            Wish::Resume(_, reply) => return self.leave(Departure::Answer(reply, Ok(answer)), out),
        };
        let placed = match &answer.result {
            Ok(Reply::Admitted { held, claimed, .. }) => {
                self.placed(&admit, Amounts { held: *held, claimed: *claimed })
            }
            Ok(Reply::Accrued { .. } | Reply::Settled { .. } | Reply::Done) | Err(_) => None,
        };
        if placed.is_some() {
            self.holds.insert(admit.request_id);
        }
        let (request_id, logged) = (admit.request_id, Duration::ZERO);
        let entered = Entered { request_id, placed, answer, place, decided: now.elapsed, logged };
        self.leave(Departure::Entered(reply, Ok(entered)), out);
    }

    /// The hold of an admitted request.
    fn placed(&self, admit: &Admit, amounts: Amounts) -> Option<Placed> {
        let State::Ready(account) = &self.state else { return None };
        let Hold { placed_at, deadline, .. } = account.hold(admit.request_id)?;
        Some(Placed { amounts, placed_at: *placed_at, deadline: *deadline })
    }
}

/// Whether a hold is the one that was placed for this very request.
fn is_of(hold: &Hold, admit: &Admit) -> bool {
    let Hold { request_id, key_id, work, model, provider, price_version, worst_case, .. } = hold;
    (*request_id, *key_id, work, *price_version, *worst_case)
        == (admit.request_id, admit.key_id, &admit.work, admit.price_version, admit.hold.worst_case)
        && (model, provider) == (&admit.model, &admit.provider)
}

impl<A: Askers> Visitor<A> {
    /// Tells the request that the account can't decide now.
    pub(super) fn unanswered(self, error: AccountError, out: &mut impl Outputs<A>) {
        out.put(Output::Depart(match self.wish {
            Wish::Enter(_, reply) => Departure::Entered(reply, Err(error)),
            Wish::Resume(_, reply) => Departure::Answer(reply, Err(error)),
        }));
    }
}
