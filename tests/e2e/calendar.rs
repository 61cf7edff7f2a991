//! An account's calendar, read by another parser.

use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::{Answer, answer},
    people::{Visitor, person},
    python::package,
    server::{Options, Server},
};

/// Another reader of calendars, which Python's users have.
const READER: &str = "icalendar==7.3.0";

const SCRIPT: &str = "
import json, sys
from icalendar import Calendar
calendar = Calendar.from_ical(sys.stdin.buffer.read())
assert not calendar.errors, calendar.errors
def one(event):
    assert not event.errors, event.errors
    assert event['DTSTAMP'].dt.tzinfo is not None
    return {'uid': str(event['UID']), 'at': event['DTSTART'].dt.isoformat(), 'says': str(event['SUMMARY'])}
print(json.dumps({'version': str(calendar['VERSION']), 'events': [one(event) for event in calendar.walk('VEVENT')]}))
";

/// A calendar as another program reads it.
fn read(text: &str) -> Value {
    use std::io::Write as _;
    let mut python = Command::new("python3");
    python.args(["-c", SCRIPT]).env("PYTHONPATH", package(READER));
    let mut python = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{text}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The address on a page that has just made one.
#[track_caller]
fn address(server: &Server, page: &Answer) -> String {
    assert_eq!(page.status, 200, "{}", page.body);
    let shown = page.body.split("id=\"calendar-address\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    shown.strip_prefix(server.url()).unwrap().to_owned()
}

#[tokio::test]
async fn a_calendar_says_when_credits_expire_and_the_plan_renews() {
    let server = Server::start(Options::default()).await;
    let customer = server.admin().customer("payg", "0").await;
    let mut ada = person(&server, "ada@example.com", Some((&customer.id, "owner"))).await;
    let mut eve = person(&server, "eve@example.com", Some((&customer.id, "reader"))).await;
    let at = "2099-01-02T03:04:05.000Z";
    let body = json!({"source": "promo", "amount": "2.5", "reason": "a story", "expires_at": at});
    server.admin().0.post(&format!("/admin/v1/accounts/{}/grants", customer.id), &body).await.ok();
    let path = address(&server, &ada.send("/credits/calendar", &[]).await);
    let stranger = Visitor::new(&server);
    let get = async |path: &str| answer(stranger.request(Method::GET, path)).await;
    let calendar = get(&path).await;
    assert_eq!(calendar.status, 200, "{}", calendar.body);
    assert_eq!(calendar.header("content-type"), Some("text/calendar; charset=utf-8"));
    let found = read(&calendar.body);
    let events = found["events"].as_array().unwrap();
    let says: Vec<_> = events.iter().map(|event| event["says"].as_str().unwrap()).collect();
    assert!(
        says.contains(&"$2.50 of credits expire (promo)") && says.contains(&"$5.00 of credits expire (plan)"),
        "{found}"
    );
    assert_eq!(events.last().unwrap()["at"], "2099-01-02T03:04:05+00:00");
    let grants = customer.api.get("/v1/grants").await.ok();
    for grant in grants["data"].as_array().unwrap() {
        let uid = format!("grant-{}@farebox", grant["id"].as_str().unwrap());
        assert_eq!(events.iter().filter(|event| event["uid"] == uid.as_str()).count(), 1, "{uid} in {found}");
    }
    // Who has it is told so; whoever changes something makes another.
    let tag = calendar.header("etag").unwrap().to_owned();
    let again = answer(stranger.request(Method::GET, &path).header("if-none-match", &tag)).await;
    assert_eq!((again.status, again.body.as_str(), again.header("etag")), (304, "", Some(&*tag)));
    server.admin().void_all(&customer).await;
    let less = answer(stranger.request(Method::GET, &path).header("if-none-match", &tag)).await;
    assert_eq!(less.status, 200);
    let left = read(&less.body);
    assert!(!less.body.contains("of credits expire"), "{left}");
    // The address shows the calendar alone, and is no key.
    let token = path.split_once("token=").unwrap().1;
    assert_eq!(server.api(token).get("/v1/balance").await.status, 401);
    assert!(!ada.get("/credits").await.body.contains(token), "it is shown once");
    // Another one takes its place, and is taken back; a reader makes none.
    let other = address(&server, &ada.send("/credits/calendar", &[]).await);
    assert_eq!((get(&path).await.status, get(&other).await.status), (404, 200));
    assert_eq!(eve.send("/credits/calendar", &[]).await.status, 403);
    assert_eq!(eve.send("/credits/calendar/end", &[]).await.status, 403);
    assert_eq!(get(&other).await.status, 200);
    assert_eq!(ada.send("/credits/calendar/end", &[]).await.status, 303);
    assert_eq!(get(&other).await.status, 404);
    // Where there is none any more, nothing changes, and nothing is noted.
    assert_eq!(ada.send("/credits/calendar/end", &[]).await.status, 303);
    let log = customer.api.get("/v1/audit-log").await.ok();
    let acts: Vec<_> = log["data"].as_array().unwrap().iter().map(|entry| entry["act"].as_str().unwrap()).collect();
    assert_eq!(acts, ["calendar.withdraw", "calendar.share", "calendar.share"], "{log}");
    for (wrong, status) in [("?token=", 400), ("", 400), ("?token=x", 404), ("?token=x&key=y", 400)] {
        assert_eq!(get(&format!("/v1/calendar.ics{wrong}")).await.status, status, "{wrong}");
    }
}
