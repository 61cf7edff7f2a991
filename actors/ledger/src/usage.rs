//! Sums of usage over a range of whole hours, grouped, a page at a time, newest first. Whole days come from the daily
//! sums, and the hours at the range's ends from the hourly ones. A page reads only its own days or hours. Groups
//! without a time read each day of the range, so the length of a range is limited. Of one session there are sums of its own.
//! Groups by session are in [`sessions`], and those by the minute, of which there are no sums, in [`minutes`].

pub(super) mod minutes;
pub(super) mod sessions;

use billing::{Nanos, Timestamp, ids::AccountId, quantity::Key, time::DAY_MS};
use sea_orm::{QueryResult, Value};
use uuid::Uuid;

use super::{Ledger, LedgerError, query::LARGEST_PAGE, rollup::Span, sql::Sql};

/// The usage to sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The account.
    pub account: AccountId,
    /// The first hour.
    pub from: Timestamp,
    /// The end of the range, which is not included.
    pub to: Timestamp,
    /// The filter.
    pub only: Only,
}

/// A filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Only {
    /// The model.
    pub model: Option<String>,
    /// The key; the nil id for requests without one.
    pub key: Option<Uuid>,
    /// The member who made the key, or ran the request on the pages; the nil id for requests of no member.
    pub member: Option<Uuid>,
    /// The session.
    pub session: Option<String>,
}

impl Only {
    /// Whether all that it asks for is a session, or nothing.
    pub(super) fn is_of_session(&self) -> bool {
        let Self { model, key, member, session: _ } = self;
        model.is_none() && key.is_none() && member.is_none()
    }
}

/// A column to group by, besides time.
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

impl By {
    const fn column(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Provider => "provider",
            Self::Key => "key_id",
            Self::Member => "member",
            Self::Session => "session",
        }
    }
}

/// The span of time to group by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// A UTC minute, of which there are no sums: records are read.
    Minute,
    /// A span that is summed.
    Summed(Span),
}

/// How usage is grouped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grouping {
    /// The span of time, if grouped by time.
    pub time: Option<Time>,
    /// The columns, each once, in order.
    pub by: Vec<By>,
}

impl Grouping {
    fn has(&self, by: By) -> bool {
        self.by.contains(&by)
    }

    /// The columns that it groups by: the time first.
    fn columns(&self) -> Vec<&'static str> {
        let time = self.time.map(|_| "begins").into_iter();
        time.chain(self.by.iter().map(|by| by.column())).collect()
    }
}

/// A group; also the position where a page ended. A position without what is grouped by besides time is behind all groups of
/// its time, or of its session.
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
    /// The key; the nil id for requests without one.
    pub key: Option<Uuid>,
    /// The member; the nil id for requests of none.
    pub member: Option<Uuid>,
    /// The session.
    pub session: Option<String>,
}

impl Group {
    /// Whether it has all that is grouped by, besides a session.
    fn is_whole(&self, grouping: &Grouping) -> bool {
        let has = |by: &By| match by {
            By::Model => self.model.is_some(),
            By::Provider => self.provider.is_some(),
            By::Key => self.key.is_some(),
            By::Member => self.member.is_some(),
            By::Session => self.session.is_some(),
        };
        self.starts_at.is_some() == grouping.time.is_some() && grouping.by.iter().all(has)
    }

    fn value(&self, by: By) -> Value {
        match by {
            By::Model => self.model.as_deref().unwrap_or_default().into(),
            By::Provider => self.provider.as_deref().unwrap_or_default().into(),
            By::Key => self.key.unwrap_or_default().into(),
            By::Member => self.member.unwrap_or_default().into(),
            By::Session => self.session.as_deref().unwrap_or_default().into(),
        }
    }
}

