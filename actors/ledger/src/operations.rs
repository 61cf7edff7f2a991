//! What operators did to models, providers and actors, to keys, people and running requests. It stands beside the log: no money
//! moves by it, and what is lost of it changes nothing. What operators do to credits is in the log, with its effect.

use billing::Timestamp;
use sea_orm::QueryResult;
use uuid::Uuid;

use super::{Ledger, LedgerError, query::page, sql::Sql};

/// An act of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its id, in the order of time.
    pub id: Uuid,
    /// When it was done.
    pub at: Timestamp,
    /// The node that did it; `None` where there is one process alone.
    pub node: Option<Uuid>,
    /// How its operator was known: `token` or `session`.
    pub known_by: String,
    /// The act: `pause`.
    pub act: String,
    /// What it was done to: `provider openai`.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// Why it was not done; `None` where it was.
    pub failed: Option<String>,
}

const COLUMNS: &str = "id, at, node, known_by, act, subject, reason, failed";

impl Ledger {
    /// Keeps an act. One that is kept already stays as it is.
    ///
    /// # Errors
    ///
    /// The database can't be written now, or the outcome is unknown: a repetition is safe.
    pub async fn note_operation(&self, operation: &Operation) -> Result<(), LedgerError> {
        let Operation { id, at, node, known_by, act, subject, reason, failed } = operation;
        let sql =
            format!("INSERT INTO operation ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING");
        let values = [
            (*id).into(),
            at.0.into(),
            (*node).into(),
            known_by.as_str().into(),
            act.as_str().into(),
            subject.as_str().into(),
            reason.as_str().into(),
            failed.as_deref().into(),
        ];
        self.write_beside(&sql, values).await.map(drop)
    }

    /// Acts, newest first, older than `before`.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn operations(&self, before: Option<Uuid>, limit: u64) -> Result<Vec<Operation>, LedgerError> {
        let first = [before.unwrap_or(Uuid::max()).into(), page(limit).into()];
        let sql = Sql::new(&format!("SELECT {COLUMNS} FROM operation WHERE id < ? ORDER BY id DESC LIMIT ?"), first);
        self.rows_of(sql).await?.iter().map(operation).collect()
    }
}

fn operation(row: &QueryResult) -> Result<Operation, LedgerError> {
    Ok(Operation {
        id: row.try_get("", "id")?,
        at: Timestamp(row.try_get("", "at")?),
        node: row.try_get("", "node")?,
        known_by: row.try_get("", "known_by")?,
        act: row.try_get("", "act")?,
        subject: row.try_get("", "subject")?,
        reason: row.try_get("", "reason")?,
        failed: row.try_get("", "failed")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::new_ledger;

    #[tokio::test]
    async fn acts_are_kept_once_and_listed_newest_first() {
        let (ledger, _folder) = new_ledger().await;
        let act = |number: u128, failed: Option<&str>| Operation {
            id: Uuid::from_u128(number),
            at: Timestamp(5),
            node: failed.map(|_| Uuid::from_u128(9)),
            known_by: "token".into(),
            act: "pause".into(),
            subject: "provider openai".into(),
            reason: "'; DROP TABLE operation".into(),
            failed: failed.map(str::to_owned),
        };
        let (first, second) = (act(1, None), act(2, Some("there is none")));
        for operation in [&first, &second, &first] {
            ledger.note_operation(operation).await.unwrap();
        }
        assert_eq!(ledger.operations(None, 10).await.unwrap(), [second.clone(), first.clone()]);
        assert_eq!(ledger.operations(None, 1).await.unwrap(), std::slice::from_ref(&second));
        assert_eq!(ledger.operations(Some(second.id), 10).await.unwrap(), [first]);
    }
}
