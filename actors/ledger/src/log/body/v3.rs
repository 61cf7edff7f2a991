//! Form 3: form 2, and of a hold whether its request is parked. A body without one that is, is written in an older form.

use billing::entry;

use super::{BadBody, Body, v1, v4, v6};

/// The version of this form.
pub(super) const VERSION: u8 = 3;

/// Whether only this form can hold all of a transition.
pub(super) fn is_needed(transition: &entry::Transition) -> bool {
    transition.hold.as_ref().is_some_and(|hold| hold.is_parked)
}

pub(super) fn encode(transitions: &[entry::Transition]) -> Vec<u8> {
    v1::encode_as(VERSION, transitions)
}

/// A body of this form holds transitions alone.
pub(super) fn decode(message: &[u8]) -> Result<Body, BadBody> {
    match v1::decode_any(message)? {
        Body::Transitions(transitions) if transitions.iter().any(v6::is_needed) => {
            Err(BadBody::Malformed("alerts".to_owned()))
        }
        Body::Transitions(transitions) if transitions.iter().any(v4::is_needed) => {
            Err(BadBody::Malformed("members".to_owned()))
        }
        Body::Transitions(transitions) if transitions.iter().any(is_needed) => Ok(Body::Transitions(transitions)),
        _ => Err(BadBody::Malformed("form 3 without what it is for".to_owned())),
    }
}
