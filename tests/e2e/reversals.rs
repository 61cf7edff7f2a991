//! Money that comes back, as Stripe tells it and as operators give it: what is taken and given back whatever the order, a
//! refund made once whatever becomes of its answer, fees that end their cycles, cards that were disputed, and books that
//! are held against the processor's.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::stripe::{Stage, id_of};
use crate::support::{
    client::{Customer, answer},
    fake_openai::{self, FakeOpenAi},
    fake_stripe::Behaviour,
    server::{Options, Server},
};

impl Stage {
    /// The names of all refunds, oldest first.
    fn refunds(&self) -> Vec<String> {
        self.stripe.all("refund").iter().map(|refund| id_of(refund).to_owned()).collect()
    }

    async fn tell(&self, kind: &str, object: &str) {
        self.webhook(&self.stripe.event(kind, object)).await.ok();
    }

    /// A dispute that took the money, as Stripe tells it.
    async fn disputed(&self, cents: i64) -> String {
        let dispute = self.stripe.dispute_part(id_of(&self.intent()), cents, "needs_response");
        self.tell("charge.dispute.created", &dispute).await;
        dispute
    }

    async fn closed(&self, dispute: &str, status: &str) {
        self.stripe.close_dispute(dispute, status);
        self.tell("charge.dispute.closed", dispute).await;
        self.tell("charge.dispute.funds_reinstated", dispute).await;
    }

    /// Someone gives back some of the one charge at Stripe.
    async fn refunded(&self, cents: i64) -> String {
        self.stripe.refund(id_of(&self.intent()), cents);
        let refund = self.refunds().pop().unwrap();
        self.tell("refund.created", &refund).await;
        refund
    }

