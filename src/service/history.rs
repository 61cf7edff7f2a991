//! The history of an account: open holds, ended requests, events.

use actors::account::{Look, Picture};
use billing::{
    Nanos, Timestamp, attempt,
    event::EventKind,
    hold::Hold,
    ids::{AccountId, KeyId, RequestId},
    price::Rate,
    quantity::Key,
    timings::Timings,
};
pub use ledger::drawn::Drawn;
use ledger::{
    events::EventRow,
    history,
    query::{QuantityRow, RequestRow},
    usage::Wanted,
};
use uuid::Uuid;

use super::{
    Service, ServiceError,
    page::{Listed, Page},
    usage::Only,
};

/// The most holds that are listed.
const MOST_HOLDS: usize = 1_000;

/// The holds of running requests.
#[derive(Debug, Clone)]
pub struct Holds {
    /// The oldest holds.
    pub shown: Vec<Hold>,
    /// The number of open holds.
    pub open: usize,
}

/// The open holds of an account, or of one key, oldest first.
///
/// # Errors
///
/// There is no such account ([`NotFound`](ServiceError::NotFound)), its mailbox is full
/// ([`Overloaded`](ServiceError::Overloaded)), or the ledger can't be reached ([`NotReady`](ServiceError::NotReady)).
/// The last two pass; try again.
pub async fn holds(service: &Service, account: AccountId, only: Option<KeyId>) -> Result<Holds, ServiceError> {
    let Picture { holds: mut shown, .. } = service.accounts.ask(account, Look).await?;
    shown.retain(|hold| only.is_none_or(|only| hold.key_id == Some(only)));
    let open = shown.len();
    shown.truncate(MOST_HOLDS);
    Ok(Holds { shown, open })
}

/// An ended request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The id.
    pub id: RequestId,
    /// The API key of the request.
    pub key_id: Option<KeyId>,
    /// The model.
    pub model: String,
    /// The provider, or `farebox`.
    pub provider: String,
    /// How it ended.
    pub ending: String,
    /// The usage.
    pub used: Used,
    /// Exact cost before the fee, in dollars.
    pub base_cost: String,
    /// Exact fee, in dollars.
    pub fee: String,
    /// The amount charged.
    pub cost: Nanos,
    /// The part of the exact cost before the fee that no quantity accounts for, in dollars. Only requests that were
    /// settled after their process died, or recorded before quantities had rates, have one.
    pub unitemised_cost: Option<String>,
    /// The usage in parts that don't overlap.
    pub quantities: Vec<Quantity>,
    /// The price version.
    pub price_version: i64,
    /// When the request was admitted.
    pub started_at: Timestamp,
    /// When the request ended.
    pub ended_at: Timestamp,
    /// The session that its client named.
    pub session: Option<String>,
    /// Where its time went, where that was recorded.
    pub timings: Option<Timings>,
}

/// An ended request, whosever it was, and whose it was; `None` where no request of this id has ended.
///
/// # Errors
///
/// The ledger can't be read just now ([`NotReady`](ServiceError::NotReady)); try again.
pub async fn request_of_anyone(service: &Service, id: RequestId) -> Result<Option<(AccountId, Ended)>, ServiceError> {
    let ledger = service.ledger();
    let Some(account) = ledger.account_of_ended(id).await? else { return Ok(None) };
    Ok(ledger.request(account, id).await?.map(|row| (account, Ended::from(row))))
}

/// The attempts of a request that may have been made with several models; the last is the one that the request's record is of.
/// None where there was one alone.
///
/// # Errors
///
/// The ledger can't be read just now ([`NotReady`](ServiceError::NotReady)); try again.
pub async fn attempts(service: &Service, account: AccountId, ended: &Ended) -> Result<Vec<Attempt>, ServiceError> {
    let before = service.ledger().attempts(account, ended.id).await?;
    let mut attempts: Vec<Attempt> = before.into_iter().map(Attempt::from).collect();
    if !attempts.is_empty() {
        attempts.push(Attempt::last(ended));
    }
    Ok(attempts)
}

/// What a request drew from grants, in the order of drawing.
///
/// # Errors
///
/// The ledger can't be read just now ([`NotReady`](ServiceError::NotReady)); try again.
pub async fn drawn(service: &Service, account: AccountId, id: RequestId) -> Result<Vec<Drawn>, ServiceError> {
    Ok(service.ledger().drawn(account, id).await?)
}

/// An attempt of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The request's id in it; `None` where nothing was held for it, so that it has no record.
    pub request_id: Option<RequestId>,
    /// The model.
    pub model: String,
    /// The provider, or `farebox`; `None` where there is no such model.
    pub provider: Option<String>,
    /// How it ended: as the last attempt, or the code of its error.
    pub outcome: String,
    /// The HTTP status that it would have been answered with; `None` for the last one.
    pub status: Option<u16>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// The amount charged.
    pub charged: Nanos,
}

impl From<attempt::Attempt> for Attempt {
    fn from(attempt: attempt::Attempt) -> Self {
        let attempt::Attempt { request_id, model, provider, status, code, started_at, ended_at, charged } = attempt;
        Self {
            request_id,
            model: model.to_string(),
            provider: provider.map(|provider| provider.to_string()),
            outcome: code.into_owned(),
            status: Some(status),
            started_at,
            ended_at,
            charged,
        }
    }
}

