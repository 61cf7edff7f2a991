//! Reports a payment's refunds and disputes to its account, after an operator's refund or an event of the processor.
//! Reversals are reported one after the other: each depends on the payment, its rows and its grant as the one before
//! left them.

use billing::{
    command::{Command, Reverse},
    entry::{Notice, Proof},
    ids::{AccountId, PaymentId},
    payment::{DEFAULT_METHOD, Payment},
    reversal::{Listing, News},
};
use ledger::{LedgerError, reversals::StoredPayment};
use tokio::sync::{Mutex, MutexGuard};

use super::{
    pursue::NotApplied,
    pursuit,
    reversing::{self, Hearing, Readings},
};
use crate::accounts::Accounts;

/// The lock that orders this process's reversals. They are few, and no holder waits for a processor. Those of other nodes the
/// account's revision orders.
static TURN: Mutex<()> = Mutex::const_new(());

/// The cause of a report, written with its changes.
#[derive(Debug, Clone)]
pub(super) enum Because {
    /// The processor's answer.
    Answer,
    /// The processor's event. The event is recorded with the last of its changes.
    Notice(Option<Notice>),
    /// A request.
    Request(Proof),
}

impl Because {
    fn wrap(self, command: Command) -> Command {
        match self {
            Self::Answer => command,
            Self::Notice(notice) => pursuit::noticed(notice, command),
            Self::Request(proof) => Command::Proven { proof, command: Box::new(command) },
        }
    }
}

/// Waits for the lock.
pub(super) async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

/// Reads a payment once all earlier commands to its account are written. A reversal whose asker stopped waiting,
/// because its commit took too long, would otherwise be missed. The caller holds the lock.
pub(super) async fn read(
    accounts: &Accounts,
    account: AccountId,
    payment: PaymentId,
) -> Result<Option<StoredPayment>, NotApplied> {
    accounts.decide(account, Command::Sweep).await?;
    Ok(accounts.ledger().payment_with_reversals(account, payment).await?)
}

/// Reports the reversals of a payment. Reversals of a payment that was declined here change nothing: it brought no
/// credits.
pub(super) async fn apply(
    accounts: &Accounts,
    account: AccountId,
    payment: PaymentId,
    news: (Vec<News>, Listing),
    because: Because,
) -> Result<(), NotApplied> {
    let _turn = turn().await;
    let Some(stored) = read(accounts, account, payment).await? else { return Ok(()) };
    match reversing::hearing(stored.payment.status) {
        Hearing::Now => tell(accounts, account, stored, news, because).await,
        Hearing::Never => Ok(()),
        Hearing::Later => Err(NotApplied::NotPaidYet),
    }
}

/// Reports to the account. The caller holds the lock.
pub(super) async fn tell(
    accounts: &Accounts,
    account: AccountId,
    stored: StoredPayment,
    (news, listing): (Vec<News>, Listing),
    because: Because,
) -> Result<(), NotApplied> {
    let card = card_of(accounts, &stored.payment).await?;
    let mut stored = Some(stored);
    let mut readings = Readings::default();
    loop {
        let Some(StoredPayment { payment, grant, reversals, paid_until, revision }) = stored.take() else {
            return Ok(());
        };
        let id = payment.id;
        let (grant, known, news, card) = (grant.map(Box::new), reversals, news.clone(), card.clone());
        let reverse = Reverse { payment, grant, known, news, listing, card, paid_until, revision };
        let command = because.clone().wrap(Command::Reverse(Box::new(reverse)));
        match accounts.decide(account, command).await?.result {
            Ok(_) => return Ok(()),
            Err(refusal) if readings.again(&refusal) => stored = read(accounts, account, id).await?,
            Err(refusal) => return Err(NotApplied::Refused(refusal)),
        }
    }
}

/// The card that a payment was charged to.
async fn card_of(accounts: &Accounts, payment: &Payment) -> Result<Option<String>, LedgerError> {
    match payment.method.as_str() {
        DEFAULT_METHOD => accounts.ledger().chosen_card(payment.id).await,
        named => Ok(Some(named.to_owned())),
    }
}
