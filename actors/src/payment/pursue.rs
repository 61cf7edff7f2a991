//! One payment carried to its end. While it may be asked again under the same key, an unanswered charge is repeated with
//! back-off; after that it is only looked up, never charged again blindly. A charge that waits for its owner is given up
//! after an hour. What came of it is told to the account until it is durable.

use billing::{
    Timestamp,
    command::{Command, Refusal},
    entry::Notice,
    ids::AccountId,
    payment::{DEFAULT_METHOD, Payment, Purpose},
    time::DAY_MS,
};
use cards::{CardError, Order, Outcome, RefundOrder, Refunded};
use futures::future::join;
use ledger::{Ledger, LedgerError};

use super::{Open, notice};
use crate::{
    account::{AccountError, Waits, new_grant_id},
    accounts::Accounts,
};

/// For how long the processor knows a charge again by its key: a day, less what a last call may take.
pub(super) const SAME_KEY_MS: i64 = DAY_MS - 5 * 60_000;
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
pub(super) struct BackOff(i64);

impl BackOff {
    pub(super) const fn new() -> Self {
        Self(FIRST_WAIT_MS)
    }

    pub(super) async fn wait(&mut self, accounts: &Accounts) {
        let clock = accounts.clock();
        clock.until(clock.now().plus_ms(self.0)).await;
        self.0 = (self.0 * 2).min(LONGEST_WAIT_MS);
    }
}

/// Carries a payment to its end.
pub(super) async fn pursue(accounts: Accounts, account_id: AccountId, payment: Payment, open: Open) {
    let chosen = order(&accounts, account_id, &payment).await;
    let mut back_off = BackOff::new();
    loop {
        let outcome = match ask(&accounts, &chosen, payment.created_at).await {
            // Nobody is there who could.
            Outcome::NeedsAuthentication(action) if payment.purpose.is_automatic() => {
                give_up(&accounts, &action.reference).await
            }
            Outcome::NeedsAuthentication(action) => {
                let reference = action.reference.clone();
                open.set_action(action.clone());
                // Once or twice in a payment's life.
                accounts.tell(account_id, Waits { payment_id: payment.id, action });
                wait_for_owner(&accounts, &payment, &reference, &open).await
            }
            outcome => outcome,
        };
        if let Outcome::Unknown { why } = &outcome {
            tracing::warn!(payment.id = %payment.id, why, "a payment's outcome is not known yet");
        } else if settle(&accounts, account_id, &payment, &chosen.order, &outcome).await {
            return;
        }
        back_off.wait(&accounts).await;
    }
}

/// Whether a card may still be charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chargeable {
    Yes,
    /// Not any more, or there never was one: what was charged before is looked up.
    No(&'static str),
}

/// What the processor is asked.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) order: Order,
    chargeable: Chargeable,
}

async fn order(accounts: &Accounts, account_id: AccountId, payment: &Payment) -> Chosen {
    let mut back_off = BackOff::new();
    loop {
        match order_once(accounts, account_id, payment).await {
            Ok(chosen) => return chosen,
            Err(error) => tracing::warn!(payment.id = %payment.id, %error, "a payment's card could not be read"),
        }
        back_off.wait(accounts).await;
    }
}

/// The card a payment is charged to, and who pays: a payment that names no card is charged to the default one of the time
/// it was first charged.
pub(super) async fn order_once(
    accounts: &Accounts,
    account_id: AccountId,
    payment: &Payment,
) -> Result<Chosen, LedgerError> {
    let (ledger, processor) = (accounts.ledger(), accounts.processor().name());
    let method = if payment.method == DEFAULT_METHOD {
        match ledger.chosen_card(payment.id).await? {
            Some(chosen) => Some(chosen),
            None => choose(accounts, account_id, payment).await?,
        }
    } else {
        Some(payment.method.clone())
    };
    let saved = match &method {
        Some(method) => ledger.method_by_reference(account_id, processor, method).await?,
        None => None,
    };
    let is_disputed = match &method {
        Some(method) if is_automatic(ledger, account_id, payment).await? => {
            ledger.is_disputed(account_id, method).await?
        }
        _ => false,
    };
    let chargeable = match (&method, &saved) {
        (None, _) => Chargeable::No("no_card_saved"),
        _ if is_disputed => Chargeable::No("card_disputed"),
        (Some(_), Some(saved)) if saved.removed_at.is_some() => Chargeable::No("card_removed"),
        (Some(_), _) => Chargeable::Yes,
    };
    let customer = saved.map(|saved| saved.card.customer);
    let (payment_id, amount, method) = (payment.id, payment.amount, method.unwrap_or_default());
    Ok(Chosen { order: Order { payment_id, account_id, amount, customer, method }, chargeable })
}

/// Whether nobody asked for this very payment: an automatic purchase, or the renewal of a plan.
async fn is_automatic(ledger: &Ledger, account: AccountId, payment: &Payment) -> Result<bool, LedgerError> {
    match payment.purpose {
        Purpose::AutoReload | Purpose::AutoScale => Ok(true),
        Purpose::Subscription => ledger.is_renewal(account).await,
        Purpose::Purchase => Ok(false),
    }
}

