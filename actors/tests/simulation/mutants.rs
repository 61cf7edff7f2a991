//! Deliberate faults, each of which the simulation must notice by the invariant it breaks. The product's machines have no place
//! for them: they are in what a machine is given (messages that are changed or come twice), in what it gave (distorted before
//! it is written, let out too early), or in the world around it (owner, disk, cards).

use std::collections::BTreeMap;

use billing::{
    Nanos,
    entry::{LineKind, Transition},
    ids::GrantId,
    payment::PaymentStatus,
};

use crate::check::{self, Rule};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// The outbox opens when something is sent, not when it is written.
    AcknowledgeBeforeDurable,
    /// The disk writes whatever owner asks.
    NoFence,
    /// The disk lets a request be charged twice, and an owner charges again what is settled again.
    NoCaptureUniqueness,
    /// What a hold gives back to an expired grant becomes available.
    ReleaseIntoExpired,
    /// A success that is told again makes another grant.
    NoPaymentDeduplication,
    /// A request that ended keeps its permit.
    PermitNotReleased,
    /// The month does not count purchases in flight.
    CapNotReserved,
    /// A commit whose outcome nobody knows is taken to be there.
    UnknownIsDurable,
    /// A card is charged before its payment is written.
    ChargeBeforeDurable,
    /// Every try of a charge has a key of its own.
    NewKeyPerTry,
    /// A charge whose key the processor may have forgotten is asked for again, not looked up.
    ChargeBlindly,
    /// Nobody looks after holds that a dead process left.
    HoldsForgotten,
    /// What a keyed request did is noted when its sender is told, in a commit of its own.
    ProofInALaterCommit,
    /// A key's limits are asked when a request enters, and not while it runs.
    LimitAtAdmissionOnly,
    /// A refund or a dispute that is told again is taken for another.
    ReversalCountedTwice,
    /// Credits that were taken back are bought again.
    ReloadOnRefund,
    /// An operator's void leaves what requests hold.
    VoidMissesHeld,
}

impl Mutant {
    pub(crate) const ALL: [Self; 17] = [
        Self::AcknowledgeBeforeDurable,
        Self::NoFence,
        Self::NoCaptureUniqueness,
        Self::ReleaseIntoExpired,
        Self::NoPaymentDeduplication,
        Self::PermitNotReleased,
        Self::CapNotReserved,
        Self::UnknownIsDurable,
        Self::ChargeBeforeDurable,
        Self::NewKeyPerTry,
        Self::ChargeBlindly,
        Self::HoldsForgotten,
        Self::ProofInALaterCommit,
        Self::LimitAtAdmissionOnly,
        Self::ReversalCountedTwice,
        Self::ReloadOnRefund,
        Self::VoidMissesHeld,
    ];

    /// The invariant it must be caught by, and others that may break first.
    pub(crate) const fn breaks(self) -> (Rule, &'static [Rule]) {
        match self {
            Self::AcknowledgeBeforeDurable | Self::UnknownIsDurable => {
                (check::OUTBOX, &[check::HOLD_FIRST, check::DURABLE, check::MEMORY])
            }
            // Two owners who both write.
            Self::NoFence => (check::DENSE, &[check::MEMORY, check::REPLAY]),
            Self::NoCaptureUniqueness => (check::ONCE, &[]),
            Self::ReleaseIntoExpired => (check::EXPIRED, &[]),
            Self::NoPaymentDeduplication => (check::PAID, &[]),
            Self::ReloadOnRefund => (check::RELOAD, &[]),
            Self::VoidMissesHeld => (check::VOID, &[]),
            Self::PermitNotReleased => (check::PERMITS, &[]),
            Self::CapNotReserved => (check::MONTH, &[]),
            Self::ChargeBeforeDurable => (check::OUTBOX, &[]),
            Self::NewKeyPerTry | Self::ChargeBlindly | Self::ReversalCountedTwice => (check::CARDS, &[]),
            Self::HoldsForgotten => (check::ENDED, &[]),
            Self::ProofInALaterCommit => (check::ACTS, &[]),
            Self::LimitAtAdmissionOnly => (check::KEYS, &[]),
        }
    }

    /// Changes what is about to be written; what it gave back to expired grants before stays with them.
    pub(crate) fn distort(self, transition: &mut Transition, leaked: &mut BTreeMap<GrantId, Nanos>) {
        match self {
            Self::ReleaseIntoExpired => release_into_expired(transition, leaked),
            Self::ProofInALaterCommit => transition.proof = None,
            Self::CapNotReserved => {
                let begins =
                    |it: &billing::payment::Payment| it.status == PaymentStatus::Pending && it.purpose.is_automatic();
                if let Some(automatic) =
                    transition.automatic.as_mut().filter(|_| transition.payments.iter().any(begins))
                {
                    automatic.window.reload_reserved = Nanos::ZERO;
                    automatic.window.scale_reserved = Nanos::ZERO;
                }
            }
            _ => {}
        }
    }
}

fn release_into_expired(transition: &mut Transition, leaked: &mut BTreeMap<GrantId, Nanos>) {
    for line in &mut transition.lines {
        let Some(id) = line.grant_id.filter(|_| line.expired.is_positive()) else { continue };
        if matches!(line.kind, LineKind::HoldReleased | LineKind::HoldCaptured) {
            *leaked.entry(id).or_default() += line.expired;
            line.available += line.expired;
            line.expired = Nanos::ZERO;
        }
    }
    for grant in &mut transition.grants {
        let back = leaked.get(&grant.id).copied().unwrap_or_default();
        grant.available += back;
        grant.expired -= back;
    }
}