/// The sums of a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Requests that ended.
    pub requests: i64,
    /// Requests that failed, here or at their provider.
    pub failed: i64,
    /// Prompt tokens.
    pub input_tokens: i64,
    /// Input tokens read from a cache.
    pub cached_input_tokens: i64,
    /// Input tokens written to a provider's cache.
    pub cache_write_tokens: i64,
    /// Output tokens.
    pub output_tokens: i64,
    /// Output tokens that were reasoning.
    pub reasoning_tokens: i64,
    /// Milliseconds of compute.
    pub compute_ms: i64,
    /// Seconds billed.
    pub billed_seconds: i64,
    /// The amount charged.
    pub cost: Nanos,
}

const SUMMED: [&str; 10] = [
    "requests",
    "failed",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "compute_ms",
    "billed_seconds",
    "charged",
];

impl Sums {
    /// The sums as quantities without overlap. All modalities, service tiers and context bands are summed, as are cache
    /// writes for any time.
    pub fn quantities(&self) -> impl Iterator<Item = (Key, i64)> + use<> {
        let cached = self.cached_input_tokens.saturating_add(self.cache_write_tokens);
        let all = [
            (Key::INPUT, self.input_tokens.saturating_sub(cached)),
            (Key::CACHE_READ, self.cached_input_tokens),
            (Key::CACHE_WRITE, self.cache_write_tokens),
            (Key::OUTPUT, self.output_tokens.saturating_sub(self.reasoning_tokens)),
            (Key::REASONING, self.reasoning_tokens),
            (Key::COMPUTE_SECONDS, self.billed_seconds),
        ];
        all.into_iter().filter(|(_, amount)| *amount > 0)
    }
}

/// Days or hours at a page's ends may turn out to be empty: at the end of the previous page, and where the range begins
/// and ends within a day.
const MAYBE_EMPTY: u64 = 3;
/// The number of hours or days first tried for a page with several rows each.
const FEW_SPANS: u64 = 8;

impl Wanted {
    /// The parts of the range by the sums to read: span, begin and end.
    fn parts(&self, span: Option<Span>) -> Vec<(Span, Timestamp, Timestamp)> {
        let (first_day, last_day) = (self.from.ceil(DAY_MS), self.to.floor(DAY_MS));
        let parts = if span == Some(Span::Hour) || first_day >= last_day {
            vec![(Span::Hour, self.from, self.to)]
        } else {
            vec![(Span::Hour, self.from, first_day), (Span::Day, first_day, last_day), (Span::Hour, last_day, self.to)]
        };
        parts.into_iter().filter(|(_, from, to)| from < to).collect()
    }

    /// The `FROM` clause of the range's sums: of all requests, or of those of one session, or of these sessions.
    fn source(&self, span: Option<Span>, sessions: &[String]) -> Sql {
        let starts_at = match span {
            Some(Span::Day) => "starts_at - starts_at % 86400000",
            Some(Span::Hour) | None => "starts_at",
        };
        let is_of_sessions = !sessions.is_empty();
        let (table, session) = if is_of_sessions { ("usage_session", "session, ") } else { (self.table(), "") };
        let columns = format!("{starts_at} AS begins, {session}model, provider, key_id, {}", SUMMED.join(", "));
        let mut sql = Sql::new(" FROM (", []);
        for (place, (span, from, to)) in self.parts(span).into_iter().enumerate() {
            let union = if place == 0 { "" } else { " UNION ALL " };
            let part = format!(
                "{union}SELECT {columns} FROM {table} WHERE account_id = ? AND span = ? AND starts_at >= ? AND starts_at < ?"
            );
            sql.add(&part, [self.account.0.into(), span.hours().into(), from.0.into(), to.0.into()]);
            sql.only(&self.only, table);
            if is_of_sessions {
                let marks = vec!["?"; sessions.len()].join(", ");
                let names = sessions.iter().map(|session| session.as_str().into());
                sql.add(&format!(" AND session IN ({marks})"), names);
            } else {
                sql.session(&self.only, table);
            }
        }
        sql.add(") t", []);
        sql
    }

