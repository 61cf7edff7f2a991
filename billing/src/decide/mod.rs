//! The state machine: [`decide`] takes an account's state, a command and the time, changes the state, and says what the
//! journal must write. Deterministic: same state, command and time, same result. A refusal changes nothing but what time
//! itself changed (credits that expired, a cycle that began) and what follows from it (credits bought because they run low).

mod admit;
mod automatic;
mod draft;
mod due;
mod expire;
mod fund;
mod open;
mod payment;
mod reverse;
mod settle;
mod subscription;
mod taken;
mod void;

use crate::{
    account::Account,
    command::{Answer, Command, Refusal, Reply},
    entry::Transition,
    time::Timestamp,
};
use draft::Draft;
pub use open::open;

/// What came of a command: what to write (nothing, where nothing changed), and what to say once it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// For the journal. Large, and handed on many times.
    pub transition: Option<Box<Transition>>,
    /// For the caller, after the journal.
    pub answer: Answer,
}

/// Decides a command. The caller must not let the answer out before the transition is durable.
pub fn decide(account: &mut Account, command: Command, now: Timestamp) -> Decision {
    let now = now.max(account.header.clock);
    let available_before = account.available;
    let mut draft = Draft::new(account, now);
    due::pass_time(&mut draft);
    let result = run(&mut draft, command);
    taken::repay_debt(&mut draft);
    automatic::after(&mut draft, available_before);
    let transition = draft.finish();
    Decision { transition, answer: Answer { result, balance: account.balance(now) } }
}

fn run(draft: &mut Draft<'_>, command: Command) -> Result<Reply, Refusal> {
    match command {
        Command::Admit(admit) => admit::admit(draft, admit),
        Command::Accrue { request_id, accrued, slice } => settle::accrue(draft, request_id, accrued, slice),
        Command::Settle(usage) => settle::settle(draft, usage),
        Command::Fund(fund) => fund::fund(draft, fund),
        Command::BeginPayment(payment) => payment::begin(draft, payment),
        Command::PaymentSucceeded { payment_id, grant_id, reference } => {
            payment::succeeded(draft, payment_id, grant_id, reference)
        }
        Command::PaymentDeclined { payment_id, decline_code } => payment::declined(draft, payment_id, decline_code),
        Command::Reverse(reverse) => reverse::reverse(draft, *reverse),
        Command::VoidGrant { grant_id, amount } => void::void(draft, grant_id, amount),
        Command::SetAutomatic(change) => automatic::set(draft, change),
        Command::CancelSubscription => subscription::cancel(draft),
        Command::ResumeSubscription => subscription::resume(draft),
        Command::LimitKey { key_id, limits, spent } => {
            draft.account.limit_key(key_id, limits, spent, draft.now);
            Ok(Reply::Done)
        }
        Command::Notified { notice, command } => {
            let reply = run(draft, *command)?;
            draft.notice = Some(notice);
            Ok(reply)
        }
        Command::Proven { proof, command } => {
            let reply = run(draft, *command)?;
            draft.proof = Some(proof);
            Ok(reply)
        }
        Command::Sweep => Ok(Reply::Done),
    }
}
