//! Plans and what buys itself, end to end, over weeks that the test clock runs in a second: the free dollar, cycles of the
//! plan, tiers, auto-reload with its month and its declines, limited keys, waiting in line, credits taken back, and what
//! owners are told. The ledger is clean after each story.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::{Answer, Api, Customer, answer},
    fake_openai::{Behaviour, FakeOpenAi},
    server::{Options, Server},
};

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
const VISA: &str = "pm_card_visa";
const DECLINED: &str = "pm_card_visa_chargeDeclined";

struct Stage {
    fake: FakeOpenAi,
    server: Server,
    customer: Customer,
}

impl Stage {
    async fn set(plan: &str, dollars: &str) -> Self {
        let fake = FakeOpenAi::start();
        let options = Options::default().calling(fake.url());
        let server = Server::start(options).await;
        let customer = server.admin().customer(plan, dollars).await;
        Self { fake, server, customer }
    }

    async fn get(&self, path: &str) -> Value {
        self.customer.api.get(path).await.ok()
    }

    async fn put(&self, path: &str, body: Value) -> Answer {
        answer(self.customer.api.request(Method::PUT, path).json(&body)).await
    }

    async fn delete(&self, path: &str) -> Answer {
        answer(self.customer.api.request(Method::DELETE, path)).await
    }

    async fn chat(&self) -> Answer {
        chat(&self.customer.api).await
    }

    async fn available(&self) -> String {
        self.get("/v1/balance").await["available"].as_str().unwrap().to_owned()
    }

