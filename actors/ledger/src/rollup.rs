//! Sums of usage by hour and by day, of all requests and of those that name a session: the rows that a call of the projection
//! adds to them.
//! The records of a call are merged first, so that it writes one row for each account, span, model, provider and
//! key, however many requests it settles. A request counts at the time of its end.

use std::collections::BTreeMap;

use billing::{
    Nanos, Timestamp,
    entry::{Ending, UsageRecord},
    ids::AccountId,
    quantity::Direction,
    time::HOUR_MS,
};
use uuid::Uuid;

use super::{
    project::Entry,
    rows::{Cell, Rows, Write},
};

/// The span of a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Span {
    /// A UTC hour.
    Hour,
    /// A UTC day.
    Day,
}

impl Span {
    /// Both spans.
    pub const ALL: [Self; 2] = [Self::Hour, Self::Day];

    /// The span in hours, as it is stored.
    pub const fn hours(self) -> i64 {
        match self {
            Self::Hour => 1,
            Self::Day => 24,
        }
    }

    /// The span in milliseconds.
    pub const fn ms(self) -> i64 {
        self.hours() * HOUR_MS
    }
}

/// The largest count of a record. Only a provider's nonsense exceeds it, and sums of it stay far below overflow.
const LARGEST_COUNT: u64 = u32::MAX as u64;

/// Limits a count for records and sums.
pub(super) fn count(counted: u64) -> u64 {
    counted.min(LARGEST_COUNT)
}

/// The key of one sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place<'a> {
    account: AccountId,
    span: Span,
    /// Empty in the sums of all requests.
    session: &'a str,
    starts_at: Timestamp,
    model: &'a str,
    provider: &'a str,
    /// The nil id if there is no key.
    key: Uuid,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sums {
    requests: u64,
    failed: u64,
    input: u64,
    cached_input: u64,
    cache_write: u64,
    output: u64,
    reasoning: u64,
    compute_ms: u64,
    billed_seconds: u64,
    charged: Nanos,
}

impl Sums {
    fn add(&mut self, usage: &UsageRecord) {
        let failed = match usage.ending {
            Ending::Completed | Ending::ClientLeft => 0,
            Ending::Failed | Ending::Recovered | Ending::WrittenOff => 1,
        };
        self.requests += 1;
        self.failed += failed;
        self.input += count(usage.parts.tokens(Direction::Input));
        self.cached_input += count(usage.parts.cache_read());
        self.cache_write += count(usage.parts.cache_write());
        self.output += count(usage.parts.tokens(Direction::Output));
        self.reasoning += count(usage.parts.reasoning());
        self.compute_ms += count(usage.compute_ms);
        self.billed_seconds += count(usage.billed_seconds);
        self.charged += usage.charged;
    }

    fn cells(&self) -> [Cell<'static>; 10] {
        [
            self.requests.into(),
            self.failed.into(),
            self.input.into(),
            self.cached_input.into(),
            self.cache_write.into(),
            self.output.into(),
            self.reasoning.into(),
            self.compute_ms.into(),
            self.billed_seconds.into(),
            self.charged.get().into(),
        ]
    }
}

/// Records with their accounts, each with the session that it is summed under.
fn merge<'a>(records: impl Iterator<Item = (AccountId, &'a str, &'a UsageRecord)>) -> BTreeMap<Place<'a>, Sums> {
    let mut merged: BTreeMap<Place<'_>, Sums> = BTreeMap::new();
    for (account, session, usage) in records {
        for span in Span::ALL {
            let place = Place {
                account,
                span,
                session,
                starts_at: usage.ended_at.floor(span.ms()),
                model: &usage.model,
                provider: &usage.provider,
                key: usage.key_id.map_or(Uuid::nil(), |id| id.0),
            };
            merged.entry(place).or_default().add(usage);
        }
    }
    merged
}

/// How sums are written to the table of this name, whose key has these columns: `$key`, and behind them the sums.
macro_rules! adding {
    ($table:literal, $key:literal) => {
        Write::new(
            concat!(
                "INSERT INTO ",
                $table,
                " (",
                $key,
                ", requests, failed, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, \
                 reasoning_tokens, compute_ms, billed_seconds, charged)"
            ),
            concat!(
                "ON CONFLICT (",
                $key,
                ") DO UPDATE SET requests = ",
                $table,
                ".requests + excluded.requests, failed = ",
                $table,
                ".failed + excluded.failed, input_tokens = ",
                $table,
                ".input_tokens + excluded.input_tokens, cached_input_tokens = ",
                $table,
                ".cached_input_tokens + excluded.cached_input_tokens, cache_write_tokens = ",
                $table,
                ".cache_write_tokens + excluded.cache_write_tokens, output_tokens = ",
                $table,
                ".output_tokens + excluded.output_tokens, reasoning_tokens = ",
                $table,
                ".reasoning_tokens + excluded.reasoning_tokens, compute_ms = ",
                $table,
                ".compute_ms + excluded.compute_ms, billed_seconds = ",
                $table,
                ".billed_seconds + excluded.billed_seconds, charged = ",
                $table,
                ".charged + excluded.charged"
            ),
        )
    };
}

