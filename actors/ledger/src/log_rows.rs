//! Which row of the log has what: the row that ended a request, by its number and its hash; and one row's content.

use std::{collections::BTreeMap, path::Path};

use billing::{
    Timestamp,
    entry::{Transition, UsageRecord},
    ids::{AccountId, RequestId},
};
use sea_orm::QueryResult;
use uuid::Uuid;

use super::{
    Ledger, LedgerError, archive, catch_up,
    log::{Hash, Shard, chain},
};

/// A row of the log, by its place and its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRow {
    /// The shard whose log it is.
    pub shard: Shard,
    /// The row's number.
    pub seq: u64,
    /// The row's hash.
    pub hash: Hash,
}

/// What a row of the log says of a request's end.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedEnd {
    /// The row's hash. It is the hash of the row's content.
    pub hash: Hash,
    /// When the row was made.
    pub at: Timestamp,
    /// The account and the record; `None` if the row ends no such request.
    pub usage: Option<(AccountId, UsageRecord)>,
}

/// Every end captures or releases, and does so once. The account is compared afterwards: SQLite would look through all of
/// its lines.
const END: &str = "SELECT j.account_id, b.seq, b.hash FROM journal j JOIN batch b ON b.id = j.batch_id \
                   WHERE j.request_id = ? AND (j.kind = 'hold_captured' OR j.kind = 'hold_released')";

impl Ledger {
    /// The row of the log that ended a request of an account; `None` if the request did not end, or ended before there was
    /// a log.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. The row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn row_of_request(&self, account: AccountId, request: RequestId) -> Result<Option<LogRow>, LedgerError> {
        let rows = self.rows(END, [request.0.into()]).await?;
        let is_its = |row: &&QueryResult| row.try_get_by_index::<Uuid>(0).is_ok_and(|id| id == account.0);
        let Some(row) = rows.iter().find(is_its) else { return Ok(None) };
        let (seq, hash): (Option<i64>, Option<Vec<u8>>) = (row.try_get_by_index(1)?, row.try_get_by_index(2)?);
        let Some((seq, hash)) = seq.zip(hash) else { return Ok(None) };
        let corrupt = || LedgerError::Corrupt(format!("the batch of the log's row {seq}"));
        let (seq, hash) = (u64::try_from(seq).map_err(|_| corrupt())?, hash.try_into().map_err(|_| corrupt())?);
        Ok(Some(LogRow { shard: self.shards.of(account), seq, hash }))
    }

    /// The rows of signed checkpoints, at which the logs of shards begin that don't begin at row 0.
    ///
    /// # Errors
    ///
    /// The log can't be read now.
    pub async fn log_begins_at(&self) -> Result<BTreeMap<Shard, u64>, LedgerError> {
        let mut begins = BTreeMap::new();
        let Some(log) = &self.logged else { return Ok(begins) };
        for shard in self.shards.all() {
            begins.extend(log.checkpoint(shard).await?.map(|kept| (shard, kept.head.seq)));
        }
        Ok(begins)
    }

    /// What a row of a shard's log says of a request's end; `None` if neither the log nor the archive, if one is named, has such
    /// a row.
    ///
    /// # Errors
    ///
    /// The log can't be read now, or [`LedgerError::Unusable`]: the row was changed after it was written, or the archive's
    /// file with it was.
    pub async fn logged_end(
        &self,
        shard: Shard,
        seq: u64,
        request: RequestId,
        archive: Option<&Path>,
    ) -> Result<Option<LoggedEnd>, LedgerError> {
        let Some(log) = &self.logged else { return Ok(None) };
        let row = match (log.row(shard, seq).await?, archive) {
            (None, Some(folder)) => archive::find(folder, shard, seq)?,
            (row, _) => row,
        };
        let Some(row) = row else { return Ok(None) };
        chain::check(&row)?;
        let end = |transition: Transition| {
            let account = transition.account_id;
            transition.usage.filter(|usage| usage.request_id == request).map(|usage| (account, usage))
        };
        let usage = catch_up::read(&row)?.transitions.into_iter().find_map(end);
        Ok(Some(LoggedEnd { hash: row.hash, at: row.at, usage }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::new_ledger;

    #[tokio::test]
    async fn a_requests_end_is_found_by_its_index() {
        let (ledger, _folder) = new_ledger().await;
        let id = [Uuid::from_u128(1).into()];
        let rows = ledger.rows(&format!("EXPLAIN QUERY PLAN {END}"), id).await.unwrap();
        let plan: String = rows[0].try_get("", "detail").unwrap();
        assert!(plan.contains("SEARCH j USING INDEX journal_end (request_id=?)"), "{plan}");
    }
}
