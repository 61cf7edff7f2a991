//! Payments: charges to a card, and their outcome. A payment's row is durable before the processor is called. Its id is
//! the idempotency key, so that repeated calls charge once (design, chapter 2.8).

use serde::{Deserialize, Serialize};

use crate::{grant::Source, ids::PaymentId, nanos::Nanos, time::Timestamp};

/// The smallest charge to a card.
pub const SMALLEST: Nanos = Nanos::dollars(1);
/// The method of a payment that charges the account's default card of that moment.
pub const DEFAULT_METHOD: &str = "default";

/// The purpose of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Credits bought by hand.
    Purchase,
    /// Credits bought because they ran low.
    AutoReload,
    /// Credits bought to unlock more permits.
    AutoScale,
    /// A cycle of the pay-as-you-go plan.
    Subscription,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 4] = [Self::Purchase, Self::AutoReload, Self::AutoScale, Self::Subscription];

    /// Whether the rules began the payment by themselves. Automatic payments count against the account's monthly
    /// maximum.
    pub const fn is_automatic(self) -> bool {
        match self {
            Self::AutoReload | Self::AutoScale => true,
            Self::Purchase | Self::Subscription => false,
        }
    }

    /// The source of the payment's grant.
    pub const fn source(self) -> Source {
        match self {
            Self::Purchase => Source::Purchase,
            Self::AutoReload => Source::AutoReload,
            Self::AutoScale => Source::AutoScale,
            Self::Subscription => Source::Plan,
        }
    }

    /// The purpose's name: `auto_reload`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Purchase => "purchase",
            Self::AutoReload => "auto_reload",
            Self::AutoScale => "auto_scale",
            Self::Subscription => "subscription",
        }
    }

    /// Finds a purpose by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == name)
    }
}

/// The status of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PaymentStatus {
    /// The processor has not answered yet, or the card's owner must confirm.
    Pending,
    /// Paid, and the grant was made.
    Succeeded,
    /// Declined.
    Declined,
}

impl PaymentStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Succeeded, Self::Declined];

    /// The status's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Declined => "declined",
        }
    }

    /// Finds a status by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// A charge to a card.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Payment {
    /// The payment's id, also the processor's idempotency key.
    pub id: PaymentId,
    /// The purpose.
    pub purpose: Purpose,
    /// The amount to pay.
    pub amount: Nanos,
    /// The part of the amount that is reversed by refunds and disputes.
    pub reversed: Nanos,
    /// The current status.
    pub status: PaymentStatus,
    /// The card, by the processor's id, or [`DEFAULT_METHOD`].
    pub method: String,
    /// The processor's id of the charge, once there is one.
    pub reference: Option<String>,
    /// The processor's code for a decline.
    pub decline_code: Option<String>,
    /// When the payment began.
    pub created_at: Timestamp,
    /// When the payment was paid or declined.
    pub ended_at: Option<Timestamp>,
    /// For a fee that was paid: the end of the cycle.
    pub cycle_end: Option<Timestamp>,
    /// For an automatic purchase: the monthly maxima at its reservation.
    pub maxima: Option<Maxima>,
}

/// The monthly maxima in force when a purchase was reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Maxima {
    /// Of auto-reload.
    pub reload: Nanos,
    /// Of all automatic purchases together.
    pub spend: Nanos,
}

impl Payment {
    /// A pending payment, before the processor is called.
    pub const fn new(id: PaymentId, purpose: Purpose, amount: Nanos, method: String, now: Timestamp) -> Self {
        Self {
            id,
            purpose,
            amount,
            reversed: Nanos::ZERO,
            status: PaymentStatus::Pending,
            method,
            reference: None,
            decline_code: None,
            created_at: now,
            ended_at: None,
            cycle_end: None,
            maxima: None,
        }
    }

    /// The unique key of the payment's grant.
    pub fn grant_key(&self) -> String {
        self.id.to_string()
    }
}
