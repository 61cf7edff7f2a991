//! The guard of an admitted request. It is made where the request runs, of the account's answer, which comes once the hold is
//! durable, and talks to the account by messages; pools and providers take one; it is settled once. Dropped unsettled (the
//! task panicked, or was cancelled), it settles the request itself with what was metered last; dropped before the answer is
//! there, with nothing. Two guards of one request can't be: only [`enter`] makes one.

use std::{sync::Arc, time::Duration};

use billing::{
    Nanos, Timestamp,
    account::Balance,
    class::SizeClass,
    command::{Admit, Answer, Command, Refusal, Reply},
    entry::{Ending, UsageRecord},
    ids::{AccountId, KeyId, RequestId},
    price::{Cost, Price, seconds},
    quantity::Quantities,
};
use tokio::sync::watch;

use crate::{
    account::{AccountError, Enter, Entered, Placed},
    accounts::Accounts,
    running::Amounts,
};

/// What a request used, whoever measured it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metered {
    /// How much of what.
    pub quantities: Quantities,
    /// Whether some of it was counted here.
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
    pub const NOTHING: Self =
        Self { quantities: Quantities::NONE, estimated: false, compute_ms: 0, billed_seconds: 0, cost: Cost::ZERO };

    /// So many started seconds of an open model's class, in which it read and wrote so much.
    pub fn open(class: SizeClass, billed_seconds: u64, compute_ms: u64, tokens: &Quantities) -> Self {
        let quantities = seconds(billed_seconds).and(tokens);
        Self { quantities, estimated: false, compute_ms, billed_seconds, cost: class.cost(billed_seconds) }
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

/// A request that may run.
#[derive(Debug)]
pub struct Admitted {
    /// Reaching a pool or a provider takes it; dropping it unsettled abandons the request.
    pub admission: Admission,
    /// The account's balance with the hold placed.
    pub balance: Balance,
    /// Requests left in this second, for accounts with that limit.
    pub rate_remaining: Option<i64>,
    /// Its place in the line when it joined it, if it had to wait.
    pub place: Option<usize>,
}

/// Why a request may not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// The account's rules refused it.
    #[error("{refusal}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// Its place in the line when it joined it, if it had to wait.
        place: Option<usize>,
    },
    /// The account can't answer.
    #[error(transparent)]
    Account(#[from] AccountError),
}

/// Has an account let a request in. The request counts as running from before its account is asked until its guard is gone.
/// Where no answer comes, or nobody waits for it any more, what may be held for it after all is given back.
pub async fn enter(accounts: &Accounts, account_id: AccountId, enter: Enter) -> Result<Admitted, NotAdmitted> {
    // Nobody is asked then, so that nothing is to be given back.
    accounts.check()?;
    // Made before the question, and thus dropped after the way of its answer is shut: what it says then comes behind the
    // question, and a request that waits in line is not let in any more.
    let mut admission = Admission::asking(accounts, account_id, &enter.admit);
    let answer = accounts.enter(account_id, enter).await;
    let Entered { placed, answer, place, .. } = match answer {
        Ok(entered) => entered,
        // Late, or lost with its account: whether something is held is not known.
        Err(error @ AccountError::Unavailable(_)) => return Err(error.into()),
        Err(error @ (AccountError::NoAccount | AccountError::Overloaded)) => {
            admission.stage = Stage::Over;
            return Err(error.into());
        }
    };
    match (answer.result, placed) {
        (Ok(Reply::Admitted { rate_remaining, .. }), Some(placed)) => {
            admission.placed(placed);
            Ok(Admitted { admission, balance: answer.balance, rate_remaining, place })
        }
        (Err(refusal), _) => {
            admission.stage = Stage::Over;
            Err(NotAdmitted::Refused { refusal, place })
        }
        // No account answers so: what it holds, if anything, is given back.
        (Ok(_), _) => Err(AccountError::Unavailable("the answer to another question".into()).into()),
    }
}

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its account is asked: something may be held for it.
    Asking,
    /// Its hold is durable.
    Running,
    /// Nothing is held for it, or its end was told.
    Over,
}

