//! Carries one payment to its end: does the steps of the pure [`Pursuit`] with the card processor, the account and the
//! clock, and reports their results to it. The card to charge is read from the ledger first.

use billing::{
    command::Refusal,
    entry::Notice,
    ids::AccountId,
    payment::{DEFAULT_METHOD, Payment, Purpose},
    resource::Resource,
};
use cards::{CardError, ChargeOutcome, Order, Refunded};
use futures::future::join;
use ledger::{Ledger, LedgerError};

use super::{
    Open, notice,
    pursuit::{self, AnswerMeaning, BackOff, Chargeable, Pursuit, ReportResult, Step, Telling},
};
use crate::{
    account::{AccountError, Waits, new_grant_id},
    accounts::Accounts,
    resources::{Decided, NotChanged},
};

/// Waits for the time of a back-off.
pub(super) async fn wait(back_off: &mut BackOff, accounts: &Accounts) {
    let clock = accounts.clock();
    clock.until(back_off.next(clock.now())).await;
}

/// Carries a payment to its end.
pub(super) async fn pursue(accounts: Accounts, account_id: AccountId, payment: Payment, open: Open) {
    let chosen = order(&accounts, account_id, &payment).await;
    let (clock, processor, order) = (accounts.clock(), accounts.processor(), &chosen.order);
    let mut pursuit = Pursuit::new(&payment, chosen.chargeable);
    let mut step = pursuit.next(clock.now());
    loop {
        step = match step {
            Step::Charge => pursuit.answered(processor.charge(order).await, clock.now()),
            Step::Find => pursuit.found(processor.find(order).await, clock.now()),
            Step::Look(reference) => pursuit.answered(processor.look(&reference).await, clock.now()),
            Step::Cancel(reference) => pursuit.answered(processor.cancel(&reference).await, clock.now()),
            Step::TellOwner(action) => {
                open.set_action(action.clone());
                // Bounded: once or twice in a payment's life.
                accounts.tell(account_id, Waits { payment_id: payment.id, action });
                pursuit.next(clock.now())
            }
            Step::Tell(outcome) => settle(&accounts, (account_id, &payment), order, &mut pursuit, outcome).await,
            Step::Wait { until, is_nudged, why } => {
                if let Some(why) = why {
                    tracing::warn!(payment.id = %payment.id, why, "a payment's outcome is not known yet");
                }
                tokio::select! {
                    () = clock.until(until) => {}
                    () = open.nudged.notified(), if is_nudged => {}
                }
                pursuit.next(clock.now())
            }
            Step::End => return,
        }
    }
}

/// The order for the processor, and its context.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) order: Order,
    chargeable: Chargeable,
}

async fn order(accounts: &Accounts, account_id: AccountId, payment: &Payment) -> Chosen {
    let mut back_off = BackOff::default();
    loop {
        match order_once(accounts, account_id, payment).await {
            Ok(chosen) => return chosen,
            Err(error) => tracing::warn!(payment.id = %payment.id, %error, "a payment's card could not be read"),
        }
        wait(&mut back_off, accounts).await;
    }
}

