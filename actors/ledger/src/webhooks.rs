//! Webhooks and their deliveries. The database creates a delivery with its event; this file finds due deliveries, and
//! writes their outcome, beside the log: an attempt whose outcome is lost is made again. These writes never wait for the
//! projector's connection, nor the projector for them.

use billing::{
    Timestamp,
    event::EventKind,
    ids::{AccountId, KeyId},
    time::DAY_MS,
    webhook::{Because, Endpoint},
};
use sea_orm::{ConnectionTrait, QueryResult, Value};
use uuid::Uuid;

use super::{Ledger, LedgerError, query::page};

/// How long after its event a delivery is tried, in milliseconds.
pub const RETRIED_MS: i64 = 2 * DAY_MS;
/// The kind of a test delivery. No event has it.
pub const TEST: &str = "test";

/// An endpoint, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownEndpoint {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The first failure since the last success.
    pub failing_since: Option<Timestamp>,
}

/// A delivery that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The endpoint.
    pub endpoint_id: Uuid,
    /// The event.
    pub event_id: Uuid,
    /// The account.
    pub account_id: AccountId,
    /// The kind of the event.
    pub kind: String,
    /// The time of the event.
    pub at: Timestamp,
    /// The event's data as JSON.
    pub data: String,
    /// The number of attempts so far.
    pub attempts: u32,
    /// The endpoint's URL.
    pub url: String,
    /// The endpoint's secret.
    pub secret: String,
    /// The endpoint's first failure since its last success.
    pub failing_since: Option<Timestamp>,
}

/// What follows from an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The delivery has succeeded.
    Delivered,
    /// The delivery is tried again at this time.
    Again(Timestamp),
    /// The delivery is given up.
    GivenUp,
    /// The delivery is given up, and the endpoint is to be turned off for this reason.
    Disable(Because),
}

/// An attempt and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The endpoint.
    pub endpoint_id: Uuid,
    /// The event.
    pub event_id: Uuid,
    /// The account.
    pub account_id: AccountId,
    /// When the attempt ended.
    pub at: Timestamp,
    /// The answer's status and the beginning of its body.
    pub answer: Option<(u16, String)>,
    /// The reason of a failure, where the status does not tell it.
    pub error: Option<String>,
    /// What follows from the attempt.
    pub fate: Fate,
}

/// A delivery, as it is shown to the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The event.
    pub event_id: Uuid,
    /// The kind of the event.
    pub kind: String,
    /// The time of the event.
    pub at: Timestamp,
    /// `waiting`, `delivered` or `failed`.
    pub status: String,
    /// The number of attempts.
    pub attempts: i64,
    /// When the next attempt is due.
    pub due_at: Option<Timestamp>,
    /// When the last attempt was made.
    pub attempted_at: Option<Timestamp>,
    /// When the delivery ended.
    pub ended_at: Option<Timestamp>,
    /// The last answer's status.
    pub answer_status: Option<i64>,
    /// The beginning of the last answer's body.
    pub answer_body: Option<String>,
    /// The reason of the last failure, where the status does not tell it.
    pub error: Option<String>,
}

const ENDPOINT: &str = "id, account_id, url, description, secret, kinds, key_ids, created_at, failing_since, disabled_at, \
                        disabled_because";
/// The oldest due delivery of each endpoint. An endpoint gets one delivery at a time, so more are not needed. Due
/// deliveries are read first, by their index: SQLite would otherwise scan the whole table in the order of the window.
const ATTEMPTED: &str = "UPDATE webhook_delivery SET status = ?, attempts = attempts + 1, due_at = ?, ended_at = ?, \
     attempted_at = ?, answer_status = ?, answer_body = ?, error = ? \
     WHERE endpoint_id = ? AND event_id = ? AND status = 'waiting'";

