//! Form 5: form 4, and of an account since when it is frozen, with the events about that. A body without any of that is written
//! in an older form.

use billing::{entry, event::EventKind, resource::Resource};

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
