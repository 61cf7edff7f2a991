//! API keys.

use billing::key::{KeyWindow, Scope};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Dollars, Time};
use crate::service::keys;

/// A key. Its text was shown once.
#[derive(Debug, Serialize, ToSchema)]
pub struct Key {
    id: Uuid,
    name: String,
    /// The part of its text by which it may be known.
    public: String,
    /// What it may spend: `day`, `week`, `month`, `total`, those that are limited.
    limits: Limits,
    /// The models it may use; all, where none is named.
    models: Vec<String>,
    /// What it may do.
    scopes: Vec<&'static str>,
    created_at: Time,
    #[schema(required)]
    expires_at: Option<Time>,
    #[schema(required)]
    revoked_at: Option<Time>,
}

/// The windows of a key that are limited.
#[derive(Debug, Serialize, ToSchema)]
struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    day: Option<Limit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    week: Option<Limit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    month: Option<Limit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    total: Option<Limit>,
}

/// A limit, and what is used of it.
#[derive(Debug, Serialize, ToSchema)]
struct Limit {
    amount: Dollars,
    #[schema(required)]
    used: Option<Dollars>,
}

impl From<keys::Key> for Key {
    fn from(key: keys::Key) -> Self {
        let of = |window: KeyWindow| {
            let amount = key.limits.of(window)?.into();
            Some(Limit { amount, used: key.used.map(|used| used[window as usize].into()) })
        };
        Self {
            id: key.id.0,
            name: key.name,
            public: key.public,
            limits: Limits {
                day: of(KeyWindow::Day),
                week: of(KeyWindow::Week),
                month: of(KeyWindow::Month),
                total: of(KeyWindow::Total),
            },
            models: key.limits.models.clone(),
            scopes: key.scopes.iter().map(Scope::name).collect(),
            created_at: key.created_at.into(),
            expires_at: Time::of(key.expires_at),
            revoked_at: Time::of(key.revoked_at),
        }
    }
}

/// A key that was made.
#[derive(Debug, Serialize, ToSchema)]
pub struct NewKey {
    /// Its id.
    pub id: Uuid,
    /// What its owner calls it.
    pub name: String,
    /// Its text, shown only now.
    pub key: String,
}

/// A key that was revoked.
#[derive(Debug, Serialize, ToSchema)]
pub struct RevokedKey {
    /// Its id.
    pub id: Uuid,
    /// That it is.
    pub revoked: bool,
}