impl Ledger {
    /// An account's endpoints, oldest first.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn endpoints(&self, account: AccountId) -> Result<Vec<KnownEndpoint>, LedgerError> {
        let sql = format!("SELECT {ENDPOINT} FROM webhook_endpoint WHERE account_id = ? ORDER BY id");
        self.rows(&sql, [account.0.into()]).await?.iter().map(endpoint).collect()
    }

    /// Finds an endpoint of an account.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn endpoint(&self, account: AccountId, id: Uuid) -> Result<Option<KnownEndpoint>, LedgerError> {
        let sql = format!("SELECT {ENDPOINT} FROM webhook_endpoint WHERE account_id = ? AND id = ?");
        self.row(&sql, [account.0.into(), id.into()]).await?.as_ref().map(endpoint).transpose()
    }

    /// The next due delivery of each endpoint, the longest due first.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn due_deliveries(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, LedgerError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = due_sql(&self.in_owned_shards("account_id"));
        self.as_owner().rows(&sql, [now.0.into(), limit.into()]).await?.iter().map(due).collect()
    }

    /// Writes the outcome of an attempt, unless its delivery has ended meanwhile.
    ///
    /// # Errors
    ///
    /// The database can't be written now. The outcome may or may not be stored; if it is not, the delivery stays due
    /// and is tried again.
    pub async fn note_attempt(&self, attempt: &Attempt) -> Result<(), LedgerError> {
        self.standing.unless_broken(self.write_attempt(attempt)).await
    }

    async fn write_attempt(&self, attempt: &Attempt) -> Result<(), LedgerError> {
        let Attempt { endpoint_id, at, fate, .. } = attempt;
        let tx = self.read.begin().await?;
        // The endpoint's row is locked first, as when an endpoint is turned off, so that the two can't deadlock.
        let (sql, values): (_, Vec<Value>) = match fate {
            Fate::Delivered => {
                ("UPDATE webhook_endpoint SET failing_since = NULL WHERE id = ?", vec![(*endpoint_id).into()])
            }
            Fate::Again(_) | Fate::GivenUp | Fate::Disable(_) => (
                "UPDATE webhook_endpoint SET failing_since = COALESCE(failing_since, ?) WHERE id = ?",
                vec![at.0.into(), (*endpoint_id).into()],
            ),
        };
        tx.execute_raw(self.statement(sql, values)).await?;
        if tx.execute_raw(self.statement(ATTEMPTED, attempted(attempt))).await?.rows_affected() == 0 {
            tx.rollback().await?;
            return Ok(());
        }
        tx.commit().await?;
        Ok(())
    }

    /// Stores a test delivery, which ended with this attempt.
    ///
    /// # Errors
    ///
    /// The database can't be written now, or the test is stored already. The test may be missing from the list of
    /// deliveries; nothing else depends on it.
    pub async fn note_test(&self, attempt: &Attempt) -> Result<(), LedgerError> {
        let sql = "INSERT INTO webhook_delivery (status, due_at, ended_at, attempted_at, answer_status, answer_body, \
                   error, endpoint_id, event_id, account_id, kind, at, data, attempts) \
                   SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '{}', 1 \
                   WHERE EXISTS (SELECT 1 FROM webhook_endpoint WHERE id = ?)";
        let mut values = attempted(attempt).to_vec();
        let Attempt { account_id, at, endpoint_id, .. } = attempt;
        values.extend([account_id.0.into(), TEST.into(), at.0.into(), (*endpoint_id).into()]);
        self.read.execute_raw(self.statement(sql, values)).await?;
        Ok(())
    }

    /// An endpoint's deliveries, newest event first, older than `before`.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn deliveries(
        &self,
        endpoint: Uuid,
        before: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<Delivery>, LedgerError> {
        let sql = "SELECT event_id, kind, at, status, attempts, due_at, attempted_at, ended_at, answer_status, \
                   answer_body, error FROM webhook_delivery WHERE endpoint_id = ? AND event_id < ? \
                   ORDER BY event_id DESC LIMIT ?";
        let values = [endpoint.into(), before.unwrap_or(Uuid::max()).into(), page(limit).into()];
        self.rows(sql, values).await?.iter().map(delivery).collect()
    }

    /// Ends the deliveries of events before a time that wait, because what was tried of them is not known.
    pub(super) async fn give_up_deliveries(&self, before: Timestamp) -> Result<(), LedgerError> {
        let sql = "UPDATE webhook_delivery SET status = 'failed', due_at = NULL, ended_at = at, \
                   error = 'its attempts were lost' WHERE status = 'waiting' AND at < ?";
        self.tables.execute_raw(self.statement(sql, [before.0.into()])).await?;
        Ok(())
    }

    /// Deletes deliveries that ended before a time, and those of deleted endpoints, at most `limit` of each. Returns
    /// the number deleted.
    ///
    /// # Errors
    ///
    /// The database can't be written now. The change may or may not have been made; repeating the call is safe.
    pub async fn forget_deliveries(&self, before: Timestamp, limit: u32) -> Result<u64, LedgerError> {
        let ended = "DELETE FROM webhook_delivery WHERE (endpoint_id, event_id) IN \
                     (SELECT endpoint_id, event_id FROM webhook_delivery WHERE ended_at < ? LIMIT ?)";
        let lost = "DELETE FROM webhook_delivery WHERE (endpoint_id, event_id) IN \
                    (SELECT endpoint_id, event_id FROM webhook_delivery d WHERE due_at < ? \
                    AND NOT EXISTS (SELECT 1 FROM webhook_endpoint e WHERE e.id = d.endpoint_id) LIMIT ?)";
        let mut deleted = 0;
        for sql in [ended, lost] {
            let statement = self.statement(sql, [before.0.into(), i64::from(limit).into()]);
            deleted += self.read.execute_raw(statement).await?.rows_affected();
        }
        Ok(deleted)
    }
}

/// The values of an attempt's outcome, and the key of its delivery.
fn attempted(attempt: &Attempt) -> [Value; 9] {
    let (status, due_at) = match attempt.fate {
        Fate::Delivered => ("delivered", None),
        Fate::Again(at) => ("waiting", Some(at.0)),
        Fate::GivenUp | Fate::Disable(_) => ("failed", None),
    };
    let ended_at = due_at.is_none().then_some(attempt.at.0);
    [
        status.into(),
        due_at.into(),
        ended_at.into(),
        attempt.at.0.into(),
        attempt.answer.as_ref().map(|(status, _)| i64::from(*status)).into(),
        attempt.answer.as_ref().map(|(_, body)| body.as_str()).into(),
        attempt.error.as_deref().into(),
        attempt.endpoint_id.into(),
        attempt.event_id.into(),
    ]
}

