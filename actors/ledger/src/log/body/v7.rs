//! Form 7: the older forms, and the session that a request's client names, in its hold and in its record; and of a webhook the
//! keys whose events it is told alone. A body without any of that is written in an older form.

use billing::{entry, resource::Resource, session::Session};

use super::BadBody;

/// Whether only this form can hold all of a transition.
pub(super) fn is_needed(transition: &entry::Transition) -> bool {
    transition.hold.as_ref().is_some_and(|hold| hold.session.is_some())
        || transition.usage.as_ref().is_some_and(|usage| usage.session.is_some())
        || transition.resources.iter().any(|resource| matches!(resource, Resource::Endpoint(of) if of.keys.is_some()))
}

/// The keys of a webhook, by their places among the ids.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Keys {
    #[prost(uint32, repeated, tag = "1")]
    pub(super) keys: Vec<u32>,
}

/// A session's name as it is written.
pub(super) fn written(session: Option<&Session>) -> Option<String> {
    session.map(|session| (**session).to_owned())
}

/// A session by its name.
pub(super) fn read(name: Option<String>, field: &str) -> Result<Option<Session>, BadBody> {
    name.map(Session::new).transpose().map_err(|error| BadBody::Malformed(format!("{field}: {error}")))
}
