//! Cards on the dashboard: in the sandbox by forms alone, with Stripe in Chromium by a form of Stripe's own; and a payment that
//! waits for its card's owner.

use reqwest::header::{CONTENT_SECURITY_POLICY, LOCATION};
use serde_json::{Value, json};

use crate::{
    dashboard::visitor,
    stripe::{Stage, id_of},
    support::{
        browser::Browser,
        client::Customer,
        fake_stripe::{PUBLISHABLE_KEY, SECRET_KEY},
        pages::hidden,
        server::{Options, Server},
    },
};

/// With Stripe's form on the dashboard.
async fn with_form() -> Stage {
    let options = Options::default().set("FAREBOX_PAYMENTS__STRIPE__PUBLISHABLE_KEY", PUBLISHABLE_KEY);
    Stage::with_script(options, SECRET_KEY).await
}

async fn saved(customer: &Customer) -> Vec<Value> {
    customer.api.get("/v1/payment-methods").await.ok()["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn test_cards_are_saved_chosen_and_removed_by_forms_alone() {
    let server = Server::start(Options::default()).await;
    let customer = server.admin().customer("free", "0").await;
    let visitor = visitor(&server, &customer.key).await;
    let page = visitor.get("/credits").await.body;
    assert!(page.contains("No card is saved"), "{page}");
    for card in ["pm_card_visa", "pm_card_mastercard"] {
        let once = hidden(&visitor.get("/credits").await.body, "once");
        for _ in 0..2 {
            let sent = visitor.send("/credits/cards", &[("once", &once), ("card", card)]).await;
            assert_eq!((sent.status, sent.header(LOCATION.as_str())), (303, Some("/dashboard/credits?said=saved")));
        }
    }
    let [mastercard, visa] = &saved(&customer).await[..] else { panic!("two cards") };
    assert_eq!((&visa["default"], &mastercard["default"]), (&json!(true), &json!(false)));
    let id = id_of(mastercard);
    let chosen = visitor.send(&format!("/credits/cards/{id}/default"), &[]).await;
    assert_eq!(chosen.status, 303, "{}", chosen.body);
    assert_eq!(saved(&customer).await[0]["default"], true);
    let removed = visitor.send(&format!("/credits/cards/{}/remove", id_of(visa)), &[]).await;
    assert_eq!((removed.status, removed.header(LOCATION.as_str())), (303, Some("/dashboard/credits?said=removed")));
    assert_eq!(saved(&customer).await.len(), 1);
    // What is no card, what is somebody else's, and who may not.
    let once = hidden(&visitor.get("/credits").await.body, "once");
    let none = visitor.send("/credits/cards", &[("once", &once), ("card", "4242424242424242")]).await;
    assert!(none.status == 400 && none.body.contains("is no test card"), "{}", none.body);
    let form = visitor.send("/credits/cards/begin", &[("once", &once)]).await;
    assert!(form.status == 400 && form.body.contains("not saved on this page"), "{}", form.body);
    let other = server.admin().customer("free", "0").await;
    let theirs = crate::dashboard::visitor(&server, &other.key).await;
    for act in ["default", "remove"] {
        let refused = theirs.send(&format!("/credits/cards/{id}/{act}"), &[]).await;
        assert_eq!(refused.status, 404, "{}", refused.body);
    }
    assert_eq!(saved(&customer).await.len(), 1);
    let key = customer.api.post("/v1/keys", &json!({"name": "reads", "scopes": ["read"]})).await.ok();
    let reader = crate::dashboard::visitor(&server, key["key"].as_str().unwrap()).await;
    let refused = reader.send(&format!("/credits/cards/{id}/remove"), &[]).await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_test_card_whose_bank_asks_is_answered_on_the_payments_page() {
    let server = Server::start(Options::default()).await;
    let customer = server.admin().customer("free", "0").await;
    let visitor = visitor(&server, &customer.key).await;
    for (says, status, told) in [("approve", "succeeded", "paid"), ("refuse", "declined", "declined")] {
        let once = hidden(&visitor.get("/credits").await.body, "once");
        let card = "pm_card_authenticationRequired";
        let bought = visitor.send("/credits/buy", &[("once", &once), ("amount", "10"), ("card", card)]).await;
        let its_page = bought.header(LOCATION.as_str()).unwrap().to_owned();
        let id = its_page.strip_prefix("/dashboard/credits/payments/").unwrap();
        assert_eq!(bought.status, 303, "{}", bought.body);
        let page = visitor.get(&format!("/credits/payments/{id}")).await;
        assert!(page.body.contains("You are its owner"), "{}", page.body);
        let listed = visitor.get("/credits").await.body;
        assert!(listed.contains(&its_page), "{listed}");
        let odd = visitor.send(&format!("/credits/payments/{id}/verdict"), &[("verdict", "perhaps")]).await;
        assert_eq!(odd.status, 400, "{}", odd.body);
        let sent = visitor.send(&format!("/credits/payments/{id}/verdict"), &[("verdict", says)]).await;
        assert_eq!(sent.status, 303, "{}", sent.body);
        let payments = customer.api.get("/v1/payments").await.ok();
        assert_eq!(id_of(&payments["data"][0]), id, "the newest is first");
        let payment = customer.api.get(&format!("/v1/payments/{id}")).await.ok();
        assert_eq!(payment["status"], status);
        let page = visitor.get(&format!("/credits/payments/{id}")).await.body;
        assert!(page.contains(&format!("$10.00, {told}")) && !page.contains("You are its owner"), "{page}");
    }
    let theirs = server.admin().customer("free", "0").await;
    let theirs = crate::dashboard::visitor(&server, &theirs.key).await;
    let payments = customer.api.get("/v1/payments").await.ok();
    let id = id_of(&payments["data"][0]).to_owned();
    assert_eq!(theirs.get(&format!("/credits/payments/{id}")).await.status, 404);
    assert_eq!(theirs.get("/credits/payments/none").await.status, 400);
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn with_stripe_a_card_goes_from_the_browser_to_stripe_and_a_bank_is_answered() {
    let stage = with_form().await;
    let Some(browser) = Browser::start().await else { return };
    let at = |page: &str| format!("{}/dashboard{page}", stage.server.url());
    browser.open(&at("/credits")).await;
    browser.fill("#key", &stage.customer.key).await;
    browser.click("#by-key button").await;
    browser.click("#cards form[action$='/begin'] button").await;
    // A number that Stripe refuses is said where it was typed, and may be typed again.
    browser.fill_in_frame("#stripe-frame", "#number", "4242").await;
    browser.click("#save-card button").await;
    browser.sees("#save-card [role=alert]", |text| text.contains("card number is incorrect")).await;
    for (width, is_dark) in [(390, false), (1280, true)] {
        browser.show(width, is_dark).await;
        browser.keep_picture(&format!("card-{width}-{}", if is_dark { "dark" } else { "light" })).await;
        assert_eq!(browser.barriers().await, Vec::<String>::new());
    }
    browser.fill_in_frame("#stripe-frame", "#number", "4000002760003184").await;
    browser.click("#save-card button").await;
    browser.sees("[role=status]", |text| text.contains("The card is saved")).await;
    browser.sees("#cards td", |text| text.contains("visa ending in 3184")).await;
    assert_eq!(saved(&stage.customer).await[0]["last4"], "3184");
    // Its bank asks at each payment: the owner answers in the browser, and Stripe tells the gateway.
    browser.fill("#amount", "15").await;
    browser.click("#buy button").await;
    browser.sees("#confirm-payment", |text| text.contains("wants you to confirm")).await;
    browser.keep_picture("payment-1280-dark").await;
    assert_eq!(browser.barriers().await, Vec::<String>::new());
    browser.click("#confirm-payment button").await;
    browser.sees("[role=status]", |text| text.contains("goes on by itself")).await;
    let intent = stage.intent();
    assert_eq!((&intent["status"], &intent["amount"]), (&json!("succeeded"), &json!(1_500)));
    stage.webhook(&stage.stripe.event("payment_intent.succeeded", id_of(&intent))).await.ok();
    browser.sees("[data-live=available]", |text| text.starts_with("16.")).await;
    browser.close().await;
    stage.audit().await;
}

#[tokio::test]
async fn only_pages_that_speak_with_stripe_may_and_other_peoples_setups_are_refused() {
    let stage = with_form().await;
    let visitor = visitor(&stage.server, &stage.customer.key).await;
    let policy =
        |page: &crate::support::client::Answer| page.header(CONTENT_SECURITY_POLICY.as_str()).unwrap().to_owned();
    let credits = visitor.get("/credits").await;
    assert!(!policy(&credits).contains("frame-src"), "{}", policy(&credits));
    let once = hidden(&credits.body, "once");
    let form = visitor.send("/credits/cards/begin", &[("once", &once)]).await;
    assert_eq!(form.status, 200, "{}", form.body);
    for part in [&format!("script-src 'self' {}", stage.stripe.url()), "frame-ancestors 'none'", "default-src 'none'"] {
        assert!(policy(&form).contains(part), "{}", policy(&form));
    }
    assert!(form.body.contains(PUBLISHABLE_KEY) && !form.body.contains(SECRET_KEY));
    // Begun twice, it is one setup.
    let again = visitor.send("/credits/cards/begin", &[("once", &once)]).await;
    let setup = hidden(&form.body, "setup_intent");
    assert_eq!(hidden(&again.body, "setup_intent"), setup);
    let early = visitor.send("/credits/cards", &[("once", &once), ("setup_intent", &setup)]).await;
    assert!(early.status == 400 && early.body.contains("role=\"alert\""), "{}", early.body);
    // Where a bank leads back to, what is asked for is a form: looking saves nothing.
    stage.stripe.finish_setup(&setup, "visa");
    let back =
        format!("/credits/cards/finish?setup_intent={setup}&setup_intent_client_secret=x&redirect_status=succeeded");
    let back = visitor.get(&back).await;
    assert_eq!(hidden(&back.body, "setup_intent"), setup);
    assert!(saved(&stage.customer).await.is_empty());
    let failed = visitor.get(&format!("/credits/cards/finish?setup_intent={setup}&redirect_status=failed")).await;
    assert!(failed.body.contains("did not agree"), "{}", failed.body);
    assert_eq!(visitor.get("/credits/cards/finish").await.status, 400);
    let other = stage.server.admin().customer("free", "0").await;
    let theirs = crate::dashboard::visitor(&stage.server, &other.key).await;
    let once = hidden(&theirs.get("/credits").await.body, "once");
    let stolen = theirs.send("/credits/cards", &[("once", &once), ("setup_intent", &setup)]).await;
    assert!(stolen.status == 400 && saved(&other).await.is_empty(), "{}", stolen.body);
    let once = hidden(&back.body, "once");
    let kept = visitor.send("/credits/cards", &[("once", &once), ("setup_intent", &setup)]).await;
    assert_eq!(kept.status, 303, "{}", kept.body);
    assert_eq!(saved(&stage.customer).await[0]["last4"], "4242");
}
