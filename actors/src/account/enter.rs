//! Who comes in: a request is decided at once, or waits in line for what may let it in. Part of [`AccountActor`]; the line
//! itself is in [`super::queue`].

use std::time::Instant;

use actix::AsyncContext;
use billing::{
    class::Units,
    command::{Admit, Answer, Command, Refusal, Reply, Scale},
    hold::{Hold, Work},
};
use tokio::sync::oneshot;

use super::{
    AccountActor, AccountError, Enter, Entered, Placed,
    actor::State,
    queue::{For, Next, Visitor},
};
use crate::running::Amounts;

impl AccountActor {
    pub(super) fn enter(
        &mut self,
        Enter { admit, max_wait }: Enter,
        reply: oneshot::Sender<Result<Entered, AccountError>>,
        ctx: &mut actix::Context<Self>,
    ) {
        self.is_used = true;
        let visitor = Visitor { admit, reply, came_at: Instant::now(), max_wait, place: None };
        // Nobody overtakes who waits for a permit.
        if visitor.is_open() && self.line.has_permits_wanted() {
            let (until, refusal) = (visitor.came_at + max_wait, self.in_line(&visitor.admit));
            if max_wait.is_zero() {
                self.admit(visitor, Err(refusal));
            } else {
                self.join(visitor, For::Permits, until, refusal, ctx);
            }
            return;
        }
        match self.decide(Command::Admit(visitor.admit.clone()), ctx) {
            Err(error) => drop(visitor.reply.send(Err(error))),
            Ok(answer) => match answer.result.as_ref().err().and_then(|refusal| visitor.waits(refusal)) {
                Some((what, until)) => {
                    if let Err(refusal) = answer.result {
                        self.join(visitor, what, until, refusal, ctx);
                    }
                }
                None => self.admit_with(visitor, answer),
            },
        }
    }

    /// The refusal of one that would have to join the line.
    fn in_line(&self, admit: &Admit) -> Refusal {
        let State::Ready(account) = &self.state else { return Refusal::NoHold(admit.request_id) };
        let tier = account.tier(self.context.around.clock.now());
        let needed = if let Work::Open { units, .. } = admit.work { units } else { Units::default() };
        let used = account.balance(self.context.around.clock.now()).units_used;
        Refusal::ConcurrencyLimit { allowed: tier.units, used, needed, next: None, scale: Scale::Off }
    }

    fn join(&mut self, visitor: Visitor, what: For, until: Instant, refusal: Refusal, ctx: &mut actix::Context<Self>) {
        match self.line.join(visitor, what, until) {
            Ok(()) => {
                let mut wake = until.saturating_duration_since(Instant::now());
                if let For::Rate(free_in) = what {
                    ctx.run_later(free_in, Self::call_line);
                    wake = wake.max(free_in);
                }
                ctx.run_later(wake, Self::call_line);
            }
            Err(visitor) => self.admit(visitor, Err(refusal)),
        }
    }

    /// Tries those that wait, in order.
    pub(super) fn call_line(&mut self, ctx: &mut actix::Context<Self>) {
        if self.line.is_empty() {
            return;
        }
        let mut trial = self.line.call();
        while let Some(next) = trial.next(&mut self.line, Instant::now()) {
            let (visitor, may_wait) = match next {
                Next::Try(visitor) => (visitor, true),
                Next::Late(visitor) => (visitor, false),
            };
            match self.decide(Command::Admit(visitor.admit.clone()), ctx) {
                Err(error) => drop(visitor.reply.send(Err(error))),
                Ok(answer) => match answer.result.as_ref().err().and_then(|refusal| visitor.waits(refusal)) {
                    Some((what, until)) if may_wait => {
                        if let For::Rate(free_in) = what {
                            ctx.run_later(free_in, Self::call_line);
                        }
                        trial.keep(&mut self.line, visitor, what, until);
                    }
                    _ => self.admit_with(visitor, answer),
                },
            }
        }
    }

    /// Answers one that was refused without a decision.
    fn admit(&mut self, visitor: Visitor, result: Result<Reply, Refusal>) {
        let State::Ready(account) = &self.state else { return };
        let balance = account.balance(self.context.around.clock.now());
        self.admit_with(visitor, Answer { result, balance });
    }

    /// Answers one. The guard is made by whoever reads the answer: one that leaves before gives the hold back by a message
    /// that comes after the question.
    fn admit_with(&mut self, visitor: Visitor, answer: Answer) {
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
        self.outbox.leave(move || drop(reply.send(Ok(entered))));
    }

    /// The hold of a request that was admitted.
    fn placed(&self, admit: &Admit, amounts: Amounts) -> Option<Placed> {
        let State::Ready(account) = &self.state else { return None };
        let Hold { placed_at, deadline, .. } = account.hold(admit.request_id)?;
        Some(Placed { amounts, placed_at: *placed_at, deadline: *deadline })
    }
}
