//! The audit log of an account.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Time;
use crate::service::trail;

/// A change of the account, and who made it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Change {
    /// The id of the request that asked for it.
    id: Uuid,
    at: Time,
    /// `member`, by a session, or `key`.
    by: String,
    /// The member or the key.
    by_id: Uuid,
    /// The member's address or the key's name; null where it was forgotten.
    #[schema(required)]
    by_name: Option<String>,
    /// What was done, such as `keys.create`.
    act: String,
    /// The object that was changed, by its id.
    #[schema(required)]
    subject: Option<String>,
    /// What else is known of it: a name, an amount, a role.
    #[schema(required)]
    detail: Option<String>,
}

impl From<trail::Seen> for Change {
    fn from(seen: trail::Seen) -> Self {
        let trail::Seen { id, at, by_kind, by, by_name, act, subject, detail } = seen;
        Self { id, at: at.into(), by: by_kind, by_id: by, by_name, act, subject, detail }
    }
}
