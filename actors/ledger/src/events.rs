//! What accounts were told: read by pages, newest first.

use billing::{Timestamp, event::EventKind, ids::AccountId};
use sea_orm::QueryResult;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Ledger, LedgerError, query::page, sql::Sql};

/// An event, as people read it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventRow {
    /// Its id.
    pub id: Uuid,
    /// What happened: `low_balance`.
    pub kind: String,
    /// When.
    #[serde(serialize_with = "super::query::rfc_3339")]
    pub at: Timestamp,
    /// The numbers in it.
    pub data: Value,
}

impl Ledger {
    /// An account's events, of one kind or all, newest first, older than `before`.
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
