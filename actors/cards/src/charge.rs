//! What a processor is asked to do with a card, and what is known after it: charges, refunds, cards that are saved. Amounts
//! cross to processors as whole cents.

use billing::{
    Nanos,
    ids::{AccountId, PaymentId, ReversalId},
    reversal::State,
};

/// Nano-dollars in a cent.
const NANOS_PER_CENT: i64 = 10_000_000;

/// An amount in whole cents; none where it is not one.
pub const fn to_cents(amount: Nanos) -> Option<i64> {
    if amount.get() % NANOS_PER_CENT == 0 { Some(amount.get() / NANOS_PER_CENT) } else { None }
}

/// An amount of cents; none where the ledger can't hold it.
pub fn from_cents(cents: i64) -> Option<Nanos> {
    Nanos::new(NANOS_PER_CENT).checked_times(cents)
}

/// A charge to carry out. Carried out twice, it charges once: its payment's id is the processor's idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Which payment.
    pub payment_id: PaymentId,
    /// Whose.
    pub account_id: AccountId,
    /// How much.
    pub amount: Nanos,
    /// The processor's name for the payer, where it needs one.
    pub customer: Option<String>,
    /// The processor's name for the card.
    pub method: String,
}

/// What its owner must do before a card can be charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextAction {
    /// The processor's name for the charge.
    pub reference: String,
    /// What the owner's browser proves itself with.
    pub client_secret: String,
}

/// What is known of a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Paid.
    Succeeded {
        /// The processor's name for the charge.
        reference: String,
        /// What was paid.
        amount: Nanos,
    },
    /// Declined, and can't succeed any more.
    Declined {
        /// The network's word for why.
        code: String,
    },
    /// Waits for the card's owner.
    NeedsAuthentication(NextAction),
    /// The processor did not answer, or not yet: it may have been charged.
    Unknown {
        /// Why it is not known.
        why: String,
    },
}

/// Why a processor did not do what it was asked, other than charge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// No answer: it may have been done. Asking again does no harm.
    #[error("the card processor can't be reached: {0}")]
    Unavailable(String),
    /// It refused.
    #[error("the card processor refused: {message}")]
    Refused {
        /// Its word for why.
        code: String,
        /// The same for people.
        message: String,
    },
}

/// What was begun to save a card; its owner's browser finishes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// The processor's name for it.
    pub reference: String,
    /// What the browser proves itself with.
    pub client_secret: String,
}

/// Money to give back to a card. Asked for twice, it is given back once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundOrder {
    /// What makes a repeated call the same refund.
    pub key: String,
    /// The refund's id here, for which it is known again at the processor.
    pub id: Option<ReversalId>,
    /// The processor's name for the charge.
    pub reference: String,
    /// How much.
    pub amount: Nanos,
}

/// What is known of a refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refunded {
    /// The processor has it.
    Made {
        /// Its name for it.
        reference: String,
        /// Where it stands.
        state: State,
    },
    /// The processor refused it: nothing was given back.
    Refused {
        /// Its word for why.
        code: String,
        /// The same for people.
        message: String,
    },
    /// No answer: it may have been made.
    Unknown {
        /// Why it is not known.
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
