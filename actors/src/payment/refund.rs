//! Money that an operator gives back. The refund is a row, and its credits are taken, before the processor is asked.
//! The row's id is the key at the processor, so that every repeated call (after a missing answer, after a crash) is the
//! same refund. While the processor recognizes a key, an unanswered refund is requested again with back-off; after that
//! it is only looked up. A refund that is refused, or was never made, gives its credits back.

use std::time::Duration;

use billing::{
    Nanos,
    entry::Proof,
    ids::{AccountId, PaymentId, ReversalId},
    payment::Payment,
    reversal::{Listing, Reversal},
};
use cards::{CardError, ChargeOutcome, ProcessorRecord, RefundOrder, Refunded, Subject};
use ledger::reversals::Unanswered;
use tokio::sync::{oneshot, watch};

use super::{
    notice,
    pursue::{self, NotApplied},
    pursuit::BackOff,
    reversal::{self, Because},
    reversing::{self, Asking, Beginning},
};
use crate::{account::AccountError, accounts::Accounts};

/// How long the asker of a refund waits for the processor. After that the refund continues by itself.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(8);

/// Give money of a payment back to its card, and take its credits. Answered when the processor's answer is durable, or
/// after a while.
#[derive(Debug, Clone)]
pub struct Refund {
    /// The account.
    pub account_id: AccountId,
    /// The payment.
    pub payment_id: PaymentId,
    /// The refund's id: repeated requests with one id are one refund.
    pub id: ReversalId,
    /// The amount; `None` for everything not yet given back.
    pub amount: Option<Nanos>,
    /// The proof of the request, written with the refund's row.
    pub proof: Proof,
}

/// A payment and its refund, as they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The payment.
    pub payment: Payment,
    /// The refund; pending where the processor has not answered yet.
    pub refund: Reversal,
}

