//! Money that went back: given back by an operator here, or told by the processor. The account is told how much of a
//! payment is back in all, so that telling it twice, or in another order, takes nothing twice. Reversals are taken one
//! after the other: each stands on the payment and the grant as the one before left them.

use billing::{
    Nanos,
    command::{Command, Fund, Refusal},
    entry::Notice,
    grant::Source,
    ids::{AccountId, PaymentId},
    payment::{Payment, PaymentStatus},
};
use tokio::sync::Mutex;

use super::pursue::{self, NotApplied};
use crate::{
    account::new_grant_id,
    card::{CardError, Outcome, Won},
    directory::Directory,
};

/// Whose turn it is. Reversals are few.
static TURN: Mutex<()> = Mutex::const_new(());

/// Times a grant that changed meanwhile is read again.
const TRIES: usize = 5;

/// Give money of a payment back to its card, and take its credits; answered with the payment when that is durable.
#[derive(Debug, Clone, Copy)]
pub struct Refund {
    /// Whose.
    pub account_id: AccountId,
    /// Which payment.
    pub payment_id: PaymentId,
    /// How much; none: all that was not given back before.
    pub amount: Option<Nanos>,
}

/// Why money was not given back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRefunded {
    /// There is no such payment.
    #[error("there is no such payment")]
    NoPayment,
    /// It was not paid.
    #[error("the payment is {0}, so nothing of it can be given back")]
    NotPaid(&'static str),
    /// More than was not given back yet.
    #[error("${0} of the payment are left to give back")]
    MoreThanLeft(Nanos),
    /// The processor did not do it.
    #[error(transparent)]
    Card(#[from] CardError),
    /// It could not be done or written now. Asking again gives nothing back twice.
    #[error("{0}")]
    NotNow(String),
}

impl From<NotApplied> for NotRefunded {
    fn from(error: NotApplied) -> Self {
        match error {
            NotApplied::Card(error) => Self::Card(error),
            NotApplied::Account(_) | NotApplied::Ledger(_) | NotApplied::Refused(_) => Self::NotNow(error.to_string()),
        }
    }
}

/// Gives money back and takes the credits it bought. The processor knows a refund again by how much was given back before
/// it: after a crash between the two, asking again completes it.
pub(super) async fn refund(directory: &Directory, refund: Refund) -> Result<Payment, NotRefunded> {
    let Refund { account_id, payment_id, amount } = refund;
    let _turn = TURN.lock().await;
    let read = directory.ledger().payment(account_id, payment_id).await;
    let payment = read.map_err(NotApplied::from)?.ok_or(NotRefunded::NoPayment)?;
    if payment.status != PaymentStatus::Succeeded {
        return Err(NotRefunded::NotPaid(payment.status.name()));
    }
    let left = payment.amount - payment.reversed;
    let amount = amount.unwrap_or(left);
    if !amount.is_positive() || amount > left {
        return Err(NotRefunded::MoreThanLeft(left));
    }
    let reference = reference(directory, account_id, &payment).await?;
    let key = format!("{payment_id}-{}", payment.reversed.get());
    directory.processor().refund(&reference, amount, &key).await?;
    tracing::info!(payment.id = %payment_id, amount_nanos = amount.get(), "refunded");
    take(directory, account_id, &payment, payment.reversed + amount, None).await?;
    let read = directory.ledger().payment(account_id, payment_id).await;
    read.map_err(NotApplied::from)?.ok_or(NotRefunded::NoPayment)
}

/// The processor's name for a charge: looked up for a payment that was made before it was kept.
async fn reference(directory: &Directory, account: AccountId, payment: &Payment) -> Result<String, NotRefunded> {
    if let Some(reference) = &payment.reference {
        return Ok(reference.clone());
    }
    let order = pursue::order_once(directory, account, payment).await.map_err(NotApplied::from)?.order;
    match directory.processor().find(&order).await? {
        Some(Outcome::Succeeded { reference, .. }) => Ok(reference),
        _ => Err(NotRefunded::NotNow("the processor does not find the charge".to_owned())),
    }
}

/// So much of a payment is back with its card, as a processor told.
pub(super) async fn reversed(
    directory: &Directory,
    account: AccountId,
    payment: PaymentId,
    total: Nanos,
    notice: Option<&Notice>,
) -> Result<(), NotApplied> {
    let _turn = TURN.lock().await;
    let Some(stored) = directory.ledger().payment(account, payment).await? else { return Ok(()) };
    if stored.status != PaymentStatus::Succeeded {
        // Declined here, so it brought no credits to take.
        return Ok(());
    }
    take(directory, account, &stored, total, notice).await
}

/// Has the account take what a payment's money bought. The turn is the caller's.
async fn take(
    directory: &Directory,
    account: AccountId,
    payment: &Payment,
    total: Nanos,
    notice: Option<&Notice>,
) -> Result<(), NotApplied> {
    let total = total.min(payment.amount);
    let mut tries = 1..=TRIES;
    loop {
        let grant = directory.ledger().grant_of(account, &payment.grant_key()).await?.map(Box::new);
        let reversed = Command::PaymentReversed { payment: Box::new(payment.clone()), grant, total };
        match directory.decide(account, pursue::noticed(notice.cloned(), reversed)).await?.result {
            Ok(_) => return Ok(()),
            // It was read before what changed it was written.
            Err(Refusal::GrantMoved(_)) if tries.next().is_some() => {}
            Err(refusal) => return Err(NotApplied::Refused(refusal)),
        }
    }
}

/// Money of a dispute came back: so do the credits that were taken for it, once.
pub(super) async fn won(
    directory: &Directory,
    account: AccountId,
    payment: PaymentId,
    won: &Won,
    notice: Option<&Notice>,
) -> Result<(), NotApplied> {
    let _turn = TURN.lock().await;
    let ledger = directory.ledger();
    let source_key = format!("dispute {}", won.dispute);
    let Some(stored) = ledger.payment(account, payment).await? else { return Ok(()) };
    let back = won.amount.min(stored.reversed - won.reversed.min(stored.reversed));
    if !back.is_positive() || ledger.grant_of(account, &source_key).await?.is_some() {
        return Ok(());
    }
    let Some(bought) = ledger.grant_of(account, &stored.grant_key()).await? else { return Ok(()) };
    let fund = Fund {
        grant_id: new_grant_id(),
        source: Source::Goodwill,
        source_key,
        amount: share(bought.funded, back, stored.amount),
        paid: Nanos::ZERO,
        expires_at: None,
        subscribed_until: None,
    };
    match directory.decide(account, pursue::noticed(notice.cloned(), Command::Fund(fund))).await?.result {
        Ok(_) | Err(Refusal::AlreadyFunded(_)) => Ok(()),
        Err(refusal) => Err(NotApplied::Refused(refusal)),
    }
}

/// What so much of a payment bought, as reversing it takes it.
fn share(funded: Nanos, part: Nanos, whole: Nanos) -> Nanos {
    let bought = i128::from(funded.get()) * i128::from(part.get()) / i128::from(whole.get().max(1));
    Nanos::new(i64::try_from(bought).unwrap_or(i64::MAX)).min(funded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_payment_bought_that_part_of_its_credits() {
        let (three, five) = (Nanos::dollars(3), Nanos::dollars(5));
        assert_eq!(share(five, three, three), five);
        assert_eq!(share(five, Nanos::dollars(1), three), Nanos::new(1_666_666_666));
        assert_eq!(share(three, Nanos::dollars(9), three), three);
    }
}
