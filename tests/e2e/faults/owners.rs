//! Accounts change their owners at the very moment at which something of theirs is due: a reload, a renewal, an expiry. Each
//! is done once, whoever does it.

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::json;

use crate::support::{
    client::answer,
    cluster::{Cluster, Outcome, PATIENCE, Patron, chat},
    fake_stripe::{Behaviour, FakeStripe, SECRET_KEY, WEBHOOK_SECRET},
    postgres,
    server::Options,
};

/// Each changes the owner of all 16 shards.
const ROUNDS: usize = 13;
/// All shards are free, as if another node had taken them and died.
const TAKEN_AWAY: &str = "UPDATE shard_lease SET node = NULL, epoch = epoch + 1, expires_at = 0, version = version + 1; \
                          NOTIFY farebox_shards";

/// Nodes that charge cards at the stand-in for Stripe.
fn with_stripe(stripe: &FakeStripe) -> impl Fn(Options) -> Options + use<> {
    let address = stripe.url().to_owned();
    move |options| {
        options
            .set("FAREBOX_PAYMENTS__PROCESSOR", "stripe")
            .set("FAREBOX_PAYMENTS__STRIPE__SECRET_KEY", SECRET_KEY)
            .set("FAREBOX_PAYMENTS__STRIPE__WEBHOOK_SECRET", WEBHOOK_SECRET)
            .set("FAREBOX_PAYMENTS__STRIPE__BASE_URL", &address)
    }
}

/// Saves a card at the stand-in for Stripe.
async fn save_card(cluster: &Cluster, stripe: &FakeStripe, patron: &Patron) {
    let api = cluster.nodes[0].server.api(&patron.key);
    let begun = api.post("/v1/payment-methods", &json!({})).await.ok();
    let setup = begun["setup_intent"]["id"].as_str().unwrap();
    stripe.finish_setup(setup, "visa");
    api.post("/v1/payment-methods", &json!({"setup_intent": setup})).await.ok();
}

/// Whether something expires in a round, too. Each such round waits for that.
const fn has_expiry(round: usize) -> bool {
    round.is_multiple_of(4)
}

