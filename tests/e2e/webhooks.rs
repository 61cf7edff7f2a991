//! Owners' webhooks, end to end: events arrive once and signed, are retried for two days by the test clock, survive kill -9,
//! and stop when an endpoint is gone or failed for five days. Addresses in the gateway's own network are refused.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use billing::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::{Answer, Api, Customer, answer},
    fake_openai::{Behaviour as Says, FakeOpenAi},
    receiver::{Behaviour, Call, Receiver},
    server::{Options, Server},
};

const DAY: u64 = 24 * 3_600;

struct Stage {
    server: Server,
    receiver: Receiver,
    customer: Customer,
}

struct Hook {
    id: String,
    secret: String,
}

impl Stage {
    async fn set(timeout_seconds: &str) -> Self {
        let options = Options::default()
            .set("FAREBOX_FAULTS", "true")
            .set("FAREBOX_WEBHOOKS__ALLOW_PRIVATE", "true")
            .set("FAREBOX_WEBHOOKS__TIMEOUT_SECONDS", timeout_seconds);
        let server = Server::start(options).await;
        let customer = server.admin().customer("payg", "0").await;
        Self { server, receiver: Receiver::start(), customer }
    }

    /// The owner; a restart changes the gateway's address.
    fn api(&self) -> Api {
        self.server.api(&self.customer.key)
    }

    async fn hook(&self, path: &str, events: Value) -> Hook {
        let body = json!({"url": self.receiver.url(path), "events": events});
        let made = self.api().post("/v1/webhooks", &body).await.ok();
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        Hook { id: text("id"), secret: text("secret") }
    }

    /// Takes back all of the account's credits: the balance is low.
    async fn void_all(&self) {
        for grant in self.api().get("/v1/grants").await.ok()["data"].as_array().unwrap() {
            if grant["available"] != "0.00" {
                let grant = grant["id"].as_str().unwrap();
                let path = format!("/admin/v1/accounts/{}/grants/{grant}/void", self.customer.id);
                self.server.admin().0.post(&path, &json!({"reason": "the story spends it"})).await.ok();
            }
        }
    }

    /// One more event.
    async fn run_low(&self) {
        self.server.admin().grant(&self.customer.id, "promo", "5").await;
        self.void_all().await;
    }

