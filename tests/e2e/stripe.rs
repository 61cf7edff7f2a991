//! Buying with Stripe, against our own strict stand-in: cards saved by a setup, charged once whatever becomes of the
//! answer, and webhooks that are listened to only when they are Stripe's, fresh and new.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use billing::ids::{AccountId, PaymentId};
use cards::{self, ChargeOutcome, Order, Processor};

use crate::support::{
    client::{Answer, Customer, answer},
    fake_openai::FakeOpenAi,
    fake_stripe::{Behaviour, FakeStripe, SECRET_KEY, WEBHOOK_SECRET, seconds, sign},
    server::{Options, Server},
};

pub(super) struct Stage {
    pub(super) stripe: FakeStripe,
    pub(super) server: Server,
    pub(super) customer: Customer,
}

impl Stage {
    pub(super) async fn set() -> Self {
        Self::with(Options::default(), SECRET_KEY).await
    }

    /// With these settings besides, and this key to Stripe.
    pub(super) async fn with(options: Options, secret_key: &str) -> Self {
        Self::of(FakeStripe::start(), |_| options, secret_key).await
    }

    async fn of(stripe: FakeStripe, options: impl FnOnce(&FakeStripe) -> Options, secret_key: &str) -> Self {
        let options = options(&stripe)
            // Money that is real lives by the system's clock.
            .set("FAREBOX_CLOCK", "system")
            .set("FAREBOX_PAYMENTS__PROCESSOR", "stripe")
            .set("FAREBOX_PAYMENTS__STRIPE__SECRET_KEY", secret_key)
            .set("FAREBOX_PAYMENTS__STRIPE__WEBHOOK_SECRET", WEBHOOK_SECRET)
            .set("FAREBOX_PAYMENTS__STRIPE__BASE_URL", stripe.url());
        let server = Server::start(options).await;
        let customer = server.admin().customer("free", "0").await;
        Self { stripe, server, customer }
    }

    /// With Stripe's script for browsers besides.
    pub(super) async fn with_script(options: Options, secret_key: &str) -> Self {
        Self::of(
            FakeStripe::start(),
            |stripe| options.set("FAREBOX_PAYMENTS__STRIPE__SCRIPT", &stripe.browsers_script()),
            secret_key,
        )
        .await
    }

