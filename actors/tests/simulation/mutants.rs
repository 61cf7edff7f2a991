//! Deliberate faults. The simulation must notice each by the invariant it breaks. The product's machines have no place
//! for them: they are in the machines' input (changed or repeated messages), in their output (distorted before it is
//! written, or released too early), or in the world around them (owner, disk, cards).

use std::collections::BTreeMap;

use billing::{
    Nanos,
    entry::{LineKind, Transition},
    ids::GrantId,
    payment::PaymentStatus,
};

use crate::{
    check::{self, Rule},
    database::Fault,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// The outbox opens when an entry is sent, not when it is durable.
    AcknowledgeBeforeDurable,
    /// The log accepts rows of any owner.
    NoFence,
    /// The disk lets a request be charged twice, and an owner charges again for a repeated settlement.
    NoCaptureUniqueness,
    /// Credits released to an expired grant become available.
    ReleaseIntoExpired,
    /// A repeated success makes another grant.
    NoPaymentDeduplication,
    /// A request keeps its permit after its end.
    PermitNotReleased,
    /// A parked request goes on without its permit.
    PermitNotTakenAgain,
    /// It is not written that a request is parked: it counts again once its account is read.
    ParkingNotWritten,
    /// It is not written which lines of low credits were told: they are told again once their account is read.
    AlertNotWritten,
    /// It is not written which session a request is part of: its record has none once its account is read.
    SessionNotWritten,
    /// The month does not count pending purchases.
    CapNotReserved,
    /// An append with an unknown outcome is treated as durable.
    UnknownIsDurable,
    /// A card is charged before its payment is durable.
    ChargeBeforeDurable,
    /// Each attempt of a charge has its own key.
    NewKeyPerTry,
    /// A charge whose key the processor may have forgotten is repeated instead of looked up.
    ChargeBlindly,
    /// Holds of a dead process are never settled.
    HoldsForgotten,
    /// A request's proof is written when its caller is told, in a commit of its own.
    ProofInALaterCommit,
    /// A key's limits are checked at admission, but not while the request runs.
    LimitAtAdmissionOnly,
    /// Repeated news of a refund or a dispute count as another one.
    ReversalCountedTwice,
    /// Credits taken back are bought again.
    ReloadOnRefund,
    /// An operator's void leaves the credits held by requests.
    VoidMissesHeld,
    /// The journal reports a batch before its row is in the log.
    AnswerBeforeLog,
    /// The projector gets rows before they are in the log.
    ProjectBeforeLog,
    /// The tables' place is stored in another transaction than the rows.
    PlaceApart,
    /// A projection does not look at the place of the tables.
    PlaceUnchecked,
    /// An owner that starts does not check the chain of the log.
    ChainUnchecked,
    /// Readers do not wait until the tables have what the log has.
    ReadWithoutWaiting,
    /// Names are looked up in the tables, and not among the rows that the tables do not have yet.
    ClaimsForgotten,
    /// Transitions that break a rule are appended.
    FaultsLogged,
    /// A clean failure counts for an earlier try whose outcome is unknown.
    UnknownForgotten,
    /// A change of keys does not name the revision that it was decided from.
    RevisionUnchecked,
    /// An account that leaves to another node answers whoever waits for a commit before it is durable.
    LeavesBeforeDurable,
    /// An account's life whose place was taken is not told of what it had sent to the journal.
    PredecessorUntold,
    /// A frozen account forgets that it is.
    FrozenAdmits,
    /// An append checks the epoch of another shard.
    ForeignEpoch,
    /// A take does not raise the epoch.
    EpochKept,
    /// A successor serves a shard before the tables have its whole log.
    ServesBehind,
    /// The tables' place is stored as that of another shard.
    PlaceOfAnother,
    /// A batch's transitions come into the rows of other shards.
    ShardsMixed,
    /// Accounts of a shard that has a newer owner are told that their transitions are durable.
    LossUnheard,
    /// A node answers for a shard until it hears that it must not, whatever the time.
    TimeNotAsked,
    /// A shard is begun while the journal has rows of an earlier use of it on their way.
    BegunBesideAppend,
    /// Requests that run at other nodes count as gone.
    OthersForgotten,
    /// Nodes count as gone by the database's clock.
    GoneByTheClock,
    /// A request takes its permit again before it is known that it was given back.
    ResumedBeforeParked,
    /// A reversal does not name the revision that it was decided from.
    ReversedUnnamed,
}

impl Mutant {
    pub(crate) const ALL: [Self; 46] = [
        Self::AcknowledgeBeforeDurable,
        Self::NoFence,
        Self::NoCaptureUniqueness,
        Self::ReleaseIntoExpired,
        Self::NoPaymentDeduplication,
        Self::PermitNotReleased,
        Self::PermitNotTakenAgain,
        Self::ParkingNotWritten,
        Self::AlertNotWritten,
        Self::SessionNotWritten,
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
        Self::AnswerBeforeLog,
        Self::ProjectBeforeLog,
        Self::PlaceApart,
        Self::PlaceUnchecked,
        Self::ChainUnchecked,
        Self::ReadWithoutWaiting,
        Self::ClaimsForgotten,
        Self::FaultsLogged,
        Self::UnknownForgotten,
        Self::RevisionUnchecked,
        Self::LeavesBeforeDurable,
        Self::PredecessorUntold,
        Self::FrozenAdmits,
        Self::ForeignEpoch,
        Self::EpochKept,
        Self::ServesBehind,
        Self::PlaceOfAnother,
        Self::ShardsMixed,
        Self::LossUnheard,
        Self::TimeNotAsked,
        Self::BegunBesideAppend,
        Self::OthersForgotten,
        Self::GoneByTheClock,
        Self::ResumedBeforeParked,
        Self::ReversedUnnamed,
    ];