    /// Waits until something is so: what happens by itself takes a moment.
    async fn until(&self, path: &str, what: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let seen = self.get(path).await;
            if what(&seen) {
                return seen;
            }
            assert!(Instant::now() < deadline, "{path} stays {seen:#}\n{}", self.server.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets time pass, and what is due then be done.
    async fn pass(&self, seconds: u64) {
        self.server.admin().advance(seconds).await;
    }

    /// Takes back all of the account's credits, and, where they are bought by themselves, has its owner say that they still
    /// are: what is taken back buys nothing by itself.
    async fn spend_all(&self) {
        for grant in self.get("/v1/grants").await["data"].as_array().unwrap() {
            if grant["available"] != "0.00" {
                let path =
                    format!("/admin/v1/accounts/{}/grants/{}/void", self.customer.id, grant["id"].as_str().unwrap());
                let body = json!({"reason": "the story spends it"});
                self.server.admin().0.post(&path, &body).await.ok();
            }
        }
        if self.get("/v1/auto-reload").await["enabled"] == true {
            self.put("/v1/auto-reload", json!({"enabled": true})).await.ok();
        }
    }

    async fn events(&self) -> Vec<String> {
        let events = self.get("/v1/events?limit=200").await;
        events["data"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
    }

    async fn sources(&self) -> Vec<String> {
        let grants = self.get("/v1/grants").await;
        let grants = grants["data"].as_array().unwrap();
        grants.iter().map(|grant| grant["source"].as_str().unwrap().to_owned()).collect()
    }
}

async fn chat(api: &Api) -> Answer {
    let body =
        json!({"model": "gpt-4o-mini", "max_tokens": 64, "messages": [{"role": "user", "content": "Say hello to me"}]});
    api.post("/v1/chat/completions", &body).await
}

#[tokio::test]
async fn the_free_dollar_is_replaced_and_never_stacks() {
    let stage = Stage::set("free", "0").await;
    let account = stage.get("/v1/account").await;
    assert_eq!((account["plan"].as_str(), account["balance"]["available"].as_str()), (Some("free"), Some("1.00")));
    assert_eq!(account["closed_rate_limit"]["requests_per_second"], 10);
    stage.chat().await.ok();
    assert_ne!(stage.available().await, "1.00");
    stage.pass(28 * DAY).await;
    assert_eq!(stage.available().await, "1.00");
    stage.pass(3 * 28 * DAY + 5).await;
    assert_eq!(stage.available().await, "1.00");
    // Nobody looked during two of the cycles: nothing was made for them, unless the sweeper came by.
    let grants = stage.get("/v1/grants").await;
    let live = |grant: &&Value| grant["available"] != "0.00";
    assert_eq!(grants["data"].as_array().unwrap().iter().filter(live).count(), 1);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_subscription_is_paid_renewed_cancelled_and_ends() {
    let stage = Stage::set("free", "0").await;
    assert_eq!(stage.delete("/v1/subscription").await.status, 404);
    let declined = stage.customer.api.post("/v1/subscription", &json!({"payment_method": DECLINED})).await;
    assert_eq!((declined.status, declined.json()["code"].as_str()), (422, Some("payment_declined")));
    assert_eq!(stage.get("/v1/subscription").await["subscription"], Value::Null);
    let paid = stage.customer.api.post("/v1/subscription", &json!({"payment_method": VISA})).await.ok();
    assert_eq!((paid["plan"].as_str(), paid["balance"]["available"].as_str()), (Some("payg"), Some("6.00")));
    assert_eq!(paid["balance"]["tier"]["units"], "4");
    assert_eq!(stage.customer.api.post("/v1/subscription", &json!({"payment_method": VISA})).await.status, 409);
    // Its fee counts as purchased, its credits are the plan's.
    assert_eq!(stage.get("/v1/account").await["purchased"], "3.00");
    assert_eq!(stage.sources().await, ["plan", "free"]);

    stage.pass(28 * DAY + 1).await;
    let renewed = stage.until("/v1/events", |events| events.to_string().contains("subscription_renewed")).await;
    assert_eq!(renewed["data"][0]["data"]["fee"], "3.00");
    assert_eq!(stage.available().await, "5.00");

    let cancelled = stage.delete("/v1/subscription").await.ok();
    assert_eq!(cancelled["subscription"]["renews"], false);
    // Cancelled again it changes nothing; a first payment that is declined was begun.
    stage.delete("/v1/subscription").await.ok();
    let log = stage.get("/v1/audit-log").await;
    let told = log["data"].as_array().unwrap().iter();
    let told: Vec<_> = told.map(|entry| [&entry["act"], &entry["detail"]].map(|text| text.as_str())).collect();
    let subscribed = Some("plan.subscribe");
    assert_eq!(told, [[Some("plan.cancel"), None], [subscribed, None], [subscribed, Some("declined")]], "{log}");
    let resumed = stage.customer.api.post("/v1/subscription", &json!({})).await.ok();
    assert_eq!(resumed["subscription"]["renews"], true);
    stage.delete("/v1/subscription").await.ok();
    stage.pass(28 * DAY).await;
    let ended = stage.until("/v1/subscription", |it| it["subscription"]["status"] == "ended").await;
    assert_eq!((ended["plan"].as_str(), ended["balance"]["available"].as_str()), (Some("free"), Some("1.00")));
    assert_eq!(ended["balance"]["tier"]["units"], "1");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_renewal_that_is_declined_is_tried_three_times_more() {
    // The operator stood for the first cycle; the account's card will not pay the next.
    let stage = Stage::set("payg", "0").await;
    stage.customer.api.post("/v1/payment-methods", &json!({"card": DECLINED})).await.ok();
    stage.pass(28 * DAY + 1).await;
    let late = |it: &Value| it["subscription"]["status"] == "past_due";
    let past_due = stage.until("/v1/subscription", late).await;
    assert!(past_due["subscription"]["retry_at"].is_string());
    assert_eq!(past_due["balance"]["tier"]["units"], "1");
    for (hours, failures) in [(1, 2), (6, 3)] {
        stage.pass(hours * HOUR + 1).await;
        let told = |events: &Value| events.to_string().matches("subscription_failed").count() == failures;
        stage.until("/v1/events", told).await;
    }
    stage.pass(24 * HOUR + 1).await;
    let ended = stage.until("/v1/subscription", |it| it["subscription"]["status"] == "ended").await;
    assert_eq!((ended["plan"].as_str(), ended["balance"]["available"].as_str()), (Some("free"), Some("1.00")));
    assert!(stage.events().await.contains(&"subscription_ended".to_owned()));
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn credits_that_run_low_are_bought_within_their_month() {
    let stage = Stage::set("payg", "0").await;
    for (body, field) in [
        (json!({"amount": "0.50"}), "amount"),
        (json!({"amount": "1e30"}), "amount"),
        (json!({"amount": "1.005"}), "amount"),
        (json!({"amount": "NaN"}), "amount"),
        (json!({"threshold": "-1"}), "threshold"),
        (json!({"monthly_max": "9"}), "monthly_max"),
        (json!({"payment_method": "pm_card_of_gold"}), "payment_method"),
        (json!({"cap": "9"}), "cap"),
        (json!({"enabled": "yes"}), "enabled"),
    ] {
        let refused = stage.put("/v1/auto-reload", body.clone()).await;
        assert_eq!((refused.status, refused.json()["field"].as_str()), (400, Some(field)), "{body} {}", refused.body);
    }
    let body = json!({"enabled": true, "payment_method": VISA, "monthly_max": "25"});
    let set = stage.put("/v1/auto-reload", body).await.ok();
    assert_eq!((set["threshold"].as_str(), set["amount"].as_str()), (Some("3.00"), Some("10.00")));
    assert_eq!(stage.available().await, "5.00", "not below the threshold");

    stage.spend_all().await;
    stage.until("/v1/balance", |balance| balance["available"] == "10.00").await;
    assert_eq!(stage.get("/v1/balance").await["tier"]["largest_class"], "35B", "the purchase raises the tier");
    stage.spend_all().await;
    stage.until("/v1/balance", |balance| balance["available"] == "10.00").await;
    assert_eq!(stage.get("/v1/auto-reload").await["spent_this_month"], "20.00");
    // Less room than one reload: told once, and nothing is bought.
    stage.spend_all().await;
    let capped = stage.until("/v1/auto-reload", |reload| reload["capped"] == true).await;
    assert_eq!(capped["spent_this_month"], "20.00");
    let refused = stage.chat().await;
    assert_eq!((refused.status, refused.json()["reload_due"].as_bool()), (402, Some(false)));
    assert_eq!(stage.events().await.iter().filter(|kind| *kind == "reload_capped").count(), 1);
    // A new month has room again, as soon as someone wants credits.
    stage.pass(31 * DAY).await;
    stage.until("/v1/auto-reload", |reload| reload["spent_this_month"] == "10.00").await;
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_declined_reload_is_tried_after_one_six_and_twenty_four_hours_then_no_more() {
    let stage = Stage::set("payg", "0").await;
    stage.put("/v1/auto-reload", json!({"enabled": true, "payment_method": DECLINED})).await.ok();
    stage.spend_all().await;
    for (failures, hours) in [(1, 1), (2, 6), (3, 24)] {
        stage.until("/v1/auto-reload", |reload| reload["failures"] == failures).await;
        let refused = stage.chat().await;
        assert_eq!(refused.status, 402, "{}", refused.body);
        stage.pass(hours * HOUR - 60).await;
        assert_eq!(stage.get("/v1/auto-reload").await["failures"], failures, "too early");
        stage.pass(61).await;
    }
    stage.until("/v1/auto-reload", |reload| reload["enabled"] == false).await;
    let events = stage.events().await;
    assert_eq!(events.iter().filter(|kind| *kind == "reload_failed").count(), 3);
    assert_eq!(events.iter().filter(|kind| *kind == "reload_disabled").count(), 1);
    stage.pass(40 * DAY).await;
    let payments = stage.get("/v1/payments").await;
    let reloads =
        payments["data"].as_array().unwrap().iter().filter(|payment| payment["purpose"] == "auto_reload").count();
    assert_eq!(reloads, 4);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_request_waits_for_the_reload_that_pays_it() {
    let stage = Stage::set("payg", "0").await;
    stage
        .put("/v1/auto-reload", json!({"enabled": true, "payment_method": VISA, "amount": "1", "threshold": "0.50"}))
        .await
        .ok();
    stage.spend_all().await;
    // Whoever comes while it is bought, waits; nobody sees a 402.
    let answers = futures::future::join_all((0..20).map(|_| stage.chat())).await;
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let paid = stage.get("/v1/payments").await;
    assert_eq!(
        paid["data"].as_array().unwrap().iter().filter(|payment| payment["purpose"] == "auto_reload").count(),
        1
    );
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_key_spends_no_more_than_its_limit_even_at_once() {
    let stage = Stage::set("payg", "5").await;
    for (body, field) in [
        (json!({"limits": {"day": "0"}}), "limits.day"),
        (json!({"limits": {"hour": "1"}}), "hour"),
        (json!({"expires_at": "yesterday"}), "expires_at"),
        (json!({"expires_at": "2020-01-01"}), "expires_at"),
        (json!({"name": ""}), "name"),
    ] {
        let refused = stage.customer.api.post("/v1/keys", &body).await;
        assert_eq!((refused.status, refused.json()["field"].as_str()), (400, Some(field)), "{body} {}", refused.body);
    }
    // A request holds 64 tokens' price, about 0.00004, and costs 0.000004743: a limit of 63 times that.
    let body =
        json!({"name": "intern", "limits": {"day": "0.0003"}, "models": ["gpt-4o-mini"], "expires_at": "2099-01-01"});
    let made = stage.customer.api.post("/v1/keys", &body).await.ok();
    let intern = stage.server.api(made["key"].as_str().unwrap());
    let answers = futures::future::join_all((0..40).map(|_| chat(&intern))).await;
    assert!(answers.iter().any(|answer| answer.status == 200));
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("key_limit")), "{}", answer.body);
    }
    let mut served = answers.iter().filter(|answer| answer.status == 200).count();
    loop {
        let answer = chat(&intern).await;
        if answer.status != 200 {
            assert!(answer.json()["resets_at"].as_str().unwrap().ends_with("T00:00:00.000Z"));
            break;
        }
        served += 1;
    }
    assert!(served <= 63, "{served} answers for the price of 63");
    let listed = stage.get("/v1/keys").await;
    let key = listed["data"].as_array().unwrap().iter().find(|key| key["id"] == made["id"]).unwrap();
    let used: f64 = key["limits"]["day"]["used"].as_str().unwrap().parse().unwrap();
    assert!(used <= 0.0003 && used > 0.00024, "{key}");
    let other = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]});
    let refused = intern.post("/v1/chat/completions", &other).await;
    assert_eq!((refused.status, refused.json()["limit"].as_str()), (403, Some("models")));
    // A limited key can't give itself more.
    assert_eq!(intern.post("/v1/keys", &json!({})).await.status, 403);
    assert_eq!(chat(&stage.customer.api).await.status, 200, "the account's other keys go on");
    assert!(stage.events().await.contains(&"key_limit_near".to_owned()));
    // The same after the account's actor was rebuilt, and none of it the next day.
    stage.pass(DAY).await;
    assert_eq!(chat(&intern).await.status, 200);
    stage.delete(&format!("/v1/keys/{}", made["id"].as_str().unwrap())).await.ok();
    assert_eq!(chat(&intern).await.status, 401);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn limits_of_keys_outlive_the_process_and_keys_expire() {
    let mut stage = Stage::set("payg", "5").await;
    let body = json!({"name": "once", "limits": {"total": "0.00006"}});
    let made = stage.customer.api.post("/v1/keys", &body).await.ok();
    let key = made["key"].as_str().unwrap().to_owned();
    let mut served = 0;
    while chat(&stage.server.api(&key)).await.status == 200 {
        served += 1;
    }
    assert!(served > 0);
    stage.server.restart().await;
    stage.customer.api = stage.server.api(&stage.customer.key);
    assert_eq!(chat(&stage.server.api(&key)).await.json()["code"], "key_limit");
    let now = stage.get("/v1/account").await["created_at"].as_str().unwrap()[..10].to_owned();
    let soon = json!({"name": "soon", "expires_at": format!("{now}T23:59:59.999Z")});
    let made = stage.customer.api.post("/v1/keys", &soon).await.ok();
    let soon = stage.server.api(made["key"].as_str().unwrap());
    assert_eq!(chat(&soon).await.status, 200);
    stage.pass(DAY).await;
    assert_eq!(chat(&soon).await.status, 401);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn who_prefers_to_wait_is_let_in_when_the_rate_allows() {
    let stage = Stage::set("free", "0").await;
    let waiting = |seconds: &'static str| {
        let body = json!({"model": "gpt-4o-mini", "max_tokens": 16, "messages": [{"role": "user", "content": "Hi"}]});
        let request = stage.customer.api.request(Method::POST, "/v1/chat/completions").json(&body);
        answer(request.header("prefer", format!("wait={seconds}")))
    };
    for wrong in ["wait=soon", "wait=-1", "wait=3600"] {
        let request = stage.customer.api.request(Method::POST, "/v1/chat/completions").header("prefer", wrong);
        let refused =
            answer(request.json(&json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]})))
                .await;
        assert_eq!((refused.status, refused.json()["field"].as_str()), (400, Some("prefer")), "{wrong}");
    }
    stage.pass(10).await;
    let answers = futures::future::join_all((0..25).map(|_| waiting("20"))).await;
    let places: Vec<_> = answers.iter().filter_map(|answer| answer.header("x-farebox-queue-place")).collect();
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    assert!(!places.is_empty() && places.contains(&"1"), "{places:?}");
    // Without patience, or with too little, the limit says so.
    stage.pass(10).await;
    let answers = futures::future::join_all((0..15).map(|_| stage.chat())).await;
    assert!(answers.iter().any(|answer| answer.status == 429));
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn owners_are_told_before_credits_expire_and_tiers_fall() {
    let stage = Stage::set("free", "0").await;
    let bought = json!({"amount": "25", "payment_method": VISA});
    stage.customer.api.post("/v1/credits/purchase", &bought).await.ok();
    let account = stage.get("/v1/account").await;
    assert_eq!(account["tier"]["largest_class"], "70B");
    assert_eq!(account["tier_falls"]["to"]["units"], "1");
    assert_eq!(account["next_tiers"][0]["buy"], "25.00");
    let told =
        |kind: &'static str, count: usize| move |events: &Value| events.to_string().matches(kind).count() == count;
    stage.pass(21 * DAY + 1).await;
    stage.until("/v1/events", told("credits_expiring", 1)).await;
    stage.pass(4 * DAY).await;
    stage.until("/v1/events", told("credits_expiring", 2)).await;
    stage.until("/v1/events", told("tier_falling", 1)).await;
    stage.pass(2 * DAY).await;
    let events = stage.until("/v1/events", told("credits_expiring", 3)).await;
    let last = events["data"].as_array().unwrap().iter().find(|event| event["kind"] == "credits_expiring").unwrap();
    assert_eq!((last["data"]["days"].as_str(), last["data"]["amount"].as_str()), (Some("1"), Some("25.00")));
    stage.pass(DAY).await;
    stage.until("/v1/account", |account| account["tier"]["units"] == "1").await;
    assert_eq!(stage.available().await, "1.00", "the free dollar of the new cycle");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_running_request_keeps_its_credits_when_they_expire() {
    let stage = Stage::set("payg", "0").await;
    let body = json!({"model": "gpt-4o-mini", "max_tokens": 64, "stream": true, "messages": [{"role": "user", "content": "Say hello to me"}]});
    stage.fake.script(Behaviour::Slow(300));
    let running = stage.customer.api.post("/v1/chat/completions", &body);
    let expire = async {
        stage.until("/v1/balance", |balance| balance["held"] != "0.00").await;
        stage.pass(28 * DAY).await;
        stage.until("/v1/grants", |grants| grants.to_string().contains("\"source\":\"plan\"")).await;
    };
    let (answered, ()) = futures::future::join(running, expire).await;
    assert_eq!(answered.status, 200);
    assert!(answered.body.contains("[DONE]"), "{}", answered.body);
    let grants = stage
        .until("/v1/grants", |grants| grants["data"].as_array().unwrap().iter().all(|g| g["held"] == "0.00"))
        .await;
    // Newest first: behind it stands the next cycle's.
    let plan = grants["data"].as_array().unwrap().iter().rfind(|grant| grant["source"] == "plan").unwrap();
    assert_eq!(plan["available"], "0.00", "what the request did not use expired with the rest");
    assert_ne!(plan["spent"], "0.00");
    stage.server.admin().assert_audit().await;
}
