//! API keys.

use billing::key::{KeyWindow, Scope};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Dollars, Time};
use crate::service::keys;

/// An API key, without its secret text.
#[derive(Debug, Serialize, ToSchema)]
pub struct Key {
    id: Uuid,
    name: String,
    /// The public part of the key's text.
    public: String,
    /// The spending limits by window: `day`, `week`, `month`, `total`.
    limits: Limits,
    /// The parts of each limit, in percent, that the owner is told of; null for a key without limits.
    #[schema(required)]
    alerts: Option<Vec<u8>>,
    /// The models that the key may use; null: all models.
    models: Vec<String>,
    /// The key's scopes.
    scopes: Vec<&'static str>,
    created_at: Time,
    #[schema(required)]
    expires_at: Option<Time>,
    #[schema(required)]
    revoked_at: Option<Time>,
}

/// The limited windows of a key.
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

/// A spending limit, and the used amount.
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
            alerts: key.alerts,
            scopes: key.scopes.iter().map(Scope::name).collect(),
            created_at: key.created_at.into(),
            expires_at: Time::of(key.expires_at),
            revoked_at: Time::of(key.revoked_at),
        }
    }
}

/// A created API key.
#[derive(Debug, Serialize, ToSchema)]
pub struct NewKey {
    /// The key's id.
    pub id: Uuid,
    /// The key's name.
    pub name: String,
    /// The key's text, shown only once.
    pub key: String,
}

/// A revoked API key.
#[derive(Debug, Serialize, ToSchema)]
pub struct RevokedKey {
    /// The key's id.
    pub id: Uuid,
    /// Always true.
    pub revoked: bool,
}
