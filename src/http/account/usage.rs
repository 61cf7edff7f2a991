//! `GET /v1/usage`: an account's usage, summed over UTC hours or days and grouped as requested. A range is widened to
//! whole hours, and the answer says which. A cursor names the last group of its page, and the grouping of its list.

use actix_web::{HttpRequest, HttpResponse};
use billing::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::{
    http::{
        auth,
        error::ApiError,
        query::{Query, bad_cursor},
        respond::answer,
        state::Shared,
        values::{is_instant, text_fault},
        views::usage::Usage,
    },
    service::{
        history::Range,
        page::Page,
        usage::{self, By, Group, Grouping, Span},
    },
};

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

/// The names of groupings, in any order.
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

/// The spelling of a cursor: JSON in hexadecimal.
type Written = (String, Option<i64>, Option<String>, Option<String>, Option<Uuid>);

fn write_cursor(grouping: &Grouping, last: Group) -> String {
    let Group { starts_at, model, provider, key } = last;
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

/// `GET /v1/usage`: the sums of each group, newest hour or day first; on the first page also those of the whole range.
pub async fn usage(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let sight = auth::sight(&state, &request).await?;
        let query = Query::of(&request, &["from", "to", "group_by", "model", "key_id", "limit", "cursor"])?;
        let grouping = grouping(query.get("group_by").unwrap_or("day"))?;
        let before = query.get("cursor").map(|text| read_cursor(&grouping, text).ok_or_else(bad_cursor)).transpose()?;
        let (from, to) = query.range(state.service.now().plus_ms(1))?;
        let (from, to) = usage::hours(from, to)?;
        let range = Range { account: sight.caller.account_id, from, to, only: query.only(&sight)? };
        let page = Page { before, limit: query.limit()? };
        let found = usage::usage(&state.service, range, &grouping, page).await?;
        let cursor = |last| write_cursor(&grouping, last);
        Ok(Usage::of(found, (from, to), &grouping, names(&grouping), cursor))
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
        let cursor = write_cursor(&by_model, last.clone());
        assert_eq!(read_cursor(&by_model, &cursor), Some(last.clone()));
        assert_eq!(read_cursor(&by_day, &cursor), None);
        for wrong in ["", "5", "zz", "5b5d", &cursor[1..], &cursor[..10], "\u{ff11}\u{ff11}"] {
            assert_eq!(read_cursor(&by_model, wrong), None, "{wrong}");
        }
        let nul = write_cursor(&by_model, Group { model: Some("\0".into()), ..last });
        assert_eq!(read_cursor(&by_model, &nul), None);
    }
}
