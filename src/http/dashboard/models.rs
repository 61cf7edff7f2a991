//! Models: prices with the fee, locks, whether each can run now, and what the account itself spent on it.

use std::collections::HashMap;

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use billing::{Nanos, ids::AccountId, key::Scope, time::DAY_MS};
use serde_json::Value;

use super::{
    page::{Frame, Visitor, visited},
    text::count,
};
use crate::{
    http::{error::ApiError, inference, query::Query, state::Shared, views::models::Model},
    service::{
        history::Range,
        page::{LARGEST, Page},
        usage::{self, By, Grouping, Only},
    },
};

/// The models of a page: a whole page, with its style and script, stays below 100 kB.
const SHOWN: usize = 100;
/// The days whose spending is shown.
const LOOKED_BACK: i64 = 30;

struct Row {
    id: String,
    by: String,
    task: &'static str,
    is_chat: bool,
    context: String,
    input: String,
    output: String,
    second: String,
    state: String,
    /// What the account spent on it lately, and on how many requests.
    spent: Option<(Nanos, String)>,
    locked: bool,
    available: bool,
}

#[derive(Template)]
#[template(path = "dashboard/models.html")]
struct Models {
    frame: Frame,
    q: String,
    all: usize,
    /// How many have the name that is asked for, and the numbers of the first and last that are shown.
    found: usize,
    first: usize,
    last: usize,
    /// The queries of the pages before and after, where there are such.
    before: Option<String>,
    after: Option<String>,
    days: i64,
    /// Whether the visitor may know what the account spends.
    shows_spent: bool,
    rows: Vec<Row>,
}

/// `GET /dashboard/models`.
pub(super) async fn models(state: Shared, request: HttpRequest) -> HttpResponse {
    let make = async |visitor: &Visitor| {
        let query = Query::of_form(&request, &["q", "page"])?;
        let wanted = query.get("q").unwrap_or_default().trim().to_owned();
        let page = query.get("page").map_or(Some(1), |page| page.parse::<usize>().ok()).filter(|page| *page > 0);
        let page = page.ok_or_else(|| ApiError::invalid("page", "must be a number from 1"))?;
        let all = inference::models_of(&state, visitor.caller).await?;
        let (count, small) = (all.len(), wanted.to_lowercase());
        let found: Vec<Model> = all.into_iter().filter(|model| model.id.to_lowercase().contains(&small)).collect();
        let (skipped, amount) = (page.saturating_sub(1).saturating_mul(SHOWN), found.len());
        let mut spent = match visitor.may(Scope::Read) {
            Ok(caller) => Some(spent(&state, caller.account_id).await?),
            Err(_) => None,
        };
        let shows_spent = spent.is_some();
        let row = |model: Model| {
            let spent = spent.as_mut().and_then(|spent| spent.remove(&model.id));
            Row { spent, ..Row::from(model) }
        };
        let rows: Vec<Row> = found.into_iter().skip(skipped).take(SHOWN).map(row).collect();
        let other = |page: usize| serde_urlencoded::to_string([("q", &wanted), ("page", &page.to_string())]).ok();
        let last = skipped.saturating_add(rows.len());
        Ok(Models {
            frame: visitor.frame("Models"),
            all: count,
            found: amount,
            first: skipped.saturating_add(1).min(last),
            last,
            before: other(page - 1).filter(|_| page > 1),
            after: other(page.saturating_add(1)).filter(|_| last < amount),
            q: wanted,
            days: LOOKED_BACK,
            shows_spent,
            rows,
        })
    };
    visited(&state, &request, make).await
}

/// What the account spent on each model lately, and on how many requests.
async fn spent(state: &Shared, account: AccountId) -> Result<HashMap<String, (Nanos, String)>, ApiError> {
    let to = state.service.now().plus_ms(1);
    let range = Range { account, from: to.plus_ms(-LOOKED_BACK * DAY_MS), to, only: Only::default() };
    let grouping = Grouping { span: None, by: vec![By::Model] };
    let used = usage::usage(&state.service, range, &grouping, Page { before: None, limit: LARGEST }).await?;
    let of_model = |(group, sums): (usage::Group, usage::Sums)| Some((group.model?, (sums.cost, count(sums.requests))));
    Ok(used.groups.rows.into_iter().filter_map(of_model).collect())
}

/// A price with its cents, as amounts of money have them, and what is finer where there is such.
fn dollars(rate: &str) -> String {
    let (whole, fraction) = rate.split_once('.').unwrap_or((rate, ""));
    format!("${whole}.{fraction:0<2}")
}

impl From<Model> for Row {
    fn from(model: Model) -> Self {
        let price = |quantity: &str| match model.price_with_fee.as_ref().map(|price| &price[quantity]) {
            Some(Value::String(rate)) => dollars(rate),
            Some(Value::Number(rate)) => dollars(&rate.to_string()),
            _ => String::new(),
        };
        let state = match (&model.why, model.locked, model.state) {
            (_, true, _) => format!("locked: buy more credits to use class {}", model.class.unwrap_or_default()),
            (Some(why), ..) => why.clone(),
            (None, false, Some(state)) => state.to_owned(),
            (None, false, None) => "ready".to_owned(),
        };
        Self {
            input: price("input"),
            output: price("output"),
            second: model.price_per_second.as_ref().map(|rate| format!("${rate}")).unwrap_or_default(),
            is_chat: model.task == "chat",
            context: model.context_length.map(|tokens| count(tokens.into())).unwrap_or_default(),
            by: model.owned_by,
            task: model.task,
            locked: model.locked,
            available: model.available,
            id: model.id,
            state,
            spent: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_have_their_cents() {
        let told = ["5.1", "16", "0.408", "2.50"].map(dollars);
        assert_eq!(told, ["$5.10", "$16.00", "$0.408", "$2.50"]);
    }
}
