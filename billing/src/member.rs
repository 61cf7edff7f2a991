//! Members: the people who may act for an account, each in a role. Who a person is (a name, an address, a password) is not
//! known here, as it must be possible to forget it: a member is an id. The rules are functions of the members that there are.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{AccountId, PersonId},
    key::{Scope, Scopes},
    time::Timestamp,
};

/// The most members of one account.
pub const MOST_MEMBERS: usize = 200;

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// All.
    Owner,
    /// Sees all, buys credits and sets automatic purchases, cards and webhooks.
    Billing,
    /// Sees all, runs models and makes keys.
    Developer,
    /// Sees all.
    Reader,
}

/// Something that takes a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Act {
    /// See everything of the account.
    Read,
    /// Run models, as in the playground.
    Inference,
    /// Make and revoke keys.
    Keys,
    /// Buy credits, and set cards, the plan, automatic purchases and webhooks.
    Billing,
    /// Invite members, change their roles, and remove them.
    Members,
    /// Ask those who may buy for more.
    Ask,
}

/// Who may do what: a row for each act, with the roles in the order of [`Role::ALL`].
const MAY: [(Act, [bool; 4]); 6] = [
    //               owner  billing developer reader
    (Act::Read, [true, true, true, true]),
    (Act::Inference, [true, false, true, false]),
    (Act::Keys, [true, false, true, false]),
    (Act::Billing, [true, true, false, false]),
    (Act::Members, [true, false, false, false]),
    (Act::Ask, [false, false, true, true]),
];

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Owner, Self::Billing, Self::Developer, Self::Reader];

    /// The role's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Billing => "billing",
            Self::Developer => "developer",
            Self::Reader => "reader",
        }
    }

    /// Finds a role by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Whether a member in this role may do something.
    pub fn may(self, act: Act) -> bool {
        MAY.iter().any(|(it, roles)| *it == act && roles[self as usize])
    }

    /// The scopes of a member in this role.
    pub fn scopes(self) -> Scopes {
        let of = |scope: &Scope| {
            self.may(match scope {
                Scope::Inference => Act::Inference,
                Scope::Read => Act::Read,
                Scope::Billing => Act::Billing,
                Scope::Keys => Act::Keys,
            })
        };
        Scope::ALL.into_iter().filter(of).fold(Scopes::default(), Scopes::with)
    }
}

/// A person's place in an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Membership {
    /// The account.
    pub account_id: AccountId,
    /// The person.
    pub person_id: PersonId,
    /// What the person may do.
    pub role: Role,
    /// When the person became a member.
    pub since: Timestamp,
}

/// Why members stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Kept {
    /// Nobody would be left who may invite others.
    #[error("an account keeps its last owner: make somebody else an owner first")]
    LastOwner,
    /// There are as many members as an account may have.
    #[error("an account has at most {MOST_MEMBERS} members: remove one first")]
    TooMany,
    /// The person is no member.
    #[error("this person is no member of the account")]
    NoMember,
}

/// Whether somebody beside this person owns the account. Who is turned away is an owner who can do nothing, and counts only where
/// the person is turned away too: then nobody is lost who could do something.
fn has_other_owner(members: &[Membership], away: &[PersonId], person: PersonId) -> bool {
    let counts = |other: PersonId| !away.contains(&other) || away.contains(&person);
    let is_other = |member: &Membership| member.role == Role::Owner && member.person_id != person;
    members.iter().any(|member| is_other(member) && counts(member.person_id))
}

fn of(members: &[Membership], person: PersonId) -> Option<Membership> {
    members.iter().copied().find(|member| member.person_id == person)
}

/// A person becomes a member. Who is one already stays so, in the same role.
///
/// # Errors
///
/// [`Kept::TooMany`].
pub fn join(members: &[Membership], new: Membership) -> Result<Membership, Kept> {
    match of(members, new.person_id) {
        Some(member) => Ok(member),
        None if members.len() >= MOST_MEMBERS => Err(Kept::TooMany),
        None => Ok(new),
    }
}

/// A member gets another role. `away` are those whom an operator has turned away.
///
/// # Errors
///
/// [`Kept::NoMember`], or [`Kept::LastOwner`].
pub fn change_role(
    members: &[Membership],
    away: &[PersonId],
    person: PersonId,
    role: Role,
) -> Result<Membership, Kept> {
    let member = of(members, person).ok_or(Kept::NoMember)?;
    if member.role == Role::Owner && role != Role::Owner && !has_other_owner(members, away, person) {
        return Err(Kept::LastOwner);
    }
    Ok(Membership { role, ..member })
}

