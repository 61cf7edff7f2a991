//! Rows of idempotency keys, and traces of requests by their ids. Keys are hashed and answers sealed before they come
//! here. A row belongs to the request whose id it has: a request that lost its row to a later one changes nothing.
mod turns;

use billing::{
    Nanos, Timestamp,
    ids::{AccountId, RequestId},
};
use sea_orm::QueryResult;
use uuid::Uuid;

pub(super) use self::turns::Turns;
use super::{Ledger, LedgerError, rows::Cell};

/// The place of a row: an account, and the hash of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The account; the nil id for the operator.
    pub scope: Uuid,
    /// The hash of account, method, path and key.
    pub key: [u8; 32],
}

/// A change of one row, or the deletion of many.
#[derive(Debug, Clone)]
pub enum KeyChange {
    /// A request takes the slot, if the slot is free, has expired, or belongs to `earlier`.
    Start {
        /// The slot.
        slot: Slot,
        /// The hash of the whole request.
        fingerprint: [u8; 32],
        /// The request.
        request_id: RequestId,
        /// The request whose row may be taken over; the nil id for none.
        earlier: RequestId,
        /// The current time.
        now: Timestamp,
        /// When the slot becomes free.
        expires_at: Timestamp,
    },
    /// The request was answered.
    Keep {
        /// The slot.
        slot: Slot,
        /// The request.
        request_id: RequestId,
        /// The sealed answer.
        answer: Vec<u8>,
    },
    /// The request was answered, and its answer is too large to keep.
    TooLarge {
        /// The slot.
        slot: Slot,
        /// The request.
        request_id: RequestId,
    },
    /// The request had no effect: the slot becomes free.
    Forget {
        /// The slot.
        slot: Slot,
        /// The request.
        request_id: RequestId,
    },
    /// Delete expired rows.
    Sweep {
        /// The current time.
        now: Timestamp,
        /// The most rows to delete.
        limit: u32,
    },
}

const START: &str = "INSERT INTO idempotency_key (scope, key, fingerprint, request_id, state, created_at, expires_at) \
                     VALUES (?, ?, ?, ?, 'started', ?, ?) ON CONFLICT (scope, key) DO UPDATE SET \
                     fingerprint = excluded.fingerprint, request_id = excluded.request_id, state = 'started', \
                     answer = NULL, created_at = excluded.created_at, expires_at = excluded.expires_at \
                     WHERE idempotency_key.expires_at <= excluded.created_at OR idempotency_key.request_id = ?";
const KEEP: &str =
    "UPDATE idempotency_key SET state = 'kept', answer = ? WHERE scope = ? AND key = ? AND request_id = ?";
const TOO_LARGE: &str = "UPDATE idempotency_key SET state = 'too_large' WHERE scope = ? AND key = ? AND request_id = ? AND state = 'started'";
const FORGET: &str = "DELETE FROM idempotency_key WHERE scope = ? AND key = ? AND request_id = ?";
const SWEEP: &str = "DELETE FROM idempotency_key WHERE (scope, key) IN \
                     (SELECT scope, key FROM idempotency_key WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)";

impl KeyChange {
    /// The change as a statement with its values.
    pub(super) fn statement(&self) -> (&'static str, Vec<Cell<'_>>) {
        let named = |slot: &Slot, request_id: RequestId| -> [Cell<'static>; 3] {
            [slot.scope.into(), Cell::Bytes(slot.key.to_vec().into()), request_id.0.into()]
        };
        match self {
            Self::Start { slot, fingerprint, request_id, earlier, now, expires_at } => {
                let values = vec![
                    slot.scope.into(),
                    slot.key.as_slice().into(),
                    fingerprint.as_slice().into(),
                    request_id.0.into(),
                    now.0.into(),
                    expires_at.0.into(),
                    earlier.0.into(),
                ];
                (START, values)
            }
            Self::Keep { slot, request_id, answer } => {
                let mut values = vec![answer.as_slice().into()];
                values.extend(named(slot, *request_id));
                (KEEP, values)
            }
            Self::TooLarge { slot, request_id } => (TOO_LARGE, named(slot, *request_id).into()),
            Self::Forget { slot, request_id } => (FORGET, named(slot, *request_id).into()),
            Self::Sweep { now, limit } => (SWEEP, vec![now.0.into(), i64::from(*limit).into()]),
        }
    }
}

/// The stage of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// The request runs, or died with its process.
    Started,
    /// The sealed answer is kept.
    Kept(Vec<u8>),
    /// The answer was too large to keep.
    TooLarge,
}

/// A stored row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// The hash of the whole request.
    pub fingerprint: Vec<u8>,
    /// The request that owns the row.
    pub request_id: RequestId,
    /// The stage of the row.
    pub stage: Stage,
}

