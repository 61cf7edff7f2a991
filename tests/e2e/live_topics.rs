//! What an account's topics tell, on a live socket and as server-sent events; and the line for a terminal.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    live::{COST, Stage, TEXT, create, text},
    support::{fake_openai::Behaviour, socket::Socket},
};

/// The next frame of a kind that is so.
async fn until(socket: &mut Socket, kind: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    loop {
        let frame = socket.next_of(kind).await;
        if is_so(&frame) {
            return frame;
        }
    }
}

#[tokio::test]
async fn topics_tell_what_happens_and_stop_when_told_to() {
    let stage = Stage::set().await;
    let mut watcher = stage.socket().await;
    watcher.next_of("balance").await;
    watcher.send(&json!({"type": "subscribe", "topics": ["usage", "permits", "events"]})).await;
    let subscribed = watcher.next_of("subscribed").await;
    assert_eq!(subscribed["topics"], json!(["usage", "permits", "events"]));
    assert_eq!(watcher.next_of("permits").await["allowed"], "4");

    let mut socket = stage.socket().await;
    stage.fake.script(Behaviour::Slow(600));
    socket.send(&create("a", &json!({}))).await;
    let running = until(&mut watcher, "usage", |frame| frame["running"]["open"] == 1).await;
    let run = &running["running"]["data"][0];
    assert_eq!((&run["model"], run["amount"].is_string()), (&json!("gpt-4o-mini"), true), "{run}");
    let ended = until(&mut watcher, "usage", |frame| frame["request"].is_object()).await;
    assert_eq!((&ended["request"]["cost"], &ended["request"]["ending"]), (&json!(COST), &json!("completed")));
    assert_eq!(ended["request"]["id"], running["running"]["data"][0]["request_id"]);
    assert_eq!(text(&socket.frames_of("a").await), TEXT);
    until(&mut watcher, "usage", |frame| frame["running"]["open"] == 0).await;

    watcher.send(&json!({"type": "unsubscribe", "topics": ["balance", "usage", "permits", "events"]})).await;
    watcher.next_of("unsubscribed").await;
    socket.send(&create("b", &json!({}))).await;
    socket.frames_of("b").await;
    watcher.send(&json!({"type": "ping"})).await;
    assert_eq!(watcher.next().await["type"], "pong", "nothing is told any more");
    watcher.send(&json!({"type": "subscribe", "topics": ["balance"]})).await;
    let balance = stage.customer.api.get("/v1/balance").await.ok();
    assert_eq!(watcher.next_of("balance").await["available"], balance["available"]);

    // An event, as it is listed.
    watcher.send(&json!({"type": "subscribe", "topics": ["events"]})).await;
    watcher.next_of("subscribed").await;
    stage.server.admin().advance(22 * 86_400).await;
    let event = watcher.next_of("event").await;
    assert_eq!(event["event"]["kind"], "credits_expiring", "{event}");
    let listed = stage.customer.api.get("/v1/events").await.ok();
    assert!(listed["data"].as_array().unwrap().contains(&event["event"]), "{event} {listed}");
}

#[tokio::test]
async fn a_key_that_may_not_read_all_sees_its_own_use_and_no_events() {
    let stage = Stage::set().await;
    let made = stage.customer.api.post("/v1/keys", &json!({"limits": {"day": "1"}})).await.ok();
    let mut limited = Socket::open(stage.server.url(), made["key"].as_str().unwrap()).await;
    limited.send(&json!({"type": "subscribe", "topics": ["usage", "events"]})).await;
    let refused = limited.next_of("error").await;
    assert_eq!((&refused["code"], &refused["scope"]), (&json!("forbidden"), &json!("read")));
    limited.send(&json!({"type": "subscribe", "topics": ["usage"]})).await;
    limited.next_of("subscribed").await;
    let mut socket = stage.socket().await;
    socket.send(&create("a", &json!({}))).await;
    socket.frames_of("a").await;
    limited.send(&create("own", &json!({}))).await;
    let ended = until(&mut limited, "usage", |frame| frame["request"].is_object()).await;
    assert_eq!(ended["request"]["key_id"], made["id"], "the other key's use is not told: {ended}");
}

