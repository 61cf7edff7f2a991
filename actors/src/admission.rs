//! The guard of an admitted request. It is made where the request runs, from the account's answer, which comes once the
//! hold is durable. It reaches the account by messages. Pools and providers require it, and it is settled once. Dropped
//! unsettled (the task panicked, or was cancelled), it settles the request itself with the last metered use; dropped
//! before the answer came, with none. A request can't have two guards: only [`enter`] makes one.

pub mod bill;
mod replay;
mod settling;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bill::{Bill, LetIn};
use billing::{
    Nanos,
    account::Balance,
    attempt::Attempt,
    class::SizeClass,
    command::{Admit, Answer, Command, Refusal, Reply},
    entry::{Ending, UsageRecord},
    ids::{AccountId, RequestId},
    price::{Cost, Price, seconds},
    quantity::Quantities,
    timings::Timings,
};

use tokio::sync::oneshot;

pub use replay::replay;
use settling::{Settled, settle, settle_alone};

use crate::{
    account::{AccountError, Enter, Entered},
    accounts::Accounts,
    running::{About, Held, Stage},
};

/// The metered use of a request.
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
    /// The exact cost.
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

/// Why a request could not be settled. Its hold is durable, so recovery settles it later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// The account did not answer, in several attempts.
    #[error("could not settle: {0}")]
    Unavailable(AccountError),
    /// The rules refused: the hold was ended elsewhere.
    #[error("could not settle: {0}")]
    Refused(Refusal),
}

/// How long each attempt waits for a ledger that is away.
const AWAY: Duration = Duration::from_mins(1);

/// How long a request waits before it asks for its permit again, where no answer came.
const ASKED_AGAIN: Duration = Duration::from_secs(1);

/// A request that may run.
#[derive(Debug)]
pub struct Admitted {
    /// The guard, which pools and providers require. Dropping it unsettled abandons the request.
    pub admission: Admission,
    /// The account's balance with the hold placed.
    pub balance: Balance,
    /// Requests left in this second, for accounts with that limit.
    pub rate_remaining: Option<i64>,
    /// The request's place when it joined the line, if it had to wait.
    pub place: Option<usize>,
    /// How long its hold waited until the log had it.
    pub logged: Duration,
}

/// Why a request may not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// The account's rules refused it.
    #[error("{refusal}")]
    Refused {
        /// The reason.
        refusal: Refusal,
        /// The request's place when it joined the line, if it had to wait.
        place: Option<usize>,
    },
    /// The account can't answer.
    #[error(transparent)]
    Account(#[from] AccountError),
}

/// Asks an account to let a request in. The request counts as running from before the question until its guard is
/// dropped. Where no answer comes, or the caller stops waiting, a hold that may have been placed is given back.
///
/// # Errors
///
/// [`Refused`](NotAdmitted::Refused) where the account's rules refuse the request. [`Account`](NotAdmitted::Account)
/// where the account does not exist or can't answer now. Nothing is charged in either case, and nothing stays held.
pub async fn enter(accounts: &Accounts, account_id: AccountId, enter: Enter) -> Result<Admitted, NotAdmitted> {
    // No question is asked then, so no hold is to be given back.
    accounts.check()?;
    // Made before the question, and dropped only after the answer's channel is closed. The guard's message then follows
    // the question, and a request in line is not admitted any more.
    let mut admission = Admission::asking(accounts, account_id, &enter.admit);
    let answer = let_in(accounts, account_id, enter).await;
    let LetIn { placed, balance, rate_remaining, place, logged } = admission.bill.answered(answer)?;
    admission.weight = balance.tier.rank();
    admission.balance = Some(Box::new(balance.clone()));
    accounts.running().holds(admission.request_id(), placed.amounts);
    Ok(Admitted { admission, balance, rate_remaining, place, logged })
}

/// Asks an account to let a request in, wherever it is. An asker that stops waiting may have been let in. The message that
/// gives its hold back follows the question in an account of this process; to another node it may come before the question
/// does, so that the hold is given back here once more.
async fn let_in(accounts: &Accounts, account_id: AccountId, enter: Enter) -> Result<Entered, AccountError> {
    if !accounts.is_shared() {
        return accounts.enter(account_id, enter).await;
    }
    let (reply, answered) = oneshot::channel();
    let asking = accounts.clone();
    tokio::spawn(async move {
        let mut bill = Bill::asking(&enter.admit, asking.clock().now());
        let answer = asking.enter(account_id, enter).await;
        if let Err(Ok(Entered { placed: Some(placed), .. })) = reply.send(answer)
            && let Some(record) = bill.abandoned(placed.amounts.held, asking.clock().now())
        {
            settle_alone(&asking, account_id, record);
        }
    });
    answered.await.unwrap_or_else(|_| Err(AccountError::Unavailable("the question was dropped".into())))
}

/// The guard of a request and its hold.
#[derive(Debug)]
pub struct Admission {
    account_id: AccountId,
    bill: Bill,
    /// The amounts held, as the account reported them.
    amounts: Held,
    /// The account's share of an engine, beside those of others.
    weight: u32,
    /// The balance with the hold placed.
    balance: Option<Box<Balance>>,
    /// Ends once the account has handled that the permit was given back.
    parked: Mutex<Option<oneshot::Receiver<()>>>,
    accounts: Accounts,
}

impl Admission {
    /// The guard of a request whose account is about to be asked.
    fn asking(accounts: &Accounts, account_id: AccountId, admit: &Admit) -> Self {
        let asked_at = accounts.clock().now();
        let (model, provider) = (Arc::clone(&admit.model), Arc::clone(&admit.provider));
        let about = About { account_id, key_id: admit.key_id, model, provider, asked_at };
        Self {
            account_id,
            bill: Bill::asking(admit, asked_at),
            amounts: accounts.running().insert(admit.request_id, about),
            weight: 1,
            balance: None,
            parked: Mutex::default(),
            accounts: accounts.clone(),
        }
    }

