//! Usage: sums, a chart of hours or days, and tables by model, by key and by time.

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
    page::{Frame, Visitor, visited},
    text::{count, day, minute},
};
use crate::{
    catalogue::Model,
    http::{error::ApiError, query::Query, state::Shared},
    service::{
        history::Range,
        keys,
        page::{LARGEST, Page},
        people::members::{self, Member},
        usage::{self, By, Group, Grouping, Only, Span},
    },
};

/// The ranges to choose from, in days. Of the shortest each hour is shown.
const RANGES: [(i64, &str); 4] = [(1, "24 hours"), (7, "7 days"), (30, "30 days"), (90, "90 days")];
const USUAL: i64 = 30;
/// The height of the chart's highest bar.
const HEIGHT: i64 = 110;
/// The distance between bars.
const STEP: i64 = 10;

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
    provider: String,
    sums: Sums,
}

/// A key to choose.
struct OfKey {
    id: Uuid,
    name: String,
    is_chosen: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Bar {
    x: i64,
    y: i64,
    height: i64,
    at: String,
    cost: Nanos,
}

#[derive(Template)]
#[template(path = "dashboard/usage.html")]
struct Usage {
    frame: Frame,
    ranges: [(i64, &'static str); 4],
    chosen: i64,
    model: String,
    /// The filters, as the rest of a query.
    filters: String,
    csv: String,
    keys: Vec<OfKey>,
    total: Sums,
    saved: Nanos,
    span: &'static str,
    width: i64,
    bars: Vec<Bar>,
    models: Vec<Row>,
    by_key: Vec<Row>,
    times: Vec<Row>,
}

/// `GET /dashboard/usage`.
pub(super) async fn usage(state: Shared, request: HttpRequest) -> HttpResponse {
    visited(&state, &request, async |visitor| made(&state, &request, visitor).await).await
}

/// What the visitor asks for.
struct Asked {
    days: i64,
    only: Only,
}

impl Asked {
    fn of(request: &HttpRequest) -> Result<Self, ApiError> {
        let query = Query::of_form(request, &["days", "model", "key"])?;
        let days = query.get("days").map_or(Some(USUAL), |days| days.parse().ok());
        let days = days.filter(|days| RANGES.iter().any(|range| range.0 == *days));
        let days = days.ok_or_else(|| ApiError::invalid("days", "must be 1, 7, 30 or 90"))?;
        let model = query.get("model").map(str::trim).filter(|model| !model.is_empty()).map(str::to_owned);
        let key = query.get("key").filter(|key| !key.is_empty()).map(str::parse).transpose();
        let key = key.map_err(|_| ApiError::invalid("key", "must be a key's id"))?;
        Ok(Self { days, only: Only { model, key } })
    }

    /// The filters, as the rest of a query whose name for a key is this.
    fn filters(&self, key: &str) -> String {
        let model = self.only.model.clone().map(|model| ("model", model));
        let key = self.only.key.map(|id| (key, id.to_string()));
        serde_urlencoded::to_string(model.into_iter().chain(key).collect::<Vec<_>>()).unwrap_or_default()
    }

    /// The span of a bar, and its length.
    const fn span(&self) -> (Span, i64) {
        if self.days == 1 { (Span::Hour, HOUR_MS) } else { (Span::Day, DAY_MS) }
    }
}

async fn made(state: &Shared, request: &HttpRequest, visitor: &Visitor) -> Result<Usage, ApiError> {
    let account = visitor.may(Scope::Read)?.account_id;
    let asked = Asked::of(request)?;
    // Whole hours or days, the present one the last of them.
    let (span, length) = asked.span();
    let to = state.service.now().plus_ms(1).ceil(length);
    let from = to.plus_ms(-asked.days * DAY_MS);
    let range = Range { account, from, to, only: asked.only.clone() };
    let by = async |span, by| {
        let page = Page { before: None, limit: LARGEST };
        usage::usage(&state.service, range.clone(), &Grouping { span, by }, page).await
    };
    let times = by(Some(span), vec![]).await?;
    let mut models: Vec<(Group, usage::Sums)> = by(None, vec![By::Model, By::Provider]).await?.groups.rows;
    let mut by_key = by(None, vec![By::Key]).await?.groups.rows;
    models.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.cost));
    by_key.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.cost));
    let costs: Vec<_> =
        times.groups.rows.iter().filter_map(|(group, sums)| Some((group.starts_at?, sums.cost))).collect();
    let saved = models.iter().map(|(group, sums)| saved(state, group.model.as_deref(), sums).get()).sum();
    let names = names(state, account).await?;
    let name = |id: Uuid| named(&names, id);
    let count = asked.days * DAY_MS / length;
    Ok(Usage {
        frame: visitor.frame("Usage"),
        ranges: RANGES,
        chosen: asked.days,
        filters: asked.filters("key"),
        csv: format!("from={from}&{}", asked.filters("key_id")).trim_end_matches('&').to_owned(),
        keys: names.iter().map(|(id, name)| key_of(*id, name, asked.only.key)).collect(),
        model: asked.only.model.unwrap_or_default(),
        total: times.total.unwrap_or_default().into(),
        saved: Nanos::new(saved),
        span: if span == Span::Hour { "hour" } else { "day" },
        width: count * STEP,
        bars: bars(from, count, length, &costs),
        models: models.into_iter().map(of_model).collect(),
        by_key: by_key
            .into_iter()
            .map(|(group, sums)| Row {
                name: group.key.map(name).unwrap_or_default(),
                provider: group.key.map(|id| id.to_string()).unwrap_or_default(),
                sums: sums.into(),
            })
            .collect(),
        times: times
            .groups
            .rows
            .into_iter()
            .map(|(group, sums)| Row {
                name: group.starts_at.map(|at| label(at, length)).unwrap_or_default(),
                provider: String::new(),
                sums: sums.into(),
            })
            .collect(),
    })
}

