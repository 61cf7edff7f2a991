//! What all accounts have together, as the tables say: credits, debt, holds of running requests by their age, what a day's
//! requests came to by model, and what was lost with processes that died. Most read a whole table, once: callers ask seldom.

use billing::{
    Nanos, Timestamp,
    entry::Ending,
    ids::{AccountId, RequestId},
    time::{DAY_MS, Month},
};
use sea_orm::QueryResult;

use super::{Ledger, LedgerError, rollup::Span};

/// The most models of a day.
const MOST_MODELS: i64 = 100;
/// The most disputes.
const MOST_DISPUTES: i64 = 50;

/// What all accounts have together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Accounts.
    pub accounts: i64,
    /// Credits that can be spent.
    pub available: Nanos,
    /// Credits that are held for running requests.
    pub held: Nanos,
    /// Debt.
    pub debt: Nanos,
    /// Accounts with debt.
    pub debtors: i64,
}

/// Holds of running requests that are about as old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldsOfAge {
    /// Their place among the ages that were asked for: the first that they are younger than, or the number of ages.
    pub age: usize,
    /// How many there are.
    pub holds: i64,
    /// What they cost so far.
    pub accrued: Nanos,
    /// When the oldest was placed.
    pub oldest_at: Timestamp,
}

/// What a day's ended requests to a model came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelDay {
    /// The model.
    pub model: String,
    /// The provider, or `farebox`.
    pub provider: String,
    /// Requests.
    pub requests: i64,
    /// Those of them that failed.
    pub failed: i64,
    /// What was charged.
    pub charged: Nanos,
}

/// The requests of a month whose process died while they ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abandoned {
    /// The month.
    pub month: Month,
    /// How they ended: charged by their last checkpoint ([`Ending::Recovered`]), or written off ([`Ending::WrittenOff`]).
    pub ending: Ending,
    /// Requests.
    pub requests: i64,
    /// What was charged.
    pub charged: Nanos,
    /// What was held for them as they ended.
    pub held: Nanos,
}

/// A dispute of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisputeRow {
    /// The payment.
    pub payment_id: uuid::Uuid,
    /// The account.
    pub account_id: AccountId,
    /// The amount.
    pub amount: Nanos,
    /// Its state.
    pub state: String,
    /// When it was heard of first.
    pub at: Timestamp,
}

