//! Usage: sums, a chart of minutes, hours or days, and tables by model, by key, by member, by session and by time.

use std::collections::HashMap;

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use billing::{
    Nanos, Timestamp,
    ids::AccountId,
    key::Scope,
    time::{DAY_MS, HOUR_MS},
};
use uuid::Uuid;

use super::{
    chart::{Bar, Chart},
    page::{Frame, Visitor, visited},
    text::{count, minute},
};
use crate::{
    catalogue::Model,
    gateway::session,
    http::{error::ApiError, query::Query, state::Shared},
    service::{
        history::Range,
        keys,
        page::{LARGEST, Page},
        people::members::{self, Member},
        usage::{self, By, Dearest, Group, Grouping, Only, Span},
    },
};

/// A range of time to choose.
#[derive(Debug, PartialEq, Eq)]
struct Length {
    /// As the query has it: most are days.
    name: &'static str,
    label: &'static str,
    ms: i64,
    /// What a bar of the chart is, its length, and the length that the range is a multiple of.
    span: Span,
    bar_ms: i64,
    whole_ms: i64,
}

const fn days(name: &'static str, label: &'static str, days: i64) -> Length {
    Length { name, label, ms: days * DAY_MS, span: Span::Day, bar_ms: DAY_MS, whole_ms: DAY_MS }
}

const MINUTE_MS: i64 = 60_000;
const RANGES: [Length; 5] = [
    Length {
        name: "hours",
        label: "2 hours",
        ms: 2 * HOUR_MS,
        span: Span::Minute,
        bar_ms: MINUTE_MS,
        whole_ms: HOUR_MS,
    },
    Length { name: "1", label: "24 hours", ms: DAY_MS, span: Span::Hour, bar_ms: HOUR_MS, whole_ms: HOUR_MS },
    days("7", "7 days", 7),
    days("30", "30 days", 30),
    days("90", "90 days", 90),
];
const USUAL: &str = "30";
/// The sessions that are shown: those used last.
const SESSIONS: u64 = 50;
/// The models, the keys and the members that are shown: those that cost most.
const SHOWN: usize = 500;

struct Sums {
    requests: String,
    failed: String,
    input: String,
    output: String,
    cached: String,
    cost: Nanos,
}

impl From<usage::Sums> for Sums {
    fn from(sums: usage::Sums) -> Self {
        let cached = match sums.input_tokens {
            0 => "–".to_owned(),
            all => format!("{} %", sums.cached_input_tokens.saturating_mul(100) / all),
        };
        Self {
            requests: count(sums.requests),
            failed: count(sums.failed),
            input: count(sums.input_tokens),
            output: count(sums.output_tokens),
            cached,
            cost: sums.cost,
        }
    }
}

struct Row {
    name: String,
    /// Of a model: its provider.
    provider: String,
    /// What the page is filtered by for this row alone, as a query.
    filter: Option<String>,
    sums: Sums,
}

/// A key or a member to choose.
struct Choice {
    id: String,
    name: String,
    is_chosen: bool,
}

#[derive(Template)]
#[template(path = "dashboard/usage.html")]
struct Usage {
    frame: Frame,
    ranges: &'static [Length],
    chosen: &'static str,
    model: String,
    session: String,
    /// The filters, as the rest of a query.
    filters: String,
    csv: String,
    keys: Vec<Choice>,
    members: Vec<Choice>,
    total: Sums,
    saved: Nanos,
    span: &'static str,
    /// `None` where nothing was spent.
    chart: Option<Chart>,
    models: Vec<Row>,
    by_key: Vec<Row>,
    by_member: Vec<Row>,
    /// What the tables by model, by key and by member leave out.
    more_models: Option<String>,
    more_keys: Option<String>,
    more_members: Option<String>,
    sessions: Vec<Row>,
    /// The days of the sessions that are shown: whole ones.
    days: String,
    /// Where all sessions are, if there are more.
    more_sessions: Option<String>,
    times: Vec<Row>,
    /// Whether older times of the range are left out, because there are too many requests to look at.
    is_cut: bool,
}

