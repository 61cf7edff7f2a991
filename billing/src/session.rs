//! Sessions: what a client calls the conversation that a request is part of. A session says nothing of money; it is kept with
//! the request's record, so that usage can be summed by it. It is a client's own text, which the log never forgets.

use std::{ops::Deref, sync::Arc};

use serde::{Deserialize, Serialize};

/// The longest name of a session that is kept, in bytes.
pub const LONGEST_SESSION: usize = 256;

/// The name of a session: at least one byte, at most [`LONGEST_SESSION`], and none of a control character.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Arc<str>", into = "Arc<str>")]
pub struct Session(Arc<str>);

/// Why a text is no name of a session that can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSession {
    /// It is empty.
    #[error("a session's name is empty")]
    Empty,
    /// It is too long.
    #[error("a session's name is longer than {LONGEST_SESSION} bytes")]
    TooLong,
    /// It has control characters.
    #[error("a session's name has control characters")]
    Control,
}

impl Session {
    /// A session of this name.
    ///
    /// # Errors
    ///
    /// The name can't be kept as it is.
    pub fn new(name: impl Into<Arc<str>> + AsRef<str>) -> Result<Self, NoSession> {
        let text = name.as_ref();
        if text.is_empty() {
            return Err(NoSession::Empty);
        }
        if text.len() > LONGEST_SESSION {
            return Err(NoSession::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(NoSession::Control);
        }
        Ok(Self(name.into()))
    }
}

impl TryFrom<Arc<str>> for Session {
    type Error = NoSession;

    fn try_from(name: Arc<str>) -> Result<Self, NoSession> {
        Self::new(name)
    }
}

impl From<Session> for Arc<str> {
    fn from(session: Session) -> Self {
        session.0
    }
}

impl Deref for Session {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_plain() {
        assert_eq!(&*Session::new("ses_1 \u{e9}").unwrap(), "ses_1 \u{e9}");
        assert!(Session::new("x".repeat(LONGEST_SESSION)).is_ok());
        for (name, why) in [
            (String::new(), NoSession::Empty),
            ("x".repeat(LONGEST_SESSION + 1), NoSession::TooLong),
            ("a\0".into(), NoSession::Control),
            ("a\nb".into(), NoSession::Control),
            ("a\u{85}".into(), NoSession::Control),
        ] {
            assert_eq!(Session::new(name.clone()), Err(why), "{name:?}");
            assert!(serde_json::from_value::<Session>(name.into()).is_err());
        }
        assert_eq!(serde_json::to_string(&Session::new("s").unwrap()).unwrap(), "\"s\"");
    }
}
