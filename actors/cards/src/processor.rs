//! The processor that the settings name, asked the same whichever it is.

use billing::{Timestamp, card::Card, ids::AccountId};

use crate::{
    charge::{CardError, Order, Outcome, RefundOrder, Refunded},
    finding::{Finding, ProcessorEvent, Statement, Subject},
    sandbox::{self, Sandbox},
    stripe::Stripe,
};

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
