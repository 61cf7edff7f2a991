//! An account's usage, summed over UTC minutes, hours or days and grouped as requested. Sums are stored by the hour, so a range
//! is widened to whole hours; those by session are found by the day, so that a range of them is widened to whole days.

use billing::{
    Nanos, Timestamp,
    quantity::Key,
    time::{DAY_MS, HOUR_MS},
};
use ledger::{rollup, usage as stored};
use uuid::Uuid;

use super::{
    Service, ServiceError,
    history::Range,
    page::{Listed, Page},
};

/// The length of the default range.
const USUAL_DAYS: i64 = 30;
/// The longest range: a leap year.
const MOST_DAYS: i64 = 366;
/// The length of the default range by the minute, and the longest one.
const USUAL_MINUTES_DAYS: i64 = 1;
const MOST_MINUTES_DAYS: i64 = 7;

/// A filter: what is named here, all of it at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Only {
    /// The model.
    pub model: Option<String>,
    /// The key; the nil id for requests without a key.
    pub key: Option<Uuid>,
    /// The member who made the key, or ran the request on the pages; the nil id for requests of no member.
    pub member: Option<Uuid>,
    /// The session.
    pub session: Option<String>,
}

impl From<Only> for stored::Only {
    fn from(only: Only) -> Self {
        let Only { model, key, member, session } = only;
        Self { model, key, member, session }
    }
}

/// The span of time of a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// A UTC minute.
    Minute,
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
    /// The member who made the key, or ran the request on the pages.
    Member,
    /// The session. Requests that name none are in no group.
    Session,
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
        let time = grouping.span.map(|span| match span {
            Span::Minute => stored::Time::Minute,
            Span::Hour => stored::Time::Summed(rollup::Span::Hour),
            Span::Day => stored::Time::Summed(rollup::Span::Day),
        });
        let by = grouping.by.iter().map(|by| match by {
            By::Model => stored::By::Model,
            By::Provider => stored::By::Provider,
            By::Key => stored::By::Key,
            By::Member => stored::By::Member,
            By::Session => stored::By::Session,
        });
        Self { time, by: by.collect() }
    }
}

/// A group, which is also the position where a page ends. A position need not have all that is grouped by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// The last day of the range on which the group's session was used.
    pub used_on: Option<Timestamp>,
    /// The start of the minute, hour or day.
    pub starts_at: Option<Timestamp>,
    /// The model.
    pub model: Option<String>,
    /// The provider.
    pub provider: Option<String>,
    /// The key; the nil id for requests without a key.
    pub key: Option<Uuid>,
    /// The member; the nil id for requests of none.
    pub member: Option<Uuid>,
    /// The session.
    pub session: Option<String>,
}

impl From<stored::Group> for Group {
    fn from(group: stored::Group) -> Self {
        let stored::Group { used_on, starts_at, model, provider, key, member, session } = group;
        Self { used_on, starts_at, model, provider, key, member, session }
    }
}

impl From<Group> for stored::Group {
    fn from(group: Group) -> Self {
        let Group { used_on, starts_at, model, provider, key, member, session } = group;
        Self { used_on, starts_at, model, provider, key, member, session }
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

/// A range of time in whole hours, for groups by session in whole days. Without a beginning, it has the default length.
///
/// # Errors
///
/// The range is longer than a leap year, or by the minute longer than a week ([`Invalid`](ServiceError::Invalid)).
pub fn whole(
    from: Option<Timestamp>,
    to: Timestamp,
    grouping: &Grouping,
) -> Result<(Timestamp, Timestamp), ServiceError> {
    let is_by_minute = grouping.span == Some(Span::Minute);
    let (usual, most) = if is_by_minute { (USUAL_MINUTES_DAYS, MOST_MINUTES_DAYS) } else { (USUAL_DAYS, MOST_DAYS) };
    let from = from.unwrap_or_else(|| to.ceil(HOUR_MS).plus_ms(-usual * DAY_MS));
    if to.ms_since(from) > most * DAY_MS {
        let by = if is_by_minute { "by the minute " } else { "" };
        let rule = format!("must {by}be at most {most} days before to, which is {to}");
        return Err(ServiceError::invalid("from", rule));
    }
    let length = if grouping.by.contains(&By::Session) && !is_by_minute { DAY_MS } else { HOUR_MS };
    Ok((from.floor(length), to.ceil(length)))
}

/// Sums by group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The groups, newest time first; by session those used last first. By session or by the minute a page may have fewer than
    /// were asked for before the end.
    pub groups: Listed<(Group, Sums), Group>,
    /// The sums of the whole range, on the first page.
    pub total: Option<Sums>,
}

/// The sums of each group, newest time first; on the first page also those of the whole range.
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
    let total = match page.before {
        Some(_) => None,
        None => Some(service.ledger().usage_total(&range.clone().into()).await?.into()),
    };
    Ok(Usage { groups: groups(service, range, grouping, page).await?, total })
}

