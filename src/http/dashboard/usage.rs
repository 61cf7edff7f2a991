//! Usage: sums, a chart of days, tables by model and by day.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use billing::{Nanos, Timestamp, key::Scope, time::DAY_MS};

use super::{
    page::{Frame, Visitor, visited},
    text::{count, day},
};
use crate::{
    http::{error::ApiError, query::Query, state::Shared},
    service::{
        history::Range,
        page::{LARGEST, Page},
        usage::{self, By, Group, Grouping, Only, Span},
    },
};

/// The ranges to choose from, in days.
const RANGES: [(i64, &str); 3] = [(7, "7 days"), (30, "30 days"), (90, "90 days")];
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

#[derive(Debug, PartialEq, Eq)]
struct Bar {
    x: i64,
    y: i64,
    height: i64,
    day: String,
    cost: Nanos,
}

#[derive(Template)]
#[template(path = "dashboard/usage.html")]
struct Usage {
    frame: Frame,
    ranges: [(i64, &'static str); 3],
    chosen: i64,
    from: String,
    total: Sums,
    width: i64,
    bars: Vec<Bar>,
    models: Vec<Row>,
    days: Vec<Row>,
}

/// `GET /dashboard/usage`.
pub(super) async fn usage(state: Shared, request: HttpRequest) -> HttpResponse {
    visited(&state, &request, async |visitor| made(&state, &request, visitor).await).await
}

async fn made(state: &Shared, request: &HttpRequest, visitor: &Visitor) -> Result<Usage, ApiError> {
    let account = visitor.may(Scope::Read)?.account_id;
    let wanted = Query::of(request, &["days"])?.get("days").map(str::to_owned);
    let chosen = wanted.map_or(Some(USUAL), |days| days.parse().ok());
    let chosen = chosen.filter(|days| RANGES.iter().any(|range| range.0 == *days));
    let chosen = chosen.ok_or_else(|| ApiError::invalid("days", "must be 7, 30 or 90"))?;
    // Whole days, today the last of them.
    let to = state.service.now().plus_ms(1).ceil(DAY_MS);
    let from = to.plus_ms(-chosen * DAY_MS);
    let range = Range { account, from, to, only: Only::default() };
    let by = async |span, by| {
        let page = Page { before: None, limit: LARGEST };
        usage::usage(&state.service, range.clone(), &Grouping { span, by }, page).await
    };
    let (days, models) = (by(Some(Span::Day), vec![]).await?, by(None, vec![By::Model, By::Provider]).await?);
    let costs: Vec<_> =
        days.groups.rows.iter().filter_map(|(group, sums)| Some((group.starts_at?, sums.cost))).collect();
    let mut models: Vec<(Group, usage::Sums)> = models.groups.rows;
    models.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.cost));
    let of_model = |(group, sums): (Group, usage::Sums)| Row {
        name: group.model.unwrap_or_default(),
        provider: group.provider.unwrap_or_default(),
        sums: sums.into(),
    };
    let of_day = |(group, sums): (Group, usage::Sums)| Row {
        name: group.starts_at.map(day).unwrap_or_default(),
        provider: String::new(),
        sums: sums.into(),
    };
    Ok(Usage {
        frame: visitor.frame("Usage"),
        ranges: RANGES,
        chosen,
        from: from.to_string(),
        width: chosen * STEP,
        bars: bars(from, chosen, &costs),
        total: days.total.unwrap_or_default().into(),
        models: models.into_iter().map(of_model).collect(),
        days: days.groups.rows.into_iter().map(of_day).collect(),
    })
}

/// The bars of the chart: one for each day that something was spent on.
fn bars(from: Timestamp, days: i64, costs: &[(Timestamp, Nanos)]) -> Vec<Bar> {
    let most = costs.iter().map(|(_, cost)| cost.get()).max().unwrap_or(0).max(1);
    let bar = |place: i64| {
        let starts_at = from.plus_ms(place * DAY_MS);
        let (_, cost) = *costs.iter().find(|(at, cost)| *at == starts_at && *cost > Nanos::ZERO)?;
        // What was spent is seen, however little it was.
        let height = (i128::from(cost.get()) * i128::from(HEIGHT) / i128::from(most)).max(1);
        let height = i64::try_from(height).unwrap_or(HEIGHT);
        Some(Bar { x: place * STEP + 1, y: HEIGHT + STEP - height, height, day: day(starts_at), cost })
    };
    (0..days).filter_map(bar).collect()
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
        let bars = bars(from, 3, &costs);
        let of = |bar: &Bar| (bar.x, bar.y, bar.height, bar.day.clone());
        assert_eq!(
            bars.iter().map(of).collect::<Vec<_>>(),
            [
                (1, 10, 110, "2026-11-27".to_owned()),
                (11, 119, 1, "2026-11-28".to_owned()),
                (21, 65, 55, "2026-11-29".to_owned())
            ]
        );
        assert_eq!(super::bars(from, 30, &[]), []);
    }
}
