//! What an account's owner is told without asking: credits that run low or out of time, automatic purchases that fail, a
//! tier about to fall, a key near its limit. Events are written with the decision they come from, each once: an account
//! has at most one of a kind and subject.

use crate::{nanos::Nanos, time::Timestamp};

/// What happened, or is about to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Less is available than the account wants to be told of.
    LowBalance,
    /// Credits expire in 7, 3 or 1 days.
    CreditsExpiring,
    /// An automatic purchase was declined.
    ReloadFailed,
    /// Automatic purchases are off after too many declines.
    ReloadDisabled,
    /// There is less room in this month than one full reload.
    ReloadCapped,
    /// The tier will fall unless more is bought.
    TierFalling,
    /// A key has used 80 % of one of its limits.
    KeyLimitNear,
    /// A cycle of the plan was paid.
    SubscriptionRenewed,
    /// A renewal was declined.
    SubscriptionFailed,
    /// The plan has ended.
    SubscriptionEnded,
    /// A payment was refunded or charged back.
    PaymentReversed,
    /// A refund failed or a dispute was won: what it took is back.
    PaymentRestored,
    /// Nothing is bought automatically, because credits were taken back, until the owner sets it again.
    ReloadPaused,
    /// A webhook is off: it failed too long, or is gone.
    WebhookDisabled,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::LowBalance,
        Self::CreditsExpiring,
        Self::ReloadFailed,
        Self::ReloadDisabled,
        Self::ReloadCapped,
        Self::TierFalling,
        Self::KeyLimitNear,
        Self::SubscriptionRenewed,
        Self::SubscriptionFailed,
        Self::SubscriptionEnded,
        Self::PaymentReversed,
        Self::PaymentRestored,
        Self::ReloadPaused,
        Self::WebhookDisabled,
    ];

    /// Its name: `low_balance`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LowBalance => "low_balance",
            Self::CreditsExpiring => "credits_expiring",
            Self::ReloadFailed => "reload_failed",
            Self::ReloadDisabled => "reload_disabled",
            Self::ReloadCapped => "reload_capped",
            Self::TierFalling => "tier_falling",
            Self::KeyLimitNear => "key_limit_near",
            Self::SubscriptionRenewed => "subscription_renewed",
            Self::SubscriptionFailed => "subscription_failed",
            Self::SubscriptionEnded => "subscription_ended",
            Self::PaymentReversed => "payment_reversed",
            Self::PaymentRestored => "payment_restored",
            Self::ReloadPaused => "reload_paused",
            Self::WebhookDisabled => "webhook_disabled",
        }
    }

    /// The kind of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One event. Its data are texts by name: amounts in dollars, instants in RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// What it is about: with the kind, what makes it one event.
    pub subject: String,
    /// The numbers in it.
    pub data: Vec<(&'static str, String)>,
}

impl Event {
    /// An event about something.
    pub fn new(kind: EventKind, subject: impl Into<String>) -> Self {
        Self { kind, subject: subject.into(), data: Vec::new() }
    }

    /// With an amount.
    #[must_use]
    pub fn amount(self, name: &'static str, amount: Nanos) -> Self {
        self.text(name, amount.to_string())
    }

    /// With an instant.
    #[must_use]
    pub fn at(self, name: &'static str, at: Timestamp) -> Self {
        self.text(name, at.to_string())
    }

    /// With a text.
    #[must_use]
    pub fn text(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.data.push((name, text.into()));
        self
    }
}
