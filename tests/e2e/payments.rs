//! Buying with test cards: what each does to the balance, what happens when answers are lost, come twice or wait for the
//! card's owner, also across the death of the process or of its payment actor, and what is written on a receipt.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::{Answer, Customer, answer},
    server::{Options, Server},
};

struct Stage {
    server: Server,
    customer: Customer,
}

impl Stage {
    async fn set() -> Self {
        let server = Server::start(Options::default().set("FAREBOX_FAULTS", "true")).await;
        let customer = server.admin().customer("free", "0").await;
        Self { server, customer }
    }

    async fn restart(&mut self) {
        self.server.restart().await;
        self.customer.api = self.server.api(&self.customer.key);
    }

    async fn buy(&self, amount: &str, card: &str) -> Answer {
        let body = json!({"amount": amount, "payment_method": card});
        self.customer.api.post("/v1/credits/purchase", &body).await
    }

    async fn available(&self) -> Value {
        self.customer.api.get("/v1/balance").await.ok()["available"].clone()
    }

    async fn payment(&self, id: &str) -> Value {
        self.customer.api.get(&format!("/v1/payments/{id}")).await.ok()
    }

    async fn payments(&self) -> Vec<Value> {
        self.customer.api.get("/v1/payments").await.ok()["data"].as_array().unwrap().clone()
    }

