//! The receipt of a request.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Dollars, Time,
    history::{Attempt, Quantity, Timings},
    signed::Signed,
};
use crate::{service::receipts, signing};

/// The receipt of an ended request.
#[derive(Debug, Serialize, ToSchema)]
pub struct RequestReceipt {
    account_id: Uuid,
    request_id: Uuid,
    /// The id of the request's API key.
    #[schema(required)]
    key_id: Option<Uuid>,
    /// The session that its client named.
    #[schema(required)]
    session: Option<String>,
    model: String,
    /// The provider, or `farebox`.
    provider: String,
    price_version: i64,
    /// How it ended.
    ending: String,
    /// Whether the tokens were counted here, because the provider did not report them.
    estimated: bool,
    /// The usage in parts that don't overlap.
    quantities: Vec<Quantity>,
    /// The part of the exact cost before the fee that no quantity accounts for, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    unitemised_cost: Option<String>,
    /// Exact cost before the fee, in dollars.
    base_cost: String,
    /// Exact fee, in dollars.
    fee: String,
    /// The amount charged: the exact cost and the fee, rounded once.
    charged: Dollars,
    /// The same in nano-dollars, as a string: it may be larger than what JSON numbers keep exactly.
    charged_nanos: String,
    currency: &'static str,
    started_at: Time,
    ended_at: Time,
    /// Where its time went; null where that was not recorded.
    #[schema(required)]
    timings: Option<Timings>,
    /// Where other models were asked first: each attempt in its order, the last being the one that this receipt is of. What
    /// they were charged is `charged` together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    attempts: Vec<Attempt>,
    /// The row of the ledger's log that charged it; null if it ended before there was a log.
    #[schema(required)]
    log: Option<LogRow>,
    /// The receipt signed, as a compact JWS whose payload is all of the above; its keys are at `/.well-known/jwks.json`.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required)]
    jws: String,
}

/// A row of the log.
#[derive(Debug, Serialize, ToSchema)]
struct LogRow {
    shard: i64,
    /// The row's number.
    row: u64,
    /// The row's BLAKE3 hash in hexadecimal. It covers the row's content and the hash of the row before.
    hash: String,
}

impl From<receipts::Row> for LogRow {
    fn from(row: receipts::Row) -> Self {
        let receipts::Row { shard, number: row, hash } = row;
        Self { shard, row, hash: blake3::Hash::from_bytes(hash).to_hex().to_string() }
    }
}

impl From<receipts::RequestReceipt> for RequestReceipt {
    fn from(receipt: receipts::RequestReceipt) -> Self {
        let receipts::RequestReceipt { account_id, ended, attempts, row } = receipt;
        Self {
            account_id: account_id.0,
            request_id: ended.id.0,
            key_id: ended.key_id.map(|id| id.0),
            session: ended.session,
            model: ended.model,
            provider: ended.provider,
            price_version: ended.price_version,
            ending: ended.ending,
            estimated: ended.used.estimated,
            quantities: ended.quantities.into_iter().map(Quantity::from).collect(),
            unitemised_cost: ended.unitemised_cost,
            base_cost: ended.base_cost,
            fee: ended.fee,
            charged: ended.cost.into(),
            charged_nanos: ended.cost.get().to_string(),
            currency: "USD",
            started_at: ended.started_at.into(),
            ended_at: ended.ended_at.into(),
            timings: ended.timings.map(Timings::from),
            attempts: attempts.into_iter().map(Attempt::from).collect(),
            log: row.map(LogRow::from),
            jws: String::new(),
        }
    }
}

impl Signed for RequestReceipt {
    const TYP: &'static str = signing::REQUEST_RECEIPT;

    fn jws(&mut self) -> &mut String {
        &mut self.jws
    }
}