async fn choose(accounts: &Accounts, account_id: AccountId, payment: &Payment) -> Result<Option<String>, LedgerError> {
    let Some(saved) = accounts.default_method(account_id).await? else { return Ok(None) };
    accounts.ledger().choose_card(payment.id, &saved.card.reference).await?;
    accounts.ledger().chosen_card(payment.id).await
}

/// Charges, or looks up where it is too late for that.
async fn ask(accounts: &Accounts, chosen: &Chosen, created_at: Timestamp) -> Outcome {
    let processor = accounts.processor();
    let is_known_again = accounts.clock().now() < created_at.plus_ms(SAME_KEY_MS);
    let never = match chosen.chargeable {
        Chargeable::Yes if is_known_again => return processor.charge(&chosen.order).await,
        Chargeable::Yes => NEVER_CHARGED,
        Chargeable::No(why) => why,
    };
    match processor.find(&chosen.order).await {
        Ok(Some(outcome)) => outcome,
        Ok(None) => Outcome::Declined { code: never.to_owned() },
        Err(error) => Outcome::Unknown { why: error.to_string() },
    }
}

/// Looks now and then, and when nudged; gives up when the owner's time is over.
async fn wait_for_owner(accounts: &Accounts, payment: &Payment, reference: &str, open: &Open) -> Outcome {
    let (clock, processor) = (accounts.clock(), accounts.processor());
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
    give_up(accounts, reference).await
}

async fn give_up(accounts: &Accounts, reference: &str) -> Outcome {
    match accounts.processor().cancel(reference).await {
        Outcome::NeedsAuthentication(_) => Outcome::Unknown { why: "it was not canceled".to_owned() },
        ended => ended,
    }
}

/// Tells the account until it is durable; whether the payment ended. A processor within this process sends its notices
/// now: the first before the answer, the others beside it.
async fn settle(
    accounts: &Accounts,
    account_id: AccountId,
    payment: &Payment,
    order: &Order,
    outcome: &Outcome,
) -> bool {
    let mut notices = accounts.processor().notices(order, accounts.clock().now()).into_iter();
    if let Some(first) = notices.next() {
        notice::apply_own(accounts, &first).await;
    }
    let beside = async {
        for notice in notices {
            notice::apply_own(accounts, &notice).await;
        }
    };
    let mut back_off = BackOff::new();
    let tell = async {
        loop {
            match apply(accounts, account_id, payment, outcome, None).await {
                Ok(applied) => return applied == Applied::Ended,
                Err(NotApplied::Account(AccountError::NoAccount)) => return true,
                Err(error) => tracing::warn!(payment.id = %payment.id, %error, "a payment could not be settled yet"),
            }
            back_off.wait(accounts).await;
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
    Card(#[from] CardError),
    #[error("the account refused: {0}")]
    Refused(Refusal),
    #[error("the payment is not settled yet")]
    NotPaidYet,
}

/// A command, with the notice it comes from.
pub(super) fn noticed(notice: Option<Notice>, command: Command) -> Command {
    match notice {
        Some(notice) => Command::Notified { notice, command: Box::new(command) },
        None => command,
    }
}

/// Tells an account what came of its payment. An end that was told before, by an answer or a notice, changes nothing.
pub(super) async fn apply(
    accounts: &Accounts,
    account_id: AccountId,
    payment: &Payment,
    outcome: &Outcome,
    notice: Option<&Notice>,
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
    match accounts.decide(account_id, noticed(notice.cloned(), command)).await?.result {
        Ok(_) => {
            let status = if matches!(outcome, Outcome::Succeeded { .. }) { "succeeded" } else { "declined" };
            metrics::counter!("farebox_payments_total", "status" => status, "purpose" => payment.purpose.name())
                .increment(1);
            return Ok(Applied::Ended);
        }
        Err(Refusal::NoPayment(_)) => {}
        Err(refusal) => return Err(NotApplied::Refused(refusal)),
    }
    // It ended before. Money that came for a payment that was told declined goes back.
    let Outcome::Succeeded { reference, amount } = outcome else { return Ok(Applied::Ended) };
    let stored = accounts.ledger().payment(account_id, payment_id).await?;
    if stored.is_some_and(|stored| stored.decline_code.is_some()) {
        tracing::warn!(payment.id = %payment_id, %reference, "paid after it was declined: refunding");
        let (key, reference, amount) = (format!("late-{payment_id}"), reference.clone(), *amount);
        match accounts.processor().refund(&RefundOrder { key, id: None, reference, amount }).await {
            Refunded::Made { .. } => {}
            Refunded::Refused { code, message } => return Err(CardError::Refused { code, message }.into()),
            Refunded::Unknown { why } => return Err(CardError::Unavailable(why).into()),
        }
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