/// The sums of each group, newest time first. The range is as whole as [`whole`] makes it.
///
/// # Errors
///
/// The ledger can't be read just now ([`NotReady`](ServiceError::NotReady)); try again.
pub async fn groups(
    service: &Service,
    range: Range,
    grouping: &Grouping,
    page: Page<Group>,
) -> Result<Listed<(Group, Sums), Group>, ServiceError> {
    let last = page.before.map(stored::Group::from);
    let found = service.ledger().usage(&range.into(), &grouping.into(), last.as_ref(), page.limit).await?;
    let rows = found.rows.into_iter().map(|(group, sums)| (group.into(), sums.into())).collect();
    Ok(Listed { rows, next: found.next.map(Group::from) })
}

/// The groups that cost most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dearest {
    /// The groups, dearest first.
    pub rows: Vec<(Group, Sums)>,
    /// Whether there are more, each of which costs no more than the last of these.
    pub are_more: bool,
}

/// The groups of the whole range that cost most. Not by session, of which there may be very many.
///
/// # Errors
///
/// The ledger can't be read just now ([`NotReady`](ServiceError::NotReady)); try again.
pub async fn dearest(service: &Service, range: Range, by: Vec<By>, most: usize) -> Result<Dearest, ServiceError> {
    let grouping = stored::Grouping::from(&Grouping { span: None, by });
    let (rows, are_more) = service.ledger().dearest(&range.into(), &grouping.by, most).await?;
    Ok(Dearest { rows: rows.into_iter().map(|(group, sums)| (group.into(), sums.into())).collect(), are_more })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_as_whole_and_as_long_as_its_groups_need() {
        let at = Timestamp(1_795_521_600_000).floor(DAY_MS).plus_ms(5 * HOUR_MS + 1);
        let by = |span, by: &[By]| Grouping { span, by: by.to_vec() };
        let before = |days: i64| Some(at.plus_ms(-days * DAY_MS));
        let hour = at.floor(HOUR_MS);
        let by_hour = whole(before(1), at, &by(Some(Span::Hour), &[By::Model])).unwrap();
        assert_eq!(by_hour, (hour.plus_ms(-DAY_MS), hour.plus_ms(HOUR_MS)));
        let day = at.floor(DAY_MS);
        let by_session = whole(before(1), at, &by(Some(Span::Hour), &[By::Session])).unwrap();
        assert_eq!(by_session, (day.plus_ms(-DAY_MS), day.plus_ms(DAY_MS)));
        let by_minute = by(Some(Span::Minute), &[By::Session]);
        assert_eq!(whole(None, at, &by_minute).unwrap(), (hour.plus_ms(-23 * HOUR_MS), hour.plus_ms(HOUR_MS)));
        assert!(whole(before(7), at, &by_minute).is_ok() && whole(before(366), at, &by(None, &[By::Model])).is_ok());
        for (days, grouping) in [(8, by_minute), (367, by(None, &[By::Model]))] {
            assert!(whole(before(days), at, &grouping).is_err(), "{days}");
        }
    }
}
