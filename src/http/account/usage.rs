//! `GET /v1/usage`: an account's usage, summed over UTC minutes, hours or days and grouped as requested. A range is widened to
//! whole hours or days, and the answer says which. A cursor names the last group of its page, and the grouping of its list.

use actix_web::{HttpRequest, HttpResponse};
use billing::Timestamp;
use serde::{Deserialize, Serialize};
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

const GROUPS: [(&str, Named); 8] = [
    ("day", Named::Span(Span::Day)),
    ("hour", Named::Span(Span::Hour)),
    ("minute", Named::Span(Span::Minute)),
    ("model", Named::By(By::Model)),
    ("provider", Named::By(By::Provider)),
    ("key", Named::By(By::Key)),
    ("member", Named::By(By::Member)),
    ("session", Named::By(By::Session)),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Named {
    Span(Span),
    By(By),
}

/// The names of groupings, in any order.
pub(super) fn grouping(text: &str) -> Result<Grouping, ApiError> {
    let invalid = |message: String| ApiError::invalid("group_by", message);
    let mut grouping = Grouping::default();
    for name in text.split(',').map(str::trim) {
        let known = GROUPS.iter().find(|(known, _)| *known == name);
        match known.map(|(_, named)| *named) {
            Some(Named::Span(_)) if grouping.span.is_some() => {
                return Err(invalid("may have one of day, hour and minute, once".into()));
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
pub(super) fn names(grouping: &Grouping) -> Vec<&'static str> {
    let has = |named: Named| match named {
        Named::Span(span) => grouping.span == Some(span),
        Named::By(by) => grouping.by.contains(&by),
    };
    GROUPS.iter().filter(|(_, named)| has(*named)).map(|(name, _)| *name).collect()
}

/// The spelling of a cursor: JSON in hexadecimal. Absent is what the list is not grouped by, and behind all groups of a time or
/// of a session what is grouped by besides.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_on: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
}

fn write_cursor(grouping: &Grouping, last: Group) -> String {
    let Group { used_on, starts_at, model, provider, key, member, session } = last;
    let (by, used_on, at) = (names(grouping).join(","), used_on.map(|at| at.0), starts_at.map(|at| at.0));
    let json = json!(Written { by, used_on, at, model, provider, key, member, session }).to_string();
    json.bytes().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|half| char::from_digit(half.into(), 16)).collect()
}

fn read_cursor(grouping: &Grouping, text: &str) -> Option<Group> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16)?.try_into().ok()).collect::<Option<_>>()?;
    let json: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, half| byte << 4 | half)).collect();
    let Written { by, used_on, at, model, provider, key, member, session } = serde_json::from_slice(&json).ok()?;
    let has = |by: By| match by {
        By::Model => model.is_some(),
        By::Provider => provider.is_some(),
        By::Key => key.is_some(),
        By::Member => member.is_some(),
        By::Session => session.is_some(),
    };
    let all = [By::Model, By::Provider, By::Key, By::Member, By::Session];
    let is_by_minute = grouping.span == Some(Span::Minute);
    let is_by_session = grouping.by.contains(&By::Session) && !is_by_minute;
    // A group of the list, or the end of a time or of a session.
    let is_group = at.is_some() == grouping.span.is_some() && all.iter().all(|by| has(*by) == grouping.by.contains(by));
    let is_end = if is_by_session {
        at.is_none() && all.iter().all(|by| has(*by) == (*by == By::Session))
    } else {
        is_by_minute && at.is_some() && !all.iter().any(|by| has(*by))
    };
    let fits = by == names(grouping).join(",")
        && (is_group || is_end)
        && used_on.is_some() == is_by_session
        && [at, used_on].into_iter().flatten().all(|at| is_instant(Timestamp(at)))
        && [&model, &provider, &session].into_iter().flatten().all(|text| text_fault(text).is_none());
    let (used_on, starts_at) = (used_on.map(Timestamp), at.map(Timestamp));
    fits.then_some(Group { used_on, starts_at, model, provider, key, member, session })
}

/// `GET /v1/usage`: the sums of each group, newest time first; on the first page also those of the whole range.
pub async fn usage(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        let sight = auth::sight(&state, &request).await?;
        let query = Query::of(
            &request,
            &["from", "to", "group_by", "model", "key_id", "member_id", "session", "limit", "cursor"],
        )?;
        let grouping = grouping(query.get("group_by").unwrap_or("day"))?;
        let before = query.get("cursor").map(|text| read_cursor(&grouping, text).ok_or_else(bad_cursor)).transpose()?;
        let (from, to) = query.range(state.service.now().plus_ms(1))?;
        let (from, to) = usage::whole(from, to, &grouping)?;
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
        assert_eq!(
            grouping("session,key,member,provider,model").unwrap().by,
            [By::Model, By::Provider, By::Key, By::Member, By::Session]
        );
        for wrong in ["", "week", "day,hour", "minute,day", "day,day", "model,model", "model,", "Day"] {
            assert!(grouping(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_cursor_is_of_its_list_only() {
        let (by_model, by_day) = (grouping("day,model,key").unwrap(), grouping("day").unwrap());
        let last = Group {
            starts_at: Some(Timestamp(86_400_000)),
            model: Some("a/\"b\" \u{e9}".into()),
            key: Some(Uuid::nil()),
            ..Group::default()
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

    #[test]
    fn a_cursor_may_be_the_end_of_a_session_or_a_minute() {
        let at = Some(Timestamp(86_400_000));
        let (by_session, by_minute) = (grouping("hour,member,session").unwrap(), grouping("minute,session").unwrap());
        let end = Group { used_on: at, session: Some("s".into()), ..Group::default() };
        let group = Group { starts_at: at, member: Some(Uuid::nil()), ..end.clone() };
        for last in [&end, &group] {
            assert_eq!(read_cursor(&by_session, &write_cursor(&by_session, last.clone())).as_ref(), Some(last));
        }
        let minute = Group { starts_at: at, ..Group::default() };
        let group = Group { session: Some("s".into()), ..minute.clone() };
        for last in [&minute, &group] {
            assert_eq!(read_cursor(&by_minute, &write_cursor(&by_minute, last.clone())).as_ref(), Some(last));
        }
        for (grouping, wrong) in [
            (&by_session, minute),
            (&by_session, Group { used_on: None, ..end.clone() }),
            (&by_session, Group { session: None, ..end.clone() }),
            (&by_session, Group { starts_at: at, ..end.clone() }),
            (&by_minute, end),
        ] {
            assert_eq!(read_cursor(grouping, &write_cursor(grouping, wrong.clone())), None, "{wrong:?}");
        }
    }
}