    /// Waits until a payment is as it should be.
    async fn until(&self, id: &str, what: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let payment = self.payment(id).await;
            if what(&payment) {
                return payment;
            }
            assert!(Instant::now() < deadline, "{payment}\n{}", self.server.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Buys, and does not wait for the answer.
    fn buy_beside(&self, card: &str) -> tokio::task::JoinHandle<Answer> {
        let (api, body) = (self.customer.api.clone(), json!({"amount": "10", "payment_method": card}));
        tokio::spawn(async move { api.post("/v1/credits/purchase", &body).await })
    }

    async fn authenticate(&self, id: &str, verdict: &str) -> Answer {
        self.customer.api.post(&format!("/v1/payments/{id}/authenticate"), &json!({"verdict": verdict})).await
    }

    async fn put(&self, path: &str) -> Answer {
        answer(self.customer.api.request(Method::PUT, path)).await
    }

    async fn delete(&self, path: &str) -> Answer {
        answer(self.customer.api.request(Method::DELETE, path)).await
    }

    async fn audit(&self) {
        self.server.admin().assert_audit().await;
    }
}

fn id_of(payment: &Value) -> String {
    payment["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_card_pays_or_declines_and_a_decline_says_why() {
    let stage = Stage::set().await;
    for card in ["pm_card_visa", "pm_card_mastercard", "pm_card_amex"] {
        let bought = stage.buy("10", card).await.ok();
        assert_eq!(
            (&bought["payment"]["status"], &bought["payment"]["amount"]),
            (&json!("succeeded"), &json!("10.00"))
        );
    }
    for (card, code) in [
        ("pm_card_visa_chargeDeclined", "card_declined"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
    ] {
        let declined = stage.buy("10", card).await;
        let body = declined.json();
        assert_eq!((declined.status, &body["code"]), (422, &json!("payment_declined")), "{body}");
        assert_eq!(body["decline_code"], code);
        let payment = stage.payment(body["payment_id"].as_str().unwrap()).await;
        assert_eq!((&payment["status"], &payment["decline_code"]), (&json!("declined"), &json!(code)));
    }
    let unknown = stage.buy("10", "pm_card_of_gold").await;
    assert_eq!((unknown.status, &unknown.json()["field"]), (400, &json!("payment_method")), "{}", unknown.body);
    assert_eq!(stage.available().await, "31.00");
    assert_eq!(stage.payments().await.len(), 6, "what was refused wrote nothing");
    stage.audit().await;
}

#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again_and_charged_once() {
    let stage = Stage::set().await;
    let bought = stage.buy("10", "pm_card_timesOutThenSucceeds").await.ok();
    assert_eq!(bought["payment"]["status"], "succeeded");
    assert_eq!(bought["balance"]["available"], "11.00");
    stage.server.says("a payment's outcome is not known yet").await;
    assert_eq!(stage.payments().await.len(), 1);
    stage.audit().await;
}

#[tokio::test]
async fn a_notice_that_comes_twice_beside_the_answer_makes_one_grant() {
    let stage = Stage::set().await;
    let bought = stage.buy("10", "pm_card_duplicatesWebhook").await.ok();
    assert_eq!(bought["payment"]["status"], "succeeded");
    assert_eq!(stage.available().await, "11.00");
    let grants = stage.customer.api.get("/v1/grants").await.ok();
    let paid = grants["data"].as_array().unwrap().iter().filter(|grant| grant["source"] == "purchase").count();
    assert_eq!(paid, 1, "{grants}");
    stage.audit().await;
}

#[tokio::test]
async fn a_payment_that_is_disputed_or_refunded_loses_its_credits() {
    let stage = Stage::set().await;
    let disputed = id_of(&stage.buy("10", "pm_card_createDispute").await.ok()["payment"]);
    let payment = stage.until(&disputed, |payment| payment["reversed"] == "10.00").await;
    assert_eq!(payment["status"], "succeeded");
    assert_eq!(stage.available().await, "1.00");
    let bought = id_of(&stage.buy("10", "pm_card_visa").await.ok()["payment"]);
    let admin = stage.server.admin();
    let refund =
        async |id: &str| admin.0.post(&format!("/admin/v1/payments/{id}/refund"), &json!({"reason": "x"})).await;
    let refunded = refund(&bought).await.ok();
    assert_eq!(
        (&refunded["payment"]["reversed"], &refunded["refund"]["status"]),
        (&json!("10.00"), &json!("succeeded"))
    );
    assert_eq!(refund(&bought).await.status, 400, "nothing is left");
    assert_eq!(refund("00000000-0000-0000-0000-000000000000").await.status, 404);
    let declined = stage.buy("10", "pm_card_visa_chargeDeclined").await.json();
    assert_eq!(refund(declined["payment_id"].as_str().unwrap()).await.status, 409);
    let balance = stage.customer.api.get("/v1/balance").await.ok();
    assert_eq!((&balance["available"], &balance["tier"]["purchased"]), (&json!("1.00"), &json!("0.00")));
    stage.audit().await;
}

#[tokio::test]
async fn a_card_that_needs_its_owner_is_charged_when_its_owner_says_yes() {
    let stage = Stage::set().await;
    let waits = stage.buy("10", "pm_card_authenticationRequired").await;
    assert_eq!(waits.status, 202, "{}", waits.body);
    let waits = waits.json();
    assert_eq!(waits["payment"]["status"], "pending");
    let id = id_of(&waits["payment"]);
    assert_eq!(waits["next_action"], stage.payment(&id).await["next_action"]);
    assert!(waits["next_action"]["client_secret"].is_string(), "{waits}");
    assert_eq!(stage.available().await, "1.00");
    let bad = stage.authenticate(&id, "maybe").await;
    assert_eq!(bad.status, 400, "{}", bad.body);
    assert_eq!(stage.authenticate(&id, "approve").await.ok()["status"], "succeeded");
    assert_eq!(stage.available().await, "11.00");
    assert_eq!(stage.authenticate(&id, "refuse").await.status, 409);

    let refused = id_of(&stage.buy("10", "pm_card_authenticationRequired").await.ok()["payment"]);
    let ended = stage.authenticate(&refused, "refuse").await.ok();
    assert_eq!((&ended["status"], &ended["decline_code"]), (&json!("declined"), &json!("authentication_failed")));

    let forgotten = id_of(&stage.buy("10", "pm_card_authenticationRequired").await.ok()["payment"]);
    stage.server.admin().advance(3_601).await;
    let ended = stage.until(&forgotten, |payment| payment["status"] != "pending").await;
    assert_eq!((&ended["status"], &ended["decline_code"]), (&json!("declined"), &json!("authentication_required")));
    assert_eq!(stage.authenticate(&forgotten, "approve").await.status, 409);
    assert_eq!(stage.available().await, "11.00");

    let other = stage.server.admin().customer("free", "0").await;
    let theirs = other.api.post(&format!("/v1/payments/{id}/authenticate"), &json!({"verdict": "approve"})).await;
    assert_eq!(theirs.status, 404, "{}", theirs.body);
    stage.audit().await;
}

/// A customer whose credits are bought by themselves, at once: one dollar is below the threshold.
async fn reloading(server: &Server, card: Option<&str>) -> Customer {
    let customer = server.admin().customer("free", "0").await;
    if let Some(card) = card {
        stage_save(&customer, json!({"card": card})).await.ok();
    }
    let request = customer.api.request(Method::PUT, "/v1/auto-reload").json(&json!({"enabled": true}));
    answer(request).await.ok();
    customer
}

/// Waits for the end of its newest payment.
async fn ended(server: &Server, customer: &Customer, count: usize) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let payments = customer.api.get("/v1/payments").await.ok()["data"].as_array().unwrap().clone();
        if payments.len() == count && payments[0]["status"] != "pending" {
            return customer.api.get(&format!("/v1/payments/{}", id_of(&payments[0]))).await.ok();
        }
        assert!(Instant::now() < deadline, "{payments:?}\n{}", server.logs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_is_bought_by_itself_is_charged_to_the_default_card_of_then() {
    let stage = Stage::set().await;
    let server = &stage.server;
    let unsaved = reloading(server, None).await;
    assert_eq!(ended(server, &unsaved, 1).await["status"], "succeeded", "a test card of last resort");

    let asleep = reloading(server, Some("pm_card_authenticationRequired")).await;
    let declined = ended(server, &asleep, 1).await;
    assert_eq!((&declined["status"], &declined["purpose"]), (&json!("declined"), &json!("auto_reload")));
    assert_eq!(declined["decline_code"], "authentication_required", "nobody is there who could say yes");
    stage_save(&asleep, json!({"card": "pm_card_mastercard", "default": true})).await.ok();
    server.admin().advance(3_601).await;
    let paid = ended(server, &asleep, 2).await;
    assert_eq!((&paid["status"], &paid["card"]["last4"]), (&json!("succeeded"), &json!("4444")), "{paid}");
    let receipt = asleep.api.get(paid["receipt"].as_str().unwrap()).await.ok();
    assert_eq!(receipt["card"], json!({"brand": "mastercard", "last4": "4444"}));

    let amex = stage_save(&unsaved, json!({"card": "pm_card_amex"})).await.ok();
    let named = unsaved.api.request(Method::PUT, "/v1/auto-reload").json(&json!({"payment_method": amex["id"]}));
    assert_eq!(answer(named).await.ok()["payment_method"], "pm_card_amex");
    let foreign = asleep.api.request(Method::PUT, "/v1/auto-reload").json(&json!({"payment_method": amex["id"]}));
    assert_eq!(answer(foreign).await.status, 400, "another's card");
    answer(unsaved.api.request(Method::DELETE, &format!("/v1/payment-methods/{}", id_of(&amex)))).await.ok();
    for grant in unsaved.api.get("/v1/grants").await.ok()["data"].as_array().unwrap() {
        let path = format!("/admin/v1/accounts/{}/grants/{}/void", unsaved.id, id_of(grant));
        server.admin().0.post(&path, &json!({"reason": "test"})).await.ok();
    }
    let again = unsaved.api.request(Method::PUT, "/v1/auto-reload").json(&json!({"enabled": true}));
    answer(again).await.ok();
    let removed = ended(server, &unsaved, 2).await;
    assert_eq!((&removed["status"], &removed["decline_code"]), (&json!("declined"), &json!("card_removed")));
    stage.audit().await;
}

#[tokio::test]
async fn a_subscription_waits_for_its_cards_owner() {
    let stage = Stage::set().await;
    let body = json!({"payment_method": "pm_card_authenticationRequired"});
    let waits = stage.customer.api.post("/v1/subscription", &body).await;
    assert_eq!(waits.status, 202, "{}", waits.body);
    let payment = waits.json()["payment"].clone();
    assert!(waits.json()["next_action"]["client_secret"].is_string(), "{}", waits.body);
    assert_eq!(stage.authenticate(&id_of(&payment), "approve").await.ok()["status"], "succeeded");
    assert_eq!(stage.customer.api.get("/v1/subscription").await.ok()["subscription"]["status"], "active");
    let receipt = stage.customer.api.get(&format!("/v1/payments/{}/receipt", id_of(&payment))).await.ok();
    assert_eq!((&receipt["amount"], &receipt["credits"]["amount"]), (&json!("3.00"), &json!("5.00")));
    stage.audit().await;
}

#[tokio::test]
async fn so_many_payments_wait_for_their_owner_and_no_more() {
    let stage = Stage::set().await;
    for _ in 0..10 {
        assert_eq!(stage.buy("10", "pm_card_authenticationRequired").await.status, 202);
    }
    let refused = stage.buy("10", "pm_card_authenticationRequired").await;
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("conflict")), "{}", refused.body);
    let waiting = stage.payments().await;
    assert_eq!(waiting.len(), 10);
    stage.authenticate(&id_of(&waiting[0]), "refuse").await.ok();
    assert_eq!(stage.buy("10", "pm_card_visa").await.status, 200);
    stage.audit().await;
}

#[tokio::test]
async fn a_charge_nobody_answers_is_looked_up_after_a_day_and_never_charged_blindly() {
    let stage = Stage::set().await;
    for (card, status) in [("pm_card_answerNeverComes", 200), ("pm_card_chargeNeverArrives", 422)] {
        let before = stage.payments().await.len();
        let purchase = stage.buy_beside(card);
        let deadline = Instant::now() + Duration::from_secs(20);
        while stage.payments().await.len() == before {
            assert!(Instant::now() < deadline, "{}", stage.server.logs());
        }
        stage.server.admin().advance(23 * 3_600).await;
        assert_eq!(stage.payments().await[0]["status"], "pending", "it may still be asked under its key");
        stage.server.admin().advance(3_600).await;
        let answer = purchase.await.unwrap();
        assert_eq!(answer.status, status, "{}\n{}", answer.body, stage.server.logs());
    }
    let payments = stage.payments().await;
    assert_eq!((&payments[0]["status"], &payments[0]["decline_code"]), (&json!("declined"), &json!("never_charged")));
    assert_eq!(payments[1]["status"], "succeeded");
    assert_eq!(stage.available().await, "11.00");
    stage.audit().await;
}

#[tokio::test]
async fn a_purchase_that_takes_long_is_answered_202_and_goes_on() {
    let stage = Stage::set().await;
    let pending = stage.buy("10", "pm_card_answerNeverComes").await;
    assert_eq!(pending.status, 202, "{}", pending.body);
    let pending = pending.json();
    assert_eq!((&pending["payment"]["status"], &pending["next_action"]), (&json!("pending"), &Value::Null));
    stage.server.admin().advance(24 * 3_600).await;
    let ended = stage.until(&id_of(&pending["payment"]), |payment| payment["status"] != "pending").await;
    assert_eq!(ended["status"], "succeeded");
    stage.audit().await;
}

#[tokio::test]
async fn a_payment_outlives_its_process_and_its_actor() {
    let mut stage = Stage::set().await;
    let waits = id_of(&stage.buy("10", "pm_card_authenticationRequired").await.ok()["payment"]);
    stage.server.kill_nine();
    stage.restart().await;
    stage.until(&waits, |payment| payment["next_action"].is_object()).await;
    stage.server.admin().0.post("/admin/v1/faults", &json!({"payment": {}})).await.ok();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let actors = stage.server.admin().actors().await;
        let actors = actors["actors"].as_array().unwrap();
        if actors.iter().any(|actor| actor["kind"] == "payment" && actor["panics"] == 1 && actor["live"] == 1) {
            break;
        }
        assert!(Instant::now() < deadline, "{}", stage.server.logs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.until(&waits, |payment| payment["next_action"].is_object()).await;
    assert_eq!(stage.authenticate(&waits, "approve").await.ok()["status"], "succeeded");

    let purchase = stage.buy_beside("pm_card_answerNeverComes");
    let deadline = Instant::now() + Duration::from_secs(20);
    while stage.payments().await.len() < 2 {
        assert!(Instant::now() < deadline, "{}", stage.server.logs());
    }
    stage.server.kill_nine();
    purchase.abort();
    stage.restart().await;
    let silent = id_of(&stage.payments().await[0]);
    assert_eq!(stage.payment(&silent).await["status"], "pending");
    stage.server.admin().advance(24 * 3_600).await;
    let ended = stage.until(&silent, |payment| payment["status"] != "pending").await;
    assert_eq!(ended["status"], "succeeded");
    assert_eq!(stage.available().await, "21.00");
    stage.audit().await;
}

#[tokio::test]
async fn a_saved_card_is_charged_until_it_is_removed() {
    let stage = Stage::set().await;
    let save = async |body: Value| stage_save(&stage.customer, body).await;
    let visa = save(json!({"card": "pm_card_visa"})).await.ok();
    assert_eq!((&visa["brand"], &visa["last4"], &visa["default"]), (&json!("visa"), &json!("4242"), &json!(true)));
    let again = save(json!({"card": "pm_card_visa"})).await.ok();
    assert_eq!(again["id"], visa["id"], "saved once");
    let broke = save(json!({"card": "pm_card_visa_chargeDeclined"})).await.ok();
    assert_eq!(broke["default"], false);
    let path = |card: &Value, more: &str| format!("/v1/payment-methods/{}{more}", card["id"].as_str().unwrap());

    let bought = stage.customer.api.post("/v1/credits/purchase", &json!({"amount": "10"})).await.ok();
    let payment = stage.payment(&id_of(&bought["payment"])).await;
    assert_eq!(payment["card"], json!({"brand": "visa", "last4": "4242"}));
    assert_eq!(stage.put(&path(&broke, "/default")).await.ok()["default"], true);
    let declined = stage.customer.api.post("/v1/credits/purchase", &json!({"amount": "10"})).await;
    assert_eq!(declined.status, 422, "{}", declined.body);
    let named = stage.buy("10", visa["id"].as_str().unwrap()).await.ok();
    assert_eq!(named["payment"]["status"], "succeeded");

    assert_eq!(stage.delete(&path(&visa, "")).await.ok()["removed"], true);
    for gone in [stage.delete(&path(&visa, "")).await, stage.put(&path(&visa, "/default")).await] {
        assert_eq!(gone.status, 404, "{}", gone.body);
    }
    let removed = stage.buy("10", visa["id"].as_str().unwrap()).await;
    assert_eq!((removed.status, &removed.json()["field"]), (400, &json!("payment_method")), "{}", removed.body);
    let listed = stage.customer.api.get("/v1/payment-methods").await.ok();
    assert_eq!((listed["data"].as_array().unwrap().len(), &listed["data"][0]["id"]), (1, &broke["id"]));

    let other = stage.server.admin().customer("free", "0").await;
    let theirs = other.api.request(Method::DELETE, &path(&broke, ""));
    assert_eq!(answer(theirs).await.status, 404);
    assert_eq!(other.api.get("/v1/payment-methods").await.ok()["data"], json!([]));
    for (body, field) in [
        (json!({}), "card"),
        (json!({"card": "4242424242424242"}), "card"),
        (json!({"card": 1}), "card"),
        (json!({"setup_intent": "seti_1"}), "setup_intent"),
        (json!({"number": "4242"}), "number"),
        (json!({"card": "pm_card_visa", "default": "yes"}), "default"),
    ] {
        let bad = stage_save(&other, body.clone()).await;
        assert_eq!((bad.status, &bad.json()["field"]), (400, &json!(field)), "{body}: {}", bad.body);
    }
    assert_eq!(stage.put("/v1/payment-methods/1/default").await.status, 400);
    assert_eq!(stage.available().await, "21.00");
    stage.audit().await;
}

async fn stage_save(customer: &Customer, body: Value) -> Answer {
    customer.api.post("/v1/payment-methods", &body).await
}

#[tokio::test]
async fn so_many_cards_are_saved_and_no_more() {
    let stage = Stage::set().await;
    let unknown = stage_save(&stage.customer, json!({"card": "?"})).await;
    let cards = unknown.json()["message"].as_str().unwrap().to_owned();
    let cards: Vec<&str> = cards.split("there are ").nth(1).unwrap().split(", ").collect();
    let mut statuses = Vec::new();
    for card in &cards {
        statuses.push(stage_save(&stage.customer, json!({"card": card})).await.status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 10, "{statuses:?}");
    assert!(statuses.len() > 10 && statuses[10..].iter().all(|status| *status == 409), "{statuses:?}");
    stage.audit().await;
}

#[tokio::test]
async fn a_receipt_is_written_of_what_was_paid_as_json_and_as_a_page() {
    let stage = Stage::set().await;
    stage_save(&stage.customer, json!({"card": "pm_card_mastercard"})).await.ok();
    let bought = stage.customer.api.post("/v1/credits/purchase", &json!({"amount": "12.34"})).await.ok();
    let path = bought["payment"]["receipt"].as_str().unwrap();
    let receipt = stage.customer.api.get(path).await.ok();
    assert_eq!((&receipt["amount"], &receipt["currency"]), (&json!("12.34"), &json!("USD")));
    assert_eq!(receipt["card"], json!({"brand": "mastercard", "last4": "4444"}));
    assert_eq!(receipt["payment_id"], bought["payment"]["id"]);
    assert_eq!(receipt["credits"]["amount"], "12.34");

    let page = answer(stage.customer.api.request(Method::GET, path).header("accept", "text/html")).await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
    for shown in ["$12.34", "mastercard, ending in 4444", receipt["number"].as_str().unwrap(), "@media print"] {
        assert!(page.body.contains(shown), "{shown} is not in {}", page.body);
    }
    assert!(!page.body.contains("<script"));

    let declined = stage.buy("10", "pm_card_visa_chargeDeclined").await.json();
    let unpaid = format!("/v1/payments/{}/receipt", declined["payment_id"].as_str().unwrap());
    assert_eq!(stage.customer.api.get(&unpaid).await.status, 409);
    let other = stage.server.admin().customer("free", "0").await;
    for (path, status) in
        [(path, 404), ("/v1/payments/1/receipt", 400), ("/v1/payments/00000000-0000-0000-0000-000000000000", 404)]
    {
        assert_eq!(other.api.get(path).await.status, status, "{path}");
    }
    assert_eq!(stage.server.get(path).await.status, 401);
    stage.audit().await;
}
