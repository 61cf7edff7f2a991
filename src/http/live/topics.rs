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
    /// How the process fares: its actors, threads and troubles.
    Actors,
    /// Devices, and the open models in their memory.
    Pools,
    /// The providers of closed models.
    Providers,
    /// What all accounts have together.
    Money,
}

impl Topic {
    pub(super) const ALL: [Self; 8] = [
        Self::Balance,
        Self::Permits,
        Self::Usage,
        Self::Events,
        Self::Actors,
        Self::Pools,
        Self::Providers,
        Self::Money,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Balance => "balance",
            Self::Permits => "permits",
            Self::Usage => "usage",
            Self::Events => "events",
            Self::Actors => "actors",
            Self::Pools => "pools",
            Self::Providers => "providers",
            Self::Money => "money",
        }
    }

    /// The type of its frames.
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Events => "event",
            other => other.name(),
        }
    }

    /// The topic of a name.
    ///
    /// # Errors
    ///
    /// There is none.
    pub(super) fn named(name: &str) -> Result<Self, ApiError> {
        Self::ALL.into_iter().find(|topic| topic.name() == name).ok_or_else(|| {
            let shown: String = name.chars().take(100).collect();
            let known = Self::ALL.map(Self::name).join(", ");
            ApiError::invalid("topics", format!("{shown} is none; there are {known}"))
        })
    }

    /// Whether it is of whoever runs the gateway: no key opens it.
    pub(super) const fn is_operators(self) -> bool {
        match self {
            Self::Balance | Self::Permits | Self::Usage | Self::Events => false,
            Self::Actors | Self::Pools | Self::Providers | Self::Money => true,
        }
    }

    /// Whether a caller may subscribe to it.
    pub(super) const fn is_for(self, caller: &Caller) -> bool {
        match self {
            Self::Balance | Self::Permits | Self::Usage => true,
            Self::Events => caller.scopes.has(Scope::Read),
            Self::Actors | Self::Pools | Self::Providers | Self::Money => false,
        }
    }

    /// Why an account may not subscribe to it.
    pub(super) fn refused_to_account(self) -> ApiError {
        if self.is_operators() {
            let message = format!("{} is for operators, and this socket is an account's", self.name());
            ApiError::invalid("topics", message)
        } else {
            ApiError::out_of_scope(Scope::Read)
        }
    }

    /// Why an operator may not subscribe to it.
    pub(super) fn refused_to_operator(self) -> ApiError {
        let message = format!("{} is an account's, and this socket is an operator's", self.name());
        ApiError::invalid("topics", message)
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
        let topics = Topics::default().with(Topic::Usage).with(Topic::Money).without(Topic::Usage);
        assert!(topics.has(Topic::Money) && !topics.has(Topic::Usage) && !topics.is_empty());
        assert!(topics.without(Topic::Money).is_empty());
        for topic in Topic::ALL {
            assert_eq!(Topic::named(topic.name()).unwrap(), topic);
        }
        assert!(Topic::named("x").unwrap_err().message().contains("balance, permits, usage, events, actors"));
        assert!(Topic::Money.refused_to_account().message().contains("operators"));
        assert!(Topic::Balance.refused_to_operator().message().contains("an account's"));
    }
}
