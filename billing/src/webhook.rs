//! Webhooks: where an account's events are delivered.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    event::EventKind,
    ids::{AccountId, KeyId},
    time::Timestamp,
};

/// The most endpoints of one account.
pub const MOST_ENDPOINTS: usize = 10;
/// The most keys that one endpoint may be for.
pub const MOST_KEYS: usize = 100;

/// Why an endpoint is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Because {
    /// Its deliveries failed for too long.
    Failing,
    /// It answered that it is gone for good.
    Gone,
    /// Its owner turned it off.
    Owner,
}

impl Because {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Failing, Self::Gone, Self::Owner];

    /// The reason's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Gone => "gone",
            Self::Owner => "owner",
        }
    }

    /// Finds a reason by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|because| because.name() == name)
    }
}

/// An endpoint of an account.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// The endpoint's id.
    pub id: Uuid,
    /// The account.
    pub account_id: AccountId,
    /// The endpoint's URL.
    pub url: String,
    /// The owner's description.
    pub description: String,
    /// The secret that signs deliveries.
    pub secret: String,
    /// The kinds of events to deliver; `None`: all.
    pub kinds: Option<Vec<EventKind>>,
    /// Of events about a key: those of these keys alone; `None`: of all. Other events are delivered whatever it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<KeyId>>,
    /// When the endpoint was created.
    pub created_at: Timestamp,
    /// When and why the endpoint was turned off.
    pub disabled: Option<(Timestamp, Because)>,
}