    /// The invariant that must catch the mutant, and others that may fail first.
    pub(crate) const fn breaks(self) -> (Rule, &'static [Rule]) {
        match self {
            Self::AcknowledgeBeforeDurable | Self::AnswerBeforeLog | Self::LeavesBeforeDurable => {
                (check::OUTBOX, &[check::HOLD_FIRST, check::DURABLE, check::MEMORY])
            }
            Self::UnknownIsDurable => (
                check::OUTBOX,
                &[check::HOLD_FIRST, check::DURABLE, check::MEMORY, check::DENSE, check::FENCED, check::TABLES],
            ),
            // Two owners that both write.
            Self::NoFence => (check::DENSE, &[check::MEMORY, check::REPLAY]),
            // The witness takes the second admission for the first one.
            Self::NoCaptureUniqueness => (check::ONCE, &[check::OUTBOX]),
            Self::ReleaseIntoExpired => (check::EXPIRED, &[]),
            Self::NoPaymentDeduplication => (check::PAID, &[]),
            Self::ReloadOnRefund => (check::RELOAD, &[]),
            Self::VoidMissesHeld => (check::VOID, &[]),
            Self::FrozenAdmits => (check::FROZEN, &[]),
            // What a permit that is never released takes is not in the log.
            Self::PermitNotReleased => (check::PERMITS, &[check::OUTBOX]),
            Self::PermitNotTakenAgain | Self::ResumedBeforeParked => (check::PERMITS, &[]),
            Self::ParkingNotWritten | Self::AlertNotWritten => (check::MEMORY, &[]),
            Self::SessionNotWritten => (check::MEMORY, &[check::SESSION]),
            Self::CapNotReserved => (check::MONTH, &[]),
            Self::ChargeBeforeDurable => (check::OUTBOX, &[]),
            Self::NewKeyPerTry | Self::ChargeBlindly | Self::ReversalCountedTwice => (check::CARDS, &[]),
            Self::HoldsForgotten | Self::PredecessorUntold => (check::ENDED, &[]),
            Self::ProofInALaterCommit => (check::ACTS, &[]),
            Self::RevisionUnchecked => (check::FEW_KEYS, &[]),
            Self::LimitAtAdmissionOnly => (check::KEYS, &[]),
            Self::ProjectBeforeLog => (check::TABLES, &[]),
            Self::ChainUnchecked => (check::TABLES, &[check::PROJECTED, check::MEMORY]),
            Self::ReadWithoutWaiting | Self::UnknownForgotten => (check::MEMORY, &[check::FENCED]),
            Self::ForeignEpoch => (check::FENCED, &[check::DENSE, check::MEMORY]),
            Self::EpochKept => (check::FENCED, &[check::MEMORY, check::DURABLE, check::OUTBOX]),
            Self::ServesBehind => (check::MEMORY, &[check::TABLES, check::FENCED, check::PROJECTED]),
            Self::PlaceOfAnother => (check::TABLES, &[check::CHAIN, check::PROJECTED]),
            Self::ShardsMixed => (check::SHARD, &[]),
            Self::LossUnheard => (check::OUTBOX, &[check::DURABLE, check::HOLD_FIRST]),
            Self::TimeNotAsked => (check::ALONE, &[]),
            Self::BegunBesideAppend => (check::FENCED, &[check::PROJECTED, check::MEMORY, check::OUTBOX, check::DENSE]),
            Self::OthersForgotten | Self::GoneByTheClock => (check::LIVES, &[]),
            Self::ReversedUnnamed => (check::REPLAY, &[check::TAKEN, check::PAID, check::ADDS_UP]),
            Self::PlaceApart | Self::PlaceUnchecked | Self::ClaimsForgotten | Self::FaultsLogged => {
                (check::PROJECTED, &[])
            }
        }
    }

    /// The fault of the leases' database that it is, if it is one.
    pub(crate) fn of_database(self) -> Option<Fault> {
        (self == Self::EpochKept).then_some(Fault::EpochKept)
    }

    /// Changes a transition before it is written. `leaked` remembers the credits released to expired grants so far.
    pub(crate) fn distort(self, transition: &mut Transition, leaked: &mut BTreeMap<GrantId, Nanos>) {
        match self {
            Self::ReleaseIntoExpired => release_into_expired(transition, leaked),
            Self::ProofInALaterCommit => transition.proof = None,
            Self::ParkingNotWritten => {
                if let Some(hold) = &mut transition.hold {
                    hold.is_parked = false;
                }
            }
            Self::SessionNotWritten => {
                if let Some(hold) = &mut transition.hold {
                    hold.session = None;
                }
            }
            Self::AlertNotWritten => {
                if let Some(automatic) = &mut transition.automatic {
                    automatic.state.told.clear();
                }
            }
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