    /// Waits until something is so.
    async fn until(&self, path: &str, what: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let seen = self.api().get(path).await.ok();
            if what(&seen) {
                return seen;
            }
            assert!(Instant::now() < deadline, "{path} stays {seen:#}\n{}", self.server.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The newest delivery, once it is as it should be.
    async fn newest(&self, hook: &Hook, what: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/v1/webhooks/{}/deliveries", hook.id);
        let seen = self.until(&path, |seen| seen["data"].get(0).is_some_and(&what)).await;
        seen["data"][0].clone()
    }

    async fn deliveries(&self, hook: &Hook) -> Vec<Value> {
        let seen = self.api().get(&format!("/v1/webhooks/{}/deliveries", hook.id)).await.ok();
        seen["data"].as_array().unwrap().clone()
    }

    async fn endpoint(&self, hook: &Hook) -> Value {
        self.api().get(&format!("/v1/webhooks/{}", hook.id)).await.ok()
    }

    async fn turn(&self, hook: &Hook, enabled: bool) -> Value {
        let path = format!("/v1/webhooks/{}", hook.id);
        answer(self.api().request(Method::PUT, &path).json(&json!({"enabled": enabled}))).await.ok()
    }

    /// Waits until the actor has looked a few times more.
    async fn looks(&self) {
        let handled = || async {
            let actors = self.server.admin().actors().await;
            let all = actors["actors"].as_array().unwrap();
            all.iter().find(|actor| actor["kind"] == "webhook").unwrap()["handled"].as_u64().unwrap()
        };
        let (before, deadline) = (handled().await, Instant::now() + Duration::from_secs(30));
        while handled().await < before + 3 {
            assert!(Instant::now() < deadline, "the actor sleeps\n{}", self.server.logs());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn is(status: &'static str, attempts: u64) -> impl Fn(&Value) -> bool {
    move |delivery| delivery["status"] == status && delivery["attempts"] == attempts
}

fn at(delivery: &Value, name: &str) -> Timestamp {
    delivery[name].as_str().unwrap_or_else(|| panic!("no {name} in {delivery}")).parse().unwrap()
}

/// What the README's snippet says of a call.
fn verified_in_python(secret: &str, call: &Call) -> bool {
    let readme = include_str!("../../README.md");
    let snippet = readme.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let script = format!("{snippet}\nimport json, sys\ncall = json.load(sys.stdin)\n")
        + "print(is_from_farebox(call['secret'], call['headers'], call['body'].encode()))";
    let mut python = Command::new("python3");
    let mut python = python.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let input = json!({"secret": secret, "body": call.body, "headers": {
        "webhook-id": call.id, "webhook-timestamp": call.seconds, "webhook-signature": call.signature}});
    python.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout == b"True\n"
}

#[tokio::test]
async fn events_of_keys_go_where_those_keys_are_wanted() {
    let fake = FakeOpenAi::start();
    let options = Options::default().calling(fake.url()).set("FAREBOX_WEBHOOKS__ALLOW_PRIVATE", "true");
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    let stage = Stage { server, receiver: Receiver::start(), customer };
    let key = async |api: &Api, name: &str| {
        let made = json!({"name": name, "limits": {"total": "0.001"}});
        let made = api.post("/v1/keys", &made).await.ok();
        (made["id"].clone(), stage.server.api(made["key"].as_str().unwrap()))
    };
    let (mine, by_mine) = key(&stage.api(), "mine").await;
    let (other, by_other) = key(&stage.api(), "other").await;
    let stranger = stage.server.admin().customer("payg", "0").await;
    let (theirs, _) = key(&stranger.api, "theirs").await;
    let url = stage.receiver.url("/mine");
    for (keys, field) in [
        (json!([]), "key_ids"),
        (json!([theirs]), "key_ids[0]"),
        (json!([mine, mine]), "key_ids[1]"),
        (json!(["mine"]), "body"),
    ] {
        let refused = stage.api().post("/v1/webhooks", &json!({"url": url, "key_ids": keys})).await;
        let found = refused.json()["field"].as_str().unwrap_or_default().to_owned();
        assert!(refused.status == 400 && (field == "body" || found == field), "{field}: {}", refused.body);
    }
    let made = stage.api().post("/v1/webhooks", &json!({"url": url, "key_ids": [mine]})).await.ok();
    assert_eq!(made["key_ids"], json!([mine]), "{made}");
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    let of_mine = Hook { id: text("id"), secret: text("secret") };
    let all = stage.hook("/all", Value::Null).await;
    assert_eq!(stage.endpoint(&all).await["key_ids"], Value::Null);
    for api in [&by_mine, &by_other] {
        fake.script(Says::Fills);
        let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}]});
        assert_eq!(api.post("/v1/chat/completions", &body).await.status, 200);
    }
    // An event that is about no key is sent to both.
    stage.void_all().await;
    let is_low = |delivery: &Value| delivery["type"] == "low_balance" && is("delivered", 1)(delivery);
    for hook in [&all, &of_mine] {
        stage.newest(hook, is_low).await;
    }
    let keys = |path| {
        let calls = stage.receiver.calls(path);
        calls.iter().map(|call| call.json()["data"]["key_id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(keys("/mine"), [mine.clone(), Value::Null]);
    assert_eq!(keys("/all"), [mine.clone(), other, Value::Null]);
    assert_eq!(stage.turn(&of_mine, false).await["key_ids"], json!([mine]), "it keeps them");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn events_arrive_once_and_signed_where_they_are_wanted() {
    let stage = Stage::set("5").await;
    let (all, low) = (stage.hook("/all", Value::Null).await, stage.hook("/low", json!(["low_balance"])).await);
    let off = stage.hook("/off", Value::Null).await;
    assert_eq!(stage.turn(&off, false).await["enabled"], false);
    let stranger = stage.server.admin().customer("payg", "0").await;
    stranger.api.post("/v1/webhooks", &json!({"url": stage.receiver.url("/stranger")})).await.ok();

    stage.void_all().await;
    stage.newest(&all, is("delivered", 1)).await;
    stage.server.admin().grant(&stage.customer.id, "promo", "5").await;
    let declined = json!({"enabled": true, "threshold": "6", "payment_method": "pm_card_visa_chargeDeclined"});
    answer(stage.api().request(Method::PUT, "/v1/auto-reload").json(&declined)).await.ok();
    stage.newest(&all, |delivery| delivery["type"] == "reload_failed" && is("delivered", 1)(delivery)).await;
    stage.newest(&low, is("delivered", 1)).await;
    stage.looks().await;

    let calls = stage.receiver.calls("/all");
    assert_eq!(calls.iter().map(Call::kind).collect::<Vec<_>>(), ["low_balance", "reload_failed"]);
    let events = stage.api().get("/v1/events").await.ok();
    let events = events["data"].as_array().unwrap();
    assert_eq!(events.len(), calls.len(), "{events:?}");
    for (call, event) in calls.iter().rev().zip(events) {
        let body = call.json();
        assert_eq!((&body["id"], &body["data"], &body["created_at"]), (&event["id"], &event["data"], &event["at"]));
        assert_eq!(body["account_id"], stage.customer.id.as_str());
        assert!(call.is_signed(&all.secret) && !call.is_signed(&low.secret));
        assert!(verified_in_python(&all.secret, call) && !verified_in_python(&low.secret, call));
    }
    let filtered = stage.receiver.calls("/low");
    assert_eq!(filtered.iter().map(Call::kind).collect::<Vec<_>>(), ["low_balance"]);
    assert!(filtered[0].is_signed(&low.secret));
    assert!(stage.receiver.calls("/stranger").is_empty() && stage.receiver.calls("/off").is_empty());

    let only = stage.api().get("/v1/events?kind=reload_failed").await.ok();
    assert_eq!(only["data"].as_array().unwrap().len(), 1);
    assert_eq!(only["data"][0]["kind"], "reload_failed");
    let unknown = stage.api().get("/v1/events?kind=lottery_won").await;
    assert_eq!((unknown.status, unknown.json()["field"].as_str()), (400, Some("kind")));

    let path = format!("/v1/webhooks/{}/deliveries?limit=1", all.id);
    let first = stage.api().get(&path).await.ok();
    assert_eq!(first["data"][0]["type"], "reload_failed");
    let next = stage.api().get(&format!("{path}&cursor={}", first["next_cursor"].as_str().unwrap())).await.ok();
    assert_eq!(next["data"][0]["type"], "low_balance");
    assert_eq!(next["data"][0]["answer"]["status"], 204);
    // Deliveries that ended are kept for 30 days.
    stage.server.admin().advance(31 * DAY).await;
    let old = first["data"][0]["id"].clone();
    stage
        .until(&format!("/v1/webhooks/{}/deliveries", all.id), |seen| {
            !seen["data"].as_array().unwrap().iter().any(|it| it["id"] == old)
        })
        .await;
    assert!(!stage.server.logs().contains("could not be"), "{}", stage.server.logs());
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_failed_delivery_is_tried_for_two_days_and_its_endpoint_for_five() {
    let stage = Stage::set("5").await;
    let hook = stage.hook("/hook", json!(["low_balance"])).await;
    let watch = stage.hook("/watch", json!(["webhook_disabled"])).await;
    stage.receiver.always("/hook", Behaviour::Status(500));
    stage.void_all().await;
    for (attempts, wait) in (1..).zip([10, 60, 300, 1_800, 7_200, 21_600, 43_200, 86_400]) {
        let delivery = stage.newest(&hook, is("waiting", attempts)).await;
        let left = at(&delivery, "next_attempt_at").ms_since(at(&delivery, "last_attempt_at"));
        assert_eq!(left, wait * 1_000, "{delivery}");
        assert_eq!(delivery["answer"], json!({"status": 500, "body": "answer 500"}));
        let wait = u64::try_from(wait).unwrap();
        if wait == 7_200 {
            stage.server.admin().advance(wait - 60).await;
            stage.looks().await;
            stage.newest(&hook, is("waiting", attempts)).await;
            stage.server.admin().advance(60).await;
        } else {
            stage.server.admin().advance(wait).await;
        }
    }
    stage.newest(&hook, is("failed", 9)).await;
    let calls = stage.receiver.calls("/hook");
    assert_eq!(calls.len(), 9);
    assert!(calls.iter().all(|call| call.id == calls[0].id && call.body == calls[0].body));
    assert!(calls.iter().all(|call| call.is_signed(&hook.secret)));
    assert!(calls.windows(2).all(|pair| pair[0].seconds < pair[1].seconds));
    let failing = stage.endpoint(&hook).await;
    assert_eq!((&failing["enabled"], failing["failing_since"].is_string()), (&json!(true), true));

    stage.server.admin().advance(4 * DAY).await;
    stage.run_low().await;
    let path = format!("/v1/webhooks/{}", hook.id);
    let off = stage.until(&path, |hook| hook["enabled"] == false).await;
    assert_eq!(off["disabled_because"], "failing");
    stage.newest(&watch, is("delivered", 1)).await;
    let told = stage.receiver.calls("/watch")[0].json();
    assert_eq!(told["data"], json!({"webhook_id": hook.id, "reason": "failing"}));
    let events = stage.api().get("/v1/events?kind=webhook_disabled").await.ok();
    assert_eq!(events["data"].as_array().unwrap().len(), 1);
    // Nothing is sent or kept for it until its owner turns it on again; then later ones do not wait for a failed one.
    let before = stage.deliveries(&hook).await.len();
    stage.run_low().await;
    assert_eq!(stage.deliveries(&hook).await.len(), before);
    assert_eq!(stage.turn(&hook, true).await["failing_since"], Value::Null);
    stage.receiver.script("/hook", [Behaviour::Status(503)]);
    stage.receiver.always("/hook", Behaviour::Status(200));
    stage.run_low().await;
    stage.newest(&hook, is("waiting", 1)).await;
    stage.run_low().await;
    stage.newest(&hook, is("delivered", 1)).await;
    assert_eq!(stage.endpoint(&hook).await["failing_since"], Value::Null);
    // What waits when an endpoint is turned off is not sent.
    stage.turn(&hook, false).await;
    let waited = stage.deliveries(&hook).await[1].clone();
    assert_eq!((&waited["status"], &waited["attempts"]), (&json!("failed"), &json!(1)), "{waited}");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn what_waits_survives_kill_nine_and_a_panic() {
    let mut stage = Stage::set("30").await;
    let hook = stage.hook("/hook", json!(["low_balance"])).await;
    stage.receiver.script("/hook", [Behaviour::Status(500)]);
    stage.void_all().await;
    stage.newest(&hook, is("waiting", 1)).await;
    stage.server.kill_nine();
    stage.server.restart().await;
    stage.server.admin().advance(10).await;
    stage.newest(&hook, is("delivered", 2)).await;

    // Killed while a call is under way: nobody knows what came of it, so it is made again.
    stage.receiver.script("/hook", [Behaviour::Slow(20_000)]);
    stage.run_low().await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while stage.receiver.calls("/hook").len() < 3 {
        assert!(Instant::now() < deadline, "{}", stage.server.logs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.server.kill_nine();
    stage.server.restart().await;
    stage.newest(&hook, is("delivered", 1)).await;
    let ids: Vec<String> = stage.receiver.calls("/hook").into_iter().map(|call| call.id).collect();
    assert_eq!(ids.len(), 4, "{ids:?}");
    assert!(ids[0] == ids[1] && ids[1] != ids[2] && ids[2] == ids[3], "{ids:?}");

    stage.server.admin().0.post("/admin/v1/faults", &json!({"webhook": {}})).await.ok();
    stage.run_low().await;
    stage.newest(&hook, |newest| newest["id"] != ids[3].as_str() && is("delivered", 1)(newest)).await;
    let actors = stage.server.admin().actors().await;
    let webhook = actors["actors"].as_array().unwrap().iter().find(|actor| actor["kind"] == "webhook").unwrap();
    assert_eq!((&webhook["panics"], &webhook["live"]), (&json!(1), &json!(1)));
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn receivers_that_are_gone_slow_or_elsewhere_are_not_followed() {
    let stage = Stage::set("1").await;
    let gone = stage.hook("/gone", json!(["low_balance"])).await;
    let moved = stage.hook("/moved", json!(["low_balance"])).await;
    let slow = stage.hook("/slow", json!(["low_balance"])).await;
    let large = stage.hook("/large", json!(["low_balance"])).await;
    stage.receiver.always("/gone", Behaviour::Status(410));
    stage.receiver.always("/moved", Behaviour::Redirect(stage.receiver.url("/elsewhere")));
    stage.receiver.always("/slow", Behaviour::Slow(5_000));
    stage.receiver.always("/large", Behaviour::Large(400, 1_000_000));
    stage.void_all().await;
    stage.newest(&gone, is("failed", 1)).await;
    let off = stage.endpoint(&gone).await;
    assert_eq!((&off["enabled"], &off["disabled_because"]), (&json!(false), &json!("gone")));
    let redirected = stage.newest(&moved, is("waiting", 1)).await;
    assert_eq!(
        (&redirected["answer"]["status"], &redirected["error"]),
        (&json!(302), &json!("redirects are not followed"))
    );
    let late = stage.newest(&slow, is("waiting", 1)).await;
    assert_eq!((&late["answer"], &late["error"]), (&Value::Null, &json!("no answer in time")));
    let answered = stage.newest(&large, is("waiting", 1)).await;
    assert_eq!(answered["answer"]["body"].as_str().unwrap().len(), 1_000);

    // A test is made at once, whatever waits, and changes nothing but the list.
    let tested = stage.api().post(&format!("/v1/webhooks/{}/test", large.id), &json!({})).await.ok();
    assert_eq!((&tested["delivered"], &tested["answer"]["status"]), (&json!(false), &json!(400)));
    stage.receiver.always("/large", Behaviour::Status(200));
    let tested = stage.api().post(&format!("/v1/webhooks/{}/test", large.id), &json!({})).await.ok();
    assert_eq!(tested["delivered"], true);
    let call = stage.receiver.calls("/large").pop().unwrap();
    assert_eq!((call.kind().as_str(), call.is_signed(&large.secret)), ("test", true));
    let newest = stage.newest(&large, is("delivered", 1)).await;
    assert_eq!((&newest["id"], &newest["type"]), (&tested["id"], &json!("test")));
    assert!(stage.receiver.calls("/elsewhere").is_empty());
    let path = format!("/v1/webhooks/{}", slow.id);
    answer(stage.api().request(Method::DELETE, &path)).await.ok();
    assert_eq!(stage.api().get(&path).await.status, 404);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn what_may_not_be_a_webhook_is_refused_by_the_field() {
    let server = Server::start(Options::default()).await;
    let customer = server.admin().customer("payg", "0").await;
    let api = &customer.api;
    for url in [
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://localhost/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[fd00:ec2::254]/",
        "http://example.com/",
        "https://ada:secret@example.com/",
        "ftp://example.com/",
        "example.com",
        "",
    ] {
        let refused = api.post("/v1/webhooks", &json!({"url": url})).await;
        assert_eq!((refused.status, refused.json()["field"].as_str()), (400, Some("url")), "{url} {}", refused.body);
    }
    let url = "https://203.0.114.7/webhooks";
    for (body, field) in [
        (json!({}), "url"),
        (json!({"url": url, "events": ["low_balance", "lottery_won"]}), "events[1]"),
        (json!({"url": url, "events": ["low_balance", "low_balance"]}), "events[1]"),
        (json!({"url": url, "events": ["test"]}), "events[0]"),
        (json!({"url": url, "events": []}), "events"),
        (json!({"url": url, "description": "x".repeat(201)}), "description"),
        (json!({"url": url, "secret": "mine"}), "secret"),
        (json!({"url": url, "enabled": "yes"}), "enabled"),
    ] {
        let refused = api.post("/v1/webhooks", &body).await;
        assert_eq!((refused.status, refused.json()["field"].as_str()), (400, Some(field)), "{body} {}", refused.body);
    }

    // Shown once, but to a retry of the same request.
    let body = json!({"url": url, "events": ["low_balance"], "description": "pager", "enabled": false});
    let make = || answer(api.request(Method::POST, "/v1/webhooks").header("idempotency-key", "one").json(&body));
    let (made, again): (Answer, Answer) = (make().await, make().await);
    assert_eq!(made.ok(), again.ok());
    let made = made.json();
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"));
    assert_eq!(
        (&made["url"], &made["events"], &made["enabled"]),
        (&json!(url), &json!(["low_balance"]), &json!(false))
    );
    let listed = api.get("/v1/webhooks").await;
    assert_eq!(listed.ok()["data"].as_array().unwrap().len(), 1);
    assert!(!listed.body.contains("whsec_"), "{}", listed.body);

    let path = format!("/v1/webhooks/{}", made["id"].as_str().unwrap());
    let stranger = server.admin().customer("payg", "0").await.api;
    for path in [path.clone(), format!("{path}/deliveries")] {
        assert_eq!(stranger.get(&path).await.status, 404);
    }
    assert_eq!(answer(stranger.request(Method::DELETE, &path)).await.status, 404);
    assert_eq!(stranger.post(&format!("{path}/test"), &json!({})).await.status, 404);
    let limited = api.post("/v1/keys", &json!({"limits": {"day": "1"}})).await.ok();
    let limited = server.api(limited["key"].as_str().unwrap());
    for path in ["/v1/webhooks".to_owned(), path.clone(), format!("{path}/deliveries")] {
        assert_eq!(limited.get(&path).await.status, 403);
    }
    assert_eq!(limited.post("/v1/webhooks", &body).await.status, 403);
    assert_eq!(api.get("/v1/webhooks/7").await.json()["field"], "id");
    let wrong = answer(api.request(Method::PUT, &path).json(&json!({}))).await;
    assert_eq!((wrong.status, wrong.json()["field"].as_str()), (400, Some("enabled")));

    for made in 2..=10 {
        assert_eq!(api.post("/v1/webhooks", &body).await.status, 200, "{made}");
    }
    assert_eq!(api.post("/v1/webhooks", &body).await.status, 409);
    answer(api.request(Method::DELETE, &path)).await.ok();
    assert_eq!(answer(api.request(Method::DELETE, &path)).await.status, 404);
    api.post("/v1/webhooks", &body).await.ok();
    server.admin().assert_audit().await;
}
