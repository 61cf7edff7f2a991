//! What accounts were told, and what operators did: read by pages, newest first; operators' reasons are written here.

use billing::{
    Nanos, Timestamp,
    event::EventKind,
    ids::{AccountId, RequestId},
};
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

/// What an operator did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorAction<'a> {
    /// The request that asked for it, whose id its entry has.
    pub request_id: RequestId,
    /// To whose money.
    pub account_id: AccountId,
    /// What: `void_grant`.
    pub action: &'a str,
    /// To what.
    pub subject: String,
    /// How much, if it was an amount.
    pub amount: Option<Nanos>,
    /// Why.
    pub reason: &'a str,
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

    /// Writes down what an operator did, and why.
    pub async fn note_action(&self, action: &OperatorAction<'_>, now: Timestamp) -> Result<(), LedgerError> {
        let sql =
            "INSERT INTO audit_log (id, at, account_id, action, subject, amount, reason) VALUES (?, ?, ?, ?, ?, ?, ?)";
        let values = [
            action.request_id.0.into(),
            now.0.into(),
            action.account_id.0.into(),
            action.action.into(),
            action.subject.as_str().into(),
            action.amount.map(Nanos::get).into(),
            action.reason.into(),
        ];
        self.write.execute_raw(self.statement(sql, values)).await?;
        Ok(())
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