fn records<'a>(entries: &[Entry<'a>]) -> impl Iterator<Item = (AccountId, &'a UsageRecord)> {
    entries.iter().filter_map(|Entry { transition, .. }| Some((transition.account_id, transition.usage.as_ref()?)))
}

/// The rows of a call: sums of all requests.
pub(super) fn rows<'a>(entries: &[Entry<'a>]) -> Rows<'a> {
    static WRITE: Write = adding!("usage_rollup", "account_id, span, starts_at, model, provider, key_id");
    let merged = merge(records(entries).map(|(account, usage)| (account, "", usage)));
    let mut rows = Rows::new(&WRITE, 16, merged.len());
    for (Place { account, span, session: _, starts_at, model, provider, key }, sums) in merged {
        let place =
            [account.0.into(), span.hours().into(), starts_at.0.into(), model.into(), provider.into(), key.into()];
        rows.push_all(place.into_iter().chain(sums.cells()));
    }
    rows
}

/// The rows of a call: sums of the requests that name a session.
pub(super) fn session_rows<'a>(entries: &[Entry<'a>]) -> Rows<'a> {
    static WRITE: Write = adding!("usage_session", "account_id, span, session, starts_at, model, provider, key_id");
    let named = |(account, usage): (AccountId, &'a UsageRecord)| Some((account, usage.session.as_deref()?, usage));
    let merged = merge(records(entries).filter_map(named));
    let mut rows = Rows::new(&WRITE, 17, merged.len());
    for (Place { account, span, session, starts_at, model, provider, key }, sums) in merged {
        let place = [
            account.0.into(),
            span.hours().into(),
            session.into(),
            starts_at.0.into(),
            model.into(),
            provider.into(),
            key.into(),
        ];
        rows.push_all(place.into_iter().chain(sums.cells()));
    }
    rows
}

#[cfg(test)]
mod tests {
    use billing::{
        ids::{KeyId, RequestId},
        price::Cost,
        time::DAY_MS,
    };

    use super::*;

    fn record(key: Option<u128>, model: &str, ending: Ending, ended_at: i64) -> UsageRecord {
        UsageRecord {
            request_id: RequestId(Uuid::from_u128(9)),
            key_id: key.map(|key| KeyId(Uuid::from_u128(key))),
            model: model.into(),
            provider: "openai".into(),
            ending,
            parts: format!(
                "tokens.input=1 tokens.input.cache_read=2 tokens.input.cache_write=1 \
                 tokens.input.cache_write_1h=3 tokens.output={} tokens.output.reasoning=4",
                u64::MAX
            )
            .parse()
            .unwrap(),
            estimated: false,
            compute_ms: 10,
            billed_seconds: 1,
            cost: Cost::from_total(Nanos::new(5)),
            charged: Nanos::new(5),
            price_version: 1,
            started_at: Timestamp(0),
            ended_at: Timestamp(ended_at),
            attempts: Vec::new(),
            session: None,
            timings: None,
        }
    }

    #[test]
    fn a_call_writes_one_row_for_each_sum() {
        let records = [
            (1, record(Some(1), "a", Ending::Completed, DAY_MS)),
            (1, record(Some(1), "a", Ending::Failed, DAY_MS + HOUR_MS - 1)),
            (1, record(Some(1), "a", Ending::ClientLeft, DAY_MS + HOUR_MS)),
            (1, record(None, "a", Ending::WrittenOff, DAY_MS)),
            (1, record(Some(1), "b", Ending::Recovered, DAY_MS)),
            (2, record(Some(1), "a", Ending::Completed, DAY_MS - 1)),
        ];
        let records = records.iter().map(|(account, record)| (AccountId(Uuid::from_u128(*account)), "", record));
        let merged = merge(records);
        assert_eq!(merged.len(), 9, "{merged:?}");
        let sums = |span, starts_at, key| {
            let account = AccountId(Uuid::from_u128(1));
            let key = Uuid::from_u128(key);
            merged[&Place {
                account,
                span,
                session: "",
                starts_at: Timestamp(starts_at),
                model: "a",
                provider: "openai",
                key,
            }]
        };
        let hour = sums(Span::Hour, DAY_MS, 1);
        assert_eq!((hour.requests, hour.failed, hour.input, hour.charged), (2, 1, 14, Nanos::new(10)));
        let day = sums(Span::Day, DAY_MS, 1);
        assert_eq!((day.requests, day.failed, day.cached_input, day.compute_ms), (3, 1, 6, 30));
        assert_eq!((day.cache_write, day.reasoning), (12, 12), "of both times");
        assert_eq!((day.output, day.billed_seconds), (3 * LARGEST_COUNT, 3), "nonsense is bounded");
        assert_eq!(sums(Span::Hour, DAY_MS, 0).failed, 1, "no key is the nil key");
    }
}
