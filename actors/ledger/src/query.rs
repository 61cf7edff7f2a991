//! Single reads: grants, a request, payments, price versions. Lists are paged by id (UUID v7, so by time), newest
//! first. [`super::history`] lists requests.

use std::str::FromStr as _;

use billing::{
    Nanos, Timestamp,
    grant::Grant,
    ids::{AccountId, PaymentId, RequestId},
    payment::Payment,
    price::{NoParts, Parts, Rate},
    quantity::Key,
    timings::Timings,
};
use rust_decimal::Decimal;
use sea_orm::QueryResult;
use uuid::Uuid;

use super::{Ledger, LedgerError, load};

/// The most rows of one page.
pub const LARGEST_PAGE: u64 = 200;

/// An ended request, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRow {
    /// The request's id.
    pub id: Uuid,
    /// The API key of the request.
    pub key_id: Option<Uuid>,
    /// The model.
    pub model: String,
    /// The provider, or `farebox`.
    pub provider: String,
    /// How it ended.
    pub ending: String,
    /// Prompt tokens.
    pub input_tokens: i64,
    /// The input tokens read from a cache.
    pub cached_input_tokens: i64,
    /// The input tokens written to the provider's cache.
    pub cache_write_tokens: i64,
    /// Output tokens.
    pub output_tokens: i64,
    /// The output tokens that were reasoning.
    pub reasoning_tokens: i64,
    /// Whether tokens were counted here instead of reported.
    pub estimated: bool,
    /// Milliseconds of compute.
    pub compute_ms: i64,
    /// Seconds billed.
    pub billed_seconds: i64,
    /// Exact cost before the fee, in dollars.
    pub base_cost: String,
    /// Exact fee, in dollars.
    pub fee: String,
    /// The amount charged.
    pub cost: Nanos,
    /// The part of the exact cost before the fee that belongs to no quantity: the request was settled without its
    /// process, or recorded before quantities had rates.
    pub unitemised_cost: Option<String>,
    /// The quantities used, without overlap, each with its rate and its cost before the fee.
    pub quantities: Vec<QuantityRow>,
    /// The price version.
    pub price_version: i64,
    /// When the request was admitted.
    pub started_at: Timestamp,
    /// When the request ended.
    pub ended_at: Timestamp,
    /// The session that its client named.
    pub session: Option<String>,
    /// Where its time went, where that was recorded.
    pub timings: Option<Timings>,
}

/// A quantity of a request, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuantityRow {
    /// The key of the quantity.
    pub quantity: Key,
    /// The amount.
    pub amount: u64,
    /// Dollars for one unit; `None` where the quantity has no rate of its own.
    pub rate: Option<Rate>,
    /// The quantity's share of the cost before the fee, in dollars. All shares together do not exceed that cost.
    pub cost: Option<String>,
}

impl QuantityRow {
    /// The quantities of a record, and the rest of its cost before the fee.
    fn of(parts: &Parts, base: Decimal) -> (Vec<Self>, Option<String>) {
        let (costs, rest) = parts.costs(base);
        let rows = parts.iter().zip(costs).map(|(part, cost)| Self {
            quantity: part.key,
            amount: part.amount,
            rate: part.rate,
            cost: part.rate.map(|_| cost.to_string()),
        });
        (rows.collect(), (!rest.is_zero()).then(|| rest.to_string()))
    }
}

/// The columns [`request`] reads.
pub(super) const REQUEST: &str = "request_id, key_id, model, provider, ending, input_tokens, cached_input_tokens, \
                       cache_write_tokens, output_tokens, reasoning_tokens, estimated, compute_ms, billed_seconds, base_cost, fee, charged, price_version, started_at, ended_at, quantities, session, admission_ms, load_ms, queue_ms, run_ms, first_ms";

