//! The numbers that stand for the rules' enumerations. A number never gets another meaning.

use billing::{
    automatic::Switch,
    class::SizeClass,
    entry::{Ending, LineKind},
    event::EventKind,
    grant::Source,
    key::Scope,
    member::Role,
    payment::{PaymentStatus, Purpose},
    plan::Plan,
    reversal,
    subscription::{AtEnd, Status},
    webhook::Because,
};

use super::{super::Began, BadBody};

/// An enumeration that is stored as a number. Zero stands for none, so that a missing field has no value.
pub(in crate::log::body) trait Numbered: Sized {
    fn number(self) -> u32;
    fn of(number: u32) -> Option<Self>;
}

/// The value of a number.
pub(in crate::log::body) fn value<T: Numbered>(number: u32, field: &str) -> Result<T, BadBody> {
    T::of(number).ok_or_else(|| BadBody::Malformed(format!("{field} has the unknown number {number}")))
}

macro_rules! numbered {
    ($($type:ty { $($variant:ident = $number:literal),+ $(,)? })+) => {$(
        impl Numbered for $type {
            fn number(self) -> u32 {
                match self { $(Self::$variant => $number),+ }
            }

            fn of(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    )+};
}

numbered! {
    Began { New = 1, AfterTables = 2 }
    LineKind {
        GrantFunded = 1,
        GrantExpired = 2,
        GrantVoided = 3,
        HoldPlaced = 4,
        HoldGrown = 5,
        HoldCaptured = 6,
        HoldReleased = 7,
        DebtIncurred = 8,
        DebtRepaid = 9,
    }
    Plan { Free = 1, Payg = 2 }
    Source { Purchase = 1, AutoReload = 2, AutoScale = 3, Plan = 4, Free = 5, Promo = 6, Goodwill = 7 }
    SizeClass { B7 = 1, B15 = 2, B35 = 3, B70 = 4, B120 = 5 }
    Ending { Completed = 1, ClientLeft = 2, Failed = 3, Recovered = 4, WrittenOff = 5 }
    Purpose { Purchase = 1, AutoReload = 2, AutoScale = 3, Subscription = 4 }
    PaymentStatus { Pending = 1, Succeeded = 2, Declined = 3 }
    reversal::Kind { Refund = 1, Dispute = 2, Earlier = 3 }
    reversal::State { Pending = 1, Succeeded = 2, Failed = 3, Open = 4, Lost = 5, Won = 6, Replaced = 7 }
    Status { Active = 1, PastDue = 2, Ended = 3 }
    AtEnd { Renew = 1, Cancel = 2 }
    Switch { On = 1, Off = 2 }
    Scope { Inference = 1, Read = 2, Billing = 3, Keys = 4 }
    Because { Failing = 1, Gone = 2, Owner = 3 }
    EventKind {
        LowBalance = 1,
        CreditsExpiring = 2,
        ReloadFailed = 3,
        ReloadDisabled = 4,
        ReloadCapped = 5,
        TierFalling = 6,
        KeyLimitNear = 7,
        SubscriptionRenewed = 8,
        SubscriptionFailed = 9,
        SubscriptionEnded = 10,
        PaymentReversed = 11,
        PaymentRestored = 12,
        ReloadPaused = 13,
        WebhookDisabled = 14,
        MemberJoined = 15,
        MemberRoleChanged = 16,
        MemberLeft = 17,
        MoreWanted = 18,
        AccountFrozen = 19,
        AccountUnfrozen = 20,
    }
    Role { Owner = 1, Billing = 2, Developer = 3, Reader = 4 }
}
