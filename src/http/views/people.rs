//! Views of people, for operators.

use billing::member::Membership as Member;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Time;
use crate::service::people::{members, operator::Found};

/// A person.
#[derive(Debug, Serialize, ToSchema)]
pub struct Person {
    id: Uuid,
    /// The e-mail address, in its canonical spelling.
    email: String,
    name: String,
    created_at: Time,
    /// Since when an operator lets the person in no more.
    #[schema(required)]
    disabled_at: Option<Time>,
    memberships: Vec<Membership>,
}

/// A person's place in an account.
#[derive(Debug, Serialize, ToSchema)]
pub struct Membership {
    account_id: Uuid,
    /// The address of the account.
    account: String,
    /// `owner`, `billing`, `developer` or `reader`.
    role: &'static str,
    since: Time,
}

impl From<Found> for Person {
    fn from(Found { person, memberships }: Found) -> Self {
        let membership = |(member, account): (Member, String)| Membership {
            account_id: member.account_id.0,
            account,
            role: member.role.name(),
            since: member.since.into(),
        };
        Self {
            id: person.id.0,
            email: person.email,
            name: person.name,
            created_at: person.created_at.into(),
            disabled_at: person.disabled_at.map(Time::from),
            memberships: memberships.into_iter().map(membership).collect(),
        }
    }
}

/// A member of an account.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountMember {
    person_id: Uuid,
    /// The address; null where the person was forgotten.
    #[schema(required)]
    email: Option<String>,
    #[schema(required)]
    name: Option<String>,
    /// `owner`, `billing`, `developer` or `reader`.
    role: &'static str,
    since: Time,
    /// Since when an operator lets the person in no more.
    #[schema(required)]
    disabled_at: Option<Time>,
}

impl From<members::Member> for AccountMember {
    fn from(members::Member { membership, person }: members::Member) -> Self {
        let disabled_at = person.as_ref().and_then(|person| person.disabled_at).map(Time::from);
        let (email, name) = person.map(|person| (person.email, person.name)).unzip();
        let Member { person_id, role, since, .. } = membership;
        Self { person_id: person_id.0, email, name, role: role.name(), since: since.into(), disabled_at }
    }
}

/// A link that is good once, for whom it is made.
#[derive(Debug, Serialize, ToSchema)]
pub struct PersonLink {
    /// Where it leads; whoever opens it counts as the owner of the address.
    pub link: String,
}

/// A person who was turned away, or let in again.
#[derive(Debug, Serialize, ToSchema)]
pub struct PersonState {
    /// The person's id.
    pub id: Uuid,
    /// Whether the person is turned away.
    pub disabled: bool,
    /// How many keys were revoked now that the person made. They stay so when the person is let in again.
    pub keys_revoked: usize,
}

/// A person who was forgotten.
#[derive(Debug, Serialize, ToSchema)]
pub struct ForgottenPerson {
    /// The id, which memberships in the log still have.
    pub id: Uuid,
    /// Always true.
    pub forgotten: bool,
    /// How many keys were revoked that the person made.
    pub keys_revoked: usize,
}