impl Ledger {
    /// Finds an ended request of an account.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn request(&self, account: AccountId, id: RequestId) -> Result<Option<RequestRow>, LedgerError> {
        let sql = format!("SELECT {REQUEST} FROM usage_record WHERE account_id = ? AND request_id = ?");
        self.row(&sql, [account.0.into(), id.0.into()]).await?.as_ref().map(request).transpose()
    }

    /// The amount charged for an ended request; `None` if it has not ended.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn charged(&self, account: AccountId, id: RequestId) -> Result<Option<Nanos>, LedgerError> {
        let sql = "SELECT charged FROM usage_record WHERE account_id = ? AND request_id = ?";
        let row = self.row(sql, [account.0.into(), id.0.into()]).await?;
        row.map(|row| Ok(Nanos::new(row.try_get_by_index(0)?))).transpose()
    }

    /// An account's grants, newest first, older than `before`.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn grants(
        &self,
        account: AccountId,
        before: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<Grant>, LedgerError> {
        let sql = format!(
            "SELECT {} FROM credit_grant WHERE account_id = ? AND id < ? ORDER BY id DESC LIMIT ?",
            load::GRANT
        );
        let values = [account.0.into(), before.unwrap_or(Uuid::max()).into(), page(limit).into()];
        self.rows(&sql, values).await?.iter().map(load::grant).collect()
    }

    /// Finds a payment of an account, in any status.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn payment(&self, account: AccountId, id: PaymentId) -> Result<Option<Payment>, LedgerError> {
        let sql = format!("SELECT {} FROM payment WHERE account_id = ? AND id = ?", load::PAYMENT);
        self.row(&sql, [account.0.into(), id.0.into()]).await?.as_ref().map(load::payment).transpose()
    }

    /// Finds the grant of a payment or a cycle.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later. A row is [`LedgerError::Corrupt`]: an operator must examine the
    /// database.
    pub async fn grant_of(&self, account: AccountId, source_key: &str) -> Result<Option<Grant>, LedgerError> {
        let sql = format!("SELECT {} FROM credit_grant WHERE account_id = ? AND source_key = ?", load::GRANT);
        self.row(&sql, [account.0.into(), source_key.into()]).await?.as_ref().map(load::grant).transpose()
    }
}

/// A page's size, within its bounds.
pub(super) fn page(limit: u64) -> i64 {
    i64::try_from(limit.clamp(1, LARGEST_PAGE)).unwrap_or(1)
}

/// The time of a request's stages; `None` where it was not recorded.
fn timings(row: &QueryResult) -> Result<Option<Timings>, LedgerError> {
    let ms = |name| -> Result<Option<u64>, LedgerError> {
        let ms: Option<i64> = row.try_get("", name)?;
        ms.map(u64::try_from).transpose().map_err(|_| LedgerError::Corrupt(format!("{name} is negative")))
    };
    let (Some(admission_ms), Some(load_ms), Some(queue_ms), Some(run_ms)) =
        (ms("admission_ms")?, ms("load_ms")?, ms("queue_ms")?, ms("run_ms")?)
    else {
        return Ok(None);
    };
    Ok(Some(Timings { admission_ms, load_ms, queue_ms, run_ms, first_ms: ms("first_ms")? }))
}

/// A request from its row.
pub(super) fn request(row: &QueryResult) -> Result<RequestRow, LedgerError> {
    let estimated: i64 = row.try_get("", "estimated")?;
    let (base_cost, written): (String, String) = (row.try_get("", "base_cost")?, row.try_get("", "quantities")?);
    let parts: Parts = written.parse().map_err(|error: NoParts| LedgerError::Corrupt(error.to_string()))?;
    let base = Decimal::from_str(&base_cost).map_err(|error| LedgerError::Corrupt(error.to_string()))?;
    let (quantities, unitemised_cost) = QuantityRow::of(&parts, base);
    Ok(RequestRow {
        id: row.try_get("", "request_id")?,
        key_id: row.try_get("", "key_id")?,
        model: row.try_get("", "model")?,
        provider: row.try_get("", "provider")?,
        ending: row.try_get("", "ending")?,
        input_tokens: row.try_get("", "input_tokens")?,
        cached_input_tokens: row.try_get("", "cached_input_tokens")?,
        cache_write_tokens: row.try_get("", "cache_write_tokens")?,
        output_tokens: row.try_get("", "output_tokens")?,
        reasoning_tokens: row.try_get("", "reasoning_tokens")?,
        estimated: estimated != 0,
        compute_ms: row.try_get("", "compute_ms")?,
        billed_seconds: row.try_get("", "billed_seconds")?,
        base_cost,
        fee: row.try_get("", "fee")?,
        cost: Nanos::new(row.try_get("", "charged")?),
        unitemised_cost,
        quantities,
        price_version: row.try_get("", "price_version")?,
        started_at: Timestamp(row.try_get("", "started_at")?),
        ended_at: Timestamp(row.try_get("", "ended_at")?),
        session: row.try_get("", "session")?,
        timings: timings(row)?,
    })
}
