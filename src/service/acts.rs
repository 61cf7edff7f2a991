//! Acts: what a request does, once in all its lives. What it makes has its id; what makes nothing of its own leaves a proof
//! under that id. Either is in the transaction of the effect, so that a retry after a crash finds the one with the other:
//! then it is answered from it, and nothing is done again.

use actors::account::{AccountError, Look, Picture};
use billing::{
    Nanos,
    account::Balance,
    command::{Answer, Command},
    entry::Proof,
    ids::{AccountId, RequestId},
};
use ledger::idempotency::Trace;

use super::{Service, ServiceError};
use crate::idempotency::Life;

/// The request that asks for an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Its id: whatever it makes has it too.
    pub id: RequestId,
    /// Which of its lives this is.
    pub life: Life,
}

impl Origin {
    /// Whether an earlier life of it has done what it asks for.
    pub fn is_done(self) -> bool {
        self.life == Life::Done
    }
}

/// What is done, for its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// What: `void_grant`.
    pub name: &'static str,
    /// To what.
    pub subject: String,
    /// How much, if it is an amount.
    pub amount: Option<Nanos>,
    /// Why, where an operator does it.
    pub reason: Option<String>,
}

impl Act {
    /// The proof that this request did it.
    pub(super) fn proof(self, origin: Origin) -> Proof {
        let Self { name: act, subject, amount, reason } = self;
        Proof { request_id: origin.id, act, subject, amount, reason }
    }
}

/// Has an account carry out a request, and waits until that is durable; what the account has then. Where it does not answer
/// in time, or refuses what an earlier life may just have had it do, it is asked what became of the request: what was said
/// to have failed must not appear later.
pub(super) async fn carry_out(
    service: &Service,
    origin: Origin,
    account: AccountId,
    act: Act,
    command: Command,
) -> Result<Balance, ServiceError> {
    let accounts = &service.accounts;
    let look = async || accounts.ask(account, Look).await.map(|picture: Picture| picture.balance);
    if origin.is_done() {
        return Ok(look().await?);
    }
    let proven = Command::Proven { proof: act.proof(origin), command: Box::new(command) };
    let failed: ServiceError = match accounts.decide(account, proven).await {
        Ok(Answer { result: Ok(_), balance }) => return Ok(balance),
        Ok(Answer { result: Err(refusal), .. }) if origin.life == Life::Again => refusal.into(),
        Ok(Answer { result: Err(refusal), .. }) => return Err(refusal.into()),
        Err(error @ AccountError::Unavailable(_)) => error.into(),
        Err(error) => return Err(error.into()),
    };
    let balance = look().await?;
    match service.ledger().trace(account, origin.id).await? {
        Trace::Done { .. } => Ok(balance),
        Trace::Nothing | Trace::Undone | Trace::Pending => Err(failed),
    }
}
