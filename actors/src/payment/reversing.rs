//! What is decided about money that goes back, pure: how much of a payment can be refunded, how an unanswered refund is asked
//! for, whether an account is told of reversals now, and which webhooks are heard. It knows no ledger, no processor, no account
//! and no clock; the payment actor and the simulation carry out what it says.

use billing::{
    Nanos, Timestamp,
    command::Refusal,
    ids::ReversalId,
    payment::{Payment, PaymentStatus},
    reversal::{Kind, News, Reversal, State},
};
use cards::Refunded;

use super::{NotRefunded, pursuit};

/// Times what changed meanwhile is read again.
const TRIES: u32 = 5;

/// What an unanswered refund's code is once a look-up found that it was never made.
const NEVER_REFUNDED: &str = "never_refunded";

/// What a refund that is to be written down is to its payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// It is there already, under its id.
    Known(Reversal),
    /// It is new: this is told to the account.
    New(News),
}

/// Looks whether a refund of a payment can be written down. Without an amount it is of all that is left.
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

/// How an unanswered refund is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// The processor is asked for it, under its id.
    Refund,
    /// It is too late for that: it is looked up, and what is found is [`found`].
    Find,
}

/// How an unanswered refund is asked for now.
pub fn asking(refund: &Reversal, now: Timestamp) -> Asking {
    if pursuit::is_known_again(refund.created_at, now) { Asking::Refund } else { Asking::Find }
}

/// What is known of a refund that was looked up: one the processor never heard of is never made.
pub fn found(found: Option<Refunded>) -> Refunded {
    found.unwrap_or_else(|| Refunded::Refused {
        code: NEVER_REFUNDED.to_owned(),
        message: "it was never made".to_owned(),
    })
}

/// What an account is told of a refund's answer; none where there is none yet.
pub fn news(refund: &Reversal, answer: &Refunded) -> Option<News> {
    let (reference, state) = match answer {
        Refunded::Made { reference, state } => (Some(reference.clone()), *state),
        Refunded::Refused { .. } => (None, State::Failed),
        Refunded::Unknown { .. } => return None,
    };
    Some(News { id: Some(refund.id), kind: Kind::Refund, reference, amount: refund.amount, state })
}

/// Whether an account is told of a payment's reversals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    /// It is.
    Now,
    /// They change nothing: the payment brought no credits.
    Never,
    /// They are to be told again once it is paid.
    Later,
}

/// Whether an account is told of the reversals of a payment of this status.
pub const fn hearing(status: PaymentStatus) -> Hearing {
    match status {
        PaymentStatus::Succeeded => Hearing::Now,
        PaymentStatus::Declined => Hearing::Never,
        PaymentStatus::Pending => Hearing::Later,
    }
}

/// Tries to tell an account of reversals, each on what was read before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readings(u32);

impl Readings {
    /// Whether it is told again, on what is read then: its payment was read before what changed it was written.
    pub const fn again(&mut self, refusal: &Refusal) -> bool {
        self.0 += 1;
        matches!(refusal, Refusal::GrantMoved(_) | Refusal::CycleMoved(_)) && self.0 <= TRIES
    }
}

/// What a webhook is, by when the last delivery of its event was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// Its event was not heard before.
    First,
    /// Its event was heard before: it is only noted.
    Again,
    /// This very delivery was heard before: its sender signs each anew.
    Replayed,
}

/// What a webhook that was signed then is.
pub fn delivered(before: Option<Timestamp>, signed_at: Timestamp) -> Delivered {
    match before {
        None => Delivered::First,
        Some(before) if signed_at <= before => Delivered::Replayed,
        Some(_) => Delivered::Again,
    }
}
