//! Payments: charges to a card, and what became of them. A payment's row is durable before the card network is asked; its
//! id is the network's idempotency key, so that asking twice charges once (design, chapter 2.8).

use serde::{Deserialize, Serialize};

use crate::{grant::Source, ids::PaymentId, nanos::Nanos, time::Timestamp};

/// The method of a payment that charges whatever card is the account's default when it is charged.
pub const DEFAULT_METHOD: &str = "default";

/// What a payment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Credits bought by hand.
    Purchase,
    /// Credits bought because they ran low.
    AutoReload,
    /// Credits bought to run more at once.
    AutoScale,
    /// A cycle of the pay-as-you-go plan.
    Subscription,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 4] = [Self::Purchase, Self::AutoReload, Self::AutoScale, Self::Subscription];

    /// Whether nobody asked for this very payment: it counts against the account's monthly maximum.
    pub const fn is_automatic(self) -> bool {
        match self {
            Self::AutoReload | Self::AutoScale => true,
            Self::Purchase | Self::Subscription => false,
        }
    }

    /// What its grant's source is.
    pub const fn source(self) -> Source {
        match self {
            Self::Purchase => Source::Purchase,
            Self::AutoReload => Source::AutoReload,
            Self::AutoScale => Source::AutoScale,
            Self::Subscription => Source::Plan,
        }
    }

    /// Its name: `auto_reload`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Purchase => "purchase",
            Self::AutoReload => "auto_reload",
            Self::AutoScale => "auto_scale",
            Self::Subscription => "subscription",
        }
    }

    /// The purpose of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == name)
    }
}

/// Where a payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PaymentStatus {
    /// The card network has not answered yet, or wants its holder to confirm.
    Pending,
    /// Paid, and its grant made.
    Succeeded,
    /// Declined.
    Declined,
}

impl PaymentStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Succeeded, Self::Declined];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Declined => "declined",
        }
    }

    /// The status of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// A charge to a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Its id, the card network's idempotency key.
    pub id: PaymentId,
    /// What it is for.
    pub purpose: Purpose,
    /// What is paid.
    pub amount: Nanos,
    /// The part of it that was given back or taken back (refunds, chargebacks).
    pub reversed: Nanos,
    /// Where it stands.
    pub status: PaymentStatus,
    /// Which card, as the processor names it, or [`DEFAULT_METHOD`].
    pub method: String,
    /// The card network's name for it, once there is one.
    pub reference: Option<String>,
    /// Why it was declined.
    pub decline_code: Option<String>,
    /// When it was begun.
    pub created_at: Timestamp,
    /// When it was paid or declined.
    pub ended_at: Option<Timestamp>,
    /// Of a fee that was paid: until when it pays the plan.
    pub cycle_end: Option<Timestamp>,
    /// Of an automatic purchase: the monthly maxima that it was reserved within.
    pub maxima: Option<Maxima>,
}

/// The most that may be spent in a month, as it was set when a purchase was reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Maxima {
    /// By auto-reload.
    pub reload: Nanos,
    /// By all automatic purchases together.
    pub spend: Nanos,
}

impl Payment {
    /// A payment that is about to be asked for.
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

    /// What its grant is unique by.
    pub fn grant_key(&self) -> String {
        self.id.to_string()
    }
}
