//! The state machine: [`decide`] takes an account's state, a command and the time, changes the state, and says what the
//! journal must write. Deterministic: same state, command and time, same result. A refusal changes nothing but what time
//! itself changed (credits that expired).

mod admit;
mod draft;
mod expire;
mod fund;
mod settle;

use crate::{
    account::Account,
    command::{Answer, Command},
    entry::Transition,
    time::Timestamp,
};
use draft::Draft;

/// What came of a command: what to write (nothing, where nothing changed), and what to say once it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// For the journal.
    pub transition: Option<Transition>,
    /// For who asked, after the journal.
    pub answer: Answer,
}

/// Decides a command. The caller must not let the answer out before the transition is durable.
pub fn decide(account: &mut Account, command: Command, now: Timestamp) -> Decision {
    let now = now.max(account.header.clock);
    let mut draft = Draft::new(account, now);
    expire::sweep(&mut draft);
    let result = match command {
        Command::Admit(admit) => admit::admit(&mut draft, admit),
        Command::Accrue { request_id, accrued, slice } => settle::accrue(&mut draft, request_id, accrued, slice),
        Command::Settle(usage) => settle::settle(&mut draft, usage),
        Command::Fund(fund) => fund::fund(&mut draft, fund),
        Command::BeginPayment(payment) => fund::begin_payment(&mut draft, payment),
        Command::PaymentSucceeded { payment_id, grant_id } => fund::payment_succeeded(&mut draft, payment_id, grant_id),
        Command::PaymentDeclined { payment_id, decline_code } => {
            fund::payment_declined(&mut draft, payment_id, decline_code)
        }
        Command::Sweep => Ok(crate::command::Reply::Done),
    };
    let transition = draft.finish();
    Decision { transition, answer: Answer { result, balance: account.balance(now) } }
}
