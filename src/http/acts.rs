//! Acts: what a request does, once in all its lives. What it makes has its id; what makes nothing of its own leaves a proof
//! under that id. Either is in the transaction of the effect, so that a retry after a crash finds the one with the other:
//! then it is answered from it, and nothing is done again.

use actix_web::{HttpMessage, HttpRequest};
use actors::account::{AccountError, Look, Picture};
use billing::{
    Nanos,
    account::Balance,
    command::{Answer, Command},
    entry::Proof,
    ids::AccountId,
};
use ledger::idempotency::Trace;

use super::{arrival::Arrival, error::ApiError, state::Shared};
use crate::idempotency::{Asked, Life};

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
    pub fn proof(self, request: &HttpRequest) -> Proof {
        let Self { name: act, subject, amount, reason } = self;
        Proof { request_id: Arrival::of(request).id, act, subject, amount, reason }
    }
}

/// Whether an earlier life of this request has done what it asks for.
pub fn is_done(request: &HttpRequest) -> bool {
    Arrival::of(request).life == Life::Done
}

/// Has an account carry out a request, and waits until that is durable; what the account has then. Where it does not answer
/// in time, or refuses what an earlier life may just have had it do, it is asked what became of the request: what was said
/// to have failed must not appear later.
pub async fn carry_out(
    state: &Shared,
    request: &HttpRequest,
    account: AccountId,
    act: Act,
    command: Command,
) -> Result<Balance, ApiError> {
    let accounts = &state.gateway.accounts;
    let look = async || accounts.ask(account, Look).await.map(|picture: Picture| picture.balance);
    if is_done(request) {
        return Ok(look().await?);
    }
    let proven = Command::Proven { proof: act.proof(request), command: Box::new(command) };
    let arrival = Arrival::of(request);
    let failed: ApiError = match accounts.decide(account, proven).await {
        Ok(Answer { result: Ok(_), balance }) => return Ok(balance),
        Ok(Answer { result: Err(refusal), .. }) if arrival.life == Life::Again => refusal.into(),
        Ok(Answer { result: Err(refusal), .. }) => return Err(refusal.into()),
        Err(error @ AccountError::Unavailable(_)) => error.into(),
        Err(error) => return Err(error.into()),
    };
    let balance = look().await?;
    match accounts.ledger().trace(account, arrival.id).await? {
        Trace::Done { .. } => Ok(balance),
        Trace::Nothing | Trace::Undone | Trace::Pending => Err(failed),
    }
}

/// The secret part of what a request makes and shows once. Under an `Idempotency-Key` it is the same in each of its lives;
/// none where there is no key.
pub fn secret(state: &Shared, request: &HttpRequest) -> Option<String> {
    let asked = request.extensions().get::<Asked>().cloned()?;
    Some(state.idempotency.secret(&asked, Arrival::of(request).id))
}
