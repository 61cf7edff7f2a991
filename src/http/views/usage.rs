//! Sums of an account's usage.

use std::collections::BTreeMap;

use billing::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Dollars, Time, scalar::Nullable};
use crate::service::usage::{self, By, Group, Grouping, Span};

/// Sums of a range of time, by group.
#[derive(Debug, Serialize, ToSchema)]
pub struct Usage {
    object: &'static str,
    data: Vec<UsageRow>,
    /// The next page's `cursor`; null after the last page.
    #[schema(required)]
    next_cursor: Option<String>,
    /// The beginning of the first hour, or day.
    from: Time,
    /// The end of the last hour, or day.
    to: Time,
    /// What the sums are grouped by.
    group_by: Vec<&'static str>,
    currency: &'static str,
    /// The sums of the whole range, on the first page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    total: Option<Sums>,
}

/// A group and its sums. Only the fields that the sums are grouped by are there.
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
    minute: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    provider: Option<String>,
    /// Null for requests without a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    key_id: Option<Nullable<Uuid>>,
    /// The member who made the key, or ran the request on the pages; null for requests of no member.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    member_id: Option<Nullable<Uuid>>,
    /// The session. Requests that name none are in the total, and in no row.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    session: Option<String>,
    #[serde(flatten)]
    sums: Sums,
}

/// Sums of usage.
#[derive(Debug, Serialize, ToSchema)]
struct Sums {
    /// The number of ended requests.
    requests: i64,
    /// The number of failed requests, here or at their provider.
    failed: i64,
    input_tokens: i64,
    /// The cached part of the prompt tokens.
    cached_input_tokens: i64,
    /// The part of the prompt tokens written to a provider's cache.
    cache_write_tokens: i64,
    output_tokens: i64,
    /// The part of the output tokens that was reasoning.
    reasoning_tokens: i64,
    compute_ms: i64,
    billed_seconds: i64,
    /// The quantities by key, in parts that don't overlap.
    quantities: BTreeMap<String, i64>,
    /// The amount charged.
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
        let Group { used_on: _, starts_at, model, provider, key, member, session } = group;
        let is_by = |by: By| grouping.by.contains(&by);
        let time = |span| starts_at.filter(|_| grouping.span == Some(span));
        Self {
            day: time(Span::Day).map(Timestamp::date),
            hour: Time::of(time(Span::Hour)),
            minute: Time::of(time(Span::Minute)),
            model: model.filter(|_| is_by(By::Model)),
            provider: provider.filter(|_| is_by(By::Provider)),
            key_id: is_by(By::Key).then(|| Nullable(key.filter(|key| !key.is_nil()))),
            member_id: is_by(By::Member).then(|| Nullable(member.filter(|member| !member.is_nil()))),
            session: session.filter(|_| is_by(By::Session)),
            sums: sums.into(),
        }
    }
}

impl Usage {
    /// The sums of a range, grouped by these names.
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
