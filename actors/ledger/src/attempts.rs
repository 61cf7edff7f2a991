//! The attempts with other models that came before the one that a request's record is of.

use std::sync::Arc;

use billing::{
    Nanos, Timestamp,
    attempt::Attempt,
    ids::{AccountId, RequestId},
};
use sea_orm::QueryResult;
use uuid::Uuid;

use super::{Ledger, LedgerError};

impl Ledger {
    /// The attempts before the one that an ended request's record is of, in their order.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn attempts(&self, account: AccountId, id: RequestId) -> Result<Vec<Attempt>, LedgerError> {
        let sql = "SELECT attempt_id, model, provider, status, code, started_at, ended_at, charged FROM request_attempt \
                   WHERE account_id = ? AND request_id = ? ORDER BY place";
        self.rows(sql, [account.0.into(), id.0.into()]).await?.iter().map(attempt).collect()
    }
}

fn attempt(row: &QueryResult) -> Result<Attempt, LedgerError> {
    let (model, provider): (String, Option<String>) = (row.try_get_by_index(1)?, row.try_get_by_index(2)?);
    let status: i64 = row.try_get_by_index(3)?;
    let code: String = row.try_get_by_index(4)?;
    Ok(Attempt {
        request_id: row.try_get_by_index::<Option<Uuid>>(0)?.map(RequestId),
        model: model.into(),
        provider: provider.map(Arc::from),
        status: u16::try_from(status).map_err(|_| LedgerError::Corrupt(format!("an attempt's status {status}")))?,
        code: code.into(),
        started_at: Timestamp(row.try_get_by_index(5)?),
        ended_at: Timestamp(row.try_get_by_index(6)?),
        charged: Nanos::new(row.try_get_by_index(7)?),
    })
}
