//! Payments, purchases, refunds and disputes.

use actors::payment::{Applied, reconcile};
use billing::{card, payment, reversal};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Dollars, Time, money::Balance, scalar::Nullable};
use crate::service::{payments, purchases};

/// A payment.
#[derive(Debug, Serialize, ToSchema)]
pub struct Payment {
    id: Uuid,
    /// The purpose.
    purpose: &'static str,
    amount: Dollars,
    /// The refunded or disputed amount.
    reversed: Dollars,
    currency: &'static str,
    /// `pending`, `succeeded` or `declined`.
    status: &'static str,
    /// The processor's id of the card.
    method: String,
    /// The processor's id of the charge.
    #[schema(required)]
    reference: Option<String>,
    /// The processor's code for the decline.
    #[schema(required)]
    decline_code: Option<String>,
    created_at: Time,
    #[schema(required)]
    ended_at: Option<Time>,
    /// The path of the receipt.
    #[schema(required)]
    receipt: Option<String>,
}

impl From<payment::Payment> for Payment {
    fn from(payment: payment::Payment) -> Self {
        let is_paid = payment.status == payment::PaymentStatus::Succeeded;
        Self {
            id: payment.id.0,
            purpose: payment.purpose.name(),
            amount: payment.amount.into(),
            reversed: payment.reversed.into(),
            currency: "USD",
            status: payment.status.name(),
            method: payment.method,
            reference: payment.reference,
            decline_code: payment.decline_code,
            created_at: payment.created_at.into(),
            ended_at: Time::of(payment.ended_at),
            receipt: is_paid.then(|| format!("/v1/payments/{}/receipt", payment.id)),
        }
    }
}

/// A step that the card's owner must take.
#[derive(Debug, Serialize, ToSchema)]
pub struct NextAction {
    /// `authenticate`.
    r#type: &'static str,
    /// The secret with which the owner's browser takes the step.
    client_secret: String,
}

impl From<payments::NextAction> for NextAction {
    fn from(action: payments::NextAction) -> Self {
        Self { r#type: "authenticate", client_secret: action.client_secret }
    }
}

/// The current result of a purchase.
#[derive(Debug, Serialize, ToSchema)]
pub struct Purchase {
    payment: Payment,
    balance: Balance,
    /// The pending step of the card's owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_action: Option<NextAction>,
}

impl From<purchases::Purchase> for Purchase {
    fn from(purchase: purchases::Purchase) -> Self {
        let purchases::Purchase { payment, balance, action } = purchase;
        Self { payment: payment.into(), balance: (&balance).into(), next_action: action.map(NextAction::from) }
    }
}

/// A card that was charged.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChargedCard {
    pub(super) brand: String,
    pub(super) last4: String,
}

impl From<card::Card> for ChargedCard {
    fn from(card: card::Card) -> Self {
        Self { brand: card.brand, last4: card.last4 }
    }
}

/// A refund or a dispute.
#[derive(Debug, Serialize, ToSchema)]
pub struct Reversal {
    id: Uuid,
    kind: &'static str,
    /// The processor's id of the refund or dispute.
    #[schema(required)]
    reference: Option<String>,
    amount: Dollars,
    status: &'static str,
    created_at: Time,
    #[schema(required)]
    changed_at: Option<Time>,
}

impl From<reversal::Reversal> for Reversal {
    fn from(reversal: reversal::Reversal) -> Self {
        Self {
            id: reversal.id.0,
            kind: reversal.kind.name(),
            reference: reversal.reference,
            amount: reversal.amount.into(),
            status: reversal.state.name(),
            created_at: reversal.created_at.into(),
            changed_at: Time::of(reversal.changed_at),
        }
    }
}

/// A payment with its refunds and disputes.
#[derive(Debug, Serialize, ToSchema)]
pub struct WholePayment {
    #[serde(flatten)]
    payment: Payment,
    /// The charged card, where it is known.
    #[schema(required)]
    card: Option<ChargedCard>,
    reversals: Vec<Reversal>,
    /// The pending step of the card's owner, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<NextAction>)]
    next_action: Option<Nullable<NextAction>>,
}

impl From<payments::Whole> for WholePayment {
    fn from(whole: payments::Whole) -> Self {
        let payments::Whole { payment, card, reversals, action } = whole;
        let is_pending = payment.status == payment::PaymentStatus::Pending;
        Self {
            payment: payment.into(),
            card: card.map(ChargedCard::from),
            reversals: reversals.into_iter().map(Reversal::from).collect(),
            next_action: is_pending.then(|| Nullable(action.map(NextAction::from))),
        }
    }
}

/// A payment and one of its refunds.
#[derive(Debug, Serialize, ToSchema)]
pub struct Refunded {
    account_id: Uuid,
    payment: Payment,
    refund: Reversal,
}

impl From<payments::Refunded> for Refunded {
    fn from(refunded: payments::Refunded) -> Self {
        let payments::Refunded { account_id, payment, refund } = refunded;
        Self { account_id: account_id.0, payment: payment.into(), refund: refund.into() }
    }
}

/// The differences between the ledger and the card processor.
#[derive(Debug, Serialize, ToSchema)]
pub struct Reconciled {
    /// Whether there is no difference.
    ok: bool,
    /// The number of compared payments.
    payments: usize,
    /// The number of payments that the processor does not remember.
    forgotten: usize,
    /// The number of charges in the processor's list.
    charges: usize,
    /// The number of refunds and disputes in the processor's list.
    reversals: usize,
    /// The number of differences.
    found: usize,
    /// The first differences.
    differences: Vec<Difference>,
}

/// A difference.
#[derive(Debug, Serialize, ToSchema)]
struct Difference {
    payment_id: Uuid,
    #[schema(required)]
    reference: Option<String>,
    what: &'static str,
    here: String,
    there: String,
}

impl From<reconcile::Difference> for Difference {
    fn from(difference: reconcile::Difference) -> Self {
        let reconcile::Difference { payment_id, reference, what, here, there } = difference;
        Self { payment_id, reference, what, here, there }
    }
}

impl From<reconcile::Reconciled> for Reconciled {
    fn from(found: reconcile::Reconciled) -> Self {
        Self {
            ok: found.ok,
            payments: found.payments,
            forgotten: found.forgotten,
            charges: found.charges,
            reversals: found.reversals,
            found: found.found,
            differences: found.differences.into_iter().map(Difference::from).collect(),
        }
    }
}

/// The result of applying a processor's event.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventApplied {
    received: bool,
    /// Whether the event has no effect here.
    ignored: bool,
    /// Whether the event was applied before.
    repeated: bool,
}

impl From<Applied> for EventApplied {
    fn from(applied: Applied) -> Self {
        let Applied { payments, repeated } = applied;
        Self { received: true, ignored: payments.is_empty() && !repeated, repeated }
    }
}