/// Why money was not given back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRefunded {
    /// There is no such payment.
    #[error("there is no such payment")]
    NoPayment,
    /// The payment was not paid.
    #[error("the payment is {0}, so nothing of it can be given back")]
    NotPaid(&'static str),
    /// The amount is more than is left to give back.
    #[error("${0} of the payment are left to give back")]
    MoreThanLeft(Nanos),
    /// The payment has the most refunds that it can have.
    #[error("the payment has as many refunds as there can be; give back the rest at once")]
    TooMany,
    /// The processor refused or did not answer.
    #[error(transparent)]
    Card(#[from] CardError),
    /// The refund could not be made or written now.
    #[error("{0}")]
    NotNow(String),
}

impl From<NotApplied> for NotRefunded {
    fn from(error: NotApplied) -> Self {
        match error {
            NotApplied::Card(error) => Self::Card(error),
            NotApplied::Account(AccountError::NoAccount) => Self::NoPayment,
            NotApplied::Refused(billing::command::Refusal::TooManyReversals(_)) => Self::TooMany,
            NotApplied::Account(_) | NotApplied::Ledger(_) | NotApplied::Refused(_) | NotApplied::NotPaidYet => {
                Self::NotNow(error.to_string())
            }
        }
    }
}

/// The channel to the asker of a refund.
pub(super) type Asker = oneshot::Sender<Result<Given, NotRefunded>>;

/// Writes a refund and takes its credits. A refund that exists under its id is resumed.
pub(super) async fn begin(accounts: &Accounts, refund: &Refund) -> Result<Unanswered, NotRefunded> {
    let Refund { account_id, payment_id, id, amount: wanted, proof } = refund;
    let (account_id, payment_id, id) = (*account_id, *payment_id, *id);
    let _turn = reversal::turn().await;
    let stored = reversal::read(accounts, account_id, payment_id).await?.ok_or(NotRefunded::NoPayment)?;
    let pending = match reversing::begin(&stored.payment, &stored.reversals, id, *wanted)? {
        Beginning::Known(reversal) => return Ok(Unanswered { account_id, payment_id, reversal }),
        Beginning::New(pending) => pending,
    };
    let because = Because::Request(proof.clone());
    reversal::tell(accounts, account_id, stored, (vec![pending], Listing::Some), because).await?;
    let row = row(accounts, payment_id, id).await?;
    Ok(Unanswered { account_id, payment_id, reversal: row.ok_or(NotRefunded::NoPayment)? })
}

async fn row(accounts: &Accounts, payment: PaymentId, id: ReversalId) -> Result<Option<Reversal>, NotApplied> {
    Ok(accounts.ledger().reversals(payment).await?.into_iter().find(|row| row.id == id))
}

/// Carries a refund to the processor's answer. The asker gets the result, or, after a while, the news that the refund
/// is on its way.
pub(super) async fn carry(accounts: Accounts, refund: Unanswered, asker: Option<Asker>) {
    let Unanswered { account_id, payment_id, reversal } = &refund;
    let (told, too_long) = (to_its_end(&accounts, &refund), tokio::time::sleep(MAX_WAIT));
    tokio::pin!(told, too_long);
    let mut asker = asker;
    let ended = loop {
        tokio::select! {
            ended = &mut told => break ended,
            () = &mut too_long, if asker.is_some() => {
                let given = given(&accounts, *account_id, *payment_id, reversal.id).await;
                if let Some(asker) = asker.take() {
                    drop(asker.send(given));
                }
            }
        }
    };
    let given = match ended {
        Ok(()) => given(&accounts, *account_id, *payment_id, reversal.id).await,
        Err(error) => Err(error),
    };
    if let Some(asker) = asker {
        drop(asker.send(given));
    }
}

/// Tells an asker of a refund that is on its way how it stands at its end, or after a while. `ends` has no sender any more at the
/// end.
pub(super) async fn follow(accounts: Accounts, refund: Unanswered, mut ends: watch::Receiver<()>, asker: Asker) {
    let Unanswered { account_id, payment_id, reversal } = refund;
    drop(tokio::time::timeout(MAX_WAIT, ends.changed()).await);
    drop(asker.send(given(&accounts, account_id, payment_id, reversal.id).await));
}

async fn given(
    accounts: &Accounts,
    account: AccountId,
    payment: PaymentId,
    id: ReversalId,
) -> Result<Given, NotRefunded> {
    let read = accounts.ledger().payment(account, payment).await.map_err(NotApplied::from)?;
    let (payment, refund) = (read.ok_or(NotRefunded::NoPayment)?, row(accounts, payment, id).await?);
    Ok(Given { payment, refund: refund.ok_or(NotRefunded::NoPayment)? })
}

/// Repeats the request until the processor's answer is durable.
async fn to_its_end(accounts: &Accounts, refund: &Unanswered) -> Result<(), NotRefunded> {
    if !refund.reversal.is_unanswered() {
        return Ok(());
    }
    let Unanswered { account_id, payment_id, reversal } = refund;
    let mut back_off = BackOff::default();
    loop {
        let answer = ask(accounts, refund).await;
        if settle(accounts, refund, &answer).await {
            match answer {
                Refunded::Made { state, .. } if state.stands() => {
                    tracing::info!(payment.id = %payment_id, amount_nanos = reversal.amount.get(), "refunded");
                    apply_own(accounts, refund).await;
                    return Ok(());
                }
                Refunded::Made { .. } => {
                    let message = "the card's bank did not take the refund".to_owned();
                    return Err(CardError::Refused { code: "refund_failed".to_owned(), message }.into());
                }
                Refunded::Refused { code, message } => {
                    // A change at the processor may be unknown here, and stands in the way.
                    catch_up(accounts, *account_id, *payment_id).await;
                    return Err(CardError::Refused { code, message }.into());
                }
                Refunded::Unknown { .. } => {}
            }
        }
        pursue::wait(&mut back_off, accounts).await;
    }
}

/// Requests a refund, or looks it up where it is too late for a request.
async fn ask(accounts: &Accounts, refund: &Unanswered) -> Refunded {
    let order = match order(accounts, refund).await {
        Ok(order) => order,
        Err(why) => return Refunded::Unknown { why },
    };
    let processor = accounts.processor();
    match reversing::asking(&refund.reversal, accounts.clock().now()) {
        Asking::Refund => processor.refund(&order).await,
        Asking::Find => match processor.find_refund(&order).await {
            Ok(found) => reversing::found(found),
            Err(error) => Refunded::Unknown { why: error.to_string() },
        },
    }
}

/// The order for the processor, made from the refund's row alone.
async fn order(accounts: &Accounts, refund: &Unanswered) -> Result<RefundOrder, String> {
    let Unanswered { account_id, payment_id, reversal } = refund;
    let read = accounts.ledger().payment(*account_id, *payment_id).await.map_err(|error| error.to_string())?;
    let payment = read.ok_or("the payment is gone")?;
    let reference = reference(accounts, *account_id, &payment).await?;
    Ok(RefundOrder { key: reversal.id.to_string(), id: Some(reversal.id), reference, amount: reversal.amount })
}

/// The processor's id of a charge. It is looked up for payments from before it was stored.
async fn reference(accounts: &Accounts, account: AccountId, payment: &Payment) -> Result<String, String> {
    if let Some(reference) = &payment.reference {
        return Ok(reference.clone());
    }
    let order = pursue::order_once(accounts, account, payment).await.map_err(|error| error.to_string())?.order;
    match accounts.processor().find(&order).await.map_err(|error| error.to_string())? {
        Some(ChargeOutcome::Succeeded { reference, .. }) => Ok(reference),
        _ => Err("the processor does not find the charge".to_owned()),
    }
}

/// Reports an answer to the account. Returns whether there was an answer and it is durable.
async fn settle(accounts: &Accounts, refund: &Unanswered, answer: &Refunded) -> bool {
    let Unanswered { account_id, payment_id, reversal: row } = refund;
    if let Refunded::Unknown { why } = answer {
        tracing::warn!(payment.id = %payment_id, refund.id = %row.id, why, "a refund's outcome is not known yet");
    }
    let Some(news) = reversing::news(row, answer) else { return false };
    match reversal::apply(accounts, *account_id, *payment_id, (vec![news], Listing::Some), Because::Answer).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(payment.id = %payment_id, refund.id = %row.id, %error, "a refund could not be settled yet");
            false
        }
    }
}

/// A processor within this process sends its events now.
async fn apply_own(accounts: &Accounts, refund: &Unanswered) {
    if let Ok(order) = order(accounts, refund).await {
        for event in accounts.processor().refund_notices(&order, accounts.clock().now()) {
            notice::apply_own(accounts, &event).await;
        }
    }
}

/// Applies everything that the processor knows of a payment.
async fn catch_up(accounts: &Accounts, account: AccountId, payment: PaymentId) {
    let read = accounts.ledger().payment(account, payment).await.ok().flatten();
    let Some(reference) = read.and_then(|payment| payment.reference) else { return };
    let found = accounts.processor().fetch(&Subject::Refund(reference)).await;
    for finding in found.into_iter().flatten().filter(|finding| finding.payment_id == payment) {
        let ProcessorRecord::Reversals(news, listing) = finding.record else { continue };
        if let Err(error) = reversal::apply(accounts, account, payment, (news, listing), Because::Answer).await {
            tracing::warn!(payment.id = %payment, %error, "a payment's refunds could not be applied");
        }
    }
}
