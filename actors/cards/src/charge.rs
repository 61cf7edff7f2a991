//! The calls to a card processor (charges, refunds, saved cards) and their results. Amounts cross to processors as
//! whole cents.

use billing::{
    Nanos,
    ids::{AccountId, PaymentId, ReversalId},
    reversal::State,
};
use serde::{Deserialize, Serialize};

/// Nano-dollars in a cent.
const NANOS_PER_CENT: i64 = 10_000_000;

/// The amount in whole cents; `None` where the amount is not a whole number of cents.
pub const fn to_cents(amount: Nanos) -> Option<i64> {
    if amount.get() % NANOS_PER_CENT == 0 { Some(amount.get() / NANOS_PER_CENT) } else { None }
}

/// The amount of so many cents; `None` where the ledger can't hold it.
pub fn from_cents(cents: i64) -> Option<Nanos> {
    Nanos::new(NANOS_PER_CENT).checked_times(cents)
}

/// A charge to carry out. The payment's id is the processor's idempotency key, so that a repeated order charges once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The payment that the charge is for.
    pub payment_id: PaymentId,
    /// The account that pays.
    pub account_id: AccountId,
    /// The amount to charge.
    pub amount: Nanos,
    /// The processor's id of the payer, where it needs one.
    pub customer: Option<String>,
    /// The processor's id of the card.
    pub method: String,
}

/// The step that the card's owner must take before the card can be charged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextAction {
    /// The processor's id of the charge.
    pub reference: String,
    /// The secret with which the owner's browser takes the step.
    pub client_secret: String,
}

/// The state of a charge, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChargeOutcome {
    /// Paid.
    Succeeded {
        /// The processor's id of the charge.
        reference: String,
        /// The amount that was paid.
        amount: Nanos,
    },
    /// Declined for good: the charge can't succeed any more.
    Declined {
        /// The card network's code for the reason.
        code: String,
    },
    /// The charge waits for the card's owner.
    NeedsAuthentication(NextAction),
    /// The processor did not answer, or has no result yet. The card may have been charged.
    Unknown {
        /// Why the state is not known.
        why: String,
    },
}

/// Why a call other than a charge failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// No answer: the processor may have acted. Repeating the call does no harm.
    #[error("the card processor can't be reached: {0}")]
    Unavailable(String),
    /// The processor refused the call.
    #[error("the card processor refused: {message}")]
    Refused {
        /// The processor's code for the reason.
        code: String,
        /// The reason in words.
        message: String,
    },
}

/// A setup that saves a card, begun at the processor. The browser of the card's owner finishes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// The processor's id of the setup.
    pub reference: String,
    /// The secret with which the browser finishes the setup.
    pub client_secret: String,
}

/// Money to give back to a card. A repeated order gives it back once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundOrder {
    /// The idempotency key: repeated calls with the same key are one refund.
    pub key: String,
    /// The refund's id in the ledger, by which it is found again at the processor.
    pub id: Option<ReversalId>,
    /// The processor's id of the charge.
    pub reference: String,
    /// The amount to give back.
    pub amount: Nanos,
}

/// The state of a refund, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refunded {
    /// The processor has accepted the refund.
    Made {
        /// The processor's id of the refund.
        reference: String,
        /// The refund's state.
        state: State,
    },
    /// The processor refused the refund: nothing was given back.
    Refused {
        /// The processor's code for the reason.
        code: String,
        /// The reason in words.
        message: String,
    },
    /// No answer: the refund may have been made.
    Unknown {
        /// Why the state is not known.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_cents_exactly_or_not_at_all() {
        assert_eq!(to_cents(Nanos::dollars(20)), Some(2_000));
        assert_eq!(to_cents("1.01".parse().unwrap()), Some(101));
        assert_eq!(to_cents("1.001".parse().unwrap()), None);
        assert_eq!(to_cents(Nanos::new(1)), None);
        assert_eq!(from_cents(101), Some("1.01".parse().unwrap()));
        assert_eq!(from_cents(i64::MAX), None);
    }
}
