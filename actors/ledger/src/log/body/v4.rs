//! Form 4: form 3, and members of accounts, with the events about them. A body without any of that is written in an older
//! form.

use billing::{entry, event::EventKind, ids::PersonId, member::Membership, resource::Resource};

use super::{
    BadBody,
    v1::{
        context::{Reading, Writing},
        numbers::{Numbered as _, value},
    },
};

/// Whether only this form can hold all of a transition.
pub(super) fn is_needed(transition: &entry::Transition) -> bool {
    transition.events.iter().any(|event| is_new(event.kind)) || transition.resources.iter().any(is_of_members)
}

fn is_of_members(resource: &Resource) -> bool {
    match resource {
        Resource::Member(_) | Resource::MemberLeft(_) => true,
        // What it is told of may be told of in this form alone.
        Resource::Endpoint(endpoint) => endpoint.kinds.iter().flatten().any(|kind| is_new(*kind)),
        _ => false,
    }
}

/// Whether a kind of event has its number since this form.
const fn is_new(kind: EventKind) -> bool {
    use EventKind::{MemberJoined, MemberLeft, MemberRoleChanged, MoreWanted};
    matches!(kind, MemberJoined | MemberRoleChanged | MemberLeft | MoreWanted)
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Member {
    #[prost(uint32, tag = "1")]
    person_id: u32,
    #[prost(uint32, tag = "2")]
    role: u32,
    #[prost(sint64, tag = "3")]
    since: i64,
}

impl Member {
    pub(super) fn write(member: &Membership, to: &mut Writing) -> Self {
        let Membership { account_id: _, person_id, role, since } = member;
        Self { person_id: to.id(person_id.0), role: role.number(), since: to.time(*since) }
    }

    pub(super) fn read(self, from: &Reading) -> Result<Membership, BadBody> {
        let Self { person_id, role, since } = self;
        Ok(Membership {
            account_id: from.account()?,
            person_id: PersonId(from.id(person_id, "member.person_id")?),
            role: value(role, "member.role")?,
            since: from.time(since),
        })
    }
}