/// The card that a payment is charged to, and its payer. A payment that names no card is charged to the default card of
/// the time when it was first charged.
pub(super) async fn order_once(
    accounts: &Accounts,
    account_id: AccountId,
    payment: &Payment,
) -> Result<Chosen, NotChanged> {
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

/// Whether a payment was begun without a request: an automatic purchase, or a plan's renewal.
async fn is_automatic(ledger: &Ledger, account: AccountId, payment: &Payment) -> Result<bool, LedgerError> {
    match payment.purpose {
        Purpose::AutoReload | Purpose::AutoScale => Ok(true),
        Purpose::Subscription => ledger.is_renewal(account).await,
        Purpose::Purchase => Ok(false),
    }
}

/// Chooses the card of a payment before its first charge, so that repeated attempts charge the same card.
async fn choose(accounts: &Accounts, account_id: AccountId, payment: &Payment) -> Result<Option<String>, NotChanged> {
    let (payment_id, processor) = (payment.id, accounts.processor().name());
    let decide = async |ledger: &Ledger| {
        if let Some(chosen) = ledger.chosen_card(payment_id).await? {
            return Ok(Decided::new(Vec::new(), Some(chosen)));
        }
        let Some(saved) = ledger.default_method(account_id, processor).await? else {
            return Ok(Decided::new(Vec::new(), None));
        };
        let reference = saved.card.reference;
        let chosen = Resource::PaymentCard { payment_id, reference: reference.clone() };
        Ok(Decided::new(vec![chosen], Some(reference)))
    };
    accounts.change(account_id, decide).await
}

/// Reports to the account until the report is durable, or until the pursuit decides on another step, which is returned.
/// A processor within this process sends its events now: the first before the answer, the others beside it.
async fn settle(
    accounts: &Accounts,
    (account_id, payment): (AccountId, &Payment),
    order: &Order,
    pursuit: &mut Pursuit,
    mut outcome: ChargeOutcome,
) -> Step {
    let clock = accounts.clock();
    let mut notices = accounts.processor().notices(order, clock.now()).into_iter();
    if let Some(first) = notices.next() {
        notice::apply_own(accounts, &first).await;
    }
    let beside = async {
        for notice in notices {
            notice::apply_own(accounts, &notice).await;
        }
    };
    let tell = async {
        loop {
            let result = tell(accounts, account_id, payment, &outcome).await;
            match (pursuit.reported(result, clock.now()), result) {
                (Step::Wait { until, .. }, ReportResult::NotYet) => clock.until(until).await,
                (step, _) => return step,
            }
            match pursuit.next(clock.now()) {
                Step::Tell(again) => outcome = again,
                step => return step,
            }
        }
    };
    join(tell, beside).await.0
}

async fn tell(accounts: &Accounts, account_id: AccountId, payment: &Payment, outcome: &ChargeOutcome) -> ReportResult {
    match apply(accounts, account_id, payment, outcome, None).await {
        Ok(Applied::Ended) | Err(NotApplied::Account(AccountError::NoAccount)) => ReportResult::Ended,
        Ok(Applied::Open) => ReportResult::Open,
        Err(error) => {
            tracing::warn!(payment.id = %payment.id, %error, "a payment could not be settled yet");
            ReportResult::NotYet
        }
    }
}

/// The state of a payment after an outcome was reported to its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applied {
    /// The payment ended, now or before, and that is durable.
    Ended,
    /// The payment did not end.
    Open,
}

/// Why an outcome could not be reported.
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

/// Reports an outcome to the payment's account. An end that was reported before, by an answer or an event, changes
/// nothing.
pub(super) async fn apply(
    accounts: &Accounts,
    account_id: AccountId,
    payment: &Payment,
    outcome: &ChargeOutcome,
    notice: Option<&Notice>,
) -> Result<Applied, NotApplied> {
    let payment_id = payment.id;
    let command = match pursuit::telling(payment, outcome, new_grant_id(), notice.cloned()) {
        Telling::Command(command) => command,
        Telling::Nothing => return Ok(Applied::Open),
        Telling::AnotherAmount { reference, paid } => {
            // An operator must look.
            tracing::error!(payment.id = %payment_id, %reference, paid_nanos = paid.get(), "paid another amount");
            return Ok(Applied::Open);
        }
    };
    let late = match pursuit::meaning_of(payment, outcome, accounts.decide(account_id, command).await?) {
        AnswerMeaning::Ended => {
            let status = if matches!(outcome, ChargeOutcome::Succeeded { .. }) { "succeeded" } else { "declined" };
            metrics::counter!("farebox_payments_total", "status" => status, "purpose" => payment.purpose.name())
                .increment(1);
            return Ok(Applied::Ended);
        }
        AnswerMeaning::EndedBefore => return Ok(Applied::Ended),
        AnswerMeaning::Refused(refusal) => return Err(NotApplied::Refused(refusal)),
        AnswerMeaning::PaidAfterItEnded(late) => late,
    };
    let stored = accounts.ledger().payment(account_id, payment_id).await?;
    if stored.as_ref().is_some_and(pursuit::goes_back) {
        let reference = &late.reference;
        tracing::warn!(payment.id = %payment_id, %reference, "paid after it was declined: refunding");
        match accounts.processor().refund(&late).await {
            Refunded::Made { .. } => {}
            Refunded::Refused { code, message } => return Err(CardError::Refused { code, message }.into()),
            Refunded::Unknown { why } => return Err(CardError::Unavailable(why).into()),
        }
    }
    Ok(Applied::Ended)
}