    /// The table of the sums that are asked for, unless they are grouped by session.
    const fn table(&self) -> &'static str {
        if self.only.session.is_some() { "usage_session" } else { "usage_rollup" }
    }

    /// The groups that cost most, and one more.
    fn dearest(&self, grouping: &Grouping, most: u64) -> Sql {
        let mut sql = summed(grouping, self.source(None, &[]));
        let columns = grouping.columns().join(", ");
        sql.add(&format!(" GROUP BY {columns} ORDER BY charged DESC, {columns} LIMIT ?"), [page_and_one(most).into()]);
        sql
    }

    /// A page's groups, and one more.
    pub(super) fn page(&self, grouping: &Grouping, span: Option<Span>, last: Option<&Group>, limit: u64) -> Sql {
        groups(grouping, self.source(span, &[]), last, Some(limit))
    }

    /// The newest hours or days of the range with any usage, at most `most`.
    pub(super) fn spans_used(&self, span: Span, most: u64) -> Sql {
        let (table, from) = (self.table(), self.from.floor(span.ms()));
        let text = format!(
            "SELECT DISTINCT starts_at FROM {table} WHERE account_id = ? AND span = ? AND starts_at >= ? AND starts_at < ?"
        );
        let mut sql = Sql::new(&text, [self.account.0.into(), span.hours().into(), from.0.into(), self.to.0.into()]);
        sql.only(&self.only, table);
        sql.session(&self.only, table);
        sql.add(" ORDER BY starts_at DESC LIMIT ?", [i64::try_from(most).unwrap_or(i64::MAX).into()]);
        sql
    }
}

/// `SUM`s of all columns, as integers in both databases.
fn sums() -> String {
    SUMMED.map(|column| format!("CAST(COALESCE(SUM({column}), 0) AS BIGINT) AS {column}")).join(", ")
}

/// The sums of what a `FROM` clause has, with the columns that are grouped by.
fn summed(grouping: &Grouping, source: Sql) -> Sql {
    let mut sql = Sql::new(&format!("SELECT {}, {}", grouping.columns().join(", "), sums()), []);
    sql.append(if grouping.has(By::Member) { with_members(grouping, source) } else { source });
    sql
}

/// The groups of what a `FROM` clause has, behind `last`, at most one more than the limit. Of several sessions they are in the
/// order of time.
fn groups(grouping: &Grouping, source: Sql, last: Option<&Group>, limit: Option<u64>) -> Sql {
    let columns = grouping.columns().join(", ");
    let mut sql = summed(grouping, source);
    if let Some(last) = last {
        sql.append(after(grouping, last));
    }
    let order = columns.replace("begins", "begins DESC");
    sql.add(&format!(" GROUP BY {columns} ORDER BY {order}"), []);
    if let Some(limit) = limit {
        sql.add(" LIMIT ?", [page_and_one(limit).into()]);
    }
    sql
}

/// What a `FROM` clause has, with the member of each row. It is summed by key first: members are looked up once for each key of
/// a group.
fn with_members(grouping: &Grouping, source: Sql) -> Sql {
    let columns = grouping.columns().into_iter().filter(|column| !["member", "key_id"].contains(column));
    let columns: Vec<_> = columns.chain(["key_id"]).collect();
    let ours = columns.iter().map(|column| format!("g.{column}")).collect::<Vec<_>>().join(", ");
    let columns = columns.join(", ");
    let mut sql = Sql::new(
        &format!(
            " FROM (SELECT {ours}, COALESCE(m.person_id, p.id, ?) AS member, {} FROM (SELECT {columns}, {}",
            SUMMED.join(", "),
            sums()
        ),
        [Uuid::nil().into()],
    );
    sql.append(source);
    sql.add(
        &format!(
            " GROUP BY {columns}) g LEFT JOIN key_maker m ON m.key_id = g.key_id LEFT JOIN person p ON p.id = g.key_id) t"
        ),
        [],
    );
    sql
}

