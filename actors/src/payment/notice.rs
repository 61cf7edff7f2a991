//! Events that the processor sends by itself. An event only names what to fetch. The fetched state is reported to the
//! account like an answer, and is as harmless when repeated. The event is recorded in the same commit as its changes,
//! or by itself where there are none.

use billing::{entry::Notice, ids::PaymentId};
use cards::{CardError, ChargeOutcome, Finding, ProcessorEvent, ProcessorRecord, Subject};
use ledger::LedgerError;

use super::{
    pursue::{self, NotApplied},
    reversal::{self, Because},
    reversing::{self, Delivered},
};
use crate::{account::AccountError, accounts::Accounts};

/// The result of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The payments that the event was about; empty where it does not matter here.
    pub payments: Vec<PaymentId>,
    /// Whether the event was applied before.
    pub repeated: bool,
}

/// Why an event was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventNotApplied {
    /// This very delivery was applied before: its sender signs each delivery anew.
    #[error("this delivery of event {0} was received before")]
    Replayed(String),
    /// The processor does not know the object that the event is about.
    #[error("{0}")]
    Unfounded(String),
    /// The event can't be applied now; the sender should repeat it.
    #[error("{0}")]
    NotNow(String),
    /// Too many events at once; the sender should repeat it.
    #[error("too many notices at once")]
    Overloaded,
}

impl From<LedgerError> for EventNotApplied {
    fn from(error: LedgerError) -> Self {
        Self::NotNow(error.to_string())
    }
}

impl From<CardError> for EventNotApplied {
    fn from(error: CardError) -> Self {
        match error {
            CardError::Unavailable(_) => Self::NotNow(error.to_string()),
            CardError::Refused { .. } => Self::Unfounded(error.to_string()),
        }
    }
}

impl From<NotApplied> for EventNotApplied {
    fn from(error: NotApplied) -> Self {
        Self::NotNow(error.to_string())
    }
}

/// Applies an event: all its changes are durable afterwards.
pub(super) async fn apply(accounts: &Accounts, event: &ProcessorEvent) -> Result<Applied, EventNotApplied> {
    let ProcessorEvent { notice, subject } = event;
    if *subject == Subject::Other {
        return Ok(Applied { payments: Vec::new(), repeated: false });
    }
    let (ledger, processor) = (accounts.ledger(), accounts.processor());
    let before = ledger.webhook_signed_at(processor.name(), &notice.id).await?;
    let delivered = reversing::delivered(before, notice.signed_at);
    let mut payments = Vec::new();
    match delivered {
        Delivered::Replayed => return Err(EventNotApplied::Replayed(notice.id.clone())),
        Delivered::Again => {}
        Delivered::First => {
            let mut findings = processor.fetch(subject).await?.into_iter().peekable();
            while let Some(finding) = findings.next() {
                // The event is recorded with the last of its changes. After a crash before that, it is sent and applied
                // again.
                let noted = findings.peek().is_none().then_some(notice);
                payments.extend(take(accounts, finding, noted).await?);
            }
        }
    }
    if delivered == Delivered::Again || !payments.is_empty() {
        ledger.note_webhook(notice, accounts.clock().now()).await?;
    }
    Ok(Applied { payments, repeated: delivered == Delivered::Again })
}

/// Applies an event of a processor within this process.
pub(super) async fn apply_own(accounts: &Accounts, event: &ProcessorEvent) {
    match apply(accounts, event).await {
        Ok(_) => {}
        Err(EventNotApplied::Replayed(event)) => tracing::debug!(event, "a notice came twice"),
        Err(error) => tracing::warn!(%error, event = event.notice.id, "an event of the card processor was not applied"),
    }
}

/// Reports a finding to the account. Returns the payment, where it is one of ours.
async fn take(
    accounts: &Accounts,
    finding: Finding,
    notice: Option<&Notice>,
) -> Result<Option<PaymentId>, EventNotApplied> {
    let Finding { payment_id, record } = finding;
    let Some((account_id, payment)) = accounts.ledger().payment_of_anyone(payment_id).await? else {
        tracing::warn!(payment.id = %payment_id, "a notice of a payment that is not ours");
        return Ok(None);
    };
    let taken = match record {
        ProcessorRecord::Charge(ChargeOutcome::Unknown { why }) => return Err(EventNotApplied::NotNow(why)),
        // The payment's pursuit waits for the owner.
        ProcessorRecord::Charge(ChargeOutcome::NeedsAuthentication(_)) => Ok(()),
        ProcessorRecord::Charge(outcome) => {
            pursue::apply(accounts, account_id, &payment, &outcome, notice).await.map(drop)
        }
        ProcessorRecord::Reversals(news, listing) => {
            let because = Because::Notice(notice.cloned());
            reversal::apply(accounts, account_id, payment_id, (news, listing), because).await
        }
    };
    match taken {
        Ok(()) => Ok(Some(payment_id)),
        Err(NotApplied::Account(AccountError::NoAccount)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
