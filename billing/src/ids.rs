//! Ids as newtypes over UUIDs, so that a grant's id can't be passed for a request's.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta] $name:ident),+ $(,)?) => {$(
        #[$doc]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

id! {
    /// An account's id.
    AccountId,
    /// A grant's id.
    GrantId,
    /// A request's id, also its hold's.
    RequestId,
    /// A payment's id, also the card network's idempotency key.
    PaymentId,
    /// An API key's id.
    KeyId,
}