/// The guard.
#[derive(Debug)]
pub struct Admission {
    account_id: AccountId,
    request_id: RequestId,
    key_id: Option<KeyId>,
    model: Arc<str>,
    provider: Arc<str>,
    price_version: i64,
    admitted_at: Timestamp,
    /// What its account says that it holds.
    amounts: watch::Receiver<Amounts>,
    accounts: Accounts,
    /// The price that was frozen when it was planned; none where it costs nothing here.
    price: Option<Arc<Price>>,
    metered: Metered,
    stage: Stage,
}

impl Admission {
    /// The guard of a request whose account is about to be asked.
    fn asking(accounts: &Accounts, account_id: AccountId, admit: &Admit) -> Self {
        Self {
            account_id,
            request_id: admit.request_id,
            key_id: admit.key_id,
            model: Arc::clone(&admit.model),
            provider: Arc::clone(&admit.provider),
            price_version: admit.price_version,
            admitted_at: accounts.clock().now(),
            amounts: accounts.running().insert(admit.request_id),
            accounts: accounts.clone(),
            price: None,
            metered: Metered::NOTHING,
            stage: Stage::Asking,
        }
    }

    /// It was let in with this hold.
    fn placed(&mut self, Placed { amounts, placed_at, deadline: _ }: Placed) {
        self.accounts.running().holds(self.request_id, amounts);
        (self.admitted_at, self.stage) = (placed_at, Stage::Running);
    }

    /// The request.
    pub const fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// The account.
    pub const fn account_id(&self) -> AccountId {
        self.account_id
    }

    /// What is set aside, as its account said last.
    pub fn held(&self) -> Nanos {
        self.amounts.borrow().held
    }

    /// The most the request may come to by its key's limits, as far as they reach now; none where they are none.
    pub fn claimed(&self) -> Option<Nanos> {
        self.amounts.borrow().claimed
    }

    /// Takes the price that was frozen when it was planned: what its record's quantities are charged at.
    pub fn price_at(&mut self, price: Option<Arc<Price>>) {
        self.price = price;
    }

    /// Notes what was used so far: what is charged if this guard is dropped.
    pub const fn meter(&mut self, metered: Metered) {
        self.metered = metered;
    }

    /// What was noted last.
    pub const fn metered(&self) -> &Metered {
        &self.metered
    }

    /// Reports the cost so far, and has a slice more set aside. One way: what comes of it
    /// is told to this guard, and shows in [`Admission::held`].
    pub fn accrue(&self, accrued: Nanos, slice: Nanos) {
        self.accounts.post(self.account_id, Command::Accrue { request_id: self.request_id, accrued, slice });
    }

    fn record(&self, ending: Ending, now: Timestamp) -> UsageRecord {
        const FREE: &Price = &Price::nothing();
        let Metered { ref quantities, estimated, compute_ms, billed_seconds, cost } = self.metered;
        // A cost beyond what the ledger holds is a provider's nonsense; the hold is the most that is believed.
        let held = self.held();
        let cost = if cost.charged().is_ok() { cost } else { cost.at_most(held) };
        UsageRecord {
            request_id: self.request_id,
            key_id: self.key_id,
            model: self.model.clone(),
            provider: self.provider.clone(),
            ending,
            parts: self.price.as_deref().unwrap_or(FREE).parts(quantities, cost.base),
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
        self.stage = Stage::Over;
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
        if self.stage != Stage::Over {
            let record = self.record(Ending::Failed, self.accounts.clock().now());
            if self.stage == Stage::Running {
                tracing::warn!(request.id = %self.request_id, cost_nanos = record.charged.get(), "request abandoned");
            }
            self.accounts.post(self.account_id, Command::Settle(record));
        }
        self.accounts.running().remove(self.request_id);
    }
}
