//! Boxes of forms: the kinds of events and the keys that are ticked. A form has a field for each.

use billing::{event::EventKind, ids::KeyId};

use crate::{
    http::{error::ApiError, values::id},
    service::people::notices::describe,
};

/// The fields of a form, in its order.
pub(super) type Fields = Vec<(String, String)>;

/// A kind of event to choose.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) says: &'static str,
    pub(super) is_ticked: bool,
}

/// All kinds of events, some of them ticked.
pub(super) fn choices(is_ticked: impl Fn(EventKind) -> bool) -> Vec<Kind> {
    let choice = |kind: EventKind| Kind { name: kind.name(), says: describe(kind), is_ticked: is_ticked(kind) };
    EventKind::ALL.map(choice).into()
}

/// The value of a field that a form has once.
pub(super) fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
}

/// The values of the boxes of this name that are ticked.
pub(super) fn ticked<'a>(fields: &'a Fields, name: &'static str) -> impl Iterator<Item = &'a str> {
    fields.iter().filter(move |(it, _)| it == name).map(|(_, value)| value.as_str())
}

/// The kinds of events that are ticked.
///
/// # Errors
///
/// One is no kind of event.
pub(super) fn kinds(fields: &Fields) -> Result<Vec<EventKind>, ApiError> {
    let kind = |name: &str| EventKind::from_name(name).ok_or_else(|| ApiError::invalid("kind", "is no kind of event"));
    ticked(fields, "kind").map(kind).collect()
}

/// The keys that are ticked; `None` where none is, which means all.
///
/// # Errors
///
/// One is no key's id.
pub(super) fn keys(fields: &Fields) -> Result<Option<Vec<KeyId>>, ApiError> {
    let key = |text: &str| id("key", text, "must be a key's id").map(KeyId);
    let keys = ticked(fields, "key").map(key).collect::<Result<Vec<_>, _>>()?;
    Ok((!keys.is_empty()).then_some(keys))
}
