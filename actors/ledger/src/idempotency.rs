//! Rows of idempotency keys, and what the ledger knows of a request by its id. Keys are hashes and answers are sealed
//! before they come here. A row belongs to the request whose id it carries: a request that lost its row to a later one
//! changes nothing. Writes share transactions with each other and never wait inside the journal's batch.

use billing::{
    Nanos, Timestamp,
    ids::{AccountId, RequestId},
};
use sea_orm::QueryResult;
use uuid::Uuid;

use super::{Ledger, LedgerError, rows::Cell};

/// Whose key, and its hash: what names a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The account; the nil id for the operator.
    pub scope: Uuid,
    /// The hash of whose it is, method, path and key.
    pub key: [u8; 32],
}

/// A change of one row, or the end of many.
#[derive(Debug, Clone)]
pub enum KeyChange {
    /// A request takes the slot, if it is free, has expired, or is still that of `earlier`.
    Start {
        /// The slot.
        slot: Slot,
        /// The hash of all that was asked.
        fingerprint: [u8; 32],
        /// The request.
        request_id: RequestId,
        /// A request whose row is taken over; the nil id for none.
        earlier: RequestId,
        /// Now.
        now: Timestamp,
        /// When the slot is free again.
        expires_at: Timestamp,
    },
    /// The request's answer.
    Keep {
        /// The slot.
        slot: Slot,
        /// The request.
        request_id: RequestId,
        /// Its sealed answer.
        answer: Vec<u8>,
    },
    /// The request was answered, with more than is kept.
    TooLarge {
        /// The slot.
        slot: Slot,
        /// The request.
        request_id: RequestId,
    },
    /// The request did nothing: the slot is free again.
    Forget {
        /// The slot.
        slot: Slot,
        /// The request.
        request_id: RequestId,
    },
    /// Deletes rows that have expired.
    Sweep {
        /// Now.
        now: Timestamp,
        /// How many, at most.
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
    /// The statement of this change, and its values.
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

/// How far a row has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Its request runs, or died with its process.
    Started,
    /// It has a sealed answer.
    Kept(Vec<u8>),
    /// It was answered with more than is kept.
    TooLarge,
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// The hash of all that was asked.
    pub fingerprint: Vec<u8>,
    /// The request that owns the row.
    pub request_id: RequestId,
    /// How far it has come.
    pub stage: Stage,
}

/// What the ledger knows of what a request did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// Nothing: it left no row.
    Nothing,
    /// Something that came to nothing: written off, failed before it cost anything, declined.
    Undone,
    /// Something that has not ended: an open hold, a payment without an answer.
    Pending,
    /// Something that lasts.
    Done {
        /// What: `request`, `payment`, `account`, `api_key`, `grant`, `webhook`, `payment_method`, an operator's `action`, or
        /// another `act`.
        what: &'static str,
        /// What it cost or is worth.
        amount: Nanos,
    },
}

/// Each thing a request can make has the request's id.
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
    /// Makes a change; whether there was a row to change.
    pub async fn change_key(&self, change: KeyChange) -> Result<u64, LedgerError> {
        if let Some(writer) = &self.writer {
            return writer.change_key(change).await;
        }
        let (sql, values) = change.statement();
        let statement = self.statement(sql, values.into_iter().map(Into::into));
        // The other pool's one connection is the journal's, which must not wait for this.
        Ok(self.read.execute_raw(statement).await?.rows_affected())
    }

    /// The row of a slot, unless it has expired.
    pub async fn stored_key(&self, slot: Slot, now: Timestamp) -> Result<Option<StoredKey>, LedgerError> {
        let sql = "SELECT fingerprint, request_id, state, answer FROM idempotency_key \
                   WHERE scope = ? AND key = ? AND expires_at > ?";
        let values = [slot.scope.into(), slot.key.to_vec().into(), now.0.into()];
        self.row(sql, values).await?.as_ref().map(stored).transpose()
    }

    /// What a request did, by its id.
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
