//! The way of a bill to its account: tried several times, and, where the ledger can't take it for some seconds, kept in the
//! file of captures that wait. How often and how long is tried is [`bill`](super::bill)'s rule.

use std::{pin::pin, time::Duration};

use billing::{
    Nanos,
    command::{Answer, Command, Reply},
    entry::UsageRecord,
    ids::AccountId,
};
use ledger::LedgerError;
use tokio::{runtime::Handle, time::sleep};

use super::{
    AWAY, SettleError,
    bill::{Settling, Tried},
};
use crate::{account::AccountError, accounts::Accounts, spool::Spool};

/// How long a capture is tried before it is kept in the file; how long where the ledger is known to be away; and how long
/// where the process ends.
const SLOW: Duration = Duration::from_secs(5);
const AWAY_FOR: Duration = Duration::from_secs(1);
const IN_HASTE: Duration = Duration::from_secs(1);

/// What became of a bill.
#[derive(Debug)]
pub(super) enum Settled {
    /// It is in the ledger.
    Now(Answer),
    /// It is on disk, and waits for the ledger.
    Waits,
}

/// Has an account charge a record. Returns when that is durable.
///
/// # Errors
///
/// See [`SettleError`].
pub(super) async fn settle(
    accounts: &Accounts,
    account_id: AccountId,
    record: &UsageRecord,
) -> Result<Settled, SettleError> {
    let mut trying = pin!(try_to_settle(accounts, account_id, record));
    let Some(spool) = accounts.spool() else { return trying.await.map(Settled::Now) };
    let tried = tokio::select! {
        biased;
        tried = &mut trying => Some(tried),
        () = patience(accounts, spool) => None,
    };
    let failed = match tried {
        Some(Ok(answer)) => return Ok(Settled::Now(answer)),
        Some(Err(refused @ SettleError::Refused(_))) => return Err(refused),
        Some(Err(failed @ SettleError::Unavailable(_))) => Some(failed),
        None => None,
    };
    if keep(accounts, spool, account_id, record).await {
        return Ok(Settled::Waits);
    }
    match failed {
        Some(failed) => Err(failed),
        None => trying.await.map(Settled::Now),
    }
}

/// Keeps a capture in the file. Returns whether it waits there.
async fn keep(accounts: &Accounts, spool: &Spool, account_id: AccountId, record: &UsageRecord) -> bool {
    // Whoever has taken the ledger over has settled it as far as it was noted.
    if matches!(accounts.ledger().standing().check(), Err(LedgerError::Fenced)) {
        return false;
    }
    let (id, cost_nanos) = (record.request_id, record.charged.get());
    // Nobody else is to settle it, from before it is kept.
    accounts.running().waits(id);
    match spool.put(account_id, record.clone()).await {
        Ok(()) => {
            tracing::warn!(request.id = %id, cost_nanos, "a capture waits for the ledger");
            true
        }
        Err(error) => {
            accounts.running().is_settled(id);
            tracing::error!(request.id = %id, cost_nanos, %error, "a capture can't wait in the file");
            false
        }
    }
}

/// Has an account charge a record that nobody waits for.
pub(super) fn settle_alone(accounts: &Accounts, account_id: AccountId, record: UsageRecord) {
    if !accounts.is_shared() {
        // In the account's mailbox it follows what its request asked before.
        accounts.post(account_id, Command::Settle(record));
        return;
    }
    // Whoever drops a guard runs in a task of a worker's.
    let Ok(handle) = Handle::try_current() else { return };
    let accounts = accounts.clone();
    handle.spawn(async move {
        // What failed is told where it did; what was refused was ended elsewhere.
        let _ = settle(&accounts, account_id, &record).await;
    });
}

/// Waits as long as a capture is tried before it is kept.
async fn patience(accounts: &Accounts, spool: &Spool) {
    let standing = accounts.ledger().standing();
    tokio::select! {
        () = sleep(SLOW) => {}
        () = async { standing.broken().await; sleep(AWAY_FOR).await } => {}
        () = async { spool.hurried().await; sleep(IN_HASTE).await } => {}
    }
}

async fn try_to_settle(
    accounts: &Accounts,
    account_id: AccountId,
    record: &UsageRecord,
) -> Result<Answer, SettleError> {
    let (mut settling, mut last) = (Settling::default(), AccountError::Overloaded);
    while let Some(wait) = settling.next_wait() {
        if !wait.is_zero() {
            sleep(wait).await;
            // An attempt that is known to fail is not made.
            accounts.ledger().standing().sound_within(AWAY).await;
        }
        let answer = accounts.decide(account_id, Command::Settle(record.clone())).await;
        match (settling.tried(&answer), answer) {
            (Tried::Settled, Ok(answer)) => return Ok(answer),
            (Tried::IfRecorded(_), Ok(answer)) if accounts.is_recorded(account_id, record).await => {
                let result = Ok(Reply::Settled { charged: record.charged, debt: Nanos::ZERO });
                return Ok(Answer { result, ..answer });
            }
            (Tried::IfRecorded(refusal) | Tried::Refused(refusal), _) => return Err(SettleError::Refused(refusal)),
            (Tried::Again(error), _) | (Tried::Settled, Err(error)) => last = error,
        }
    }
    tracing::error!(request.id = %record.request_id, error = %last, "could not settle; left to recovery");
    Err(SettleError::Unavailable(last))
}
