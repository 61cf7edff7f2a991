//! Webhooks of an account's owner: endpoints that signed events are sent to, and the results of deliveries. An
//! endpoint's secret is shown once, when the endpoint is created.

use std::time::Duration;

use actors::{
    delivery::{Test, sign},
    resources::Decided,
};
use billing::{
    Timestamp,
    event::EventKind,
    ids::{AccountId, KeyId},
    resource::Resource,
    webhook::{Because, Endpoint as Kept, MOST_ENDPOINTS, MOST_KEYS},
};
use ledger::{
    Ledger,
    webhooks::{Attempt, Delivery as Stored, Fate, KnownEndpoint},
};
use uuid::Uuid;

use super::{
    Service, ServiceError,
    acts::Origin,
    keys::check_own,
    page::{Listed, Page},
};

/// The longest description, in characters.
const LONGEST_DESCRIPTION: usize = 200;
/// The time that a test may take beyond its call.
const TEST_MARGIN: Duration = Duration::from_secs(10);

/// How the audit log calls it that a webhook is made.
pub const CREATED: &str = "webhooks.create";

const MISSING: ServiceError = ServiceError::NotFound("a webhook with that id");

/// An endpoint to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEndpoint {
    /// The endpoint's URL.
    pub url: String,
    /// The kinds of events; `None`: all kinds.
    pub kinds: Option<Vec<EventKind>>,
    /// Of events about a key, the keys that they may be about; `None`: any.
    pub keys: Option<Vec<KeyId>>,
    /// The owner's description.
    pub description: String,
    /// Whether events are sent.
    pub enabled: bool,
}

/// An endpoint, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The endpoint's id.
    pub id: Uuid,
    /// The endpoint's URL.
    pub url: String,
    /// The owner's description.
    pub description: String,
    /// The kinds of events; `None`: all kinds.
    pub kinds: Option<Vec<EventKind>>,
    /// Of events about a key, the keys that they may be about; `None`: any.
    pub keys: Option<Vec<KeyId>>,
    /// When and why the endpoint was disabled: `failing`, `gone` or `owner`.
    pub disabled: Option<(Timestamp, String)>,
    /// The first failure since the last success.
    pub failing_since: Option<Timestamp>,
    /// When the endpoint was created.
    pub created_at: Timestamp,
}

impl From<KnownEndpoint> for Endpoint {
    fn from(known: KnownEndpoint) -> Self {
        let KnownEndpoint { endpoint, failing_since } = known;
        let Kept { id, url, description, kinds, keys, disabled, created_at, .. } = endpoint;
        let disabled = disabled.map(|(at, because)| (at, because.name().to_owned()));
        Self { id, url, description, kinds, keys, disabled, failing_since, created_at }
    }
}

async fn new_endpoint(
    service: &Service,
    origin: Origin,
    account_id: AccountId,
    wanted: NewEndpoint,
) -> Result<Kept, ServiceError> {
    let NewEndpoint { url, kinds, keys, description, enabled } = wanted;
    if kinds.as_ref().is_some_and(Vec::is_empty) {
        return Err(ServiceError::invalid("events", "must name at least one kind; leave it out for all"));
    }
    if let Some(keys) = &keys {
        if !(1..=MOST_KEYS).contains(&keys.len()) {
            let rule = format!("must name from 1 to {MOST_KEYS} keys; leave it out for all");
            return Err(ServiceError::invalid("key_ids", rule));
        }
        check_own(service, account_id, "key_ids", keys).await?;
    }
    if description.chars().count() > LONGEST_DESCRIPTION || description.chars().any(char::is_control) {
        let rule = format!("must have at most {LONGEST_DESCRIPTION} characters, none of them a control character");
        return Err(ServiceError::invalid("description", rule));
    }
    let url = service.webhooks.deliveries.check(&url).await.map_err(|bad| ServiceError::invalid("url", bad))?;
    let created_at = service.now();
    Ok(Kept {
        id: origin.id.0,
        account_id,
        url,
        description,
        secret: sign::new_secret(),
        kinds,
        keys,
        created_at,
        disabled: (!enabled).then_some((created_at, Because::Owner)),
    })
}

/// Creates an endpoint under the request's id. Returns it with the secret that signs its deliveries.
///
/// # Errors
///
/// The URL, the events, the keys or the description are invalid ([`Invalid`](ServiceError::Invalid)), the account has as many
/// webhooks as are allowed, or the webhook was made before and is deleted ([`Conflict`](ServiceError::Conflict)), or the ledger
/// can't be written just now.
pub async fn create(
    service: &Service,
    origin: Origin,
    account: AccountId,
    wanted: NewEndpoint,
) -> Result<(Endpoint, String), ServiceError> {
    let known = if origin.is_done() {
        find(service, account, origin.id.0).await?
    } else {
        let endpoint = new_endpoint(service, origin, account, wanted).await?;
        let decide = async |ledger: &Ledger| -> Result<_, ServiceError> {
            // A form that is sent twice makes one, with one secret.
            if let Some(known) = ledger.endpoint(account, endpoint.id).await? {
                return Ok(Decided::new(Vec::new(), known));
            }
            // One that was deleted since does not come back: its row is gone, and the audit log knows it.
            if ledger.has_noted(account, CREATED, Some(&endpoint.id.to_string())).await? {
                return Err(ServiceError::conflict("A webhook was made by this form already: open the page again."));
            }
            if ledger.endpoints(account).await?.len() >= MOST_ENDPOINTS {
                let message =
                    format!("This account has {MOST_ENDPOINTS} webhooks, which is the most; delete one first.");
                return Err(ServiceError::Conflict(message));
            }
            let known = KnownEndpoint { endpoint: endpoint.clone(), failing_since: None };
            Ok(Decided::new(vec![Resource::Endpoint(endpoint.clone())], known))
        };
        service.accounts.change(account, decide).await?
    };
    let secret = known.endpoint.secret.clone();
    Ok((known.into(), secret))
}

