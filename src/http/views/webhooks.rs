//! Webhooks of an account's owner, and deliveries to them.

use billing::event::EventKind;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Time;
use crate::service::webhooks;

/// A webhook.
#[derive(Debug, Serialize, ToSchema)]
pub struct Webhook {
    id: Uuid,
    url: String,
    description: String,
    /// The kinds of events that are sent; null: all kinds.
    #[schema(required)]
    events: Option<Vec<&'static str>>,
    /// Of events about a key, those about these keys alone are sent; null: about all keys.
    #[schema(required)]
    key_ids: Option<Vec<Uuid>>,
    enabled: bool,
    #[schema(required)]
    disabled_at: Option<Time>,
    /// `failing`, `gone` or `owner`.
    #[schema(required)]
    disabled_because: Option<String>,
    /// The first failure since the last success.
    #[schema(required)]
    failing_since: Option<Time>,
    created_at: Time,
}

impl From<webhooks::Endpoint> for Webhook {
    fn from(endpoint: webhooks::Endpoint) -> Self {
        let webhooks::Endpoint { id, url, description, kinds, keys, disabled, failing_since, created_at } = endpoint;
        let (disabled_at, disabled_because) = disabled.unzip();
        Self {
            id,
            url,
            description,
            events: kinds.map(|kinds| kinds.iter().map(|kind| EventKind::name(*kind)).collect()),
            key_ids: keys.map(|keys| keys.iter().map(|key| key.0).collect()),
            enabled: disabled_at.is_none(),
            disabled_at: Time::of(disabled_at),
            disabled_because,
            failing_since: Time::of(failing_since),
            created_at: created_at.into(),
        }
    }
}

/// A created webhook.
#[derive(Debug, Serialize, ToSchema)]
pub struct NewWebhook {
    #[serde(flatten)]
    webhook: Webhook,
    /// The secret that signs deliveries, shown only once.
    secret: String,
}

impl From<(webhooks::Endpoint, String)> for NewWebhook {
    fn from((endpoint, secret): (webhooks::Endpoint, String)) -> Self {
        Self { webhook: endpoint.into(), secret }
    }
}

/// A deleted webhook.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeletedWebhook {
    /// The webhook's id.
    pub id: Uuid,
    /// Always true.
    pub deleted: bool,
}

/// A webhook's answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookAnswer {
    status: i64,
    /// The beginning of the body.
    #[schema(required)]
    body: Option<String>,
}

/// The result of a test call.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookTest {
    /// The id of the test event.
    id: Uuid,
    delivered: bool,
    at: Time,
    /// The reason of a failure, where the status does not say it.
    #[schema(required)]
    error: Option<String>,
    #[schema(required)]
    answer: Option<WebhookAnswer>,
}

impl From<webhooks::Tested> for WebhookTest {
    fn from(tested: webhooks::Tested) -> Self {
        let webhooks::Tested { event_id, delivered, at, error, answer } = tested;
        let answer = answer.map(|(status, body)| WebhookAnswer { status: status.into(), body: Some(body) });
        Self { id: event_id, delivered, at: at.into(), error, answer }
    }
}

/// A delivery of an event.
#[derive(Debug, Serialize, ToSchema)]
pub struct Delivery {
    /// The event's id.
    id: Uuid,
    /// The kind of event.
    r#type: String,
    created_at: Time,
    /// `waiting`, `delivered` or `failed`.
    status: String,
    attempts: i64,
    #[schema(required)]
    next_attempt_at: Option<Time>,
    #[schema(required)]
    last_attempt_at: Option<Time>,
    #[schema(required)]
    ended_at: Option<Time>,
    #[schema(required)]
    answer: Option<WebhookAnswer>,
    #[schema(required)]
    error: Option<String>,
}

impl From<webhooks::Delivery> for Delivery {
    fn from(delivery: webhooks::Delivery) -> Self {
        Self {
            id: delivery.event_id,
            r#type: delivery.kind,
            created_at: delivery.at.into(),
            status: delivery.status,
            attempts: delivery.attempts,
            next_attempt_at: Time::of(delivery.due_at),
            last_attempt_at: Time::of(delivery.attempted_at),
            ended_at: Time::of(delivery.ended_at),
            answer: delivery.answer.map(|(status, body)| WebhookAnswer { status, body }),
            error: delivery.error,
        }
    }
}