/// `GET /dashboard/usage`.
pub(super) async fn usage(state: Shared, request: HttpRequest) -> HttpResponse {
    visited(&state, &request, async |visitor| made(&state, &request, visitor).await).await
}

/// What the visitor asks for.
struct Asked {
    length: &'static Length,
    only: Only,
}

impl Asked {
    fn of(request: &HttpRequest) -> Result<Self, ApiError> {
        let query = Query::of_form(request, &["days", "model", "key", "member", "session"])?;
        let name = query.get("days").unwrap_or(USUAL);
        let length = RANGES.iter().find(|length| length.name == name);
        let length = length.ok_or_else(|| ApiError::invalid("days", "must be hours, 1, 7, 30 or 90"))?;
        let model = query.get("model").map(str::trim).filter(|model| !model.is_empty()).map(str::to_owned);
        let key = query.get("key").map(str::parse).transpose();
        let key = key.map_err(|_| ApiError::invalid("key", "must be a key's id"))?;
        let member = query.get("member").map(|id| if id == NO_MEMBER { Ok(Uuid::nil()) } else { id.parse() });
        let member = member.transpose().map_err(|_| ApiError::invalid("member", "must be a member's id, or none"))?;
        let session = query.get("session").map(str::trim).and_then(session::filter);
        Ok(Self { length, only: Only { model, key, member, session } })
    }

    /// The filters, as the rest of a query whose names for a key and for a member are these.
    fn filters(&self, key: &str, member: &str) -> String {
        let Only { model, key: id, member: person, session } = &self.only;
        let all = [
            model.clone().map(|model| ("model", model)),
            id.map(|id| (key, id.to_string())),
            person.map(|person| (member, member_text(person))),
            session.clone().map(|session| ("session", session)),
        ];
        serde_urlencoded::to_string(all.into_iter().flatten().collect::<Vec<_>>()).unwrap_or_default()
    }
}

/// How a query names those who are no member.
const NO_MEMBER: &str = "none";

fn member_text(person: Uuid) -> String {
    if person.is_nil() { NO_MEMBER.to_owned() } else { person.to_string() }
}

/// What is said of rows that a table leaves out.
fn left_out(found: &Dearest, what: &str) -> Option<String> {
    let says = || format!("The {} {what} that cost most are shown; the sums above have all.", found.rows.len());
    found.are_more.then(says)
}

