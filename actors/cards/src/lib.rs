//! Card processors: what charges a card, saves one, gives money back, and tells of what happened meanwhile. Each call is
//! one exchange and says what is known after it; retrying and settling are the payment actor's. Amounts cross here as
//! whole cents, and nothing here knows a rule of money.

pub mod sandbox;
pub mod stripe;
pub mod webhook;

use billing::{
    Nanos, Timestamp,
    card::Card,
    entry::Notice,
    ids::{AccountId, PaymentId, ReversalId},
    reversal::{Listing, News, State},
};

use sandbox::Sandbox;
use stripe::Stripe;

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
    /// The processor's name for who pays, where it needs one.
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

/// An event told by a processor: only that something happened to something. What, is fetched: order is not trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessorEvent {
    /// The event.
    pub notice: Notice,
    /// What it is about.
    pub subject: Subject,
}

/// What a notice is about, by the processor's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A charge went on or ended.
    Charge(String),
    /// Money of a charge was given back.
    Refund(String),
    /// A charge is disputed, or no longer.
    Dispute(String),
    /// Nothing that matters here.
    Other,
}

/// What stands after a notice, fetched from the processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Of which payment.
    pub payment_id: PaymentId,
    /// What.
    pub what: What,
}

/// See [`Finding`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Where the charge stands.
    Charge(Outcome),
    /// Refunds and disputes of the charge, and whether these are all. An inquiry is none: it takes no money.
    Reversals(Vec<News>, Listing),
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

/// What a processor lists of one charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedCharge {
    /// Of which payment.
    pub payment_id: PaymentId,
    /// Its name for it.
    pub reference: String,
    /// What was paid; none where it was not.
    pub paid: Option<Nanos>,
    /// Whether it can still be paid.
    pub is_open: bool,
}

/// All that a processor lists, for the books to be compared with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statement {
    /// Charges made for payments of ours.
    pub charges: Vec<ListedCharge>,
    /// Refunds and disputes, each with the processor's name for its charge.
    pub reversals: Vec<(String, News)>,
    /// Payments begun before this are not known to it any more.
    pub remembers_since: Option<Timestamp>,
}

/// Who charges cards.
#[derive(Debug, Clone)]
pub enum Processor {
    /// Built in, with test cards.
    Sandbox(Sandbox),
    /// Stripe.
    Stripe(Stripe),
}

impl Processor {
    /// Its name in the ledger.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Sandbox(_) => "sandbox",
            Self::Stripe(_) => "stripe",
        }
    }

    /// Charges a card, once however often it is asked.
    pub async fn charge(&self, order: &Order) -> Outcome {
        match self {
            Self::Sandbox(sandbox) => sandbox.charge(order),
            Self::Stripe(stripe) => stripe.charge(order).await,
        }
    }

    /// Looks a charge up by its payment, without charging; none where the processor never heard of it.
    pub async fn find(&self, order: &Order) -> Result<Option<Outcome>, CardError> {
        match self {
            Self::Sandbox(sandbox) => Ok(sandbox.find(order)),
            Self::Stripe(stripe) => stripe.find(order.payment_id).await,
        }
    }

    /// Where a charge that waits for its owner stands now.
    pub async fn look(&self, reference: &str) -> Outcome {
        match self {
            Self::Sandbox(sandbox) => sandbox.look(reference),
            Self::Stripe(stripe) => stripe.look(reference).await,
        }
    }

    /// Gives up a charge that waits for its owner. It may have succeeded meanwhile.
    pub async fn cancel(&self, reference: &str) -> Outcome {
        match self {
            Self::Sandbox(sandbox) => sandbox.cancel(reference),
            Self::Stripe(stripe) => stripe.cancel(reference).await,
        }
    }

    /// Gives money of a charge back to its card, once however often it is asked.
    pub async fn refund(&self, order: &RefundOrder) -> Refunded {
        match self {
            Self::Sandbox(sandbox) => sandbox.refund(order),
            Self::Stripe(stripe) => stripe.refund(order).await,
        }
    }

    /// Looks a refund up by its id here, without making it; none where the processor never heard of it.
    pub async fn find_refund(&self, order: &RefundOrder) -> Result<Option<Refunded>, CardError> {
        match self {
            Self::Sandbox(sandbox) => Ok(sandbox.find_refund(order)),
            Self::Stripe(stripe) => stripe.find_refund(order).await,
        }
    }

    /// All that it lists of payments begun at or after an instant.
    pub async fn statement(&self, since: Timestamp) -> Result<Statement, CardError> {
        match self {
            Self::Sandbox(sandbox) => Ok(sandbox.statement()),
            Self::Stripe(stripe) => stripe.statement(since).await,
        }
    }

    /// What stands after a notice.
    pub async fn fetch(&self, subject: &Subject) -> Result<Vec<Finding>, CardError> {
        match self {
            Self::Sandbox(sandbox) => Ok(sandbox.fetch(subject)),
            Self::Stripe(stripe) => stripe.fetch(subject).await,
        }
    }

    /// The notices a processor within this process sends of a charge; one outside sends webhooks.
    pub fn notices(&self, order: &Order, now: Timestamp) -> Vec<ProcessorEvent> {
        match self {
            Self::Sandbox(sandbox) => sandbox.notices(order, now),
            Self::Stripe(_) => Vec::new(),
        }
    }

    /// The notices a processor within this process sends of a refund that was just made.
    pub fn refund_notices(&self, order: &RefundOrder, now: Timestamp) -> Vec<ProcessorEvent> {
        match self {
            Self::Sandbox(sandbox) => sandbox.refund_notices(order, now),
            Self::Stripe(_) => Vec::new(),
        }
    }

    /// The card a purchase is charged to where none is named or saved: only with test cards is there one.
    pub fn card_of_last_resort(&self) -> Option<String> {
        match self {
            Self::Sandbox(_) => Some(sandbox::LAST_RESORT.to_owned()),
            Self::Stripe(_) => None,
        }
    }

    /// Makes an account known to the processor; its name for it.
    pub async fn create_customer(&self, account: AccountId, email: &str) -> Result<String, CardError> {
        match self {
            Self::Sandbox(_) => Ok(sandbox::customer(account)),
            Self::Stripe(stripe) => stripe.create_customer(account, email).await,
        }
    }

    /// Forgets a saved card.
    pub async fn forget(&self, card: &Card) -> Result<(), CardError> {
        match self {
            Self::Sandbox(_) => Ok(()),
            Self::Stripe(stripe) => stripe.detach(&card.reference).await,
        }
    }
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
