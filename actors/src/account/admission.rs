//! The guard of an admitted request. Only an account actor makes one, after the hold is durable; pools and providers take
//! one; it is settled once. Dropped unsettled (the task panicked, or was cancelled), it settles the request itself with
//! what was metered last.

use std::{sync::Arc, time::Duration};

use billing::{
    Nanos, Timestamp,
    command::{Answer, Command, Refusal, Reply},
    entry::{Ending, UsageRecord},
    ids::{AccountId, KeyId, RequestId},
    meter,
    price::{Cost, Tokens},
};

use super::{AccountError, Held};
use crate::accounts::Accounts;

/// What a request used, whoever measured it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metered {
    /// Tokens.
    pub tokens: Tokens,
    /// Whether they were counted here.
    pub estimated: bool,
    /// Milliseconds of compute.
    pub compute_ms: u64,
    /// Seconds billed.
    pub billed_seconds: u64,
    /// Exact cost.
    pub cost: Cost,
}

impl Metered {
    /// Nothing used.
    pub const NOTHING: Self = Self {
        tokens: Tokens::NONE,
        estimated: false,
        compute_ms: 0,
        billed_seconds: 0,
        cost: Cost { base: rust_decimal::Decimal::ZERO, fee: rust_decimal::Decimal::ZERO },
    };

    /// So many started seconds of an open model's class.
    pub fn open(class: billing::class::SizeClass, seconds: u64, compute_ms: u64, tokens: Tokens) -> Self {
        let cost = meter::open_cost(class, seconds);
        Self { tokens, estimated: false, compute_ms, billed_seconds: seconds, cost }
    }
}

/// Why a request could not be settled. Its hold is durable: it is settled from there, not lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// The account did not answer, in several lives.
    #[error("could not settle: {0}")]
    Unavailable(AccountError),
    /// The rules refused: the hold was ended by someone else.
    #[error("could not settle: {0}")]
    Refused(Refusal),
}

/// How often settling is tried before it is left to recovery.
const ATTEMPTS: u32 = 5;
/// How long each try waits for a ledger that is away.
const AWAY: Duration = Duration::from_mins(1);

/// The guard.
#[derive(Debug)]
pub struct Admission {
    pub(super) account_id: AccountId,
    pub(super) request_id: RequestId,
    pub(super) key_id: Option<KeyId>,
    pub(super) model: Arc<str>,
    pub(super) provider: Arc<str>,
    pub(super) price_version: i64,
    pub(super) admitted_at: Timestamp,
    pub(super) held: Held,
    pub(super) accounts: Accounts,
    pub(super) metered: Metered,
    pub(super) settled: bool,
}

impl Admission {
    /// The request.
    pub const fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// The account.
    pub const fn account_id(&self) -> AccountId {
        self.account_id
    }

    /// What is set aside now.
    pub fn held(&self) -> Nanos {
        self.held.get()
    }

    /// The most the request may come to by its key's limits, as far as they reach now; none where they are none.
    pub fn claimed(&self) -> Option<Nanos> {
        self.held.claimed()
    }

    /// Notes what was used so far: what is charged if this guard is dropped.
    pub const fn meter(&mut self, metered: Metered) {
        self.metered = metered;
    }

    /// What was noted last.
    pub const fn metered(&self) -> &Metered {
        &self.metered
    }

    /// Reports the cost so far, and has a slice more set aside. One way: what comes of it shows in [`Admission::held`].
    pub fn accrue(&self, accrued: Nanos, slice: Nanos) {
        self.accounts.post(self.account_id, Command::Accrue { request_id: self.request_id, accrued, slice });
    }

    fn record(&self, ending: Ending, now: Timestamp) -> UsageRecord {
        let Metered { tokens, estimated, compute_ms, billed_seconds, cost } = self.metered;
        // A cost beyond what the ledger holds is a provider's nonsense; the hold is the most that is believed.
        let held = self.held();
        let cost = if cost.charged().is_ok() { cost } else { cost.at_most(held) };
        UsageRecord {
            request_id: self.request_id,
            key_id: self.key_id,
            model: self.model.clone(),
            provider: self.provider.clone(),
            ending,
            tokens,
            estimated,
            compute_ms,
            billed_seconds,
            cost,
            charged: cost.charged().unwrap_or(held),
            price_version: self.price_version,
            started_at: self.admitted_at,
            ended_at: now,
        }
    }

    /// Ends the request and charges what was metered. The answer comes when that is durable.
    pub async fn settle(mut self, ending: Ending) -> Result<(UsageRecord, Answer), SettleError> {
        let record = self.record(ending, self.accounts.clock().now());
        self.settled = true;
        let mut last = AccountError::Overloaded;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
                // What is known to fail is not tried.
                self.accounts.ledger().standing().sound_within(AWAY).await;
            }
            match self.accounts.decide(self.account_id, Command::Settle(record.clone())).await {
                Ok(mut answer) => match answer.result {
                    Ok(_) => return Ok((record, answer)),
                    // An earlier try was committed before its actor died.
                    Err(Refusal::NoHold(_))
                        if attempt > 0 && self.accounts.is_recorded(self.account_id, &record).await =>
                    {
                        answer.result = Ok(Reply::Settled { charged: record.charged, debt: Nanos::ZERO });
                        return Ok((record, answer));
                    }
                    Err(refusal) => return Err(SettleError::Refused(refusal)),
                },
                Err(error) => last = error,
            }
        }
        tracing::error!(request.id = %self.request_id, error = %last, "could not settle; left to recovery");
        Err(SettleError::Unavailable(last))
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if !self.settled {
            let record = self.record(Ending::Failed, self.accounts.clock().now());
            tracing::warn!(request.id = %self.request_id, cost_nanos = record.charged.get(), "request abandoned");
            self.accounts.post(self.account_id, Command::Settle(record));
        }
        self.accounts.running().remove(self.request_id);
    }
}
