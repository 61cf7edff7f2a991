//! Captures that wait in the file are made once the ledger can take them, each once: a hold ends once, and what the ledger
//! has of a request already is compared.

use std::{collections::HashMap, sync::Arc, time::Duration};

use billing::{
    Nanos,
    command::{Answer, Command, Refusal},
    entry::UsageRecord,
    ids::{AccountId, RequestId},
};
use futures::{StreamExt as _, stream};
use ledger::LedgerError;
use runtime::health::{Kind, Verdict};
use tokio::time::{sleep, timeout};

use super::AWAY;
use crate::{account::AccountError, accounts::Accounts, spool::Capture};

/// The most captures that are made at once.
const AT_ONCE: usize = 32;
/// How long after a look at all that waits the next one is.
const AGAIN: Duration = Duration::from_secs(1);
/// How often it is looked for what processes have left that are gone.
const LOOK: Duration = Duration::from_mins(1);
/// How often a record is looked for whose hold has ended: the tables may be behind.
const LOOKS: u32 = 10;
/// The name under which the file is seen beside the journal.
const NAME: &str = "captures";

/// What became of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is in the ledger, by this try or an earlier one.
    Made,
    /// The hold was ended otherwise: the request stays charged as the ledger has it.
    Late,
    /// It is not known yet.
    Unknown,
}

/// What a capture is, of which its account and the ledger say this. The look at the record is one of so many.
fn fate(
    answer: &Result<Answer, AccountError>,
    recorded: Option<&Result<Option<Nanos>, LedgerError>>,
    charged: Nanos,
    looks: u32,
) -> Fate {
    match (answer, recorded) {
        (Ok(Answer { result: Ok(_), .. }), _) => Fate::Made,
        (Err(AccountError::NoAccount), _) => Fate::Late,
        (Err(_), _) | (Ok(Answer { result: Err(Refusal::NoHold(_)), .. }), None | Some(Err(_))) => Fate::Unknown,
        (Ok(Answer { result: Err(Refusal::NoHold(_)), .. }), Some(Ok(Some(recorded)))) => {
            if *recorded == charged {
                Fate::Made
            } else {
                Fate::Late
            }
        }
        // Nothing was held for it, and it costs nothing.
        (Ok(Answer { result: Err(Refusal::NoHold(_)), .. }), Some(Ok(None))) if !charged.is_positive() => Fate::Made,
        (Ok(Answer { result: Err(Refusal::NoHold(_)), .. }), Some(Ok(None))) => {
            if looks >= LOOKS {
                Fate::Late
            } else {
                Fate::Unknown
            }
        }
        (Ok(Answer { result: Err(_), .. }), _) => Fate::Late,
    }
}

/// Makes the captures that wait, as long as the process runs.
pub async fn replay(accounts: Accounts) {
    let Some(spool) = accounts.spool().cloned() else { return };
    let mut looks: HashMap<RequestId, u32> = HashMap::new();
    loop {
        if timeout(LOOK, spool.has_some()).await.is_err() {
            spool.take_over();
            continue;
        }
        tell(&accounts, spool.count());
        accounts.ledger().standing().sound_within(AWAY).await;
        let waiting = spool.waiting();
        for (_, record) in &waiting {
            accounts.running().waits(record.request_id);
        }
        let tries = waiting.into_iter().map(|(account_id, record)| {
            let looked = looks.get(&record.request_id).copied().unwrap_or_default();
            one(&accounts, (account_id, record), looked + 1)
        });
        let tried: Vec<_> = stream::iter(tries).buffer_unordered(AT_ONCE).collect().await;
        for (record, fate) in tried {
            let (id, cost_nanos) = (record.request_id, record.charged.get());
            let outcome = match fate {
                Fate::Unknown => {
                    *looks.entry(id).or_default() += 1;
                    continue;
                }
                Fate::Made => {
                    tracing::info!(request.id = %id, cost_nanos, "a capture that waited is made");
                    "made"
                }
                Fate::Late => {
                    tracing::error!(request.id = %id, cost_nanos, "a capture comes too late: its hold was ended otherwise");
                    "late"
                }
            };
            metrics::counter!("farebox_captures_replayed_total", "outcome" => outcome).increment(1);
            looks.remove(&id);
            spool.over(id);
            accounts.running().is_settled(id);
        }
        tell(&accounts, spool.count());
        if spool.count() > 0 {
            sleep(AGAIN).await;
        }
    }
}

/// Shows operators how many wait.
fn tell(accounts: &Accounts, count: usize) {
    let why = format!("{count} captures wait in a file until the ledger takes them");
    accounts.health().trouble(Kind::Journal, NAME, (count > 0).then_some((Verdict::Degraded, why)));
}

async fn one(accounts: &Accounts, (account_id, record): Capture, looks: u32) -> (Arc<UsageRecord>, Fate) {
    let answer = accounts.decide(account_id, Command::Settle((*record).clone())).await;
    let recorded = match &answer {
        Ok(Answer { result: Err(Refusal::NoHold(_)), .. }) => Some(charged(accounts, account_id, &record).await),
        _ => None,
    };
    let fate = fate(&answer, recorded.as_ref(), record.charged, looks);
    (record, fate)
}

async fn charged(
    accounts: &Accounts,
    account_id: AccountId,
    record: &UsageRecord,
) -> Result<Option<Nanos>, LedgerError> {
    accounts.ledger().charged(account_id, record.request_id).await
}

#[cfg(test)]
mod tests {
    use billing::{
        Timestamp,
        account::{Account, Header, Stored},
        command::Reply,
        plan::Plan,
    };
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_capture_is_made_once_and_changes_nothing_that_was_ended_otherwise() {
        let (id, cost) = (RequestId(Uuid::from_u128(1)), Nanos::new(5));
        let answered = |result| {
            let balance = Account::load(AccountId(Uuid::nil()), Stored::new(Header::new(Plan::Free, Timestamp(0))))
                .balance(Timestamp(0));
            Ok(Answer { result, balance })
        };
        let settled = answered(Ok(Reply::Settled { charged: cost, debt: Nanos::ZERO }));
        let ended = answered(Err(Refusal::NoHold(id)));
        let away = || Err(AccountError::Unavailable("away".into()));
        let of = |answer: &_, recorded: Option<Result<Option<Nanos>, LedgerError>>, looks| {
            fate(answer, recorded.as_ref(), cost, looks)
        };
        assert_eq!(of(&settled, None, 1), Fate::Made);
        assert_eq!(of(&away(), None, 99), Fate::Unknown);
        assert_eq!(of(&Err(AccountError::NoAccount), None, 1), Fate::Late);
        assert_eq!(of(&ended, Some(Ok(Some(cost))), 1), Fate::Made, "an earlier try was committed");
        assert_eq!(of(&ended, Some(Ok(Some(Nanos::ZERO))), 1), Fate::Late, "it was written off");
        assert_eq!(of(&ended, Some(Err(LedgerError::Away("away".into()))), 99), Fate::Unknown);
        assert_eq!(of(&ended, Some(Ok(None)), LOOKS - 1), Fate::Unknown, "the tables may be behind");
        assert_eq!(of(&ended, Some(Ok(None)), LOOKS), Fate::Late);
        assert_eq!(fate(&ended, Some(&Ok(None)), Nanos::ZERO, 1), Fate::Made, "nothing was ever held");
        let other = answered(Err(Refusal::bad_amount("charged", "x")));
        assert_eq!(of(&other, None, 1), Fate::Late);
    }
}
