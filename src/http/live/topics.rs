//! What can be subscribed to: on a live socket, and as server-sent events.

use billing::key::Scope;

use crate::{gateway::serve::Caller, http::error::ApiError};

/// A topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    /// The balance, as it changes.
    Balance,
    /// The permits in use and allowed.
    Permits,
    /// What each request that ended cost, and what those that run cost so far.
    Usage,
    /// What the account is told, as `GET /v1/events` lists it.
    Events,
}

/// Topics of whoever runs the gateway. No key opens them.
const OPERATORS: [&str; 4] = ["actors", "pools", "providers", "money"];

impl Topic {
    pub(super) const ALL: [Self; 4] = [Self::Balance, Self::Permits, Self::Usage, Self::Events];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Balance => "balance",
            Self::Permits => "permits",
            Self::Usage => "usage",
            Self::Events => "events",
        }
    }

    /// The topic of a name.
    ///
    /// # Errors
    ///
    /// There is none that a key may subscribe to.
    pub(super) fn named(name: &str) -> Result<Self, ApiError> {
        if OPERATORS.contains(&name) {
            return Err(ApiError::invalid(
                "topics",
                format!("{name} is for operators, and this socket is an account's"),
            ));
        }
        Self::ALL.into_iter().find(|topic| topic.name() == name).ok_or_else(|| {
            let shown: String = name.chars().take(100).collect();
            let known = Self::ALL.map(Self::name).join(", ");
            ApiError::invalid("topics", format!("{shown} is none; there are {known}"))
        })
    }

    /// Whether a caller may subscribe to it.
    pub(super) const fn is_for(self, caller: &Caller) -> bool {
        match self {
            Self::Balance | Self::Permits | Self::Usage => true,
            Self::Events => caller.scopes.has(Scope::Read),
        }
    }
}

/// A set of topics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Topics(u8);

impl Topics {
    const fn bit(topic: Topic) -> u8 {
        1 << topic as u8
    }

    pub(super) const fn with(self, topic: Topic) -> Self {
        Self(self.0 | Self::bit(topic))
    }

    pub(super) const fn without(self, topic: Topic) -> Self {
        Self(self.0 & !Self::bit(topic))
    }

    pub(super) const fn has(self, topic: Topic) -> bool {
        self.0 & Self::bit(topic) != 0
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_added_and_names_are_checked() {
        let topics = Topics::default().with(Topic::Usage).with(Topic::Balance).without(Topic::Usage);
        assert!(topics.has(Topic::Balance) && !topics.has(Topic::Usage) && !topics.is_empty());
        assert!(topics.without(Topic::Balance).is_empty());
        for topic in Topic::ALL {
            assert_eq!(Topic::named(topic.name()).unwrap(), topic);
        }
        assert!(Topic::named("money").unwrap_err().message().contains("operators"));
        assert!(Topic::named("x").unwrap_err().message().contains("balance, permits, usage, events"));
    }
}
