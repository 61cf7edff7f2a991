//! Sums of what an account used.

use std::collections::BTreeMap;

use billing::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Dollars, Time, scalar::Nullable};
use crate::service::usage::{self, By, Group, Grouping, Span};

/// Sums of a range of time, group by group.
#[derive(Debug, Serialize, ToSchema)]
pub struct Usage {
    object: &'static str,
    data: Vec<UsageRow>,
    /// For `cursor`, to read on; none after the last page.
    #[schema(required)]
    next_cursor: Option<String>,
    /// The first hour.
    from: Time,
    /// The hour after the last one.
    to: Time,
    /// By what it is grouped.
    group_by: Vec<&'static str>,
    currency: &'static str,
    /// Of the whole range, on its first page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    total: Option<Sums>,
}

/// A group and what it used. It has those of the first fields by which it is grouped.
#[derive(Debug, Serialize, ToSchema)]
struct UsageRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    day: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    hour: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    provider: Option<String>,
    /// None of requests that came with no key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    key_id: Option<Nullable<Uuid>>,
    #[serde(flatten)]
    sums: Sums,
}

/// What was used.
#[derive(Debug, Serialize, ToSchema)]
struct Sums {
    /// Requests that ended.
    requests: i64,
    /// Those among them that failed, here or at their provider.
    failed: i64,
    input_tokens: i64,
    /// The cached part of them.
    cached_input_tokens: i64,
    /// The part of them written to a provider's cache.
    cache_write_tokens: i64,
    output_tokens: i64,
    /// The part of them that was reasoning.
    reasoning_tokens: i64,
    compute_ms: i64,
    billed_seconds: i64,
    /// The same by their keys, in parts that do not overlap.
    quantities: BTreeMap<String, i64>,
    /// What was charged.
    cost: Dollars,
}

impl From<usage::Sums> for Sums {
    fn from(sums: usage::Sums) -> Self {
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
            quantities: sums.quantities.iter().map(|(key, amount)| (key.to_string(), *amount)).collect(),
            cost: sums.cost.into(),
        }
    }
}

impl UsageRow {
    fn of(grouping: &Grouping, (group, sums): (Group, usage::Sums)) -> Self {
        let Group { starts_at, model, provider, key } = group;
        let is_by = |by: By| grouping.by.contains(&by);
        let (day, hour) = match grouping.span {
            Some(Span::Day) => (starts_at.map(|at| at.to_string().chars().take(10).collect()), None),
            Some(Span::Hour) => (None, Time::of(starts_at)),
            None => (None, None),
        };
        Self {
            day,
            hour,
            model: model.filter(|_| is_by(By::Model)),
            provider: provider.filter(|_| is_by(By::Provider)),
            key_id: is_by(By::Key).then(|| Nullable(key.filter(|key| !key.is_nil()))),
            sums: sums.into(),
        }
    }
}

impl Usage {
    /// Of a range, grouped so, by these names.
    pub fn of(
        usage: usage::Usage,
        (from, to): (Timestamp, Timestamp),
        grouping: &Grouping,
        group_by: Vec<&'static str>,
        cursor: impl FnOnce(Group) -> String,
    ) -> Self {
        let usage::Usage { groups, total } = usage;
        Self {
            object: "list",
            data: groups.rows.into_iter().map(|row| UsageRow::of(grouping, row)).collect(),
            next_cursor: groups.next.map(cursor),
            from: from.into(),
            to: to.into(),
            group_by,
            currency: "USD",
            total: total.map(Sums::from),
        }
    }
}