fn of_model((group, sums): (Group, usage::Sums)) -> Row {
    let (name, provider) = (group.model.unwrap_or_default(), group.provider.unwrap_or_default());
    Row { name, provider, sums: sums.into() }
}

/// The account's keys, and its members, who stand where a key would for what they run on these pages: id and name.
async fn names(state: &Shared, account: AccountId) -> Result<Vec<(Uuid, String)>, ApiError> {
    let keys = keys::list(&state.service, account, None).await?;
    let members = members::list(&state.service, account).await?;
    let member =
        |Member { membership, person }| Some((membership.person_id.0, format!("{}, on these pages", person?.email)));
    Ok(keys.into_iter().map(|key| (key.id.0, key.name)).chain(members.into_iter().filter_map(member)).collect())
}

/// The name of a key or a member.
fn named(names: &[(Uuid, String)], id: Uuid) -> String {
    let known = names.iter().find(|(known, _)| *known == id).map(|(_, name)| name.clone());
    known.unwrap_or_else(|| if id.is_nil() { "without a key" } else { "a former member" }.to_owned())
}

fn key_of(id: Uuid, name: &str, chosen: Option<Uuid>) -> OfKey {
    OfKey { id, name: name.to_owned(), is_chosen: chosen == Some(id) }
}

/// What the cached tokens of a model would have cost more, at its price of today.
fn saved(state: &Shared, model: Option<&str>, sums: &usage::Sums) -> Nanos {
    let known = model.and_then(|model| state.gateway.models.known().find(model).ok());
    let Some(Model::Closed(model)) = known else { return Nanos::ZERO };
    let amounts = sums.quantities.iter().filter_map(|(key, amount)| Some((*key, u64::try_from(*amount).ok()?)));
    model.price.as_ref().map_or(Nanos::ZERO, |price| price.saved_by_caches(amounts))
}

/// The beginning of an hour or a day, as the chart and its table show it.
fn label(at: Timestamp, length: i64) -> String {
    if length == HOUR_MS { minute(at) } else { day(at) }
}

/// The bars of the chart: one for each hour or day that something was spent in.
fn bars(from: Timestamp, count: i64, length: i64, costs: &[(Timestamp, Nanos)]) -> Vec<Bar> {
    let most = costs.iter().map(|(_, cost)| cost.get()).max().unwrap_or(0).max(1);
    let bar = |place: i64| {
        let starts_at = from.plus_ms(place * length);
        let (_, cost) = *costs.iter().find(|(at, cost)| *at == starts_at && *cost > Nanos::ZERO)?;
        // What was spent is seen, however little it was.
        let height = (i128::from(cost.get()) * i128::from(HEIGHT) / i128::from(most)).max(1);
        let height = i64::try_from(height).unwrap_or(HEIGHT);
        Some(Bar { x: place * STEP + 1, y: HEIGHT + STEP - height, height, at: label(starts_at, length), cost })
    };
    (0..count).filter_map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_days_cost() {
        let from: Timestamp = "2026-11-27T00:00:00Z".parse().unwrap();
        let costs = [
            (from, Nanos::dollars(2)),
            (from.plus_ms(2 * DAY_MS), Nanos::dollars(1)),
            (from.plus_ms(DAY_MS), Nanos::new(1)),
        ];
        let bars = bars(from, 3, DAY_MS, &costs);
        let of = |bar: &Bar| (bar.x, bar.y, bar.height, bar.at.clone());
        assert_eq!(
            bars.iter().map(of).collect::<Vec<_>>(),
            [
                (1, 10, 110, "2026-11-27".to_owned()),
                (11, 119, 1, "2026-11-28".to_owned()),
                (21, 65, 55, "2026-11-29".to_owned())
            ]
        );
        assert_eq!(super::bars(from, 30, DAY_MS, &[]), []);
        let of_hours = super::bars(from, 24, HOUR_MS, &[(from.plus_ms(HOUR_MS), Nanos::new(1))]);
        assert_eq!((of_hours[0].x, &*of_hours[0].at), (11, "2026-11-27 01:00 UTC"));
    }
}
