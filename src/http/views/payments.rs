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
    /// What for.
    purpose: &'static str,
    amount: Dollars,
    /// What went back.
    reversed: Dollars,
    currency: &'static str,
    /// `pending`, `succeeded` or `declined`.
    status: &'static str,
    /// The card, as the processor names it.
    method: String,
    /// The processor's name for the charge.
    #[schema(required)]
    reference: Option<String>,
    /// The processor's word for why it was declined.
    #[schema(required)]
    decline_code: Option<String>,
    created_at: Time,
    #[schema(required)]
    ended_at: Option<Time>,
    /// Where its receipt is.
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

/// What a card's owner must do.
#[derive(Debug, Serialize, ToSchema)]
pub struct NextAction {
    /// `authenticate`.
    r#type: &'static str,
    /// What the owner's browser proves itself with.
    client_secret: String,
}

impl From<payments::NextAction> for NextAction {
    fn from(action: payments::NextAction) -> Self {
        Self { r#type: "authenticate", client_secret: action.client_secret }
    }
}

/// What came of buying something, as far as it came.
#[derive(Debug, Serialize, ToSchema)]
pub struct Purchase {
    payment: Payment,
    balance: Balance,
    /// While the card's owner must act first.
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
    /// The processor's name for it.
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
    /// The card it was charged to, where that is known.
    #[schema(required)]
    card: Option<ChargedCard>,
    reversals: Vec<Reversal>,
    /// Of a pending one: what its card's owner must do, if anything.
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

/// A payment and a refund of it.
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

/// What differs between the ledger and the card processor.
#[derive(Debug, Serialize, ToSchema)]
pub struct Reconciled {
    /// Whether nothing differs.
    ok: bool,
    /// Payments that were compared.
    payments: usize,
    /// Those that the processor does not remember.
    forgotten: usize,
    /// Charges that the processor lists of them.
    charges: usize,
    /// Refunds and disputes that it lists of them.
    reversals: usize,
    /// How many things differ.
    found: usize,
    /// The first of them.
    differences: Vec<Difference>,
}

/// One that differs.
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

/// What became of a processor's event.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventApplied {
    received: bool,
    /// Whether it matters nothing here.
    ignored: bool,
    /// Whether it was heard before.
    repeated: bool,
}

impl From<Applied> for EventApplied {
    fn from(applied: Applied) -> Self {
        let Applied { payments, repeated } = applied;
        Self { received: true, ignored: payments.is_empty() && !repeated, repeated }
    }
}