/// The kinds' names between spaces, in the form that the trigger searches.
pub(super) fn kinds_text(kinds: Option<&[EventKind]>) -> Option<String> {
    let names = kinds?.iter().map(|kind| kind.name()).collect::<Vec<_>>();
    Some(format!(" {} ", names.join(" ")))
}

/// The keys' ids between spaces, in the form that the trigger searches.
pub(super) fn keys_text(keys: Option<&[KeyId]>) -> Option<String> {
    let ids = keys?.iter().map(KeyId::to_string).collect::<Vec<_>>();
    Some(format!(" {} ", ids.join(" ")))
}

fn keys_of(text: &str) -> Result<Vec<KeyId>, LedgerError> {
    let key = |id| Uuid::parse_str(id).map_err(|_| LedgerError::Corrupt(format!("key {id} of an endpoint")));
    text.split_whitespace().map(|id| Ok(KeyId(key(id)?))).collect()
}

fn kinds_of(text: &str) -> Result<Vec<EventKind>, LedgerError> {
    let kind = |name| EventKind::from_name(name).ok_or_else(|| LedgerError::Corrupt(format!("kind of event {name}")));
    text.split_whitespace().map(kind).collect()
}

fn time(row: &QueryResult, column: &str) -> Result<Option<Timestamp>, LedgerError> {
    let at: Option<i64> = row.try_get("", column)?;
    Ok(at.map(Timestamp))
}

pub(super) fn endpoint(row: &QueryResult) -> Result<KnownEndpoint, LedgerError> {
    let (kinds, because): (Option<String>, Option<String>) =
        (row.try_get("", "kinds")?, row.try_get("", "disabled_because")?);
    let keys: Option<String> = row.try_get("", "key_ids")?;
    let because = because.map(|name| {
        Because::from_name(&name).ok_or_else(|| LedgerError::Corrupt(format!("reason {name} of an endpoint")))
    });
    Ok(KnownEndpoint {
        endpoint: Endpoint {
            id: row.try_get("", "id")?,
            account_id: AccountId(row.try_get("", "account_id")?),
            url: row.try_get("", "url")?,
            description: row.try_get("", "description")?,
            secret: row.try_get("", "secret")?,
            kinds: kinds.as_deref().map(kinds_of).transpose()?,
            keys: keys.as_deref().map(keys_of).transpose()?,
            created_at: Timestamp(row.try_get("", "created_at")?),
            disabled: time(row, "disabled_at")?.zip(because.transpose()?),
        },
        failing_since: time(row, "failing_since")?,
    })
}

/// The next due delivery of each endpoint whose account meets a condition.
fn due_sql(its: &str) -> String {
    format!(
        "WITH due AS MATERIALIZED (SELECT endpoint_id, event_id, account_id, kind, at, data, attempts, due_at \
         FROM webhook_delivery WHERE due_at <= ? AND {its}), \
         next AS (SELECT due.*, ROW_NUMBER() OVER (PARTITION BY endpoint_id ORDER BY event_id) AS place FROM due) \
         SELECT next.endpoint_id, next.event_id, next.account_id, next.kind, next.at, next.data, next.attempts, e.url, \
         e.secret, e.failing_since FROM next JOIN webhook_endpoint e ON e.id = next.endpoint_id \
         WHERE next.place = 1 AND e.enabled = 1 ORDER BY next.due_at LIMIT ?"
    )
}

fn due(row: &QueryResult) -> Result<Due, LedgerError> {
    let attempts: i64 = row.try_get("", "attempts")?;
    Ok(Due {
        endpoint_id: row.try_get("", "endpoint_id")?,
        event_id: row.try_get("", "event_id")?,
        account_id: AccountId(row.try_get("", "account_id")?),
        kind: row.try_get("", "kind")?,
        at: Timestamp(row.try_get("", "at")?),
        data: row.try_get("", "data")?,
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        url: row.try_get("", "url")?,
        secret: row.try_get("", "secret")?,
        failing_since: time(row, "failing_since")?,
    })
}

fn delivery(row: &QueryResult) -> Result<Delivery, LedgerError> {
    Ok(Delivery {
        event_id: row.try_get("", "event_id")?,
        kind: row.try_get("", "kind")?,
        at: Timestamp(row.try_get("", "at")?),
        status: row.try_get("", "status")?,
        attempts: row.try_get("", "attempts")?,
        due_at: time(row, "due_at")?,
        attempted_at: time(row, "attempted_at")?,
        ended_at: time(row, "ended_at")?,
        answer_status: row.try_get("", "answer_status")?,
        answer_body: row.try_get("", "answer_body")?,
        error: row.try_get("", "error")?,
    })
}

#[cfg(test)]
mod tests;