async fn made(state: &Shared, request: &HttpRequest, visitor: &Visitor) -> Result<Usage, ApiError> {
    let account = visitor.may(Scope::Read)?.account_id;
    let asked = Asked::of(request)?;
    let length = asked.length;
    // Whole hours or days, the present one the last of them.
    let to = state.service.now().plus_ms(1).ceil(length.whole_ms);
    let from = to.plus_ms(-length.ms);
    let range = Range { account, from, to, only: asked.only.clone() };
    let by = async |by| usage::dearest(&state.service, range.clone(), by, SHOWN).await;
    let in_time = Grouping { span: Some(length.span), by: Vec::new() };
    let times = usage::usage(&state.service, range.clone(), &in_time, Page { before: None, limit: LARGEST }).await?;
    let models = by(vec![By::Model, By::Provider]).await?;
    let by_key = by(vec![By::Key]).await?;
    let by_member = by(vec![By::Member]).await?;
    let more_models = left_out(&models, "models");
    let (more_keys, more_members) = (left_out(&by_key, "keys and members"), left_out(&by_member, "members"));
    let used = by_key.rows.iter().filter_map(|(group, _)| group.key);
    let days = Range { from: from.floor(DAY_MS), to: to.ceil(DAY_MS), ..range.clone() };
    let whole_days = format!("{} to {}", days.from.date(), days.to.plus_ms(-1).date());
    let all_sessions = format!("from={}&group_by=session&{}", days.from, asked.filters("key_id", "member_id"));
    let by_session = Grouping { span: None, by: vec![By::Session] };
    let sessions = usage::groups(&state.service, days, &by_session, Page { before: None, limit: SESSIONS }).await?;
    let costs: Vec<_> =
        times.groups.rows.iter().filter_map(|(group, sums)| Some((group.starts_at?, sums.cost))).collect();
    let saved = models.rows.iter().map(|(group, sums)| saved(state, group.model.as_deref(), sums).get()).sum();
    let (keys, members) = names(state, account, used.chain(asked.only.key)).await?;
    let span = match length.span {
        Span::Minute => "minute",
        Span::Hour => "hour",
        Span::Day => "day",
    };
    let row = |name, filter: Option<(&str, String)>, sums: usage::Sums| Row {
        name,
        provider: String::new(),
        filter: filter.and_then(|filter| serde_urlencoded::to_string([filter]).ok()),
        sums: sums.into(),
    };
    Ok(Usage {
        frame: visitor.frame("Usage"),
        ranges: &RANGES,
        chosen: length.name,
        filters: asked.filters("key", "member"),
        csv: format!("from={from}&{}", asked.filters("key_id", "member_id")).trim_end_matches('&').to_owned(),
        keys: keys.iter().map(|(id, name)| choice(id.to_string(), name, asked.only.key == Some(*id))).collect(),
        members: members
            .iter()
            .map(|(id, name)| (*id, name.as_str()))
            .chain([(Uuid::nil(), "no member")])
            .map(|(id, name)| choice(member_text(id), name, asked.only.member == Some(id)))
            .collect(),
        model: asked.only.model.unwrap_or_default(),
        session: asked.only.session.unwrap_or_default(),
        total: times.total.unwrap_or_default().into(),
        saved: Nanos::new(saved),
        span,
        chart: Chart::of(&bars(from, length, &costs), &format!("Dollars by {span}")),
        models: models.rows.into_iter().map(of_model).collect(),
        more_models,
        more_keys,
        more_members,
        by_key: by_key
            .rows
            .into_iter()
            .map(|(group, sums)| {
                let id = group.key.unwrap_or_default();
                row(named(&keys, id), Some(("key", id.to_string())), sums)
            })
            .collect(),
        by_member: by_member
            .rows
            .into_iter()
            .map(|(group, sums)| {
                let id = group.member.unwrap_or_default();
                let known = members.iter().find(|(member, _)| *member == id).map(|(_, name)| name.clone());
                let name =
                    known.unwrap_or_else(|| if id.is_nil() { "no member" } else { "a former member" }.to_owned());
                row(name, Some(("member", member_text(id))), sums)
            })
            .collect(),
        sessions: sessions
            .rows
            .into_iter()
            .map(|(group, sums)| {
                let session = group.session.unwrap_or_default();
                row(session.clone(), Some(("session", session)), sums)
            })
            .collect(),
        days: whole_days,
        more_sessions: sessions.next.map(|_| all_sessions.trim_end_matches('&').to_owned()),
        is_cut: times.groups.next.is_some(),
        times: times
            .groups
            .rows
            .into_iter()
            .map(|(group, sums)| {
                let name = group.starts_at.map(|at| label(at, length.bar_ms)).unwrap_or_default();
                row(name, None, sums)
            })
            .collect(),
    })
}

fn of_model((group, sums): (Group, usage::Sums)) -> Row {
    let (name, provider) = (group.model.unwrap_or_default(), group.provider.unwrap_or_default());
    Row { name, provider, filter: None, sums: sums.into() }
}

/// Ids with names.
type Names = Vec<(Uuid, String)>;