impl Ledger {
    /// What all accounts have together.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn totals(&self, now: Timestamp) -> Result<Totals, LedgerError> {
        let sql = "SELECT CAST(COUNT(*) AS BIGINT), CAST(COALESCE(SUM(debt), 0) AS BIGINT), \
                   CAST(COALESCE(SUM(CASE WHEN debt > 0 THEN 1 ELSE 0 END), 0) AS BIGINT) FROM account";
        let of_grants = "SELECT CAST(COALESCE(SUM(CASE WHEN expires_at > ? THEN available ELSE 0 END), 0) AS BIGINT), \
                         CAST(COALESCE(SUM(held), 0) AS BIGINT) FROM credit_grant WHERE available > 0 OR held > 0";
        let mut totals = Totals::default();
        if let Some(row) = self.row(sql, []).await? {
            totals.accounts = row.try_get_by_index(0)?;
            totals.debt = Nanos::new(row.try_get_by_index(1)?);
            totals.debtors = row.try_get_by_index(2)?;
        }
        if let Some(row) = self.row(of_grants, [now.0.into()]).await? {
            totals.available = Nanos::new(row.try_get_by_index(0)?);
            totals.held = Nanos::new(row.try_get_by_index(1)?);
        }
        Ok(totals)
    }

    /// The holds of running requests, by their age: those placed after the first time, after the second, and before it.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn holds_by_age(&self, [young, old]: [Timestamp; 2]) -> Result<Vec<HoldsOfAge>, LedgerError> {
        let sql = "SELECT CAST(CASE WHEN placed_at > ? THEN 0 WHEN placed_at > ? THEN 1 ELSE 2 END AS BIGINT) AS age, \
                   CAST(COUNT(*) AS BIGINT), CAST(COALESCE(SUM(accrued), 0) AS BIGINT), MIN(placed_at) \
                   FROM hold GROUP BY 1 ORDER BY 1";
        let of_age = |row: &QueryResult| {
            Ok(HoldsOfAge {
                age: usize::try_from(row.try_get_by_index::<i64>(0)?).unwrap_or_default(),
                holds: row.try_get_by_index(1)?,
                accrued: Nanos::new(row.try_get_by_index(2)?),
                oldest_at: Timestamp(row.try_get_by_index(3)?),
            })
        };
        self.rows(sql, [young.0.into(), old.0.into()]).await?.iter().map(of_age).collect()
    }

    /// What the requests that ended on a UTC day came to, by model: the largest sums first.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn day_by_model(&self, day: Timestamp) -> Result<Vec<ModelDay>, LedgerError> {
        let sql = "SELECT model, provider, CAST(SUM(requests) AS BIGINT), CAST(SUM(failed) AS BIGINT), \
                   CAST(SUM(charged) AS BIGINT) AS charged FROM usage_rollup WHERE span = ? AND starts_at = ? \
                   GROUP BY model, provider ORDER BY 5 DESC, 1, 2 LIMIT ?";
        let of_model = |row: &QueryResult| {
            Ok(ModelDay {
                model: row.try_get_by_index(0)?,
                provider: row.try_get_by_index(1)?,
                requests: row.try_get_by_index(2)?,
                failed: row.try_get_by_index(3)?,
                charged: Nanos::new(row.try_get_by_index(4)?),
            })
        };
        let values = [Span::Day.hours().into(), day.floor(DAY_MS).0.into(), MOST_MODELS.into()];
        self.rows(sql, values).await?.iter().map(of_model).collect()
    }

    /// The requests that ended in a month with the process that ran them, in these two ways; none where there were none. An
    /// index has them alone, by their end.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn abandoned_in(&self, month: Month) -> Result<Vec<Abandoned>, LedgerError> {
        let mut found = Vec::new();
        for ending in [Ending::WrittenOff, Ending::Recovered] {
            // The ending is a part of the text: the index is of these two alone. A request's lines are found as the index of
            // ends has them.
            let sql = format!(
                "SELECT CAST(COUNT(*) AS BIGINT), CAST(COALESCE(SUM(charged), 0) AS BIGINT), \
                 CAST(COALESCE(SUM((SELECT SUM(-d_held) FROM journal WHERE request_id = u.request_id \
                 AND (kind = 'hold_captured' OR kind = 'hold_released'))), 0) AS BIGINT) \
                 FROM usage_record u WHERE ending = '{}' AND ended_at >= ? AND ended_at < ?",
                ending.name()
            );
            let Some(row) = self.row(&sql, [month.start().0.into(), month.next().start().0.into()]).await? else {
                continue;
            };
            let requests: i64 = row.try_get_by_index(0)?;
            if requests > 0 {
                let (charged, held) = (Nanos::new(row.try_get_by_index(1)?), Nanos::new(row.try_get_by_index(2)?));
                found.push(Abandoned { month, ending, requests, charged, held });
            }
        }
        Ok(found)
    }

    /// The latest disputes of payments, the newest first.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn disputes(&self) -> Result<Vec<DisputeRow>, LedgerError> {
        let sql = "SELECT payment_id, account_id, amount, state, created_at FROM payment_reversal WHERE kind = 'dispute' \
                   ORDER BY created_at DESC, id DESC LIMIT ?";
        let dispute = |row: &QueryResult| {
            Ok(DisputeRow {
                payment_id: row.try_get_by_index(0)?,
                account_id: AccountId(row.try_get_by_index(1)?),
                amount: Nanos::new(row.try_get_by_index(2)?),
                state: row.try_get_by_index(3)?,
                at: Timestamp(row.try_get_by_index(4)?),
            })
        };
        self.rows(sql, [MOST_DISPUTES.into()]).await?.iter().map(dispute).collect()
    }

    /// Whose an ended request is; `None` where no request of this id has ended.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn account_of_ended(&self, id: RequestId) -> Result<Option<AccountId>, LedgerError> {
        // As the index of ends has it.
        let sql = "SELECT account_id FROM journal WHERE request_id = ? AND (kind = 'hold_captured' OR kind = 'hold_released') \
                   LIMIT 1";
        let row = self.row(sql, [id.0.into()]).await?;
        row.map(|row| Ok(AccountId(row.try_get_by_index(0)?))).transpose()
    }
}
