//! The receipt of a request: what it used and was charged, and the row of the log that says so.

use billing::ids::{AccountId, KeyId, RequestId};
use ledger::log_rows::LogRow;

use super::{
    Service, ServiceError,
    history::{self, Attempt, Ended},
};

/// An ended request, and where the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestReceipt {
    /// The account.
    pub account_id: AccountId,
    /// The request.
    pub ended: Ended,
    /// Its attempts, where there were several.
    pub attempts: Vec<Attempt>,
    /// The row of the log; `None` if the request ended before there was a log.
    pub row: Option<Row>,
}

/// A row of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The shard whose log it is.
    pub shard: i64,
    /// The row's number.
    pub number: u64,
    /// The row's BLAKE3 hash, which covers its content and the row before.
    pub hash: [u8; 32],
}

impl From<LogRow> for Row {
    fn from(row: LogRow) -> Self {
        let LogRow { shard, seq, hash } = row;
        Self { shard: shard.0, number: seq, hash }
    }
}

/// The receipt of an ended request of an account, or of one of its keys.
///
/// # Errors
///
/// The account, or the key, has no such ended request ([`NotFound`](ServiceError::NotFound)), or the ledger can't be
/// read.
pub async fn of_request(
    service: &Service,
    account: AccountId,
    only: Option<KeyId>,
    id: RequestId,
) -> Result<RequestReceipt, ServiceError> {
    let ended = history::request(service, account, only, id).await?;
    let row = service.ledger().row_of_request(account, id).await?.map(Row::from);
    let attempts = history::attempts(service, account, &ended).await?;
    Ok(RequestReceipt { account_id: account, ended, attempts, row })
}
