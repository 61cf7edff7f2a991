//! One payment carried to its end. While it may be asked again under the same key, an unanswered charge is repeated with
//! back-off; after that it is only looked up, never charged again blindly. A charge that waits for its owner is given up
//! after an hour. What came of it is told to the account until it is durable.

use billing::{
    Timestamp,
    command::{Command, Refusal},
    ids::AccountId,
    payment::Payment,
    time::DAY_MS,
};
use futures::future::join;

use super::{Charge, Open, notice};
use crate::{
    account::{AccountError, Waits, new_grant_id},
    card::{Order, Outcome},
    directory::Directory,
    ledger::LedgerError,
};

/// For how long the processor knows a charge again by its key: a day, less what a last call may take.
const SAME_KEY_MS: i64 = DAY_MS - 5 * 60_000;
/// How long a card's owner has.
const OWNER_MS: i64 = 60 * 60_000;
/// The first wait after no answer, and the longest; each is twice the one before.
const FIRST_WAIT_MS: i64 = 250;
const LONGEST_WAIT_MS: i64 = 5 * 60_000;
/// How often a charge that waits for its owner is looked at, where no notice comes.
const LOOK_MS: i64 = 30_000;

/// What an unanswered payment's code is once a look-up found that it was never charged.
const NEVER_CHARGED: &str = "never_charged";

/// Waits that grow.
struct BackOff(i64);

impl BackOff {
    const fn new() -> Self {
        Self(FIRST_WAIT_MS)
    }

    async fn wait(&mut self, directory: &Directory) {
        let clock = directory.clock();
        clock.until(clock.now().plus_ms(self.0)).await;
        self.0 = (self.0 * 2).min(LONGEST_WAIT_MS);
    }
}

/// Carries a payment to its end.
pub(super) async fn pursue(directory: Directory, charge: Charge, open: Open) {
    let Charge { account_id, payment } = charge;
    let order = order(&directory, account_id, &payment).await;
    let mut back_off = BackOff::new();
    loop {
        let outcome = match ask(&directory, &order, payment.created_at).await {
            Outcome::NeedsAuthentication(action) => {
                let reference = action.reference.clone();
                open.set_action(action.clone());
                // Once or twice in a payment's life.
                directory.tell(account_id, Waits { payment_id: payment.id, action });
                wait_for_owner(&directory, &payment, &reference, &open).await
            }
            outcome => outcome,
        };
        if let Outcome::Unknown { why } = &outcome {
            tracing::warn!(payment.id = %payment.id, why, "a payment's outcome is not known yet");
        } else if settle(&directory, (account_id, &payment), &order, &outcome).await {
            return;
        }
        back_off.wait(&directory).await;
    }
}

/// What the processor is asked: who pays is looked up by the card.
async fn order(directory: &Directory, account_id: AccountId, payment: &Payment) -> Order {
    let mut back_off = BackOff::new();
    loop {
        match order_once(directory, account_id, payment).await {
            Ok(order) => return order,
            Err(error) => tracing::warn!(payment.id = %payment.id, %error, "a payment's card could not be read"),
        }
        back_off.wait(directory).await;
    }
}

async fn order_once(directory: &Directory, account_id: AccountId, payment: &Payment) -> Result<Order, LedgerError> {
    let (ledger, processor) = (directory.ledger(), directory.processor().name());
    let saved = ledger.method_by_reference(account_id, processor, &payment.method).await?;
    let customer = saved.map(|saved| saved.card.customer);
    let (payment_id, amount, method) = (payment.id, payment.amount, payment.method.clone());
    Ok(Order { payment_id, account_id, amount, customer, method })
}

/// Charges, or looks up where it is too late for that.
async fn ask(directory: &Directory, order: &Order, created_at: Timestamp) -> Outcome {
    let processor = directory.processor();
    if directory.clock().now() < created_at.plus_ms(SAME_KEY_MS) {
        return processor.charge(order).await;
    }
    match processor.find(order).await {
        Ok(Some(outcome)) => outcome,
        Ok(None) => Outcome::Declined { code: NEVER_CHARGED.to_owned() },
        Err(error) => Outcome::Unknown { why: error.to_string() },
    }
}