    /// The request's id.
    pub const fn request_id(&self) -> RequestId {
        self.bill.request_id()
    }

    /// The account's id.
    pub const fn account_id(&self) -> AccountId {
        self.account_id
    }

    /// The account's share of an engine beside those of others: its tier's rank.
    pub const fn weight(&self) -> u32 {
        self.weight
    }

    /// The amount held, as the account reported it last.
    pub fn held(&self) -> Nanos {
        self.amounts.now().held
    }

    /// The most that the request may cost by its key's limits, as far as they are known now; `None` without limits.
    pub fn claimed(&self) -> Option<Nanos> {
        self.amounts.now().claimed
    }

    /// Takes the price that was frozen when it was planned: what its record's quantities are charged at.
    pub fn price_at(&mut self, price: Option<Arc<Price>>) {
        self.bill.price_at(price);
    }

    /// Takes the attempts with other models before this one, for the record.
    pub fn after(&mut self, attempts: Vec<Attempt>) {
        self.bill.after(attempts);
    }

    /// Notes what was used so far: what is charged if this guard is dropped.
    pub const fn meter(&mut self, metered: Metered) {
        self.bill.meter(metered);
    }

    /// Notes where the request's time went, for its record.
    pub fn took(&mut self, timings: Timings) {
        self.bill.took(timings);
    }

    /// The use noted last.
    pub const fn metered(&self) -> &Metered {
        self.bill.metered()
    }

    /// Notes that the request is at a stage, for those who look at it.
    pub fn is_at(&self, stage: Stage) {
        self.amounts.is_at(stage, self.accounts.clock().now());
    }

    /// Reports the cost so far, and asks for a further slice of hold. One way: a larger hold shows in
    /// [`Admission::held`].
    pub fn accrue(&self, accrued: Nanos, slice: Nanos) {
        self.amounts.costs(accrued);
        self.accounts.post(self.account_id, Command::Accrue { request_id: self.request_id(), accrued, slice });
    }

    /// The same, and returns once the larger hold is durable: [`Admission::held`] then says how large it is. Where the
    /// account does not answer, the hold stays as it is.
    pub async fn grow(&self, accrued: Nanos, slice: Nanos) {
        let grown = Command::Accrue { request_id: self.request_id(), accrued, slice };
        if let Err(error) = self.accounts.decide(self.account_id, grown).await {
            tracing::warn!(request.id = %self.request_id(), %error, "a hold could not grow to its cost");
        }
    }

    /// Gives the request's permit back, because it stands still. One way. It may not run before [`Admission::resume`] has
    /// completed.
    pub fn park(&self) {
        let parked = self.accounts.post_in_order(self.account_id, Command::Park { request_id: self.request_id() });
        *self.parked.lock().unwrap_or_else(PoisonError::into_inner) = parked;
    }

    /// Takes the permit again, in its turn, as long as that takes: completes once that is durable. An account that does not
    /// answer is asked again. It borrows nothing, so that the request can do other things meanwhile.
    ///
    /// # Errors
    ///
    /// The hold was ended elsewhere: the request may not run any more.
    pub fn resume(&self) -> impl Future<Output = Result<(), Refusal>> + use<> {
        let (accounts, account_id, request_id) = (self.accounts.clone(), self.account_id, self.request_id());
        let parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move {
            // Another node may handle the question for the permit before it hears that it was given back: then the request
            // would run without one.
            if let Some(parked) = parked {
                let _ = parked.await;
            }
            loop {
                match accounts.resume(account_id, request_id).await {
                    Ok(Answer { result: Ok(_), .. }) => return Ok(()),
                    Ok(Answer { result: Err(refusal), .. }) => return Err(refusal),
                    Err(error) => tracing::warn!(request.id = %request_id, %error, "a request waits for its permit"),
                }
                tokio::time::sleep(ASKED_AGAIN).await;
                accounts.ledger().standing().sound_within(AWAY).await;
            }
        }
    }

    /// Ends the request, and charges the metered use. Returns when the charge is durable: in the ledger, or, while that can't
    /// be written, in the file of captures that wait for it. Of an account that did not answer, the balance is that of the
    /// admission.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](SettleError::Unavailable) where the account did not answer in several attempts,
    /// [`Refused`](SettleError::Refused) where the hold was ended elsewhere. The caller does not repeat it: the durable
    /// hold is settled by recovery.
    pub async fn settle(mut self, ending: Ending) -> Result<(UsageRecord, Answer), SettleError> {
        let held = self.held();
        let record = self.bill.ended(ending, held, self.accounts.clock().now());
        self.amounts.costs(record.charged);
        self.is_at(Stage::Settling);
        match settle(&self.accounts, self.account_id, &record).await? {
            Settled::Now(answer) => Ok((record, answer)),
            Settled::Waits => {
                let Some(balance) = self.balance.take() else {
                    return Err(SettleError::Unavailable(AccountError::Overloaded));
                };
                let result = Ok(Reply::Settled { charged: record.charged, debt: Nanos::ZERO });
                Ok((record, Answer { result, balance: *balance }))
            }
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let (is_running, held) = (self.bill.is_running(), self.held());
        if let Some(record) = self.bill.abandoned(held, self.accounts.clock().now()) {
            if is_running {
                tracing::warn!(request.id = %self.request_id(), cost_nanos = record.charged.get(), "request abandoned");
            }
            settle_alone(&self.accounts, self.account_id, record);
        }
        self.accounts.running().remove(self.request_id());
    }
}