    async fn balance(&self) -> (String, String, String) {
        let balance = self.customer.api.get("/v1/balance").await.ok();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&balance["available"]), text(&balance["debt"]), text(&balance["tier"]["purchased"]))
    }

    async fn is(&self, available: &str, purchased: &str) {
        let is = (available.to_owned(), "0.00".to_owned(), purchased.to_owned());
        assert_eq!(self.balance().await, is, "{}", self.server.logs());
    }

    async fn reversals(&self) -> Vec<(String, String)> {
        let id = id_of(&self.payments().await[0]).to_owned();
        let payment = self.customer.api.get(&format!("/v1/payments/{id}")).await.ok();
        let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
        let rows = payment["reversals"].as_array().unwrap();
        rows.iter().map(|row| (text(row, "kind"), text(row, "status"))).collect()
    }

    fn reconcile(&self) -> (Option<i32>, Value) {
        let output = self.server.cli(&["reconcile", "--json"]);
        let said = String::from_utf8_lossy(&output.stdout);
        let found = serde_json::from_str(&said)
            .unwrap_or_else(|error| panic!("{error}: {said}{}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code(), found)
    }
}

#[tokio::test]
async fn a_dispute_that_is_won_and_then_refunded_takes_the_credits_again() {
    let stage = Stage::with_card("visa").await;
    stage.buy("10").await.ok();
    let dispute = stage.disputed(1_000).await;
    stage.is("1.00", "0.00").await;
    stage.closed(&dispute, "won").await;
    stage.is("11.00", "10.00").await;
    stage.refunded(1_000).await;
    stage.is("1.00", "0.00").await;
    assert_eq!(
        stage.reversals().await,
        [("dispute".into(), "won".into()), ("refund".into(), "succeeded".into())] as [(String, String); 2]
    );
    stage.audit().await;
}

#[tokio::test]
async fn a_second_dispute_takes_after_the_first_was_won_and_a_part_takes_a_part() {
    let stage = Stage::with_card("visa").await;
    stage.buy("10").await.ok();
    let first = stage.disputed(1_000).await;
    stage.closed(&first, "won").await;
    let second = stage.disputed(350).await;
    stage.is("7.50", "6.50").await;
    stage.closed(&second, "lost").await;
    stage.is("7.50", "6.50").await;
    // What came late says nothing new: what stands is fetched.
    stage.tell("charge.dispute.created", &first).await;
    stage.tell("charge.dispute.funds_withdrawn", &second).await;
    stage.is("7.50", "6.50").await;
    stage.audit().await;
}

#[tokio::test]
async fn a_refund_that_fails_later_gives_its_credits_back() {
    let stage = Stage::with_card("visa").await;
    let payment = stage.buy("10").await.ok()["payment"].clone();
    let path = format!("/admin/v1/payments/{}/refund", id_of(&payment));
    let given = stage.server.admin().0.post(&path, &json!({"amount": "4", "reason": "asked for"})).await.ok();
    assert_eq!(given["refund"]["status"], "succeeded");
    stage.refunded(300).await;
    stage.is("4.00", "3.00").await;
    let first = stage.refunds()[0].clone();
    stage.stripe.fail_refund(&first);
    stage.tell("charge.refund.updated", &first).await;
    stage.tell("refund.failed", &first).await;
    stage.is("8.00", "7.00").await;
    assert_eq!(stage.payments().await[0]["reversed"], "3.00");
    let events = stage.customer.api.get("/v1/events").await.ok();
    let kinds: Vec<_> = events["data"].as_array().unwrap().iter().map(|event| event["kind"].clone()).collect();
    assert!(kinds.contains(&json!("payment_restored")) && kinds.contains(&json!("payment_reversed")), "{events}");
    stage.audit().await;
}

#[tokio::test]
async fn refunds_and_disputes_of_one_payment_take_no_more_than_was_paid() {
    let stage = Stage::with_card("visa").await;
    stage.buy("10").await.ok();
    for _ in 0..5 {
        stage.refunded(100).await;
    }
    stage.is("6.00", "5.00").await;
    let dispute = stage.disputed(1_000).await;
    stage.is("1.00", "0.00").await;
    stage.closed(&dispute, "lost").await;
    stage.is("1.00", "0.00").await;
    assert_eq!(stage.payments().await[0]["reversed"], "10.00");
    assert_eq!(stage.reconcile().0, Some(0));
    stage.audit().await;
}

#[tokio::test]
async fn a_process_that_dies_in_a_refund_gives_the_money_back_once() {
    for behaviour in [Behaviour::DoneThenSlow(5_000), Behaviour::Status(500)] {
        let mut stage = Stage::with_card("visa").await;
        let payment = stage.buy("10").await.ok()["payment"].clone();
        stage.stripe.script(behaviour);
        let path = format!("/admin/v1/payments/{}/refund", id_of(&payment));
        let before = stage.stripe.calls().len();
        let asked = {
            let api = stage.server.admin().0;
            tokio::spawn(async move {
                let request = api.request(Method::POST, &path).json(&json!({"amount": "2", "reason": "x"}));
                drop(request.send().await);
            })
        };
        stage.until("asked", async || stage.stripe.calls()[before..].contains(&"POST /v1/refunds".to_owned())).await;
        stage.server.kill_nine();
        asked.abort();
        stage.server.restart().await;
        stage.customer.api = stage.server.api(&stage.customer.key);
        stage.is("9.00", "8.00").await;
        let made = ("refund".to_owned(), "succeeded".to_owned());
        stage.until("refunded", async || stage.reversals().await == std::slice::from_ref(&made)).await;
        assert_eq!(stage.refunds().len(), 1, "asked for again under the same key");
        stage.tell("charge.refund.updated", &stage.refunds()[0]).await;
        stage.is("9.00", "8.00").await;
        stage.audit().await;
    }
}

#[tokio::test]
async fn a_webhook_that_comes_before_a_refunds_answer_makes_no_second_refund() {
    let stage = Stage::with_card("visa").await;
    let payment = stage.buy("10").await.ok()["payment"].clone();
    stage.stripe.script(Behaviour::DoneThenSlow(1_500));
    let path = format!("/admin/v1/payments/{}/refund", id_of(&payment));
    let (api, body) = (stage.server.admin().0, json!({"amount": "2", "reason": "x"}));
    let asked = tokio::spawn(async move { api.post(&path, &body).await });
    stage.until("made", async || !stage.refunds().is_empty()).await;
    stage.tell("refund.created", &stage.refunds()[0]).await;
    stage.is("9.00", "8.00").await;
    assert_eq!(asked.await.unwrap().ok()["refund"]["status"], "succeeded");
    stage.is("9.00", "8.00").await;
    assert_eq!((stage.refunds().len(), stage.reversals().await.len()), (1, 1));
    stage.audit().await;
}

#[tokio::test]
async fn what_stripe_refuses_takes_nothing_and_what_stood_in_its_way_is_heard() {
    let stage = Stage::with_card("visa").await;
    let payment = stage.buy("10").await.ok()["payment"].clone();
    // In Stripe's dashboard, and its webhook is lost.
    stage.stripe.refund(id_of(&stage.intent()), 700);
    let path = format!("/admin/v1/payments/{}/refund", id_of(&payment));
    let refused = stage.server.admin().0.post(&path, &json!({"amount": "5", "reason": "x"})).await;
    assert!(refused.status >= 400 && refused.status < 500, "{} {}", refused.status, refused.body);
    stage.is("4.00", "3.00").await;
    let refund = ("refund".to_owned(), "failed".to_owned());
    assert!(stage.reversals().await.contains(&refund));
    stage.audit().await;
}

#[tokio::test]
async fn a_fee_that_is_disputed_ends_its_cycle_and_one_that_is_won_gives_it_back() {
    let stage = Stage::with_card("visa").await;
    stage.post("/v1/subscription", json!({})).await.ok();
    stage.is("6.00", "3.00").await;
    let dispute = stage.disputed(300).await;
    let ended = stage.customer.api.get("/v1/subscription").await.ok();
    assert_eq!((&ended["plan"], &ended["subscription"]["status"]), (&json!("free"), &json!("ended")), "{ended}");
    assert_eq!((&ended["subscription"]["renews"], &ended["subscription"]["paid_until"]), (&json!(false), &Value::Null));
    stage.is("1.00", "0.00").await;
    stage.closed(&dispute, "won").await;
    stage.is("6.00", "3.00").await;
    let back = stage.customer.api.get("/v1/subscription").await.ok();
    assert_eq!((&back["plan"], &back["subscription"]["status"]), (&json!("payg"), &json!("active")), "{back}");
    assert_eq!(back["subscription"]["renews"], false, "a disputed card is not charged by itself");
    stage.refunded(300).await;
    let ended = stage.customer.api.get("/v1/subscription").await.ok();
    assert_eq!(ended["subscription"]["status"], "ended");
    stage.is("1.00", "0.00").await;
    stage.audit().await;
}

#[tokio::test]
async fn the_books_are_held_against_stripes_both_ways() {
    let stage = Stage::with_card("visa").await;
    let payment = stage.buy("10").await.ok()["payment"].clone();
    stage.refunded(200).await;
    let dispute = stage.disputed(300).await;
    stage.closed(&dispute, "won").await;
    let (status, same) = stage.reconcile();
    assert_eq!((status, &same["ok"], &same["payments"]), (Some(0), &json!(true), &json!(1)), "{same}");
    assert_eq!((&same["charges"], &same["reversals"]), (&json!(1), &json!(2)));

    // A refund whose webhook is lost.
    stage.stripe.refund(id_of(&stage.intent()), 100);
    let (status, lost) = stage.reconcile();
    let difference = &lost["differences"][0];
    assert_eq!((status, &lost["found"], &difference["what"]), (Some(1), &json!(1), &json!("refund")), "{lost}");
    assert_eq!((&difference["here"], &difference["there"]), (&json!("none"), &json!("1.00 succeeded")));
    assert_eq!(difference["payment_id"], payment["id"]);
    let refund = stage.refunds().pop().unwrap();
    stage.tell("refund.created", &refund).await;
    assert_eq!(stage.reconcile().0, Some(0));

    // A charge that Stripe does not know to be paid, and one of a payment that is not ours.
    let intent = stage.intent();
    stage.stripe.falsify(id_of(&intent), "amount_received", json!(900));
    let (status, other) = stage.reconcile();
    assert_eq!((status, &other["differences"][0]["there"]), (Some(1), &json!("9.00 paid")), "{other}");
    stage.stripe.falsify(id_of(&intent), "amount_received", json!(1_000));
    let stranger = json!({"payment_id": uuid::Uuid::now_v7().to_string()});
    stage.stripe.falsify(id_of(&intent), "metadata", stranger);
    let (status, both) = stage.reconcile();
    let mut whats: Vec<_> = both["differences"].as_array().unwrap().iter().map(|it| it["what"].clone()).collect();
    whats.dedup();
    assert_eq!(status, Some(1));
    assert!(
        whats.contains(&json!("payment that succeeded")) && whats.contains(&json!("charge without a payment")),
        "{both}"
    );
    let route = stage.server.admin().0.post("/admin/v1/reconcile", &json!({"days": 1})).await.ok();
    assert_eq!(route["ok"], false, "{route}");
}

#[tokio::test]
async fn a_card_that_disputes_is_charged_once_by_itself_until_its_owner_chooses_it_again() {
    let server = Server::start(Options::default()).await;
    let customer = server.admin().customer("free", "0").await;
    let reload = async |body: Value| answer(customer.api.request(Method::PUT, "/v1/auto-reload").json(&body)).await;
    reload(json!({"enabled": true, "payment_method": "pm_card_createDispute"})).await.ok();
    let paused = until(&server, &customer, "/v1/auto-reload", |seen| seen["paused_at"].is_string()).await;
    assert_eq!(paused["enabled"], true, "{paused}");
    for _ in 0..5 {
        server.admin().advance(3_600).await;
        assert_eq!(payments(&customer).await, 1, "{}", server.logs());
    }
    let events = customer.api.get("/v1/events?kind=reload_paused").await.ok();
    assert_eq!(events["data"].as_array().unwrap().len(), 1, "{events}");
    let again = reload(json!({"enabled": true})).await;
    assert_eq!((again.status, &again.json()["field"]), (400, &json!("payment_method")), "{}", again.body);
    assert_eq!(payments(&customer).await, 1);
    reload(json!({"enabled": true, "payment_method": "pm_card_createDispute"})).await.ok();
    until(&server, &customer, "/v1/payments", |seen| seen["data"].as_array().unwrap().len() == 2).await;
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_disputed_card_renews_no_plan_by_itself() {
    let server = Server::start(Options::default()).await;
    let customer = server.admin().customer("free", "0").await;
    let card = json!({"payment_method": "pm_card_createDispute"});
    customer.api.post("/v1/subscription", &card).await.ok();
    until(&server, &customer, "/v1/subscription", |seen| seen["subscription"]["status"] == "ended").await;
    server.admin().advance(29 * 86_400).await;
    assert_eq!(payments(&customer).await, 1, "nothing is renewed");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_refund_pauses_reloads_and_a_refund_whose_bank_refuses_gives_the_credits_back() {
    let server = Server::start(Options::default()).await;
    let customer = server.admin().customer("free", "0").await;
    let bought = json!({"amount": "10", "payment_method": "pm_card_refundFail"});
    let bought = customer.api.post("/v1/credits/purchase", &bought).await.ok();
    let reload = json!({"enabled": true, "payment_method": "pm_card_visa"});
    answer(customer.api.request(Method::PUT, "/v1/auto-reload").json(&reload)).await.ok();
    let path = format!("/admin/v1/payments/{}/refund", bought["payment"]["id"].as_str().unwrap());
    let body = json!({"reason": "asked for"});
    let keyed = || server.admin().0.request(Method::POST, &path).header("idempotency-key", "one").json(&body);
    let given = answer(keyed()).await.ok();
    assert_eq!(answer(keyed()).await.ok(), given, "one key, one refund");
    let back = until(&server, &customer, "/v1/balance", |seen| seen["available"] == "11.00").await;
    assert_eq!((&back["debt"], &back["tier"]["purchased"]), (&json!("0.00"), &json!("10.00")));
    assert!(customer.api.get("/v1/auto-reload").await.ok()["paused_at"].is_string());
    assert_eq!(payments(&customer).await, 1);
    let reconciled = server.cli(&["reconcile"]);
    assert_eq!(reconciled.status.code(), Some(0), "{reconciled:?}");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_void_takes_what_running_requests_hold_as_they_end_and_buys_nothing() {
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().calling(fake.url())).await;
    let customer = server.admin().customer("free", "0").await;
    let grant = server.admin().grant(&customer.id, "promo", "8").await;
    let reload = json!({"enabled": true, "payment_method": "pm_card_visa"});
    answer(customer.api.request(Method::PUT, "/v1/auto-reload").json(&reload)).await.ok();
    fake.script(fake_openai::Behaviour::Slow(400));
    let body = json!({"model": "gpt-4o", "stream": true, "messages": [{"role": "user", "content": "Say hello to me"}]});
    let mut running = customer.api.request(Method::POST, "/v1/chat/completions").json(&body).send().await.unwrap();
    assert!(running.chunk().await.unwrap().is_some());
    let held = customer.api.get("/v1/balance").await.ok()["held"].clone();
    assert_ne!(held, "0.00");
    for id in [grant["id"].as_str().unwrap(), free_grant(&customer).await.as_str()] {
        let path = format!("/admin/v1/accounts/{}/grants/{id}/void", customer.id);
        server.admin().0.post(&path, &json!({"reason": "fraud"})).await.ok();
    }
    while running.chunk().await.unwrap().is_some() {}
    let ended = until(&server, &customer, "/v1/balance", |seen| seen["held"] == "0.00").await;
    assert_eq!(ended["available"], "0.00", "what was held does not come back");
    assert_eq!(payments(&customer).await, 0, "{}", server.logs());
    assert!(customer.api.get("/v1/auto-reload").await.ok()["paused_at"].is_string());
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn what_expired_unused_is_refunded_without_a_debt() {
    let server = Server::start(Options::default()).await;
    let customer = server.admin().customer("free", "0").await;
    let bought = json!({"amount": "10", "payment_method": "pm_card_visa"});
    let bought = customer.api.post("/v1/credits/purchase", &bought).await.ok();
    server.admin().advance(28 * 86_400).await;
    let path = format!("/admin/v1/payments/{}/refund", bought["payment"]["id"].as_str().unwrap());
    server.admin().0.post(&path, &json!({"reason": "kindness"})).await.ok();
    let balance = customer.api.get("/v1/balance").await.ok();
    assert_eq!((&balance["available"], &balance["debt"]), (&json!("1.00"), &json!("0.00")), "{balance}");
    server.admin().assert_audit().await;
}

async fn payments(customer: &Customer) -> usize {
    customer.api.get("/v1/payments").await.ok()["data"].as_array().unwrap().len()
}

async fn free_grant(customer: &Customer) -> String {
    let grants = customer.api.get("/v1/grants").await.ok();
    let free = grants["data"].as_array().unwrap().iter().find(|grant| grant["source"] == "free").unwrap().clone();
    free["id"].as_str().unwrap().to_owned()
}

/// Waits until something is so.
async fn until(server: &Server, customer: &Customer, path: &str, what: impl Fn(&Value) -> bool) -> Value {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let seen = customer.api.get(path).await.ok();
        if what(&seen) {
            return seen;
        }
        assert!(std::time::Instant::now() < deadline, "{path} stays {seen:#}\n{}", server.logs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
