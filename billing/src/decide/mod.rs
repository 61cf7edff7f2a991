//! The state machine: [`decide`] takes an account's state, a command and the time, changes the state, and returns the
//! transition for the journal. It is deterministic: the same state, command and time give the same result. A refusal
//! changes nothing except the effects of time (expired credits, a new cycle) and what follows from them (a reload
//! because credits are low).

mod admit;
mod automatic;
mod change;
mod draft;
mod due;
mod expire;
mod freeze;
mod fund;
mod open;
mod park;
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
use admit::Permits;
use draft::Draft;
pub use open::open;

/// The result of a command: the transition to write, and the answer to give once it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// For the journal; `None` if nothing changed. Boxed because it is large and often moved.
    pub transition: Option<Box<Transition>>,
    /// For the caller, after the journal has written the transition.
    pub answer: Answer,
}

/// Decides a command. The caller must not release the answer before the transition is durable.
///
/// # Panics
///
/// If an invariant of the account breaks, or an amount leaves the ledger's range. The account must not be used any
/// more: it stops, and is loaded again from the ledger.
pub fn decide(account: &mut Account, command: Command, now: Timestamp) -> Decision {
    let now = now.max(account.header.clock);
    let before = account.owned();
    let mut draft = Draft::new(account, now);
    due::pass_time(&mut draft);
    let result = run(&mut draft, command);
    taken::repay_debt(&mut draft);
    automatic::after(&mut draft, before);
    let transition = draft.finish();
    Decision { transition, answer: Answer { result, balance: account.balance(now) } }
}

fn run(draft: &mut Draft<'_>, command: Command) -> Result<Reply, Refusal> {
    match command {
        Command::Admit(admit) => admit::admit(draft, admit, Permits::OfTier),
        Command::AdmitBehind(admit) => admit::admit(draft, admit, Permits::Others),
        Command::Accrue { request_id, accrued, slice } => settle::accrue(draft, request_id, accrued, slice),
        Command::Park { request_id } => park::park(draft, request_id),
        Command::Resume { request_id } => park::resume(draft, request_id),
        Command::Settle(usage) => settle::settle(draft, usage),
        Command::Fund(fund) => fund::fund(draft, fund),
        Command::BeginPayment(payment) => payment::begin(draft, payment),
        Command::PaymentSucceeded { payment_id, grant_id, reference } => {
            payment::succeeded(draft, payment_id, grant_id, reference)
        }
        Command::PaymentDeclined { payment_id, decline_code } => payment::declined(draft, payment_id, decline_code),
        Command::Reverse(reverse) => reverse::reverse(draft, *reverse),
        Command::VoidGrant { grant_id, amount } => void::void(draft, grant_id, amount),
        Command::Freeze => freeze::freeze(draft),
        Command::Unfreeze => freeze::unfreeze(draft),
        Command::SetAutomatic(change) => automatic::set(draft, change),
        Command::CancelSubscription => subscription::cancel(draft),
        Command::ResumeSubscription => subscription::resume(draft),
        Command::Change(change) => change::change(draft, change),
        Command::Notified { notice, command } => {
            let reply = run(draft, *command)?;
            draft.notice = Some(notice);
            Ok(reply)
        }
        // It was carried out a moment ago: a second proof would be refused, and its account be thrown out with it.
        Command::Proven { proof, .. } if draft.account.proven.contains(&proof.request_id) => Ok(Reply::Done),
        Command::Proven { proof, command } => {
            let reply = run(draft, *command)?;
            draft.account.prove(proof.request_id);
            draft.proof = Some(proof);
            Ok(reply)
        }
        Command::Sweep => Ok(Reply::Done),
    }
}