/// An account's endpoints, oldest first.
///
/// # Errors
///
/// The ledger can't be read just now ([`NotReady`](ServiceError::NotReady)); try again.
pub async fn list(service: &Service, account: AccountId) -> Result<Vec<Endpoint>, ServiceError> {
    Ok(service.ledger().endpoints(account).await?.into_iter().map(Endpoint::from).collect())
}

async fn find(service: &Service, account: AccountId, id: Uuid) -> Result<KnownEndpoint, ServiceError> {
    service.ledger().endpoint(account, id).await?.ok_or(MISSING)
}

/// One of an account's endpoints.
///
/// # Errors
///
/// The account has no such webhook ([`NotFound`](ServiceError::NotFound)), or the ledger can't be read.
pub async fn endpoint(service: &Service, account: AccountId, id: Uuid) -> Result<Endpoint, ServiceError> {
    Ok(find(service, account, id).await?.into())
}

/// Enables or disables an endpoint. Waiting deliveries to a disabled endpoint are not sent any more. Returns the endpoint, and
/// whether it was the other before.
///
/// # Errors
///
/// The account has no such webhook ([`NotFound`](ServiceError::NotFound)), or the ledger can't be written just now.
pub async fn turn(
    service: &Service,
    account: AccountId,
    id: Uuid,
    enabled: bool,
) -> Result<(Endpoint, bool), ServiceError> {
    let now = service.now();
    let decide = async |ledger: &Ledger| -> Result<_, ServiceError> {
        let known = ledger.endpoint(account, id).await?.ok_or(MISSING)?.endpoint;
        if known.disabled.is_none() == enabled {
            return Ok(Decided::new(Vec::new(), false));
        }
        let turned = Kept { disabled: (!enabled).then_some((now, Because::Owner)), ..known };
        Ok(Decided::new(vec![Resource::Endpoint(turned)], true))
    };
    let is_changed = service.accounts.change(account, decide).await?;
    Ok((endpoint(service, account, id).await?, is_changed))
}

/// Deletes an endpoint and its deliveries.
///
/// # Errors
///
/// The account has no such webhook ([`NotFound`](ServiceError::NotFound)), or the ledger can't be written just now.
pub async fn delete(service: &Service, account: AccountId, id: Uuid) -> Result<(), ServiceError> {
    let decide = async |ledger: &Ledger| -> Result<_, ServiceError> {
        ledger.endpoint(account, id).await?.ok_or(MISSING)?;
        Ok(Decided::new(vec![Resource::EndpointDeleted(id)], ()))
    };
    service.accounts.change(account, decide).await
}

/// The result of a test call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// The id of the test event.
    pub event_id: Uuid,
    /// Whether the endpoint accepted the event.
    pub delivered: bool,
    /// When the call ended.
    pub at: Timestamp,
    /// The reason of a failure, where the status does not say it.
    pub error: Option<String>,
    /// The answer's status and beginning.
    pub answer: Option<(u16, String)>,
}

/// Calls an endpoint once, now, and returns the result.
///
/// # Errors
///
/// The account has no such webhook ([`NotFound`](ServiceError::NotFound)), too many tests run
/// ([`Overloaded`](ServiceError::Overloaded)), or the ledger can't be written. A failed call is no error: it is in
/// [`Tested`].
pub async fn test(service: &Service, origin: Origin, account: AccountId, id: Uuid) -> Result<Tested, ServiceError> {
    let (endpoint, event_id) = (find(service, account, id).await?.endpoint, origin.id.0);
    let deadline = service.webhook_timeout + TEST_MARGIN;
    let tested = service.webhooks.actor.ask(Test { endpoint, event_id }, deadline).await?;
    let Attempt { at, answer, error, fate, .. } = tested?;
    Ok(Tested { event_id, delivered: fate == Fate::Delivered, at, error, answer })
}

/// A delivery, as the endpoint's owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The event's id.
    pub event_id: Uuid,
    /// The kind of event.
    pub kind: String,
    /// When the event happened.
    pub at: Timestamp,
    /// `waiting`, `delivered` or `failed`.
    pub status: String,
    /// The number of attempts.
    pub attempts: i64,
    /// The time of the next attempt.
    pub due_at: Option<Timestamp>,
    /// The time of the last attempt.
    pub attempted_at: Option<Timestamp>,
    /// When the delivery ended.
    pub ended_at: Option<Timestamp>,
    /// The last answer's status, and its beginning.
    pub answer: Option<(i64, Option<String>)>,
    /// The reason of the last failure, where the status does not say it.
    pub error: Option<String>,
}

impl From<Stored> for Delivery {
    fn from(stored: Stored) -> Self {
        let Stored { event_id, kind, at, status, attempts, due_at, attempted_at, ended_at, .. } = stored;
        let Stored { answer_status, answer_body, error, .. } = stored;
        let answer = answer_status.map(|status| (status, answer_body));
        Self { event_id, kind, at, status, attempts, due_at, attempted_at, ended_at, answer, error }
    }
}

/// Deliveries to an endpoint, newest event first.
///
/// # Errors
///
/// The account has no such webhook ([`NotFound`](ServiceError::NotFound)), or the ledger can't be read.
pub async fn deliveries(
    service: &Service,
    account: AccountId,
    id: Uuid,
    page: Page,
) -> Result<Listed<Delivery>, ServiceError> {
    find(service, account, id).await?;
    let found = service.ledger().deliveries(id, page.before, page.limit).await?;
    Ok(page.list(found, |delivery| delivery.event_id).map(Delivery::from))
}