    /// With a saved card.
    pub(super) async fn with_card(kind: &str) -> Self {
        let stage = Self::set().await;
        stage.save(kind).await.ok();
        stage
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answer {
        self.customer.api.post(path, &body).await
    }

    pub(super) async fn save(&self, kind: &str) -> Answer {
        let begun = self.post("/v1/payment-methods", json!({})).await.ok();
        let setup = begun["setup_intent"]["id"].as_str().unwrap();
        self.stripe.finish_setup(setup, kind);
        self.post("/v1/payment-methods", json!({"setup_intent": setup})).await
    }

    pub(super) async fn buy(&self, amount: &str) -> Answer {
        self.post("/v1/credits/purchase", json!({"amount": amount})).await
    }

    pub(super) async fn available(&self) -> Value {
        self.customer.api.get("/v1/balance").await.ok()["available"].clone()
    }

    pub(super) async fn payments(&self) -> Vec<Value> {
        self.customer.api.get("/v1/payments").await.ok()["data"].as_array().unwrap().clone()
    }

    pub(super) async fn until(&self, what: &str, done: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !done().await {
            assert!(Instant::now() < deadline, "not {what}\n{}", self.server.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The one intent there is.
    pub(super) fn intent(&self) -> Value {
        match self.stripe.all("payment_intent").as_slice() {
            [intent] => intent.clone(),
            intents => panic!("{} intents", intents.len()),
        }
    }

    pub(super) async fn deliver(&self, body: &str, signature: &str) -> Answer {
        let api = self.server.api("");
        let request = api.request(Method::POST, "/webhooks/stripe").header("stripe-signature", signature);
        answer(request.header("content-type", "application/json").body(body.to_owned())).await
    }

    /// A webhook as Stripe sends it, now.
    pub(super) async fn webhook(&self, body: &str) -> Answer {
        self.deliver(body, &sign(WEBHOOK_SECRET, seconds(), body)).await
    }

    pub(super) async fn audit(&self) {
        self.server.admin().assert_audit().await;
    }
}

pub(super) fn id_of(object: &Value) -> &str {
    object["id"].as_str().unwrap()
}

#[tokio::test]
async fn a_card_is_saved_by_its_owners_browser_and_charged_by_us() {
    let stage = Stage::set().await;
    let without = stage.buy("10").await;
    assert_eq!((without.status, &without.json()["field"]), (400, &json!("payment_method")), "{}", without.body);
    let begun = stage.post("/v1/payment-methods", json!({})).await.ok();
    let setup = begun["setup_intent"]["id"].as_str().unwrap();
    assert!(begun["setup_intent"]["client_secret"].as_str().unwrap().starts_with(setup));
    let finish = json!({"setup_intent": setup});
    let early = stage.post("/v1/payment-methods", finish.clone()).await;
    assert_eq!((early.status, &early.json()["field"]), (400, &json!("setup_intent")), "{}", early.body);
    stage.stripe.finish_setup(setup, "visa");
    let saved = stage.post("/v1/payment-methods", finish.clone()).await.ok();
    assert_eq!((&saved["last4"], &saved["default"]), (&json!("4242"), &json!(true)));
    assert_eq!(stage.post("/v1/payment-methods", finish.clone()).await.ok()["id"], saved["id"]);

    let bought = stage.buy("12.34").await.ok();
    assert_eq!(bought["balance"]["available"], "13.34");
    let intent = stage.intent();
    assert_eq!(
        (&intent["amount"], &intent["customer"]),
        (&json!(1_234), &json!(id_of(&stage.stripe.all("customer")[0])))
    );
    assert_eq!(intent["metadata"]["payment_id"], bought["payment"]["id"]);
    assert_eq!(intent["metadata"]["account_id"], stage.customer.id.as_str());

    let other = stage.server.admin().customer("free", "0").await;
    for theirs in [setup, "seti_none", "../refunds", ""] {
        let stolen = other.api.post("/v1/payment-methods", &json!({"setup_intent": theirs})).await;
        assert_eq!((stolen.status, &stolen.json()["field"]), (400, &json!("setup_intent")), "{}", stolen.body);
    }
    let stolen = other.api.post("/v1/credits/purchase", &json!({"amount": "5", "payment_method": saved["id"]})).await;
    assert_eq!((stolen.status, &stolen.json()["field"]), (400, &json!("payment_method")), "{}", stolen.body);
    let named = stage.post("/v1/payment-methods", json!({"card": "4242424242424242"})).await;
    assert_eq!((named.status, &named.json()["field"]), (400, &json!("card")), "{}", named.body);

    let path = format!("/v1/payment-methods/{}", id_of(&saved));
    assert_eq!(answer(stage.customer.api.request(Method::DELETE, &path)).await.status, 200);
    assert_eq!(stage.stripe.all("payment_method")[0]["customer"], Value::Null, "detached");
    assert_eq!(stage.buy("10").await.status, 400);
    assert_eq!(stage.stripe.all("customer").len(), 2, "one for each account");
    stage.audit().await;
}

#[tokio::test]
async fn a_decline_ends_the_payment_and_its_intent() {
    let stage = Stage::with_card("broke").await;
    let declined = stage.buy("10").await;
    let body = declined.json();
    assert_eq!((declined.status, &body["decline_code"]), (422, &json!("insufficient_funds")), "{body}");
    assert_eq!(stage.intent()["status"], "canceled", "nothing declined can be paid later");
    let failed = stage.stripe.event("payment_intent.payment_failed", id_of(&stage.intent()));
    assert_eq!(stage.webhook(&failed).await.ok()["received"], true);
    assert_eq!(stage.payments().await[0]["status"], "declined");
    assert_eq!(stage.available().await, "1.00");
    stage.audit().await;
}

#[tokio::test]
async fn whatever_becomes_of_the_answer_a_payment_is_charged_once() {
    for behaviours in [
        &[Behaviour::Status(500)][..],
        &[Behaviour::DoneThenBroken],
        &[Behaviour::DoneThen500, Behaviour::DoneThenBroken, Behaviour::Status(503)],
        &[Behaviour::Status(429), Behaviour::Status(409)],
        &[Behaviour::DoneThenSlow(300)],
    ] {
        let stage = Stage::with_card("visa").await;
        for behaviour in behaviours {
            stage.stripe.script(*behaviour);
        }
        let bought = stage.buy("10").await;
        assert_eq!(bought.status, 200, "{behaviours:?}: {}\n{}", bought.body, stage.server.logs());
        assert_eq!(bought.json()["balance"]["available"], "11.00", "{behaviours:?}");
        assert_eq!(stage.intent()["status"], "succeeded", "{behaviours:?}");
        stage.audit().await;
    }
}

#[tokio::test]
async fn a_process_that_dies_in_a_charge_finds_it_paid() {
    let mut stage = Stage::with_card("visa").await;
    stage.stripe.script(Behaviour::DoneThenSlow(5_000));
    let (api, body) = (stage.customer.api.clone(), json!({"amount": "10"}));
    let purchase = tokio::spawn(async move {
        let request = api.request(Method::POST, "/v1/credits/purchase").json(&body);
        drop(request.send().await);
    });
    stage.until("charged", async || !stage.stripe.all("payment_intent").is_empty()).await;
    stage.server.kill_nine();
    purchase.abort();
    stage.server.restart().await;
    stage.customer.api = stage.server.api(&stage.customer.key);
    stage.until("paid", async || stage.payments().await[0]["status"] == "succeeded").await;
    assert_eq!(stage.available().await, "11.00");
    assert_eq!(stage.intent()["status"], "succeeded");
    stage.audit().await;
}

#[tokio::test]
async fn a_process_that_dies_in_a_webhook_hears_it_again_and_credits_it_once() {
    let mut stage = Stage::with_card("owner").await;
    for round in 1..=5_u32 {
        stage.buy("10").await.ok();
        let intents = stage.stripe.all("payment_intent");
        let intent = id_of(intents.last().unwrap());
        stage.stripe.authenticate(intent);
        let body = stage.stripe.event("payment_intent.succeeded", intent);
        let (api, sent, signature) = (stage.server.api(""), body.clone(), sign(WEBHOOK_SECRET, seconds(), &body));
        let delivery = tokio::spawn(async move {
            let request = api.request(Method::POST, "/webhooks/stripe").header("stripe-signature", signature);
            drop(request.body(sent).send().await);
        });
        // Somewhere between its coming and its answer, or after it.
        tokio::time::sleep(Duration::from_millis(u64::from(round) * 2)).await;
        stage.server.kill_nine();
        delivery.abort();
        stage.server.restart().await;
        stage.customer.api = stage.server.api(&stage.customer.key);
        let again = stage.deliver(&body, &sign(WEBHOOK_SECRET, seconds() + 2, &body)).await;
        assert_eq!(again.status, 200, "{}\n{}", again.body, stage.server.logs());
        assert_eq!(stage.available().await, format!("{}.00", 1 + 10 * round), "round {round}");
        stage.audit().await;
    }
}

#[tokio::test]
async fn money_that_comes_for_a_payment_told_declined_goes_back() {
    let stage = Stage::with_card("broke").await;
    assert_eq!(stage.buy("10").await.status, 422);
    let intent = stage.intent();
    stage.stripe.pay_what_was_canceled(id_of(&intent));
    let paid = stage.stripe.event("payment_intent.succeeded", id_of(&intent));
    stage.webhook(&paid).await.ok();
    stage.webhook(&stage.stripe.event("payment_intent.succeeded", id_of(&intent))).await.ok();
    let refunds = stage.stripe.all("refund");
    assert_eq!((refunds.len(), &refunds[0]["amount"]), (1, &json!(1_000)));
    assert_eq!(stage.payments().await[0]["status"], "declined");
    assert_eq!(stage.available().await, "1.00");
    stage.audit().await;
}

#[tokio::test]
async fn a_charge_is_found_by_its_payment() {
    let stripe = FakeStripe::start();
    let settings = ::cards::stripe::StripeSettings {
        base_url: stripe.url().to_owned(),
        secret_key: SECRET_KEY.to_owned(),
        webhook_secret: WEBHOOK_SECRET.to_owned(),
        browser: None,
    };
    let ours = ::cards::stripe::Stripe::new(settings).unwrap();
    let processor = Processor::Stripe(ours.clone());
    let account_id = AccountId(uuid::Uuid::now_v7());
    let customer = processor.create_customer(account_id, "ada@example.com").await.unwrap();
    let setup = ours.begin_setup(&customer, account_id, "setup").await.unwrap();
    stripe.finish_setup(&setup.reference, "visa");
    let saved = ours.finish_setup(&setup.reference, &customer).await.unwrap();
    let order = |amount| Order {
        payment_id: PaymentId(uuid::Uuid::now_v7()),
        account_id,
        amount: billing::Nanos::dollars(amount),
        customer: Some(customer.clone()),
        method: saved.reference.clone(),
    };
    let (charged, never) = (order(10), order(20));
    let outcome = processor.charge(&charged).await;
    let ChargeOutcome::Succeeded { amount, .. } = &outcome else { panic!("{outcome:?}") };
    assert_eq!(*amount, charged.amount);
    assert_eq!(processor.find(&charged).await, Ok(Some(outcome.clone())));
    assert_eq!(processor.find(&never).await, Ok(None));
    // The key was used: what was charged under it stands, whatever is asked now.
    let other = Order { amount: never.amount, ..charged.clone() };
    assert_eq!(processor.charge(&other).await, outcome);
    assert_eq!(stripe.all("payment_intent").len(), 1);
    let unsaved = Order { customer: None, ..never };
    assert!(matches!(processor.charge(&unsaved).await, ChargeOutcome::Declined { .. }));
}

#[tokio::test]
async fn a_charge_that_needs_its_owner_waits_and_a_webhook_ends_it() {
    let stage = Stage::with_card("owner").await;
    let waits = stage.buy("10").await;
    assert_eq!(waits.status, 202, "{}\n{}", waits.body, stage.server.logs());
    let intent = stage.intent();
    assert_eq!(waits.json()["next_action"]["client_secret"], intent["client_secret"]);
    let failed = stage.stripe.event("payment_intent.payment_failed", id_of(&intent));
    stage.webhook(&failed).await.ok();
    assert_eq!(stage.payments().await[0]["status"], "pending", "its owner may still say yes");
    assert_eq!(stage.intent()["status"], "requires_payment_method");
    stage.stripe.authenticate(id_of(&intent));
    let paid = stage.stripe.event("payment_intent.succeeded", id_of(&intent));
    assert_eq!(stage.webhook(&paid).await.ok()["received"], true);
    assert_eq!(stage.available().await, "11.00", "durable when it is acknowledged");
    assert_eq!(stage.payments().await[0]["status"], "succeeded");
    let late = stage.stripe.event("payment_intent.requires_action", id_of(&intent));
    stage.webhook(&late).await.ok();
    assert_eq!(stage.payments().await[0]["status"], "succeeded", "what came late changes nothing");
    stage.audit().await;
}

#[tokio::test]
async fn an_answer_and_its_webhooks_may_race_and_repeat() {
    let stage = Stage::with_card("visa").await;
    stage.stripe.script(Behaviour::DoneThen500);
    let (api, body) = (stage.customer.api.clone(), json!({"amount": "10"}));
    let purchase = tokio::spawn(async move { api.post("/v1/credits/purchase", &body).await });
    stage.until("charged", async || !stage.stripe.all("payment_intent").is_empty()).await;
    let intent = stage.intent();
    let first = stage.stripe.event("payment_intent.succeeded", id_of(&intent));
    let second = stage.stripe.event("payment_intent.succeeded", id_of(&intent));
    let (one, two, three) = tokio::join!(stage.webhook(&first), stage.webhook(&first), stage.webhook(&second));
    // Two deliveries of one event signed in the same second can't be told from a replay.
    let statuses = [one.status.min(two.status), one.status.max(two.status)];
    assert!(statuses == [200, 200] || statuses == [200, 409], "{statuses:?} {} {}", one.body, two.body);
    assert_eq!(three.status, 200, "{}", three.body);
    assert_eq!(purchase.await.unwrap().ok()["payment"]["status"], "succeeded");
    assert_eq!(stage.available().await, "11.00");
    stage.audit().await;
}

#[tokio::test]
async fn a_forged_stale_or_replayed_webhook_writes_nothing() {
    let stage = Stage::with_card("owner").await;
    stage.buy("10").await.ok();
    let intent = stage.intent();
    stage.stripe.authenticate(id_of(&intent));
    let body = stage.stripe.event("payment_intent.succeeded", id_of(&intent));
    let now = seconds();
    let good = sign(WEBHOOK_SECRET, now, &body);
    for (name, body, signature) in [
        ("another secret", &body, sign("whsec_other", now, &body)),
        ("another body", &body.replace("1000", "9000"), good.clone()),
        ("too old", &body, sign(WEBHOOK_SECRET, now - 301, &body)),
        ("from the future", &body, sign(WEBHOOK_SECRET, now + 302, &body)),
        ("no signature", &body, format!("t={now}")),
        ("nonsense", &body, "nonsense".into()),
        ("not a digest", &body, format!("t={now},v1=zz")),
    ] {
        let refused = stage.deliver(body, &signature).await;
        assert_eq!((refused.status, &refused.json()["field"]), (400, &json!("stripe-signature")), "{name}");
    }
    let unsigned = stage.server.api("").post("/webhooks/stripe", &json!({})).await;
    assert_eq!((unsigned.status, &unsigned.json()["field"]), (400, &json!("stripe-signature")));
    for body in ["", "[", "{}", r#"{"id":"evt_1","type":"payment_intent.succeeded","data":{"object":{"id":"../x"}}}"#] {
        let refused = stage.webhook(body).await;
        assert_eq!(refused.status, 400, "{body}: {}", refused.body);
    }
    assert_eq!(stage.payments().await[0]["status"], "pending");
    assert_eq!(stage.available().await, "1.00");

    assert_eq!(stage.deliver(&body, &good).await.status, 200);
    let replayed = stage.deliver(&body, &good).await;
    assert_eq!((replayed.status, &replayed.json()["code"]), (409, &json!("conflict")), "{}", replayed.body);
    let again = stage.deliver(&body, &sign(WEBHOOK_SECRET, now + 2, &body)).await.ok();
    assert_eq!(again["repeated"], true, "Stripe signs each delivery anew");
    assert_eq!(stage.available().await, "11.00");
    assert_eq!(stage.server.get("/webhooks/stripe").await.status, 405);
    stage.audit().await;
}

#[tokio::test]
async fn a_refund_takes_its_credits_once_however_it_is_told() {
    let stage = Stage::with_card("visa").await;
    let payment = stage.buy("10").await.ok()["payment"].clone();
    let admin = stage.server.admin();
    let path = format!("/admin/v1/payments/{}/refund", id_of(&payment));
    for (body, field) in [
        (json!({}), "reason"),
        (json!({"reason": ""}), "reason"),
        (json!({"reason": "x", "amount": "0"}), "amount"),
        (json!({"reason": "x", "amount": "-1"}), "amount"),
        (json!({"reason": "x", "amount": "0.001"}), "amount"),
        (json!({"reason": "x", "amount": "10.01"}), "amount"),
    ] {
        let bad = admin.0.post(&path, &body).await;
        assert_eq!((bad.status, &bad.json()["field"]), (400, &json!(field)), "{body}: {}", bad.body);
    }
    assert_eq!(stage.customer.api.post(&path, &json!({"reason": "mine"})).await.status, 401);

    let refunded = admin.0.post(&path, &json!({"amount": "4", "reason": "asked for"})).await.ok();
    assert_eq!(refunded["payment"]["reversed"], "4.00");
    assert_eq!(stage.available().await, "7.00");
    let told = stage.stripe.event("charge.refund.updated", id_of(&stage.stripe.all("refund")[0]));
    assert_eq!(stage.webhook(&told).await.ok()["ignored"], false);
    assert_eq!(stage.available().await, "7.00", "told again");

    let intent = stage.intent();
    stage.stripe.refund(id_of(&intent), 250);
    let told = stage.stripe.event("refund.created", id_of(&stage.stripe.all("refund")[1]));
    let again = stage.stripe.event("charge.refund.updated", id_of(&stage.stripe.all("refund")[0]));
    stage.webhook(&told).await.ok();
    stage.webhook(&again).await.ok();
    assert_eq!(stage.available().await, "4.50");
    let balance = stage.customer.api.get("/v1/balance").await.ok();
    assert_eq!((&balance["tier"]["purchased"], &balance["debt"]), (&json!("3.50"), &json!("0.00")));
    let receipt = stage.customer.api.get(payment["receipt"].as_str().unwrap()).await.ok();
    assert_eq!((&receipt["status"], &receipt["refunded"]), (&json!("partly refunded"), &json!("6.50")));

    stage.stripe.script(Behaviour::DoneThenBroken);
    let rest = admin.0.post(&path, &json!({"reason": "the rest"})).await.ok();
    assert_eq!((&rest["payment"]["reversed"], &rest["refund"]["status"]), (&json!("10.00"), &json!("succeeded")));
    assert_eq!(stage.stripe.all("refund").len(), 3, "the same refund, asked for again");
    assert_eq!(stage.available().await, "1.00");
    let over = admin.0.post(&path, &json!({"reason": "more"})).await;
    assert_eq!((over.status, &over.json()["field"]), (400, &json!("amount")), "{}", over.body);
    stage.audit().await;
}

#[tokio::test]
async fn a_refund_that_is_heard_before_the_payment_takes_what_the_payment_brings() {
    let stage = Stage::with_card("owner").await;
    stage.buy("10").await.ok();
    let intent = stage.intent();
    stage.stripe.authenticate(id_of(&intent));
    let paid = stage.stripe.event("payment_intent.succeeded", id_of(&intent));
    stage.stripe.refund(id_of(&intent), 1_000);
    let refunded = stage.stripe.event("refund.created", id_of(&stage.stripe.all("refund")[0]));
    stage.webhook(&refunded).await.ok();
    stage.webhook(&paid).await.ok();
    let payment = stage.payments().await[0].clone();
    assert_eq!((&payment["status"], &payment["reversed"]), (&json!("succeeded"), &json!("10.00")));
    assert_eq!(stage.available().await, "1.00");
    stage.audit().await;
}

#[tokio::test]
async fn a_dispute_takes_the_credits_and_one_that_is_won_brings_them_back() {
    let stage = Stage::with_card("visa").await;
    stage.buy("25").await.ok();
    let intent = stage.intent();
    let inquiry = stage.stripe.dispute(id_of(&intent), "warning_needs_response");
    stage.webhook(&stage.stripe.event("charge.dispute.created", &inquiry)).await.ok();
    assert_eq!(stage.available().await, "26.00", "an inquiry takes no money");
    stage.stripe.close_dispute(&inquiry, "warning_closed");

    let dispute = stage.stripe.dispute(id_of(&intent), "needs_response");
    let created = stage.stripe.event("charge.dispute.created", &dispute);
    stage.webhook(&created).await.ok();
    stage.webhook(&stage.stripe.event("charge.dispute.funds_withdrawn", &dispute)).await.ok();
    let balance = stage.customer.api.get("/v1/balance").await.ok();
    assert_eq!((&balance["available"], &balance["tier"]["purchased"]), (&json!("1.00"), &json!("0.00")), "{balance}");

    stage.stripe.close_dispute(&dispute, "won");
    let closed = stage.stripe.event("charge.dispute.closed", &dispute);
    let reinstated = stage.stripe.event("charge.dispute.funds_reinstated", &dispute);
    for told in [&closed, &reinstated] {
        stage.webhook(told).await.ok();
        assert_eq!(stage.available().await, "26.00", "once");
    }
    let grants = stage.customer.api.get("/v1/grants").await.ok();
    assert_eq!(grants["data"][0]["source"], "purchase", "back where they came from: {grants}");
    stage.audit().await;
}

#[tokio::test]
async fn spent_credits_whose_payment_is_disputed_are_owed() {
    let openai = FakeOpenAi::start();
    let options = Options::default().calling(openai.url());
    let stage = Stage::with(options, SECRET_KEY).await;
    stage.save("visa").await.ok();
    stage.buy("10").await.ok();
    // The free dollar is drawn first: what is asked costs more than that.
    let body = json!({"model": "gpt-4.1", "max_tokens": 6, "messages": [{"role": "user", "content": "long ".repeat(500_000)}]});
    let answered = stage.post("/v1/chat/completions", body.clone()).await;
    assert_eq!(answered.status, 200, "{}", answered.body);
    let spent: billing::Nanos = answered.header("x-farebox-cost").unwrap().parse().unwrap();
    let dispute = stage.stripe.dispute(id_of(&stage.intent()), "needs_response");
    stage.webhook(&stage.stripe.event("charge.dispute.created", &dispute)).await.ok();
    let balance = stage.customer.api.get("/v1/balance").await.ok();
    let owed = spent - billing::Nanos::dollars(1);
    assert_eq!((&balance["available"], &balance["debt"]), (&json!("0.00"), &json!(owed)), "{balance}");
    assert_eq!(stage.post("/v1/chat/completions", body).await.status, 402);
    stage.audit().await;
}

#[tokio::test]
async fn what_does_not_matter_here_is_acknowledged_and_ignored() {
    let stage = Stage::with_card("visa").await;
    stage.buy("10").await.ok();
    let customer = stage.stripe.event("customer.updated", id_of(&stage.stripe.all("customer")[0]));
    let ignored = stage.webhook(&customer).await.ok();
    assert_eq!((&ignored["received"], &ignored["ignored"]), (&json!(true), &json!(true)));
    let odd = r#"{"id":"evt_odd","type":"something.new","data":{"object":{"id":7,"payment_intent":{}}}}"#;
    assert_eq!(stage.webhook(odd).await.ok()["ignored"], true);
    assert_eq!(stage.available().await, "11.00");
    stage.audit().await;
}

#[tokio::test]
async fn a_wrong_key_charges_nothing_and_answers_that_it_is_not_known() {
    let stage = Stage::with(Options::default(), "sk_test_revoked").await;
    let refused = stage.post("/v1/payment-methods", json!({})).await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(!stage.server.logs().contains("sk_test_revoked"));
    assert!(stage.stripe.all("customer").is_empty());
    stage.audit().await;
}