/// A stream of events, and what of it was not looked at.
struct Events(reqwest::Response, String);

impl Events {
    /// The next event that is so: its id, and its data.
    async fn until(&mut self, is_so: impl Fn(&str, &Value) -> bool) -> (String, Value) {
        loop {
            while let Some((event, rest)) = self.1.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
                let (kind, id) = (field("event: "), field("id: ").to_owned());
                let data: Value = serde_json::from_str(field("data: ")).unwrap();
                assert_eq!(data["type"], kind);
                let (is_it, read) = (is_so(kind, &data), self.1.len() - rest.len());
                self.1.drain(..read);
                if is_it {
                    return (id, data);
                }
            }
            let piece = tokio::time::timeout(Duration::from_secs(30), self.0.chunk()).await.unwrap();
            self.1.push_str(std::str::from_utf8(&piece.unwrap().unwrap()).unwrap());
        }
    }
}

#[tokio::test]
async fn the_same_comes_as_server_sent_events_and_goes_on_where_it_was_left() {
    let stage = Stage::set().await;
    let open = async |query: &str, last: Option<&str>| {
        let request = stage.customer.api.request(Method::GET, &format!("/v1/events/stream{query}"));
        let request = match last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        };
        Events(request.send().await.unwrap(), String::new())
    };
    let mut stream = open("?topics=balance,usage", None).await;
    assert_eq!(stream.0.headers()["content-type"], "text/event-stream");
    assert_eq!(stream.until(|kind, _| kind == "balance").await.1["available"], "10.00");
    let ask = async || {
        let body = crate::live::chat();
        let answer = stage.customer.api.post("/v1/chat/completions", &body).await;
        answer.header("x-request-id").unwrap().to_owned()
    };
    let first = ask().await;
    let (place, told) = stream.until(|_, data| data["request"].is_object()).await;
    assert_eq!(told["request"]["id"], first);
    drop(stream);
    // What ended while nobody listened is told, and nothing twice.
    let missed = [ask().await, ask().await];
    let mut stream = open("?topics=usage", Some(&place)).await;
    for id in missed {
        let (_, told) = stream.until(|_, data| data["request"].is_object()).await;
        assert_eq!(told["request"]["id"], id);
    }
    let bad = open("", Some("yesterday")).await;
    assert_eq!(bad.0.status(), 400);
    let unknown = stage.customer.api.get("/v1/events/stream?topics=money").await;
    assert_eq!((unknown.status, &unknown.json()["field"]), (400, &json!("topics")));
    // It ends with its key, in words.
    let made = stage.customer.api.post("/v1/keys", &json!({"name": "short"})).await.ok();
    let api = stage.server.api(made["key"].as_str().unwrap());
    let doomed = api.request(Method::GET, "/v1/events/stream").send().await.unwrap();
    let mut doomed = Events(doomed, String::new());
    doomed.until(|kind, _| kind == "balance").await;
    let path = format!("/v1/keys/{}", made["id"].as_str().unwrap());
    stage.customer.api.request(Method::DELETE, &path).send().await.unwrap();
    let (_, close) = doomed.until(|kind, _| kind == "close").await;
    assert_eq!((&close["code"], &close["reason"]), (&json!(1008), &json!("the key was revoked")));
    assert!(doomed.0.chunk().await.unwrap().is_none());
}

#[tokio::test]
async fn a_line_says_how_the_account_stands() {
    let stage = Stage::set().await;
    let line = async || {
        let answer = stage.customer.api.get("/v1/status/line").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; charset=utf-8")));
        answer.body
    };
    assert_eq!(line().await, "$10.00 | 0 running | 0/4 permits\n");
    stage.fake.script(Behaviour::Slow(500));
    let mut socket = stage.socket().await;
    socket.send(&create("a", &json!({}))).await;
    socket.next_of("chat.delta").await;
    let running = line().await;
    assert!(running.contains(" held | 1 running | "), "{running}");
    socket.frames_of("a").await;
}
