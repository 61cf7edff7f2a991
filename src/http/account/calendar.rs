//! `GET /v1/calendar.ics`: an account's calendar, for programs that follow one by its address (RFC 5545). The token in the address
//! is all that they have: it shows this and nothing else.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH},
    },
};
use billing::Timestamp;
use icalendar::{Component as _, Event};

use crate::{
    http::{arrival::Arrival, error::ApiError, query::Query, respond::refuse, state::Shared},
    service::calendar::{self, Calendar, Entry, What},
};

/// How old a copy may be, and how often programs should look.
const KEPT: &str = "private, max-age=900";
const LOOK_EVERY: &str = "PT1H";

/// `GET /v1/calendar.ics`.
pub async fn calendar(state: Shared, request: HttpRequest) -> HttpResponse {
    let look = async {
        let query = Query::of(&request, &["token"])?;
        let token = query.get("token").ok_or_else(|| ApiError::invalid("token", "must be there"))?;
        Ok::<_, ApiError>(calendar::read(&state.service, token).await?)
    };
    let text = match look.await {
        Ok(calendar) => written(&calendar),
        Err(error) => return refuse(&request, &error),
    };
    let tag = format!("\"{}\"", &blake3::hash(text.as_bytes()).to_hex()[..32]);
    let is_known = knows(&request, &tag);
    let mut answer = HttpResponse::build(if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
    answer.insert_header(("x-request-id", Arrival::of(&request).id.to_string()));
    answer.insert_header((ETAG, tag)).insert_header((CACHE_CONTROL, KEPT));
    if is_known {
        return answer.finish();
    }
    answer.content_type("text/calendar; charset=utf-8").body(text)
}

/// Whether a request has what a tag is of (RFC 9110, section 13.1.2).
fn knows(request: &HttpRequest, tag: &str) -> bool {
    let values = request.headers().get_all(IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(|it| it.trim().trim_start_matches("W/"));
    tags.any(|it| it == tag || it == "*")
}

fn written(calendar: &Calendar) -> String {
    let Calendar { account, changed_at, entries } = calendar;
    let mut written = icalendar::Calendar::empty();
    written.append_property(("VERSION", "2.0")).append_property(("PRODID", "-//Farebox//Credits//EN"));
    written.append_property(("CALSCALE", "GREGORIAN")).append_property(("X-WR-CALNAME", "Farebox credits"));
    written.append_property(("REFRESH-INTERVAL;VALUE=DURATION", LOOK_EVERY));
    for Entry { at, what } in entries {
        let (id, says) = match what {
            What::Expires { grant, amount, source } => {
                (format!("grant-{grant}"), format!("${amount} of credits expire ({})", source.replace('_', " ")))
            }
            What::Renews { fee } => (format!("plan-{account}-{}", at.0), format!("The plan renews for ${fee}")),
            What::Ends => (format!("plan-{account}-{}", at.0), "The plan ends".to_owned()),
        };
        let mut event = Event::new();
        event.uid(&format!("{id}@farebox")).summary(&says);
        // A moment, which takes up no time of its reader's.
        event.add_property("DTSTART", instant(*at)).add_property("TRANSP", "TRANSPARENT");
        event.add_property("DTSTAMP", instant(*changed_at));
        written.push(event.done());
    }
    written.to_string()
}

/// A time to the second, in UTC, as calendars have it: `20261228T101516Z`.
fn instant(at: Timestamp) -> String {
    let text = at.to_string();
    let seconds = text.split('.').next().unwrap_or(&text);
    format!("{}Z", seconds.replace(['-', ':'], ""))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use billing::{
        Nanos,
        ids::{AccountId, GrantId},
    };
    use uuid::Uuid;

    use super::*;

    #[test]
    fn lines_are_folded_and_the_same_calendar_has_the_same_text() {
        let at: Timestamp = "2026-12-28T10:15:16Z".parse().unwrap();
        let grant = GrantId(Uuid::from_u128(7));
        let what = What::Expires { grant, amount: Nanos::new(4_900_000_000), source: "auto_reload" };
        let calendar = Calendar {
            account: AccountId(Uuid::from_u128(1)),
            changed_at: at.plus_ms(-5_000),
            entries: vec![Entry { at, what }, Entry { at, what: What::Ends }],
        };
        let text = written(&calendar);
        assert_eq!(text, written(&calendar));
        assert!(
            text.starts_with("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n") && text.ends_with("END:VCALENDAR\r\n"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.len() <= 75), "{text}");
        let whole = text.replace("\r\n ", "");
        for line in [
            "UID:grant-00000000-0000-0000-0000-000000000007@farebox",
            "DTSTART:20261228T101516Z",
            "DTSTAMP:20261228T101511Z",
            "SUMMARY:$4.90 of credits expire (auto reload)",
            "SUMMARY:The plan ends",
        ] {
            assert!(whole.contains(&format!("\r\n{line}\r\n")), "{line} in {whole}");
        }
        let known = |value: &'static str| {
            knows(&TestRequest::default().insert_header(("if-none-match", value)).to_http_request(), "\"a\"")
        };
        assert!(known("\"a\"") && known("\"b\", W/\"a\"") && known("*") && !known("\"b\""));
    }
}