/// The condition for groups after a page's last group. Whose session is not asked: it is one.
fn after(grouping: &Grouping, last: &Group) -> Sql {
    let mut sql = Sql::new("", []);
    let by: Vec<By> = if last.is_whole(grouping) { grouping.by.clone() } else { Vec::new() };
    let columns = by.iter().map(|by| by.column()).collect::<Vec<_>>().join(", ");
    let marks = vec!["?"; by.len()].join(", ");
    let values = by.iter().map(|by| last.value(*by));
    match last.starts_at.filter(|_| grouping.time.is_some()) {
        Some(at) if by.is_empty() => sql.add(" WHERE begins < ?", [at.0.into()]),
        Some(at) => {
            sql.add(" WHERE (begins < ? OR (begins = ? AND ", [at.0.into(), at.0.into()]);
            sql.add(&format!("({columns}) > ({marks})))"), values);
        }
        None if by.is_empty() => sql.add(" WHERE 1 = 0", []),
        None => sql.add(&format!(" WHERE ({columns}) > ({marks})"), values),
    }
    sql
}

/// A page of groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPage {
    /// The groups. Grouped by session or by the minute there may be fewer than were asked for, even none, before the end.
    pub rows: Vec<(Group, Sums)>,
    /// Where the next page begins, if there is one.
    pub next: Option<Group>,
}

impl Ledger {
    /// A page of groups after `last`. The grouping must not be empty. Grouped by session, other than by the minute, the range
    /// must be of whole days.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn usage(
        &self,
        wanted: &Wanted,
        grouping: &Grouping,
        last: Option<&Group>,
        limit: u64,
    ) -> Result<GroupPage, LedgerError> {
        let limit = limit.clamp(1, LARGEST_PAGE);
        let rows = match grouping.time {
            Some(Time::Minute) => return self.newest_minutes(wanted, grouping, last, limit).await,
            Some(Time::Summed(_)) | None if grouping.has(By::Session) => {
                return self.newest_sessions(wanted, grouping, last, limit).await;
            }
            Some(Time::Summed(span)) => self.newest_groups(wanted, (grouping, span), last, limit).await?,
            None => self.rows_of(wanted.page(grouping, None, last, limit)).await?,
        };
        filled(&rows, grouping, limit, None)
    }

    /// The groups of the whole range that cost most, dearest first, at most `most`, and whether there are more. They are grouped
    /// by columns, not by time nor by session.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn dearest(
        &self,
        wanted: &Wanted,
        by: &[By],
        most: usize,
    ) -> Result<(Vec<(Group, Sums)>, bool), LedgerError> {
        let grouping = Grouping { time: None, by: by.to_vec() };
        let limit = u64::try_from(most).unwrap_or(u64::MAX);
        let rows = self.rows_of(wanted.dearest(&grouping, limit)).await?;
        let GroupPage { rows, next } = filled(&rows, &grouping, limit, None)?;
        Ok((rows, next.is_some()))
    }

    /// A page by time, and one more row, from the newest hours or days that fill it. Each used hour or day has at least
    /// one row, which bounds their number. Where each has many rows, far fewer are needed.
    async fn newest_groups(
        &self,
        wanted: &Wanted,
        (grouping, span): (&Grouping, Span),
        last: Option<&Group>,
        limit: u64,
    ) -> Result<Vec<QueryResult>, LedgerError> {
        let most = limit + 1 + MAYBE_EMPTY;
        let mut spans = if grouping.by.is_empty() { most } else { FEW_SPANS.min(most) };
        let mut newest = wanted.clone();
        if let Some(at) = last.and_then(|last| last.starts_at) {
            newest.to = newest.to.min(at.plus_ms(span.ms()));
        }
        loop {
            let used = self.spans_used(&Wanted { from: wanted.from, ..newest.clone() }, span, spans).await?;
            let Some(oldest) = used.last() else { return Ok(Vec::new()) };
            newest.from = wanted.from.max(*oldest);
            let rows = self.rows_of(newest.page(grouping, Some(span), last, limit)).await?;
            let all = spans == most || (used.len() as u64) < spans;
            if all || rows.len() as u64 > limit {
                return Ok(rows);
            }
            spans = (4 * spans).min(most);
        }
    }

    /// The sums of the whole range.
    ///
    /// # Errors
    ///
    /// The database can't be read now: try again later.
    pub async fn usage_total(&self, wanted: &Wanted) -> Result<Sums, LedgerError> {
        let mut sql = Sql::new(&format!("SELECT {}", sums()), []);
        sql.append(wanted.source(None, &[]));
        self.row_of(sql).await?.as_ref().map_or(Ok(Sums::default()), read_sums)
    }

    /// The hours or days with any usage, newest first.
    pub(super) async fn spans_used(
        &self,
        wanted: &Wanted,
        span: Span,
        most: u64,
    ) -> Result<Vec<Timestamp>, LedgerError> {
        let rows = self.rows_of(wanted.spans_used(span, most)).await?;
        rows.iter().map(|row| Ok(Timestamp(row.try_get_by_index(0)?))).collect()
    }
}

