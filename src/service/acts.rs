//! Acts: changes that a request makes once, however often the request is repeated. An object that a request creates has
//! the request's id. A request that creates no object leaves a proof under its id. Both are written in the transaction
//! of the change. A retry after a crash finds them, is answered from them, and changes nothing again.

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
    /// The request's id, which the objects it creates have too.
    pub id: RequestId,
    /// Which attempt (life) of the request this is.
    pub life: Life,
}

impl Origin {
    /// Whether an earlier attempt carried the request out.
    pub fn is_done(self) -> bool {
        self.life == Life::Done
    }
}

/// The description of an act, for its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// The act's name, such as `void_grant`.
    pub name: &'static str,
    /// The object that is changed.
    pub subject: String,
    /// The amount, if the act has one.
    pub amount: Option<Nanos>,
    /// The reason, where an operator acts.
    pub reason: Option<String>,
}

impl Act {
    /// The proof that this request carried the act out.
    pub(super) fn proof(self, origin: Origin) -> Proof {
        let Self { name: act, subject, amount, reason } = self;
        Proof { request_id: origin.id, act: act.into(), subject, amount, reason }
    }
}

/// Has an account carry out a command, waits until that is durable, and returns the balance after it. Where the account
/// does not answer in time, or refuses a command that an earlier attempt may just have had carried out, the ledger is
/// asked for the proof: a command that was reported as failed must not appear later.
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
    // A form that is sent again may come after its first time was carried out.
    if origin.life == Life::Again && matches!(service.ledger().trace(account, origin.id).await?, Trace::Done { .. }) {
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
