//! `GET /v1/usage`: what an account used, summed over hours and days of UTC and grouped as asked. Sums are kept by the
//! hour, so a range is widened to whole hours; the answer says which range it is of. A cursor names the last group of its
//! page, and how that list was grouped.

use actix_web::{HttpRequest, HttpResponse};
use billing::{
    Timestamp,
    time::{DAY_MS, HOUR_MS},
};
use ledger::{
    rollup::Span,
    usage::{By, Group, Grouping, More, Sums, Wanted},
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    auth,
    error::ApiError,
    history::is_instant,
    query::{Query, bad_cursor, list, text_fault},
    respond::answer,
    state::Shared,
};

/// A range where none is asked for.
const USUAL_DAYS: i64 = 30;
/// The longest range: a leap year.
const MOST_DAYS: i64 = 366;

const GROUPS: [(&str, Named); 5] = [
    ("day", Named::Span(Span::Day)),
    ("hour", Named::Span(Span::Hour)),
    ("model", Named::By(By::Model)),
    ("provider", Named::By(By::Provider)),
    ("key", Named::By(By::Key)),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Named {
    Span(Span),
    By(By),
}

/// Names of groups, in any order.
fn grouping(text: &str) -> Result<Grouping, ApiError> {
    let invalid = |message: String| ApiError::invalid("group_by", message);
    let mut grouping = Grouping::default();
    for name in text.split(',').map(str::trim) {
        let known = GROUPS.iter().find(|(known, _)| *known == name);
        match known.map(|(_, named)| *named) {
            Some(Named::Span(_)) if grouping.span.is_some() => {
                return Err(invalid("may have one of day and hour, once".into()));
            }
            Some(Named::Span(span)) => grouping.span = Some(span),
            Some(Named::By(by)) if grouping.by.contains(&by) => return Err(invalid(format!("has {name} twice"))),
            Some(Named::By(by)) => grouping.by.push(by),
            None => {
                let names = GROUPS.map(|(name, _)| name).join(", ");
                return Err(invalid(format!("must be of {names}, separated by commas")));
            }
        }
    }
    grouping.by.sort_unstable();
    Ok(grouping)
}

/// The names of a grouping, in the order of its lists.
fn names(grouping: &Grouping) -> Vec<&'static str> {
    let has = |named: Named| match named {
        Named::Span(span) => grouping.span == Some(span),
        Named::By(by) => grouping.by.contains(&by),
    };
    GROUPS.iter().filter(|(_, named)| has(*named)).map(|(name, _)| *name).collect()
}

/// How a cursor is written: JSON in hexadecimal.
type Written = (String, Option<i64>, Option<String>, Option<String>, Option<Uuid>);

fn write_cursor(grouping: &Grouping, last: &Group) -> String {
    let Group { starts_at, model, provider, key } = last.clone();
    let written: Written = (names(grouping).join(","), starts_at.map(|at| at.0), model, provider, key);
    let json = json!(written).to_string();
    json.bytes().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|half| char::from_digit(half.into(), 16)).collect()
}

fn read_cursor(grouping: &Grouping, text: &str) -> Option<Group> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16)?.try_into().ok()).collect::<Option<_>>()?;
    let json: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, half| byte << 4 | half)).collect();
    let (names_then, starts_at, model, provider, key): Written = serde_json::from_slice(&json).ok()?;
    let texts = [&model, &provider];
    let fits = names_then == names(grouping).join(",")
        && starts_at.is_some() == grouping.span.is_some()
        && starts_at.is_none_or(|at| is_instant(Timestamp(at)))
        && model.is_some() == grouping.by.contains(&By::Model)
        && provider.is_some() == grouping.by.contains(&By::Provider)
        && key.is_some() == grouping.by.contains(&By::Key)
        && texts.into_iter().flatten().all(|text| text_fault(text).is_none());
    fits.then(|| Group { starts_at: starts_at.map(Timestamp), model, provider, key })
}

fn sums_json(sums: &Sums) -> Map<String, Value> {
    let Sums { requests, failed, input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, .. } = *sums;
    let Sums { cache_write_tokens, compute_ms, billed_seconds, cost, .. } = *sums;
    let mut json = Map::new();
    for (name, count) in [
        ("requests", requests),
        ("failed", failed),
        ("input_tokens", input_tokens),
        ("cached_input_tokens", cached_input_tokens),
        ("cache_write_tokens", cache_write_tokens),
        ("output_tokens", output_tokens),
        ("reasoning_tokens", reasoning_tokens),
        ("compute_ms", compute_ms),
        ("billed_seconds", billed_seconds),
    ] {
        json.insert(name.into(), count.into());
    }
    let quantities: Map<_, _> = sums.quantities().map(|(key, amount)| (key.to_string(), amount.into())).collect();
    json.insert("quantities".into(), quantities.into());
    json.insert("cost".into(), cost.to_string().into());
    json
}

