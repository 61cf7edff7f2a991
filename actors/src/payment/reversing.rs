//! Decisions on money that goes back, pure: how much of a payment can be refunded, how an unanswered refund is
//! requested, whether an account is informed of reversals now, and which webhooks are applied. No ledger, no processor,
//! no account and no clock is known here; the payment actor and the simulation carry the decisions out.

use billing::{
    Nanos, Timestamp,
    command::Refusal,
    ids::ReversalId,
    payment::{Payment, PaymentStatus},
    reversal::{Kind, News, Reversal, State},
};
use cards::Refunded;

use super::{NotRefunded, pursuit};

/// Attempts after a change in between.
const TRIES: u32 = 5;

/// The code of an unanswered refund once a look-up found that it was never made.
const NEVER_REFUNDED: &str = "never_refunded";

/// Whether a refund is new to its payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// The refund exists under its id.
    Known(Reversal),
    /// The refund is new: report this to the account.
    New(News),
}

/// Checks whether a refund of a payment can be written. Without an amount it is for everything that is left.
///
/// # Errors
///
/// [`NotPaid`](NotRefunded::NotPaid) where the payment did not succeed. [`MoreThanLeft`](NotRefunded::MoreThanLeft)
/// where the amount is not positive or more than is left.
pub fn begin(
    payment: &Payment,
    known: &[Reversal],
    id: ReversalId,
    wanted: Option<Nanos>,
) -> Result<Beginning, NotRefunded> {
    if let Some(known) = known.iter().find(|row| row.id == id) {
        return Ok(Beginning::Known(known.clone()));
    }
    if payment.status != PaymentStatus::Succeeded {
        return Err(NotRefunded::NotPaid(payment.status.name()));
    }
    let left = payment.amount - payment.reversed;
    let amount = wanted.unwrap_or(left);
    if !amount.is_positive() || amount > left {
        return Err(NotRefunded::MoreThanLeft(left));
    }
    Ok(Beginning::New(News { id: Some(id), kind: Kind::Refund, reference: None, amount, state: State::Pending }))
}

/// How an unanswered refund is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// Request the refund at the processor, under its id.
    Refund,
    /// Too late for a request: look the refund up, and give the result to [`found`].
    Find,
}

/// How an unanswered refund is requested now.
pub fn asking(refund: &Reversal, now: Timestamp) -> Asking {
    if pursuit::is_known_again(refund.created_at, now) { Asking::Refund } else { Asking::Find }
}

/// The result of a look-up. A refund that the processor does not know is never made.
pub fn found(found: Option<Refunded>) -> Refunded {
    found.unwrap_or_else(|| Refunded::Refused {
        code: NEVER_REFUNDED.to_owned(),
        message: "it was never made".to_owned(),
    })
}

/// The report of a refund's answer to its account; `None` where there is no answer yet.
pub fn news(refund: &Reversal, answer: &Refunded) -> Option<News> {
    let (reference, state) = match answer {
        Refunded::Made { reference, state } => (Some(reference.clone()), *state),
        Refunded::Refused { .. } => (None, State::Failed),
        Refunded::Unknown { .. } => return None,
    };
    Some(News { id: Some(refund.id), kind: Kind::Refund, reference, amount: refund.amount, state })
}

/// Whether an account is informed of a payment's reversals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    /// The account is informed now.
    Now,
    /// They change nothing: the payment brought no credits.
    Never,
    /// The event must come again once the payment is paid.
    Later,
}

/// Whether an account is informed of the reversals of a payment with this status.
pub const fn hearing(status: PaymentStatus) -> Hearing {
    match status {
        PaymentStatus::Succeeded => Hearing::Now,
        PaymentStatus::Declined => Hearing::Never,
        PaymentStatus::Pending => Hearing::Later,
    }
}

/// The attempts to report reversals to an account, each after a fresh read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readings(u32);

impl Readings {
    /// Whether to report again after a fresh read: the payment may have been read before a change was written.
    pub const fn again(&mut self, refusal: &Refusal) -> bool {
        self.0 += 1;
        matches!(refusal, Refusal::GrantMoved(_) | Refusal::CycleMoved(_)) && self.0 <= TRIES
    }
}

/// Whether a webhook is new, by when the last delivery of its event was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// The event was not applied before.
    First,
    /// The event was applied before: this delivery is only recorded.
    Again,
    /// This very delivery was applied before: its sender signs each delivery anew.
    Replayed,
}

/// Whether a webhook signed at this time is new.
pub fn delivered(before: Option<Timestamp>, signed_at: Timestamp) -> Delivered {
    match before {
        None => Delivered::First,
        Some(before) if signed_at <= before => Delivered::Replayed,
        Some(_) => Delivered::Again,
    }
}
