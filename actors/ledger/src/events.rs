//! Reads of accounts' events, a page at a time, newest first.

use billing::{Timestamp, event::EventKind, ids::AccountId};
use sea_orm::QueryResult;
use serde_json::Value;
use uuid::Uuid;

use super::{Ledger, LedgerError, query::page, sql::Sql};

/// An event, as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    /// The event's id.
    pub id: Uuid,
    /// The kind: `low_balance`.
    pub kind: String,
    /// The time of the event.
    pub at: Timestamp,
    /// The event's data.
    pub data: Value,
}

impl Ledger {
    /// An account's events of one kind or of all, newest first, older than `before`.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn events(
        &self,
        account: AccountId,
        kind: Option<EventKind>,
        before: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<EventRow>, LedgerError> {
        let first = [account.0.into(), before.unwrap_or(Uuid::max()).into()];
        let mut sql = Sql::new("SELECT id, kind, at, data FROM account_event WHERE account_id = ? AND id < ?", first);
        if let Some(kind) = kind {
            sql.add(" AND kind = ?", [kind.name().into()]);
        }
        sql.add(" ORDER BY id DESC LIMIT ?", [page(limit).into()]);
        self.rows_of(sql).await?.iter().map(event).collect()
    }
}

fn event(row: &QueryResult) -> Result<EventRow, LedgerError> {
    let data: String = row.try_get("", "data")?;
    Ok(EventRow {
        id: row.try_get("", "id")?,
        kind: row.try_get("", "kind")?,
        at: Timestamp(row.try_get("", "at")?),
        data: serde_json::from_str(&data).map_err(|error| LedgerError::Corrupt(format!("event: {error}")))?,
    })
}