/// Looks now and then, and when nudged; gives up when the owner's time is over.
async fn wait_for_owner(directory: &Directory, payment: &Payment, reference: &str, open: &Open) -> Outcome {
    let (clock, processor) = (directory.clock(), directory.processor());
    let until = payment.created_at.plus_ms(OWNER_MS);
    while clock.now() < until {
        let next = clock.now().plus_ms(LOOK_MS).min(until);
        tokio::select! {
            () = clock.until(next) => {}
            () = open.nudged.notified() => {}
        }
        if clock.now() < until {
            match processor.look(reference).await {
                Outcome::NeedsAuthentication(_) | Outcome::Unknown { .. } => {}
                ended => return ended,
            }
        }
    }
    match processor.cancel(reference).await {
        Outcome::NeedsAuthentication(_) => Outcome::Unknown { why: "it was not canceled".to_owned() },
        ended => ended,
    }
}

/// Tells the account until it is durable; whether the payment ended. A processor within this process sends its notices
/// now: the first before the answer, the others beside it.
async fn settle(
    directory: &Directory,
    (account_id, payment): (AccountId, &Payment),
    order: &Order,
    outcome: &Outcome,
) -> bool {
    let mut notices = directory.processor().notices(order, directory.clock().now()).into_iter();
    if let Some(first) = notices.next() {
        notice::hear_own(directory, &first).await;
    }
    let beside = async {
        for notice in notices {
            notice::hear_own(directory, &notice).await;
        }
    };
    let mut back_off = BackOff::new();
    let tell = async {
        loop {
            match apply(directory, account_id, payment, outcome).await {
                Ok(applied) => return applied == Applied::Ended,
                Err(NotApplied::Account(AccountError::NoAccount)) => return true,
                Err(error) => tracing::warn!(payment.id = %payment.id, %error, "a payment could not be settled yet"),
            }
            back_off.wait(directory).await;
        }
    };
    join(tell, beside).await.0
}

/// Where a payment stands after an outcome was told to its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applied {
    /// It ended, now or before, and that is durable.
    Ended,
    /// It did not.
    Open,
}

/// Why an outcome could not be told.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotApplied {
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Card(#[from] crate::card::CardError),
}

/// Tells an account what came of its payment. An end that was told before, by an answer or a notice, changes nothing.
pub(super) async fn apply(
    directory: &Directory,
    account_id: AccountId,
    payment: &Payment,
    outcome: &Outcome,
) -> Result<Applied, NotApplied> {
    let payment_id = payment.id;
    let command = match outcome {
        Outcome::Succeeded { amount, reference } if *amount != payment.amount => {
            // Credits are only ever made for what was paid: someone must look.
            tracing::error!(payment.id = %payment_id, %reference, paid_nanos = amount.get(), "paid another amount");
            return Ok(Applied::Open);
        }
        Outcome::Succeeded { reference, .. } => {
            let (grant_id, reference) = (new_grant_id(), Some(reference.clone()));
            Command::PaymentSucceeded { payment_id, grant_id, reference }
        }
        Outcome::Declined { code } => Command::PaymentDeclined { payment_id, decline_code: code.clone() },
        Outcome::NeedsAuthentication(_) | Outcome::Unknown { .. } => return Ok(Applied::Open),
    };
    match directory.decide(account_id, command).await?.result {
        Ok(_) => return Ok(Applied::Ended),
        Err(Refusal::NoPayment(_)) => {}
        Err(refusal) => {
            tracing::error!(payment.id = %payment_id, %refusal, "an account refused its payment's end");
            return Ok(Applied::Open);
        }
    }
    // It ended before. Money that came for a payment that was told declined goes back.
    let Outcome::Succeeded { reference, amount } = outcome else { return Ok(Applied::Ended) };
    let stored = directory.ledger().payment(account_id, payment_id).await?;
    if stored.is_some_and(|stored| stored.decline_code.is_some()) {
        tracing::warn!(payment.id = %payment_id, %reference, "paid after it was declined: refunding");
        directory.processor().refund(reference, *amount, &format!("late-{payment_id}")).await?;
    }
    Ok(Applied::Ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes() {
        let waits: Vec<_> =
            std::iter::successors(Some(FIRST_WAIT_MS), |wait| Some((wait * 2).min(LONGEST_WAIT_MS))).take(13).collect();
        assert_eq!(waits[..3], [250, 500, 1_000]);
        assert_eq!(waits[12], LONGEST_WAIT_MS);
    }
}
