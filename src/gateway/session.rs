//! The session that a request names. Agents and SDKs name one for the provider's cache: what is asked in it goes one way, and its
//! usage is summed. The name is a client's own text, which the log never forgets: one that can't be kept as it is, because it
//! is too long or has control characters, is kept as its hash, by which the same name is found again.

use std::borrow::Cow;

use billing::session::{NoSession, Session};
use serde::Deserialize;
use wire::inference::Request;

/// The session that a request names: by `prompt_cache_key`, by the header `session-id`, or as its end user.
pub(super) fn named(request: &Request) -> Option<Cow<'_, str>> {
    let key = request.source.body.present("prompt_cache_key").and_then(text);
    let header = || request.source.headers.iter().find(|(name, _)| **name == *"session-id").map(|(_, value)| &**value);
    key.or_else(|| header().or(request.end_user.as_deref()).map(Cow::Borrowed))
}

/// A field's text, where it is one. Most texts have no escapes, and are not copied.
fn text(field: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str(field).ok().map(|Text(text)| text)
}

/// A session as it is kept; `None` where its name is empty.
pub fn kept(name: &str) -> Option<Session> {
    match Session::new(name) {
        Ok(session) => Some(session),
        Err(NoSession::Empty) => None,
        Err(NoSession::TooLong | NoSession::Control) => {
            Session::new(format!("blake3:{}", blake3::hash(name.as_bytes()).to_hex())).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_a_text_or_names_nothing() {
        assert!(matches!(text("\"ses_1\""), Some(Cow::Borrowed("ses_1"))));
        assert_eq!(text("\"a\\n\\u00e9\"").as_deref(), Some("a\n\u{e9}"));
        for other in ["7", "{}", "", "\"a"] {
            assert_eq!(text(other), None, "{other}");
        }
    }

    #[test]
    fn a_name_that_can_not_be_kept_is_kept_as_its_hash() {
        assert_eq!(kept("ses_1").as_deref(), Some("ses_1"));
        assert_eq!(kept(""), None);
        let length = "blake3:".len() + 64;
        assert_eq!(kept("two\nlines").as_deref().map(str::len), Some(length));
        let long = kept(&"x".repeat(300));
        assert_eq!(long.as_deref().map(str::len), Some(length));
        assert_eq!(kept(&"x".repeat(300)), long);
        assert_ne!(kept(&"x".repeat(301)), long);
    }
}
