//! The processor that the settings name, behind one interface.

use billing::{Timestamp, card::Card, ids::AccountId};

use crate::{
    charge::{CardError, ChargeOutcome, Order, RefundOrder, Refunded},
    finding::{Finding, ProcessorEvent, Statement, Subject},
    sandbox::{self, Sandbox},
    stripe::Stripe,
};

/// A card processor.
#[derive(Debug, Clone)]
pub enum Processor {
    /// The built-in processor with test cards.
    Sandbox(Sandbox),
    /// Stripe.
    Stripe(Stripe),
}

impl Processor {
    /// The processor's name in the ledger.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Sandbox(_) => "sandbox",
            Self::Stripe(_) => "stripe",
        }
    }

    /// Charges a card. Repeated orders charge once.
    pub async fn charge(&self, order: &Order) -> ChargeOutcome {
        match self {
            Self::Sandbox(sandbox) => sandbox.charge(order),
            Self::Stripe(stripe) => stripe.charge(order).await,
        }
    }

    /// Looks a charge up by its payment, without charging; `None` where the processor does not know the payment.
    ///
    /// # Errors
    ///
    /// `Unavailable` where the processor did not answer, or where its answer was not understood: look the charge up
    /// again later. `Refused` where the processor rejects the search.
    pub async fn find(&self, order: &Order) -> Result<Option<ChargeOutcome>, CardError> {
        match self {
            Self::Sandbox(sandbox) => Ok(sandbox.find(order)),
            Self::Stripe(stripe) => stripe.find(order.payment_id).await,
        }
    }

    /// Fetches the state of a charge that waits for its owner.
    pub async fn look(&self, reference: &str) -> ChargeOutcome {
        match self {
            Self::Sandbox(sandbox) => sandbox.look(reference),
            Self::Stripe(stripe) => stripe.look(reference).await,
        }
    }

    /// Cancels a charge that waits for its owner. The charge may have succeeded meanwhile.
    pub async fn cancel(&self, reference: &str) -> ChargeOutcome {
        match self {
            Self::Sandbox(sandbox) => sandbox.cancel(reference),
            Self::Stripe(stripe) => stripe.cancel(reference).await,
        }
    }

    /// Gives money of a charge back to its card. Repeated orders give it back once.
    pub async fn refund(&self, order: &RefundOrder) -> Refunded {
        match self {
            Self::Sandbox(sandbox) => sandbox.refund(order),
            Self::Stripe(stripe) => stripe.refund(order).await,
        }
    }

    /// Looks a refund up by its id in the ledger, without making it; `None` where the processor does not know the
    /// refund.
    ///
    /// # Errors
    ///
    /// `Unavailable` where the processor did not answer: look the refund up again later. `Refused` where the order
    /// names no charge of the processor, or where the processor rejects the call.
    pub async fn find_refund(&self, order: &RefundOrder) -> Result<Option<Refunded>, CardError> {
        match self {
            Self::Sandbox(sandbox) => Ok(sandbox.find_refund(order)),
            Self::Stripe(stripe) => stripe.find_refund(order).await,
        }
    }

    /// Lists all payments begun at or after a time, with their refunds and disputes.
    ///
    /// # Errors
    ///
    /// `Unavailable` where the processor did not answer, lists more pages than are read, or lists an object that is not
    /// understood: ask again later, or for a shorter time. `Refused` where the processor rejects the call.
    pub async fn statement(&self, since: Timestamp) -> Result<Statement, CardError> {
        match self {
            Self::Sandbox(sandbox) => Ok(sandbox.statement()),
            Self::Stripe(stripe) => stripe.statement(since).await,
        }
    }

    /// Fetches the state of the object that an event is about.
    ///
    /// # Errors
    ///
    /// `Unavailable` where the processor did not answer, or where an object is not understood: fetch again later.
    /// `Refused` where the processor does not know the object.
    pub async fn fetch(&self, subject: &Subject) -> Result<Vec<Finding>, CardError> {
        match self {
            Self::Sandbox(sandbox) => Ok(sandbox.fetch(subject)),
            Self::Stripe(stripe) => stripe.fetch(subject).await,
        }
    }

    /// The events of a charge, where the processor is part of this process. Other processors send webhooks.
    pub fn notices(&self, order: &Order, now: Timestamp) -> Vec<ProcessorEvent> {
        match self {
            Self::Sandbox(sandbox) => sandbox.notices(order, now),
            Self::Stripe(_) => Vec::new(),
        }
    }

    /// The events of a new refund, where the processor is part of this process.
    pub fn refund_notices(&self, order: &RefundOrder, now: Timestamp) -> Vec<ProcessorEvent> {
        match self {
            Self::Sandbox(sandbox) => sandbox.refund_notices(order, now),
            Self::Stripe(_) => Vec::new(),
        }
    }

    /// The card for a purchase where no card is named or saved. Only the sandbox has one.
    pub fn card_of_last_resort(&self) -> Option<String> {
        match self {
            Self::Sandbox(_) => Some(sandbox::LAST_RESORT.to_owned()),
            Self::Stripe(_) => None,
        }
    }

    /// Makes an account known to the processor, and returns the processor's id of the customer.
    ///
    /// # Errors
    ///
    /// `Unavailable` where the processor did not answer: a repeated call creates no second customer. `Refused` where
    /// the processor rejects the account's data.
    pub async fn create_customer(&self, account: AccountId, email: &str) -> Result<String, CardError> {
        match self {
            Self::Sandbox(_) => Ok(sandbox::customer(account)),
            Self::Stripe(stripe) => stripe.create_customer(account, email).await,
        }
    }

    /// Removes a saved card from the processor. A card that is already gone counts as removed.
    ///
    /// # Errors
    ///
    /// `Unavailable` where the processor did not answer: forget the card again later.
    pub async fn forget(&self, card: &Card) -> Result<(), CardError> {
        match self {
            Self::Sandbox(_) => Ok(()),
            Self::Stripe(stripe) => stripe.detach(&card.reference).await,
        }
    }
}