/// The trace of a request in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// No trace.
    Nothing,
    /// A trace without a lasting effect: written off, failed before any cost, declined.
    Undone,
    /// An effect that has not ended: an open hold, or a pending payment.
    Pending,
    /// A lasting effect.
    Done {
        /// The kind of the effect: `request`, `payment`, `account`, `api_key`, `grant`, `webhook`, `payment_method`, an
        /// operator's `action`, or another `act`.
        what: &'static str,
        /// The cost or the value of the effect.
        amount: Nanos,
    },
}

/// Every object that a request can create has the request's id.
const TRACE: &str = "SELECT 'hold' AS what, CAST(0 AS BIGINT) AS amount FROM hold WHERE account_id = ? AND request_id = ? \
     UNION ALL SELECT CASE WHEN charged = 0 AND ending IN ('failed', 'recovered', 'written_off') THEN 'nothing' \
     ELSE 'request' END, charged FROM usage_record WHERE account_id = ? AND request_id = ? \
     UNION ALL SELECT CASE status WHEN 'pending' THEN 'hold' WHEN 'declined' THEN 'nothing' ELSE 'payment' END, amount \
     FROM payment WHERE id = ? \
     UNION ALL SELECT 'account', CAST(0 AS BIGINT) FROM account WHERE id = ? \
     UNION ALL SELECT 'api_key', CAST(0 AS BIGINT) FROM api_key WHERE id = ? \
     UNION ALL SELECT 'grant', funded FROM credit_grant WHERE id = ? \
     UNION ALL SELECT 'webhook', CAST(0 AS BIGINT) FROM webhook_endpoint WHERE id = ? \
     UNION ALL SELECT 'payment_method', CAST(0 AS BIGINT) FROM payment_method WHERE id = ? \
     UNION ALL SELECT 'action', COALESCE(amount, 0) FROM audit_log WHERE id = ? \
     UNION ALL SELECT 'act', COALESCE(amount, 0) FROM request_proof WHERE id = ?";

impl Ledger {
    /// Applies a change, and returns the number of rows changed.
    ///
    /// # Errors
    ///
    /// The database can't be written now. The change may or may not have been made: read the row with
    /// [`Ledger::stored_key`] before repeating it.
    pub async fn change_key(&self, change: KeyChange) -> Result<u64, LedgerError> {
        self.change_in_turn(change).await
    }

    /// The row of a slot, unless it has expired.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn stored_key(&self, slot: Slot, now: Timestamp) -> Result<Option<StoredKey>, LedgerError> {
        let sql = "SELECT fingerprint, request_id, state, answer FROM idempotency_key \
                   WHERE scope = ? AND key = ? AND expires_at > ?";
        let values = [slot.scope.into(), slot.key.to_vec().into(), now.0.into()];
        // These rows are written beside the log.
        let row = self.as_they_are.query_one_raw(self.statement(sql, values)).await?;
        row.as_ref().map(stored).transpose()
    }

    /// The trace of a request, by its id.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn trace(&self, account: AccountId, request: RequestId) -> Result<Trace, LedgerError> {
        let (account, id) = (account.0, request.0);
        let values = [account, id, account, id, id, id, id, id, id, id, id, id].map(Into::into);
        let mut trace = Trace::Nothing;
        for row in self.rows(TRACE, values).await? {
            let (what, amount): (String, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            let what = match what.as_str() {
                "nothing" => {
                    if trace == Trace::Nothing {
                        trace = Trace::Undone;
                    }
                    continue;
                }
                "hold" => return Ok(Trace::Pending),
                "request" => "request",
                "payment" => "payment",
                "account" => "account",
                "api_key" => "api_key",
                "grant" => "grant",
                "webhook" => "webhook",
                "payment_method" => "payment_method",
                "act" => "act",
                "action" => "action",
                other => return Err(LedgerError::Corrupt(format!("a trace of {other}"))),
            };
            trace = Trace::Done { what, amount: Nanos::new(amount) };
        }
        Ok(trace)
    }
}

fn stored(row: &QueryResult) -> Result<StoredKey, LedgerError> {
    let (state, answer): (String, Option<Vec<u8>>) = (row.try_get("", "state")?, row.try_get("", "answer")?);
    let stage = match (state.as_str(), answer) {
        ("started", None) => Stage::Started,
        ("kept", Some(answer)) => Stage::Kept(answer),
        ("too_large", None) => Stage::TooLarge,
        _ => return Err(LedgerError::Corrupt(format!("idempotency key in state {state}"))),
    };
    Ok(StoredKey {
        fingerprint: row.try_get("", "fingerprint")?,
        request_id: RequestId(row.try_get("", "request_id")?),
        stage,
    })
}