/// Has the next spending buy a dollar, and no later one; a cent expires in a moment, too, in some rounds.
async fn make_due(cluster: &Cluster, patron: &Patron, turn: usize) {
    let api = cluster.nodes[turn % 2].server.api(&patron.key);
    let grants = format!("/admin/v1/accounts/{}/grants", patron.id);
    while has_expiry(turn) {
        let soon = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap() + 1_500;
        let cent = json!({"source": "promo", "amount": "0.01", "reason": "test", "expires_at": soon});
        let granted = cluster.nodes[turn % 2].admin().0.post(&grants, &cent).await;
        // On a busy machine it may be too late already.
        if granted.status != 400 {
            granted.ok();
            break;
        }
    }
    let balance = api.get("/v1/balance").await.ok();
    let cents = (balance["available"].as_str().unwrap().parse::<f64>().unwrap() * 100.0).ceil();
    let reload = json!({"enabled": true, "threshold": format!("{:.2}", cents / 100.0), "amount": "1"});
    answer(api.request(Method::PUT, "/v1/auto-reload").json(&reload)).await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_changes_of_owners_charge_each_reload_once_and_expire_each_grant_once() {
    let Some(url) = postgres::fresh_database() else { return };
    let stripe = FakeStripe::start();
    let cluster = Cluster::at(url, 2, with_stripe(&stripe)).await;
    let mut patrons = cluster.patrons(8).await;
    for patron in &patrons {
        save_card(&cluster, &stripe, patron).await;
    }
    for round in 1..=ROUNDS {
        futures::future::join_all(patrons.iter().map(|patron| make_due(&cluster, patron, round))).await;
        let change = tokio::task::spawn_blocking({
            let url = cluster.url.clone();
            move || postgres::query(&url, TAKEN_AWAY).unwrap()
        });
        let spend = async |patron: &mut Patron| {
            let began = std::time::Instant::now();
            loop {
                match chat(cluster.nodes[round % 2].server.url(), &patron.key).await {
                    Outcome::Told(id, cost) => return patron.told.push((id, cost)),
                    Outcome::NotNow(..) | Outcome::Refused | Outcome::Broken => assert!(began.elapsed() < PATIENCE),
                }
            }
        };
        futures::future::join_all(patrons.iter_mut().map(spend)).await;
        change.await.unwrap();
        // What is due is done by whoever owns the account then.
        let of = |rounds: usize| i64::try_from(rounds * patrons.len()).unwrap();
        let expected = (of(round), of((1..=round).filter(|round| has_expiry(*round)).count()));
        let reloads = "SELECT COUNT(*) FROM payment WHERE purpose = 'auto_reload' AND status = 'succeeded'";
        let expired = "SELECT COUNT(*) FROM credit_grant WHERE expired > 0 AND available + held = 0";
        let began = std::time::Instant::now();
        while (cluster.number(reloads), cluster.number(expired)) != expected {
            let each = "SELECT account_id, purpose, status, COUNT(*) FROM payment GROUP BY 1, 2, 3 ORDER BY 1";
            let late = began.elapsed() >= PATIENCE;
            assert!(!late, "round {round}: {} expired\n{}", cluster.number(expired), cluster.query(each));
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    let all = ROUNDS * patrons.len();
    let intents = stripe.all("payment_intent");
    assert!(intents.iter().all(|intent| intent["status"] == "succeeded"), "{intents:?}");
    assert_eq!(intents.len(), all, "a card was charged twice");
    let grants = cluster.number("SELECT COUNT(*) FROM credit_grant WHERE source = 'auto_reload'");
    assert_eq!(usize::try_from(grants).unwrap(), all);
    let twice = "SELECT COUNT(*) FROM credit_grant g WHERE expired <> \
                 (SELECT COALESCE(SUM(d_expired), 0) FROM journal WHERE grant_id = g.id)";
    assert_eq!(cluster.number(twice), 0, "a grant expired twice");
    assert!(cluster.number("SELECT MIN(epoch) FROM shard_lease") > i64::try_from(ROUNDS).unwrap());
    cluster.assert_right(&patrons).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_that_is_due_as_its_account_changes_its_owner_is_paid_once() {
    const FOUR_WEEKS: u64 = 28 * 86_400;
    let Some(url) = postgres::fresh_database() else { return };
    let cluster = Cluster::at(url, 2, |options| options.set("FAREBOX_CLOCK", "test")).await;
    let mut patrons = Vec::new();
    for turn in 0..12 {
        let customer = cluster.nodes[turn % 2].admin().customer("free", "0").await;
        let api = cluster.nodes[turn % 2].server.api(&customer.key);
        api.post("/v1/payment-methods", &json!({"card": "pm_card_visa"})).await.ok();
        api.post("/v1/subscription", &json!({"payment_method": "pm_card_visa"})).await.ok();
        patrons.push(customer);
    }
    for cycle in 1..=4 {
        // All nodes have one time.
        let advance = cluster.nodes.iter().map(|node| async { node.admin().advance(FOUR_WEEKS + 1).await });
        let change = tokio::task::spawn_blocking({
            let url = cluster.url.clone();
            move || postgres::query(&url, TAKEN_AWAY).unwrap()
        });
        futures::future::join_all(advance).await;
        change.await.unwrap();
        let expected = i64::try_from((cycle + 1) * patrons.len()).unwrap();
        let paid = "SELECT COUNT(*) FROM payment WHERE purpose = 'subscription' AND status = 'succeeded'";
        cluster.until("renewed", async || cluster.number(paid) == expected).await;
        let begun = "SELECT COUNT(*) FROM payment WHERE purpose = 'subscription'";
        assert_eq!(cluster.number(begun), expected, "a renewal was begun twice");
        let funded = "SELECT COUNT(*) FROM credit_grant WHERE source = 'plan'";
        assert_eq!(cluster.number(funded), expected, "a cycle has its credits twice");
    }
    for node in &cluster.nodes {
        for patron in &patrons {
            let balance = node.server.api(&patron.key).get("/v1/balance").await.ok();
            assert_eq!(balance["available"], "5.00", "{balance}");
        }
    }
    cluster.nodes[0].admin().assert_audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purchase_that_waits_as_its_account_changes_its_owner_is_charged_once_and_never_denied() {
    let Some(url) = postgres::fresh_database() else { return };
    let stripe = FakeStripe::start();
    let cluster = Cluster::at(url, 2, with_stripe(&stripe)).await;
    let patrons = cluster.patrons(4).await;
    for patron in &patrons {
        save_card(&cluster, &stripe, patron).await;
    }
    for round in 0..3 {
        for _ in &patrons {
            stripe.script(Behaviour::DoneThenSlow(1_000));
        }
        let buys = patrons.iter().map(|patron| {
            let api = cluster.nodes[round % 2].server.api(&patron.key);
            async move { api.post("/v1/credits/purchase", &json!({"amount": "10"})).await }
        });
        let change = async {
            // By then the card network is asked.
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            let url = cluster.url.clone();
            tokio::task::spawn_blocking(move || postgres::query(&url, TAKEN_AWAY).unwrap()).await.unwrap();
        };
        let (bought, ()) = tokio::join!(futures::future::join_all(buys), change);
        for bought in bought {
            assert!(bought.status < 300, "{}", bought.body);
            let status = bought.json()["payment"]["status"].clone();
            assert!(status == "succeeded" || status == "pending", "{}", bought.body);
        }
    }
    let all = 3 * patrons.len();
    let paid = "SELECT COUNT(*) FROM payment WHERE status = 'succeeded'";
    cluster.until("paid", async || usize::try_from(cluster.number(paid)).unwrap() == all).await;
    assert_eq!(stripe.all("payment_intent").len(), all, "a card was charged twice");
    assert_eq!(
        cluster.number("SELECT COUNT(*) FROM credit_grant WHERE source = 'purchase'"),
        i64::try_from(all).unwrap()
    );
    cluster.assert_right(&patrons).await;
}
