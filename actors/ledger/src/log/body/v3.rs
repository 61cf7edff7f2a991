//! Form 3: form 2, and of a hold whether its request is parked. A body without one that is, is written in an older form.

use billing::entry;

/// Whether only this form can hold all of a transition.
pub(super) fn is_needed(transition: &entry::Transition) -> bool {
    transition.hold.as_ref().is_some_and(|hold| hold.is_parked)
}