fn row_json(grouping: &Grouping, (group, sums): &(Group, Sums)) -> Value {
    let mut json = Map::new();
    match (grouping.span, group.starts_at.map(|at| at.to_string())) {
        (Some(Span::Day), Some(at)) => drop(json.insert("day".into(), at.chars().take(10).collect::<String>().into())),
        (Some(Span::Hour), Some(at)) => drop(json.insert("hour".into(), at.into())),
        (None, _) | (_, None) => {}
    }
    for by in &grouping.by {
        match by {
            By::Model => json.insert("model".into(), group.model.clone().into()),
            By::Provider => json.insert("provider".into(), group.provider.clone().into()),
            By::Key => json.insert("key_id".into(), json!(group.key.filter(|key| !key.is_nil()))),
        };
    }
    json.extend(sums_json(sums));
    Value::Object(json)
}

/// The range a query asks for, in whole hours.
fn hours(query: &Query, now: Timestamp) -> Result<(Timestamp, Timestamp), ApiError> {
    let (from, to) = query.range(now.plus_ms(1))?;
    let from = from.unwrap_or_else(|| to.ceil(HOUR_MS).plus_ms(-USUAL_DAYS * DAY_MS));
    if to.ms_since(from) > MOST_DAYS * DAY_MS {
        return Err(ApiError::invalid("from", format!("must be at most {MOST_DAYS} days before to, which is {to}")));
    }
    Ok((from.floor(HOUR_MS), to.ceil(HOUR_MS)))
}

/// `GET /v1/usage`: sums of each group, the newest hour or day first; on the first page also of the whole range.
pub async fn usage(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let sight = auth::sight(&state, &request).await?;
        let query = Query::of(&request, &["from", "to", "group_by", "model", "key_id", "limit", "cursor"])?;
        let grouping = grouping(query.get("group_by").unwrap_or("day"))?;
        let last = query.get("cursor").map(|text| read_cursor(&grouping, text).ok_or_else(bad_cursor)).transpose()?;
        let (from, to) = hours(&query, state.gateway.clock().now())?;
        let wanted = Wanted { account: sight.caller.account_id, from, to, only: query.only(&sight)? };
        let ledger = state.gateway.accounts.ledger();
        let (rows, more) = ledger.usage(&wanted, &grouping, last.as_ref(), query.limit()?).await?;
        let next = match more {
            More::Yes => rows.last().map(|(group, _)| write_cursor(&grouping, group)),
            More::No => None,
        };
        let mut body = list(rows.iter().map(|row| row_json(&grouping, row)).collect(), next);
        body["from"] = from.to_string().into();
        body["to"] = to.to_string().into();
        body["group_by"] = names(&grouping).into();
        body["currency"] = "USD".into();
        if last.is_none() {
            body["total"] = sums_json(&ledger.usage_total(&wanted).await?).into();
        }
        Ok(body)
    };
    answer(&request, work.await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_named_once_and_in_any_order() {
        let both = grouping("model, day").unwrap();
        assert_eq!(both, grouping("day,model").unwrap());
        assert_eq!(names(&both), ["day", "model"]);
        assert_eq!(grouping("key,provider,model").unwrap().by, [By::Model, By::Provider, By::Key]);
        for wrong in ["", "week", "day,hour", "day,day", "model,model", "model,", "Day"] {
            assert!(grouping(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_cursor_is_of_its_list_only() {
        let (by_model, by_day) = (grouping("day,model,key").unwrap(), grouping("day").unwrap());
        let last = Group {
            starts_at: Some(Timestamp(86_400_000)),
            model: Some("a/\"b\" \u{e9}".into()),
            provider: None,
            key: Some(Uuid::nil()),
        };
        let cursor = write_cursor(&by_model, &last);
        assert_eq!(read_cursor(&by_model, &cursor), Some(last.clone()));
        assert_eq!(read_cursor(&by_day, &cursor), None);
        for wrong in ["", "5", "zz", "5b5d", &cursor[1..], &cursor[..10], "\u{ff11}\u{ff11}"] {
            assert_eq!(read_cursor(&by_model, wrong), None, "{wrong}");
        }
        let nul = write_cursor(&by_model, &Group { model: Some("\0".into()), ..last });
        assert_eq!(read_cursor(&by_model, &nul), None);
    }
}
