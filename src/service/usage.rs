//! An account's usage, summed over UTC hours or days and grouped as requested. Sums are stored by the hour, so a range
//! is widened to whole hours.

use billing::{
    Nanos, Timestamp,
    quantity::Key,
    time::{DAY_MS, HOUR_MS},
};
use ledger::{
    rollup,
    usage::{self as stored, More, Wanted},
};
use uuid::Uuid;

use super::{
    Service, ServiceError,
    history::{Ended, Range},
    page::{Listed, Page},
};

/// The length of the default range.
const USUAL_DAYS: i64 = 30;
/// The longest range: a leap year.
const MOST_DAYS: i64 = 366;

/// A filter by model, key or both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Only {
    /// The model.
    pub model: Option<String>,
    /// The key; the nil id for requests without a key.
    pub key: Option<Uuid>,
}

impl Only {
    /// Whether a request passes the filter.
    pub(super) fn has(&self, ended: &Ended) -> bool {
        self.model.as_ref().is_none_or(|model| *model == ended.model)
            && self.key.is_none_or(|key| key == ended.key_id.map(|id| id.0).unwrap_or_default())
    }
}

impl From<Only> for stored::Only {
    fn from(only: Only) -> Self {
        let Only { model, key } = only;
        Self { model, key }
    }
}

/// The span of time of a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// A UTC hour.
    Hour,
    /// A UTC day.
    Day,
}

/// What usage is grouped by, besides time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// The model.
    Model,
    /// The provider.
    Provider,
    /// The key.
    Key,
}

/// How usage is grouped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grouping {
    /// The span of time, if usage is grouped by time.
    pub span: Option<Span>,
    /// The other groupings, each once, in order.
    pub by: Vec<By>,
}

impl From<&Grouping> for stored::Grouping {
    fn from(grouping: &Grouping) -> Self {
        let span = grouping.span.map(|span| match span {
            Span::Hour => rollup::Span::Hour,
            Span::Day => rollup::Span::Day,
        });
        let by = grouping.by.iter().map(|by| match by {
            By::Model => stored::By::Model,
            By::Provider => stored::By::Provider,
            By::Key => stored::By::Key,
        });
        Self { span, by: by.collect() }
    }
}

/// A group, which is also the position where a page ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// The start of the hour or day.
    pub starts_at: Option<Timestamp>,
    /// The model.
    pub model: Option<String>,
    /// The provider.
    pub provider: Option<String>,
    /// The key; the nil id for requests without a key.
    pub key: Option<Uuid>,
}

impl From<stored::Group> for Group {
    fn from(group: stored::Group) -> Self {
        let stored::Group { starts_at, model, provider, key } = group;
        Self { starts_at, model, provider, key }
    }
}

impl From<Group> for stored::Group {
    fn from(group: Group) -> Self {
        let Group { starts_at, model, provider, key } = group;
        Self { starts_at, model, provider, key }
    }
}

/// Sums of usage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums {
    /// The number of ended requests.
    pub requests: i64,
    /// The number of failed requests, here or at their provider.
    pub failed: i64,
    /// Prompt tokens.
    pub input_tokens: i64,
    /// The cached part of the prompt tokens.
    pub cached_input_tokens: i64,
    /// The part of the prompt tokens written to a provider's cache.
    pub cache_write_tokens: i64,
    /// Output tokens.
    pub output_tokens: i64,
    /// The part of the output tokens that was reasoning.
    pub reasoning_tokens: i64,
    /// Milliseconds of compute.
    pub compute_ms: i64,
    /// Seconds billed.
    pub billed_seconds: i64,
    /// The quantities by key, in parts that don't overlap.
    pub quantities: Vec<(Key, i64)>,
    /// The amount charged.
    pub cost: Nanos,
}

impl From<stored::Sums> for Sums {
    fn from(sums: stored::Sums) -> Self {
        Self {
            requests: sums.requests,
            failed: sums.failed,
            input_tokens: sums.input_tokens,
            cached_input_tokens: sums.cached_input_tokens,
            cache_write_tokens: sums.cache_write_tokens,
            output_tokens: sums.output_tokens,
            reasoning_tokens: sums.reasoning_tokens,
            compute_ms: sums.compute_ms,
            billed_seconds: sums.billed_seconds,
            quantities: sums.quantities().collect(),
            cost: sums.cost,
        }
    }
}

/// A range of time in whole hours. Without a beginning, it has the default length.
///
/// # Errors
///
/// The range is longer than a leap year ([`Invalid`](ServiceError::Invalid)).
pub fn hours(from: Option<Timestamp>, to: Timestamp) -> Result<(Timestamp, Timestamp), ServiceError> {
    let from = from.unwrap_or_else(|| to.ceil(HOUR_MS).plus_ms(-USUAL_DAYS * DAY_MS));
    if to.ms_since(from) > MOST_DAYS * DAY_MS {
        let rule = format!("must be at most {MOST_DAYS} days before to, which is {to}");
        return Err(ServiceError::invalid("from", rule));
    }
    Ok((from.floor(HOUR_MS), to.ceil(HOUR_MS)))
}

/// Sums by group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The groups, newest hour or day first.
    pub groups: Listed<(Group, Sums), Group>,
    /// The sums of the whole range, on the first page.
    pub total: Option<Sums>,
}

/// The sums of each group, newest hour or day first; on the first page also those of the whole range.
///
/// # Errors
///
/// The ledger can't be read just now ([`NotReady`](ServiceError::NotReady)); try again.
pub async fn usage(
    service: &Service,
    range: Range,
    grouping: &Grouping,
    page: Page<Group>,
) -> Result<Usage, ServiceError> {
    let (wanted, ledger) = (Wanted::from(range), service.ledger());
    let last = page.before.map(stored::Group::from);
    let (rows, more) = ledger.usage(&wanted, &grouping.into(), last.as_ref(), page.limit).await?;
    let rows: Vec<(Group, Sums)> = rows.into_iter().map(|(group, sums)| (group.into(), sums.into())).collect();
    let next = match more {
        More::Yes => rows.last().map(|(group, _)| group.clone()),
        More::No => None,
    };
    let total = match last {
        Some(_) => None,
        None => Some(ledger.usage_total(&wanted).await?.into()),
    };
    Ok(Usage { groups: Listed { rows, next }, total })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::history::Used;
    use billing::ids::RequestId;

    #[test]
    fn only_what_is_asked_for_is_wanted() {
        let at = Timestamp(1_795_521_600_000);
        let used = Used {
            input_tokens: 1,
            cached_input_tokens: 0,
            cache_write_tokens: 0,
            output_tokens: 2,
            reasoning_tokens: 0,
            estimated: false,
            compute_ms: 0,
            billed_seconds: 0,
        };
        let ended = Ended {
            id: RequestId(Uuid::from_u128(1)),
            key_id: None,
            model: "m".into(),
            provider: "p".into(),
            ending: "completed".into(),
            used,
            base_cost: "0".into(),
            fee: "0".into(),
            cost: Nanos::ZERO,
            unitemised_cost: None,
            quantities: Vec::new(),
            price_version: 1,
            started_at: at,
            ended_at: at,
        };
        let only = |model: Option<&str>, key: Option<u128>| Only {
            model: model.map(Into::into),
            key: key.map(Uuid::from_u128),
        };
        for (only, is) in [
            (only(None, None), true),
            (only(Some("m"), None), true),
            (only(Some("n"), None), false),
            (only(None, Some(0)), true),
            (only(None, Some(7)), false),
        ] {
            assert_eq!(only.has(&ended), is, "{only:?}");
        }
    }
}
