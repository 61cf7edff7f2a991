//! Form 5: form 4, and of an account since when it is frozen, with the events about that. A body without any of that is written
//! in an older form.

use billing::{entry, event::EventKind, resource::Resource};

use super::{BadBody, Body, v1};

/// The version of this form.
pub(super) const VERSION: u8 = 5;

/// Whether only this form can hold all of a transition.
pub(super) fn is_needed(transition: &entry::Transition) -> bool {
    transition.header.frozen_at.is_some()
        || transition.events.iter().any(|event| is_new(event.kind))
        || transition.resources.iter().any(tells)
}

/// Whether a webhook is told of what may be told of in this form alone.
fn tells(resource: &Resource) -> bool {
    match resource {
        Resource::Endpoint(endpoint) => endpoint.kinds.iter().flatten().any(|kind| is_new(*kind)),
        _ => false,
    }
}

/// Whether a kind of event has its number since this form.
const fn is_new(kind: EventKind) -> bool {
    use EventKind::{AccountFrozen, AccountUnfrozen};
    matches!(kind, AccountFrozen | AccountUnfrozen)
}

pub(super) fn encode(transitions: &[entry::Transition]) -> Vec<u8> {
    v1::encode_as(VERSION, transitions)
}

/// A body of this form holds transitions alone.
pub(super) fn decode(message: &[u8]) -> Result<Body, BadBody> {
    match v1::decode_any(message)? {
        Body::Transitions(transitions) if transitions.iter().any(is_needed) => Ok(Body::Transitions(transitions)),
        _ => Err(BadBody::Malformed("form 5 without what it is for".to_owned())),
    }
}