/// A page of the rows found, which are one more than the limit where there are more. The next page begins behind its last
/// group, or where the search stopped.
fn filled(
    rows: &[QueryResult],
    grouping: &Grouping,
    limit: u64,
    stopped: Option<Group>,
) -> Result<GroupPage, LedgerError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let shown = rows.iter().take(limit).map(|row| Ok((group(row, grouping)?, read_sums(row)?)));
    let shown: Vec<_> = shown.collect::<Result<_, LedgerError>>()?;
    let next = if rows.len() > limit { shown.last().map(|(group, _)| group.clone()) } else { stopped };
    Ok(GroupPage { rows: shown, next })
}

/// One more than a page: the extra row shows whether there are more.
fn page_and_one(limit: u64) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

fn group(row: &QueryResult, grouping: &Grouping) -> Result<Group, LedgerError> {
    let mut group = Group::default();
    if grouping.time.is_some() {
        group.starts_at = Some(Timestamp(row.try_get("", "begins")?));
    }
    for by in &grouping.by {
        match by {
            By::Model => group.model = Some(row.try_get("", "model")?),
            By::Provider => group.provider = Some(row.try_get("", "provider")?),
            By::Key => group.key = Some(row.try_get("", "key_id")?),
            By::Member => group.member = Some(row.try_get("", "member")?),
            By::Session => group.session = Some(row.try_get("", "session")?),
        }
    }
    Ok(group)
}

fn read_sums(row: &QueryResult) -> Result<Sums, LedgerError> {
    Ok(Sums {
        requests: row.try_get("", "requests")?,
        failed: row.try_get("", "failed")?,
        input_tokens: row.try_get("", "input_tokens")?,
        cached_input_tokens: row.try_get("", "cached_input_tokens")?,
        cache_write_tokens: row.try_get("", "cache_write_tokens")?,
        output_tokens: row.try_get("", "output_tokens")?,
        reasoning_tokens: row.try_get("", "reasoning_tokens")?,
        compute_ms: row.try_get("", "compute_ms")?,
        billed_seconds: row.try_get("", "billed_seconds")?,
        cost: Nanos::new(row.try_get("", "charged")?),
    })
}

#[cfg(test)]
mod tests {
    use billing::time::HOUR_MS;

    use super::*;

    fn parts(from: i64, to: i64, span: Option<Span>) -> Vec<(Span, i64, i64)> {
        let account = AccountId(Uuid::nil());
        let hours = |hours: i64| Timestamp(hours * HOUR_MS);
        let wanted = Wanted { account, from: hours(from), to: hours(to), only: Only::default() };
        let parts = wanted.parts(span).into_iter();
        parts.map(|(span, from, to)| (span, from.0 / HOUR_MS, to.0 / HOUR_MS)).collect()
    }

    #[test]
    fn a_range_is_days_between_hours() {
        assert_eq!(parts(24, 72, Some(Span::Day)), [(Span::Day, 24, 72)]);
        assert_eq!(parts(23, 73, None), [(Span::Hour, 23, 24), (Span::Day, 24, 72), (Span::Hour, 72, 73)]);
        assert_eq!(parts(25, 71, None), [(Span::Hour, 25, 71)]);
        assert_eq!(parts(25, 47, Some(Span::Day)), [(Span::Hour, 25, 47)]);
        assert_eq!(parts(0, 48, Some(Span::Hour)), [(Span::Hour, 0, 48)]);
    }
}
