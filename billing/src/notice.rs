//! Who is told of which events by mail: what a member's role is told of, unless the member chooses otherwise. Everybody may see all
//! events of the account; this is about letters alone.

use crate::{event::EventKind, ids::KeyId, member::Role};

/// Who is told of what: a row for each kind of event, with the roles in the order of [`Role::ALL`].
const TOLD: [(EventKind, [bool; 4]); EventKind::ALL.len()] = {
    const MONEY: [bool; 4] = [true, true, false, false];
    const OWNER: [bool; 4] = [true, false, false, false];
    [
        //                                owner, billing, developer, reader
        (EventKind::LowBalance, MONEY),
        (EventKind::CreditsExpiring, MONEY),
        (EventKind::ReloadFailed, MONEY),
        (EventKind::ReloadDisabled, MONEY),
        (EventKind::ReloadCapped, MONEY),
        (EventKind::TierFalling, MONEY),
        (EventKind::KeyLimitNear, [true, false, true, false]),
        // What went as it should is told to nobody who did not ask.
        (EventKind::SubscriptionRenewed, [false, true, false, false]),
        (EventKind::SubscriptionFailed, MONEY),
        (EventKind::SubscriptionEnded, MONEY),
        (EventKind::PaymentReversed, MONEY),
        (EventKind::PaymentRestored, MONEY),
        (EventKind::ReloadPaused, MONEY),
        (EventKind::WebhookDisabled, [true, false, true, false]),
        (EventKind::MemberJoined, OWNER),
        (EventKind::MemberRoleChanged, OWNER),
        (EventKind::MemberLeft, OWNER),
        // Owners get a letter of its own when it is asked.
        (EventKind::MoreWanted, [false; 4]),
        // Whoever runs models is concerned.
        (EventKind::AccountFrozen, [true, true, true, false]),
        (EventKind::AccountUnfrozen, [true, true, true, false]),
    ]
};

/// What a member is told of by mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The kinds of events.
    pub kinds: Vec<EventKind>,
    /// The keys whose events are told; `None`: all.
    pub keys: Option<Vec<KeyId>>,
}

impl Choice {
    /// Nothing.
    pub const NOTHING: Self = Self { kinds: Vec::new(), keys: None };

    /// What a member in this role is told of, who has chosen nothing.
    pub fn usual(role: Role) -> Self {
        let told = TOLD.iter().filter(|(_, roles)| roles[role as usize]);
        Self { kinds: told.map(|(kind, _)| *kind).collect(), keys: None }
    }

    /// Whether an event is told: one of this kind, about this key if it is about one.
    pub fn wants(&self, kind: EventKind, key: Option<KeyId>) -> bool {
        let is_of_key = match (key, &self.keys) {
            (Some(key), Some(keys)) => keys.contains(&key),
            (None, _) | (_, None) => true,
        };
        self.kinds.contains(&kind) && is_of_key
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn each_kind_has_one_row_and_roles_are_told_of_what_is_theirs() {
        assert_eq!(TOLD.map(|(kind, _)| kind), EventKind::ALL);
        let told = |role, kind| Choice::usual(role).wants(kind, None);
        for kind in [EventKind::LowBalance, EventKind::ReloadDisabled, EventKind::CreditsExpiring] {
            assert!(told(Role::Owner, kind) && told(Role::Billing, kind) && !told(Role::Developer, kind));
        }
        assert!(told(Role::Developer, EventKind::KeyLimitNear) && !told(Role::Billing, EventKind::KeyLimitNear));
        assert_eq!(Choice::usual(Role::Reader), Choice::NOTHING);
    }

    #[test]
    fn events_of_keys_are_told_of_chosen_keys() {
        let [one, other] = [1, 2].map(|number| KeyId(Uuid::from_u128(number)));
        let choice = Choice { kinds: vec![EventKind::KeyLimitNear, EventKind::LowBalance], keys: Some(vec![one]) };
        assert!(choice.wants(EventKind::KeyLimitNear, Some(one)) && choice.wants(EventKind::LowBalance, None));
        assert!(!choice.wants(EventKind::KeyLimitNear, Some(other)) && !choice.wants(EventKind::MemberLeft, None));
    }
}