/// A member leaves, or is removed. `away` are those whom an operator has turned away.
///
/// # Errors
///
/// [`Kept::NoMember`], or [`Kept::LastOwner`].
pub fn leave(members: &[Membership], away: &[PersonId], person: PersonId) -> Result<Membership, Kept> {
    let member = of(members, person).ok_or(Kept::NoMember)?;
    if member.role == Role::Owner && !has_other_owner(members, away, person) {
        return Err(Kept::LastOwner);
    }
    Ok(member)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn member(number: u128, role: Role) -> Membership {
        Membership {
            account_id: AccountId(Uuid::from_u128(1)),
            person_id: PersonId(Uuid::from_u128(number)),
            role,
            since: Timestamp(0),
        }
    }

    #[test]
    fn each_role_may_what_the_table_says() {
        let acts = [Act::Read, Act::Inference, Act::Keys, Act::Billing, Act::Members, Act::Ask];
        let may = |role: Role| acts.into_iter().filter(|act| role.may(*act)).collect::<Vec<_>>();
        assert_eq!(may(Role::Owner), [Act::Read, Act::Inference, Act::Keys, Act::Billing, Act::Members]);
        assert_eq!(may(Role::Billing), [Act::Read, Act::Billing]);
        assert_eq!(may(Role::Developer), [Act::Read, Act::Inference, Act::Keys, Act::Ask]);
        assert_eq!(may(Role::Reader), [Act::Read, Act::Ask]);
        assert_eq!(Role::Owner.scopes(), Scopes::ALL);
        assert_eq!(Role::Developer.scopes().names(), "inference read keys");
        assert_eq!(Role::Billing.scopes().names(), "read billing");
        assert_eq!(Role::Reader.scopes().names(), "read");
        assert!(Role::ALL.into_iter().all(|role| Role::from_name(role.name()) == Some(role)));
        assert_eq!(Role::from_name("Owner"), None);
    }

    #[test]
    fn an_account_keeps_its_last_owner() {
        let (ada, bob, eve) = (member(1, Role::Owner), member(2, Role::Reader), PersonId(Uuid::from_u128(3)));
        let alone = [ada, bob];
        for role in [Role::Billing, Role::Developer, Role::Reader] {
            assert_eq!(change_role(&alone, &[], ada.person_id, role), Err(Kept::LastOwner));
        }
        assert_eq!(leave(&alone, &[], ada.person_id), Err(Kept::LastOwner));
        assert_eq!(change_role(&alone, &[], ada.person_id, Role::Owner), Ok(ada));
        assert_eq!(leave(&alone, &[], bob.person_id), Ok(bob));
        let owners = [ada, change_role(&alone, &[], bob.person_id, Role::Owner).unwrap()];
        assert_eq!(leave(&owners, &[], ada.person_id), Ok(ada));
        assert_eq!(change_role(&owners, &[], ada.person_id, Role::Reader).unwrap().role, Role::Reader);
        assert_eq!(
            (leave(&owners, &[], eve), change_role(&owners, &[], eve, Role::Owner)),
            (Err(Kept::NoMember), Err(Kept::NoMember))
        );
    }

    #[test]
    fn an_owner_who_is_turned_away_does_not_count_as_one() {
        let (ada, bob) = (member(1, Role::Owner), member(2, Role::Owner));
        let (both, away) = ([ada, bob], [bob.person_id]);
        assert_eq!(leave(&both, &away, ada.person_id), Err(Kept::LastOwner));
        assert_eq!(change_role(&both, &away, ada.person_id, Role::Reader), Err(Kept::LastOwner));
        assert_eq!(leave(&both, &away, bob.person_id), Ok(bob), "who can do nothing takes nobody away who can");
        assert_eq!(change_role(&both, &away, bob.person_id, Role::Reader).unwrap().role, Role::Reader);
        let all = [ada.person_id, bob.person_id];
        assert_eq!(leave(&both, &all, ada.person_id), Ok(ada));
        assert_eq!(leave(&[ada], &all, ada.person_id), Err(Kept::LastOwner));
    }

    #[test]
    fn who_joins_twice_is_a_member_once_and_members_are_bounded() {
        let (ada, again) = (member(1, Role::Reader), member(1, Role::Owner));
        assert_eq!(join(&[], again), Ok(again));
        assert_eq!(join(&[ada], again), Ok(ada), "an invitation raises nobody's role");
        let many: Vec<_> = (0..MOST_MEMBERS as u128).map(|number| member(number, Role::Owner)).collect();
        assert_eq!(join(&many, member(9_999, Role::Reader)), Err(Kept::TooMany));
        assert_eq!(join(&many, again), Ok(many[1]));
    }
}
