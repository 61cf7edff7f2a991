//! Money as operators see it: what all accounts have together, what is held and for how long already, what today's requests
//! came to by model, and what was written off in which month. The tables are read for it at most every few seconds, however many look.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use billing::{
    Nanos, Timestamp,
    ids::AccountId,
    price::Cost,
    time::{DAY_MS, Month},
};
use ledger::money;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::{Service, ServiceError, operations::Audit};

/// How long a picture is shown to others.
const SHOWN_FOR: Duration = Duration::from_secs(10);
/// Holds are young for so long, and old after so long: by then they were renewed, or are abandoned.
const YOUNG_MS: i64 = 60_000;
const OLD_MS: i64 = 30 * YOUNG_MS;
/// The months whose write-offs are shown.
const MONTHS: i64 = 12;
/// The provider's name of our own models.
const OURS: &str = "farebox";

/// Holds of running requests that are about as old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldsOfAge {
    /// Their age, in words.
    pub age: &'static str,
    /// How many there are.
    pub holds: i64,
    /// What they cost so far.
    pub accrued: Nanos,
    /// When the oldest was placed.
    pub oldest_at: Timestamp,
}

/// What today's ended requests to a model came to.
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
    /// What of that no provider gets: the fee, about, or all of it.
    pub margin: Nanos,
}

/// The requests of a month whose process died while they ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteOff {
    /// The month: `2026-11`.
    pub month: String,
    /// `written_off`: nothing was charged; or `recovered`: what was charged is what they had cost when that was last written
    /// down.
    pub kind: &'static str,
    /// Requests.
    pub requests: i64,
    /// What was charged.
    pub charged: Nanos,
    /// What was held for them beyond that, and given back: about the most that was lost.
    pub given_back: Nanos,
}

/// A dispute of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// The payment.
    pub payment_id: Uuid,
    /// The account.
    pub account_id: AccountId,
    /// The amount.
    pub amount: Nanos,
    /// Its state.
    pub state: String,
    /// When it was heard of first.
    pub at: Timestamp,
}

/// The last audit that an operator asked this process for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastAudit {
    /// When it ended.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// What it found.
    pub found: Audit,
}

/// Money, as it was at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Money {
    /// When it was read.
    pub at: Timestamp,
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
    /// Holds by their age.
    pub holds: Vec<HoldsOfAge>,
    /// Today, by model.
    pub today: Vec<ModelDay>,
    /// The latest disputes.
    pub disputes: Vec<Dispute>,
    /// What was written off, by month and kind: the last twelve months, the newest first.
    pub write_offs: Vec<WriteOff>,
}

/// The picture that was made last, which others are shown for a while.
#[derive(Debug, Default)]
pub(super) struct Shown(Mutex<Option<(Instant, Arc<Money>)>>);

/// Money as it is, or was a few seconds ago.
///
/// # Errors
///
/// The ledger can't be read just now ([`NotReady`](ServiceError::NotReady)); try again.
pub async fn money(service: &Service) -> Result<Arc<Money>, ServiceError> {
    // Who comes while it is made waits for it, and makes none.
    let mut shown = service.money.0.lock().await;
    if let Some((made_at, money)) = &*shown
        && made_at.elapsed() < SHOWN_FOR
    {
        return Ok(Arc::clone(money));
    }
    let made = Arc::new(read(service).await?);
    *shown = Some((Instant::now(), Arc::clone(&made)));
    Ok(made)
}

async fn read(service: &Service) -> Result<Money, ServiceError> {
    let (ledger, now) = (service.ledger(), service.now());
    let money::Totals { accounts, available, held, debt, debtors } = ledger.totals(now).await?;
    let holds = ledger.holds_by_age([now.plus_ms(-YOUNG_MS), now.plus_ms(-OLD_MS)]).await?;
    let today = ledger.day_by_model(now.floor(DAY_MS)).await?;
    let disputes = ledger.disputes().await?;
    let mut write_offs = Vec::new();
    for ago in 0..MONTHS {
        write_offs.extend(ledger.abandoned_in(Month(now.month().0 - ago)).await?.into_iter().map(WriteOff::from));
    }
    Ok(Money {
        at: now,
        accounts,
        available,
        held,
        debt,
        debtors,
        holds: holds.into_iter().map(HoldsOfAge::from).collect(),
        today: today.into_iter().map(ModelDay::from).collect(),
        disputes: disputes.into_iter().map(Dispute::from).collect(),
        write_offs,
    })
}

impl From<money::Abandoned> for WriteOff {
    fn from(abandoned: money::Abandoned) -> Self {
        let money::Abandoned { month, ending, requests, charged, held } = abandoned;
        let given_back = (held - charged).max(Nanos::ZERO);
        Self { month: month.to_string(), kind: ending.name(), requests, charged, given_back }
    }
}

impl From<money::HoldsOfAge> for HoldsOfAge {
    fn from(of_age: money::HoldsOfAge) -> Self {
        let money::HoldsOfAge { age, holds, accrued, oldest_at } = of_age;
        let age = ["under a minute", "under half an hour"].get(age).copied().unwrap_or("half an hour or more");
        Self { age, holds, accrued, oldest_at }
    }
}

impl From<money::ModelDay> for ModelDay {
    fn from(day: money::ModelDay) -> Self {
        let money::ModelDay { model, provider, requests, failed, charged } = day;
        let margin = margin(&provider, charged);
        Self { model, provider, requests, failed, charged, margin }
    }
}

impl From<money::DisputeRow> for Dispute {
    fn from(row: money::DisputeRow) -> Self {
        let money::DisputeRow { payment_id, account_id, amount, state, at } = row;
        Self { payment_id, account_id, amount, state, at }
    }
}

/// What of a charge no provider gets.
fn margin(provider: &str, charged: Nanos) -> Nanos {
    // A fee is smaller than its total, which is in range.
    if provider == OURS { charged } else { Nanos::round(Cost::from_total(charged).fee).unwrap_or(charged) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_the_fee_of_a_provider_and_all_of_our_own() {
        let charged = Nanos::new(1_020_000_000);
        assert_eq!(margin("openai", charged), Nanos::new(20_000_000));
        assert_eq!(margin(OURS, charged), charged);
    }
}
