//! The grants that an ended request drew on, as the journal has them.

use billing::{
    Nanos, Timestamp,
    ids::{AccountId, GrantId, RequestId},
};
use sea_orm::QueryResult;

use super::{Ledger, LedgerError};

/// What a request drew from a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    /// The grant.
    pub grant_id: GrantId,
    /// Where its credits come from: `purchase`.
    pub source: String,
    /// When they expire, or expired.
    pub expires_at: Timestamp,
    /// What was drawn.
    pub amount: Nanos,
}

impl Ledger {
    /// What an ended request drew, grant by grant in the order of drawing. What it cost beyond that became a debt.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn drawn(&self, account: AccountId, id: RequestId) -> Result<Vec<Drawn>, LedgerError> {
        // Both kinds of ends are named, as the index is of both.
        let sql = "SELECT journal.grant_id, credit_grant.source, credit_grant.expires_at, \
                   CAST(SUM(journal.d_spent) AS BIGINT) FROM journal \
                   JOIN credit_grant ON credit_grant.id = journal.grant_id \
                   WHERE journal.request_id = ? AND (journal.kind = 'hold_captured' OR journal.kind = 'hold_released') \
                   AND journal.account_id = ? AND journal.d_spent > 0 \
                   GROUP BY journal.grant_id, credit_grant.source, credit_grant.expires_at ORDER BY MIN(journal.line)";
        self.rows(sql, [id.0.into(), account.0.into()]).await?.iter().map(drawn).collect()
    }
}

fn drawn(row: &QueryResult) -> Result<Drawn, LedgerError> {
    Ok(Drawn {
        grant_id: GrantId(row.try_get_by_index(0)?),
        source: row.try_get_by_index(1)?,
        expires_at: Timestamp(row.try_get_by_index(2)?),
        amount: Nanos::new(row.try_get_by_index(3)?),
    })
}
