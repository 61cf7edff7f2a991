//! The session that a request names. Agents and SDKs name one for the provider's cache: what is asked in it goes one way, and its
//! usage is summed. The name is a client's own text, which the log never forgets: one that can't be kept as it is, because it
//! is too long or has control characters, is kept as its hash, by which the same name is found again.

use std::borrow::Cow;

use billing::session::{NoSession, Session};
use serde::Deserialize;
use wire::inference::Request;
use wire::object::Object;

/// What a request is kept together by: the session that it names, else its end user.
pub(super) fn named(request: &Request) -> Option<Cow<'_, str>> {
    told(request).or_else(|| request.end_user.as_deref().map(Cow::Borrowed))
}

/// The session that a request is recorded with.
pub(super) fn recorded(request: &Request) -> Option<Session> {
    let name = told(request).or_else(|| request.end_user.as_deref().and_then(of_end_user));
    name.and_then(|name| kept(&name))
}

/// The session that a request names by `prompt_cache_key`, or by the header `session-id`.
fn told(request: &Request) -> Option<Cow<'_, str>> {
    let key = request.source.body.present("prompt_cache_key").and_then(text);
    let header = || request.source.headers.iter().find(|(name, _)| **name == *"session-id").map(|(_, value)| &**value);
    key.or_else(|| header().map(Cow::Borrowed))
}

/// The session within an end user's name, as Claude Code writes it: behind `_session_`, or as `session_id` of an object.
fn of_end_user(name: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct User<'a> {
        #[serde(borrow)]
        session_id: Cow<'a, str>,
    }
    let behind = || name.rsplit_once("_session_").map(|(_, session)| Cow::Borrowed(session));
    serde_json::from_str(name).ok().map(|Object(User { session_id })| session_id).or_else(behind)
}

/// A field's text, where it is one. Most texts have no escapes, and are not copied.
fn text(field: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str(field).ok().map(|Text(text)| text)
}

/// What records are asked for by a session's name; `None` where it is empty.
pub fn filter(name: &str) -> Option<String> {
    kept(name).map(|session| (*session).to_owned())
}

/// A session as it is kept; `None` where its name is empty.
fn kept(name: &str) -> Option<Session> {
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
    fn an_end_user_is_kept_as_its_session_alone() {
        for (name, session) in [
            ("user_3f_account_9a_session_7c-1", Some("7c-1")),
            (r#"{"device_id":"d","account_uuid":"a","session_id":"7c-1"}"#, Some("7c-1")),
            ("ada@example.com", None),
            (r#"{"device_id":"d"}"#, None),
            (r#"{"session_id":7}"#, None),
            ("", None),
        ] {
            assert_eq!(of_end_user(name).as_deref(), session, "{name}");
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
