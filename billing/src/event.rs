//! Events for an account's owner: credits that run low or expire, automatic purchases that fail, a tier about to fall,
//! a key near its limit. An event is written in the same commit as the decision that caused it. An account has at most
//! one event of the same kind and subject.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

use crate::{nanos::Nanos, time::Timestamp};

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventKind {
    /// The balance has fallen below a line, and had recovered since that was told last.
    LowBalance,
    /// Credits expire in 7, 3 or 1 days.
    CreditsExpiring,
    /// An automatic purchase was declined.
    ReloadFailed,
    /// Automatic purchases are off after too many declines.
    ReloadDisabled,
    /// This month has less room than one full reload.
    ReloadCapped,
    /// The tier will fall without further purchases.
    TierFalling,
    /// A key has used a part of one of its limits that the owner wants to be told of: 80 %, unless others are set.
    KeyLimitNear,
    /// A cycle of the plan was paid.
    SubscriptionRenewed,
    /// A renewal was declined.
    SubscriptionFailed,
    /// The plan has ended.
    SubscriptionEnded,
    /// A payment was refunded or charged back.
    PaymentReversed,
    /// A refund failed or a dispute was won: the credits taken are back.
    PaymentRestored,
    /// Automatic purchases are paused because credits were taken back, until the owner sets them again.
    ReloadPaused,
    /// A webhook was turned off: it failed for too long, or no longer exists.
    WebhookDisabled,
    /// A person became a member.
    MemberJoined,
    /// A member's role was changed.
    MemberRoleChanged,
    /// A person is a member no more.
    MemberLeft,
    /// A member asks for credits, or for a higher limit.
    MoreWanted,
    /// An operator froze the account: it admits no requests.
    AccountFrozen,
    /// It admits requests again.
    AccountUnfrozen,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 20] = [
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
        Self::MemberJoined,
        Self::MemberRoleChanged,
        Self::MemberLeft,
        Self::MoreWanted,
        Self::AccountFrozen,
        Self::AccountUnfrozen,
    ];

    /// The kind's name: `low_balance`.
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
            Self::MemberJoined => "member_joined",
            Self::MemberRoleChanged => "member_role_changed",
            Self::MemberLeft => "member_left",
            Self::MoreWanted => "more_wanted",
            Self::AccountFrozen => "account_frozen",
            Self::AccountUnfrozen => "account_unfrozen",
        }
    }

    /// Finds a kind by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One event. Its data are named texts: amounts in dollars, times in RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The kind.
    pub kind: EventKind,
    /// The object of the event. Kind and subject identify the event.
    pub subject: String,
    /// The event's data.
    pub data: Vec<(Cow<'static, str>, String)>,
}

impl Event {
    /// An event without data.
    pub fn new(kind: EventKind, subject: impl Into<String>) -> Self {
        Self { kind, subject: subject.into(), data: Vec::new() }
    }

    /// Adds an amount.
    #[must_use]
    pub fn amount(self, name: &'static str, amount: Nanos) -> Self {
        self.text(name, amount.to_string())
    }

    /// Adds a time.
    #[must_use]
    pub fn at(self, name: &'static str, at: Timestamp) -> Self {
        self.text(name, at.to_string())
    }

    /// Adds a text.
    #[must_use]
    pub fn text(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.data.push((name.into(), text.into()));
        self
    }
}
