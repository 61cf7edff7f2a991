//! Money of all accounts together, for operators.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Dollars, Time, operations::Audit};
use crate::service::money;

/// Money of all accounts together, as it was a few seconds ago.
#[derive(Debug, Serialize, ToSchema)]
pub struct Treasury {
    /// When the tables were read.
    pub(in crate::http) at: Time,
    pub(in crate::http) accounts: i64,
    /// Credits that can be spent.
    pub(in crate::http) available: Dollars,
    /// Credits that are held for running requests.
    pub(in crate::http) held: Dollars,
    pub(in crate::http) debt: Dollars,
    /// Accounts with debt.
    pub(in crate::http) debtors: i64,
    /// Holds of running requests, by their age.
    pub(in crate::http) holds: Vec<HoldsOfAge>,
    /// Today's ended requests by model, the largest sums first.
    pub(in crate::http) today: Vec<ModelDay>,
    /// The latest disputes of payments.
    pub(in crate::http) disputes: Vec<Dispute>,
    /// What was written off, by month and kind: of the last twelve months, the newest first.
    pub(in crate::http) write_offs: Vec<WriteOff>,
    /// Transitions that the tables are behind the log.
    pub(in crate::http) behind: usize,
    /// Captures that wait in a file until the ledger can take them.
    pub(in crate::http) captures_waiting: usize,
    /// The last audit that this process was asked for; null where there was none.
    #[schema(required)]
    pub(in crate::http) last_audit: Option<LastAudit>,
}

/// Holds that are about as old.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct HoldsOfAge {
    /// Their age, in words.
    pub(in crate::http) age: &'static str,
    pub(in crate::http) holds: i64,
    /// What they cost so far.
    pub(in crate::http) accrued: Dollars,
    pub(in crate::http) oldest_at: Time,
}

/// What today's requests to a model came to.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct ModelDay {
    pub(in crate::http) model: String,
    /// The provider, or `farebox`.
    pub(in crate::http) provider: String,
    pub(in crate::http) requests: i64,
    pub(in crate::http) failed: i64,
    pub(in crate::http) charged: Dollars,
    /// What of that no provider gets: the fee, about, or all of it.
    pub(in crate::http) margin: Dollars,
}

/// A dispute of a payment.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Dispute {
    pub(in crate::http) payment_id: Uuid,
    pub(in crate::http) account_id: Uuid,
    pub(in crate::http) amount: Dollars,
    /// `open`, `lost` or `won`.
    pub(in crate::http) state: String,
    pub(in crate::http) at: Time,
}

/// The requests of a month whose process died while they ran.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct WriteOff {
    /// The month: `2026-11`.
    pub(in crate::http) month: String,
    /// `written_off`: nothing was charged; or `recovered`: charged is what they had cost when that was last written down.
    pub(in crate::http) kind: &'static str,
    pub(in crate::http) requests: i64,
    pub(in crate::http) charged: Dollars,
    /// What was held for them beyond that, and given back: about the most that was lost.
    pub(in crate::http) given_back: Dollars,
}

/// An audit that an operator asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct LastAudit {
    /// When it ended.
    pub(in crate::http) at: Time,
    pub(in crate::http) took_ms: u64,
    pub(in crate::http) found: Audit,
}

impl Treasury {
    /// Money, and what of it waits.
    pub fn of(
        money: &money::Money,
        (behind, captures_waiting): (usize, usize),
        last_audit: Option<money::LastAudit>,
    ) -> Self {
        let holds = money.holds.iter().map(|of| HoldsOfAge {
            age: of.age,
            holds: of.holds,
            accrued: of.accrued.into(),
            oldest_at: of.oldest_at.into(),
        });
        let today = money.today.iter().map(|day| ModelDay {
            model: day.model.clone(),
            provider: day.provider.clone(),
            requests: day.requests,
            failed: day.failed,
            charged: day.charged.into(),
            margin: day.margin.into(),
        });
        let disputes = money.disputes.iter().map(|dispute| Dispute {
            payment_id: dispute.payment_id,
            account_id: dispute.account_id.0,
            amount: dispute.amount.into(),
            state: dispute.state.clone(),
            at: dispute.at.into(),
        });
        let write_offs = money.write_offs.iter().map(|of| WriteOff {
            month: of.month.clone(),
            kind: of.kind,
            requests: of.requests,
            charged: of.charged.into(),
            given_back: of.given_back.into(),
        });
        Self {
            at: money.at.into(),
            accounts: money.accounts,
            available: money.available.into(),
            held: money.held.into(),
            debt: money.debt.into(),
            debtors: money.debtors,
            holds: holds.collect(),
            today: today.collect(),
            disputes: disputes.collect(),
            write_offs: write_offs.collect(),
            behind,
            captures_waiting,
            last_audit: last_audit.map(|money::LastAudit { at, took_ms, found }| LastAudit {
                at: at.into(),
                took_ms,
                found: found.into(),
            }),
        }
    }
}
