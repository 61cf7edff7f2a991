//! What becomes of a request's members where a provider of another format is asked: one rule for all clients' formats,
//! each of which has its own lists. What the neutral words hold is translated, what changes no answer is left out. Any
//! other member makes the request one that can't be translated.

use super::refused::short;
use crate::inference::{Request, Unread};

/// The members of a format of clients.
pub(super) struct Members {
    /// Fields that the neutral words hold.
    pub(super) neutral: &'static [&'static str],
    /// Fields that change no answer.
    pub(super) harmless: &'static [&'static str],
    /// Fields with the values, as JSON, that ask for nothing beside the usual.
    pub(super) usual: &'static [(&'static str, &'static [&'static str])],
    /// Members of parts that describe an earlier answer and change no later one, by pattern.
    pub(super) describing: &'static [&'static str],
}

impl Members {
    /// The first member of a request that has no place in the neutral words and may change the answer. `changes` says
    /// whether a describing member does so all the same.
    pub(super) fn leftover(&self, request: &Request, changes: impl Fn(&Unread) -> bool) -> Option<String> {
        let body = &request.source.body;
        let is_left = |name: &&str| {
            let usual = self.usual.iter().find(|(known, _)| known == name);
            let is_usual =
                usual.is_some_and(|(_, values)| body.get(name).is_some_and(|value| values.contains(&value.trim())));
            let is_known = self.neutral.contains(name) || self.harmless.contains(name) || is_usual;
            body.present(name).is_some() && !is_known
        };
        if let Some(name) = body.names().find(is_left) {
            return Some(short(name));
        }
        let is_harmless = |unread: &&Unread| {
            unread.json == "null" || (self.describing.contains(&&*unread.pattern()) && !changes(unread))
        };
        request.unread.iter().find(|unread| !is_harmless(unread)).map(|unread| unread.at.clone())
    }
}