impl Attempt {
    fn last(ended: &Ended) -> Self {
        Self {
            request_id: Some(ended.id),
            model: ended.model.clone(),
            provider: Some(ended.provider.clone()),
            outcome: ended.ending.clone(),
            status: None,
            started_at: ended.started_at,
            ended_at: ended.ended_at,
            charged: ended.cost,
        }
    }
}

/// A part of a request's usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantity {
    /// The quantity's key.
    pub key: Key,
    /// The amount.
    pub amount: u64,
    /// The price of one, in dollars; `None` where the quantity has no price of its own.
    pub rate: Option<Rate>,
    /// The cost of this quantity before the fee, in dollars.
    pub cost: Option<String>,
}

impl From<QuantityRow> for Quantity {
    fn from(row: QuantityRow) -> Self {
        let QuantityRow { quantity: key, amount, rate, cost } = row;
        Self { key, amount, rate, cost }
    }
}

/// The usage of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Prompt tokens.
    pub input_tokens: i64,
    /// The cached part of the prompt tokens.
    pub cached_input_tokens: i64,
    /// The part of the prompt tokens written to the provider's cache.
    pub cache_write_tokens: i64,
    /// Output tokens.
    pub output_tokens: i64,
    /// The part of the output tokens that was reasoning.
    pub reasoning_tokens: i64,
    /// Whether the tokens were counted here, because the provider did not report them.
    pub estimated: bool,
    /// Milliseconds of compute.
    pub compute_ms: i64,
    /// Seconds billed.
    pub billed_seconds: i64,
}

impl From<RequestRow> for Ended {
    fn from(row: RequestRow) -> Self {
        let used = Used {
            input_tokens: row.input_tokens,
            cached_input_tokens: row.cached_input_tokens,
            cache_write_tokens: row.cache_write_tokens,
            output_tokens: row.output_tokens,
            reasoning_tokens: row.reasoning_tokens,
            estimated: row.estimated,
            compute_ms: row.compute_ms,
            billed_seconds: row.billed_seconds,
        };
        Self {
            id: RequestId(row.id),
            key_id: row.key_id.map(KeyId),
            model: row.model,
            provider: row.provider,
            ending: row.ending,
            used,
            base_cost: row.base_cost,
            fee: row.fee,
            cost: row.cost,
            unitemised_cost: row.unitemised_cost,
            quantities: row.quantities.into_iter().map(Quantity::from).collect(),
            price_version: row.price_version,
            started_at: row.started_at,
            ended_at: row.ended_at,
            session: row.session,
            timings: row.timings,
        }
    }
}

/// A position in the list of ended requests, where a page begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// When the request at this position ended.
    pub ended_at: Timestamp,
    /// The id of that request.
    pub id: Uuid,
}

/// The requests to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The account.
    pub account: AccountId,
    /// The earliest end, inclusive.
    pub from: Timestamp,
    /// The latest end, exclusive.
    pub to: Timestamp,
    /// Limits the list.
    pub only: Only,
}

impl From<Range> for Wanted {
    fn from(range: Range) -> Self {
        let Range { account, from, to, only } = range;
        Self { account, from, to, only: only.into() }
    }
}

/// Ended requests, latest end first.
///
/// # Errors
///
/// The ledger can't be read just now ([`NotReady`](ServiceError::NotReady)); try again.
pub async fn requests(
    service: &Service,
    range: Range,
    page: Page<Position>,
) -> Result<Listed<Ended, Position>, ServiceError> {
    let before = page.before.map(|Position { ended_at, id }| history::Position { ended_at, id });
    let found = service.ledger().requests(&range.into(), before, page.limit).await?;
    let next = found.next.map(|history::Position { ended_at, id }| Position { ended_at, id });
    Ok(Listed { rows: found.rows.into_iter().map(Ended::from).collect(), next })
}

/// One ended request of an account, or of one of its keys.
///
/// # Errors
///
/// The account, or the key, has no such ended request ([`NotFound`](ServiceError::NotFound)), or the ledger can't be
/// read.
pub async fn request(
    service: &Service,
    account: AccountId,
    only: Option<KeyId>,
    id: RequestId,
) -> Result<Ended, ServiceError> {
    let row = service.ledger().request(account, id).await?;
    let row = row.filter(|row| only.is_none_or(|only| row.key_id == Some(only.0)));
    row.map(Ended::from).ok_or(ServiceError::NotFound("this request"))
}

/// An event of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The id.
    pub id: Uuid,
    /// The kind, such as `low_balance`.
    pub kind: String,
    /// When it happened.
    pub at: Timestamp,
    /// The event's data, as stored.
    pub data: String,
}

impl From<EventRow> for Event {
    fn from(row: EventRow) -> Self {
        let EventRow { id, kind, at, data } = row;
        Self { id, kind, at, data: data.to_string() }
    }
}

/// An account's events, or those of one kind, newest first.
///
/// # Errors
///
/// The ledger can't be read just now ([`NotReady`](ServiceError::NotReady)); try again.
pub async fn events(
    service: &Service,
    account: AccountId,
    kind: Option<EventKind>,
    page: Page,
) -> Result<Listed<Event>, ServiceError> {
    let rows = service.ledger().events(account, kind, page.before, page.limit).await?;
    Ok(page.list(rows, |row| row.id).map(Event::from))
}