/// The account's newest keys and those that were used, with its members, who stand where a key would for what they run on these
/// pages; and its members.
async fn names(
    state: &Shared,
    account: AccountId,
    used: impl Iterator<Item = Uuid>,
) -> Result<(Names, Names), ApiError> {
    let newest = keys::list(&state.service, account, None, Page { before: None, limit: LARGEST }).await?.rows;
    let mut used = keys::names(&state.service, account, used).await?;
    let newest = newest.into_iter().map(|key| (key.id.0, key.name));
    let newest: Names = newest.inspect(|(id, _)| drop(used.remove(id))).collect();
    let mut older: Names = used.into_iter().collect();
    older.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
    let members = members::list(&state.service, account).await?;
    let member = |Member { membership, person }| Some((membership.person_id.0, person?.email));
    let members: Names = members.into_iter().filter_map(member).collect();
    let on_pages = members.iter().map(|(id, email)| (*id, format!("{email}, on these pages")));
    Ok((newest.into_iter().chain(older).chain(on_pages).collect(), members))
}

/// The name of a key, or of a member on these pages.
fn named(names: &[(Uuid, String)], id: Uuid) -> String {
    let known = names.iter().find(|(known, _)| *known == id).map(|(_, name)| name.clone());
    known.unwrap_or_else(|| if id.is_nil() { "without a key" } else { "a former member" }.to_owned())
}

fn choice(id: String, name: &str, is_chosen: bool) -> Choice {
    Choice { id, name: name.to_owned(), is_chosen }
}

/// What the cached tokens of a model would have cost more, at its price of today.
fn saved(state: &Shared, model: Option<&str>, sums: &usage::Sums) -> Nanos {
    let known = model.and_then(|model| state.gateway.models.known().find(model).ok());
    let Some(Model::Closed(model)) = known else { return Nanos::ZERO };
    let amounts = sums.quantities.iter().filter_map(|(key, amount)| Some((*key, u64::try_from(*amount).ok()?)));
    model.price.as_ref().map_or(Nanos::ZERO, |price| price.saved_by_caches(amounts))
}

/// The beginning of a minute, an hour or a day, as the chart and its table show it.
fn label(at: Timestamp, length: i64) -> String {
    if length == DAY_MS { at.date() } else { minute(at).to_string() }
}

/// The bars of the chart, one for each minute, hour or day of the range.
fn bars(from: Timestamp, length: &Length, costs: &[(Timestamp, Nanos)]) -> Vec<Bar> {
    let costs: HashMap<_, _> = costs.iter().copied().collect();
    let bar = |place: i64| {
        let starts_at = from.plus_ms(place * length.bar_ms);
        let at = label(starts_at, length.bar_ms);
        // The day of the year, or the time of the day.
        let short = if length.bar_ms == DAY_MS { at.get(5..) } else { at.get(11..16) };
        let short = short.unwrap_or_default().to_owned();
        Bar { at, short, cost: costs.get(&starts_at).copied().unwrap_or_default() }
    };
    (0..length.ms / length.bar_ms).map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_a_bar_for_each_of_its_times() {
        let from: Timestamp = "2026-11-27T00:00:00Z".parse().unwrap();
        let [hours, day, week, ..] = &RANGES;
        let of = |length, costs: &[_]| bars(from, length, costs);
        let days = of(week, &[(from.plus_ms(2 * DAY_MS), Nanos::dollars(1)), (from, Nanos::new(1))]);
        let costs: Vec<_> = days.iter().map(|bar| (bar.short.as_str(), bar.cost.get())).collect();
        assert_eq!(costs[..4], [("11-27", 1), ("11-28", 0), ("11-29", 1_000_000_000), ("11-30", 0)]);
        assert_eq!((days.len(), days[6].at.as_str()), (7, "2026-12-03"));
        let hour = &of(day, &[(from.plus_ms(HOUR_MS), Nanos::new(1))])[1];
        assert_eq!((&*hour.at, &*hour.short, hour.cost.get()), ("2026-11-27 01:00 UTC", "01:00", 1));
        assert_eq!(of(hours, &[]).len(), 120);
    }
}
