//! Actors that are restarted while they work: an account's, that of deliveries, the maker of tables. Nobody notices: no request
//! fails, nothing is lost, and nothing is done twice.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::operated::{ask, chat, freeze};
use crate::support::{
    client::{Answer, Customer},
    fake_openai::{Behaviour, FakeOpenAi},
    receiver::{Behaviour as Receives, Call, Receiver},
    server::{Options, Server},
    socket::Socket,
};

async fn stage() -> (FakeOpenAi, Server, Customer) {
    let fake = FakeOpenAi::start();
    let options = Options::default().calling(fake.url()).set("FAREBOX_WEBHOOKS__ALLOW_PRIVATE", "true");
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    (fake, server, customer)
}

async fn restart(server: &Server, actor: &str) -> Answer {
    server.admin().0.post("/admin/v1/actors/restart", &json!({"actor": actor, "reason": "to see it"})).await
}

#[tokio::test]
async fn an_account_is_restarted_under_load_and_nobody_notices() {
    let (fake, mut server, customer) = stage().await;
    let account = format!("account {}", customer.id);
    let mut watcher = Socket::open(server.url(), &customer.key).await;
    watcher.next_of("balance").await;
    fake.script(Behaviour::Slow(300));
    let started = customer.api.request(Method::POST, "/v1/chat/completions").json(&chat(true)).send();
    let mut stream = started.await.unwrap();
    let load = (0..80).map(|_| ask(&customer.api));
    let restarts = async {
        for _ in 0..12 {
            let restarted = restart(&server, &account).await;
            assert_eq!(restarted.ok()["done"], "restarted", "{}", restarted.body);
        }
    };
    let bought = json!({"amount": "10", "payment_method": "pm_card_visa"});
    let (answers, (), bought) =
        tokio::join!(futures::future::join_all(load), restarts, customer.api.post("/v1/credits/purchase", &bought));
    assert_eq!(bought.status, 200, "{}", bought.body);
    let failed: Vec<_> = answers.iter().filter(|answer| answer.status != 200).map(|answer| &answer.body).collect();
    assert!(failed.is_empty(), "{failed:?}");
    let mut text = String::new();
    while let Some(chunk) = stream.chunk().await.unwrap() {
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(text.contains("[DONE]"), "{text}");
    let records = customer.settled(81).await;
    assert!(records.iter().all(|record| record["ending"] == "completed" && record["cost"] != "0.00"), "{records:?}");
    // Who watches goes on to be told.
    server.admin().grant(&customer.id, "goodwill", "77").await;
    let more = |frame: &Value| frame["available"].as_str().unwrap().parse::<f64>().unwrap() > 77.0;
    while !more(&watcher.next_of("balance").await) {}
    let refused = restart(&server, "account nobody").await;
    assert_eq!((refused.status, &refused.json()["field"]), (400, &json!("actor")), "{}", refused.body);
    server.restart().await;
    let asleep = restart(&server, &account).await;
    assert!(asleep.status == 409 && asleep.body.contains("not in memory"), "{}", asleep.body);
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn deliveries_and_the_maker_of_tables_are_restarted_and_nothing_is_lost_or_done_twice() {
    let (_fake, server, customer) = stage().await;
    let receiver = Receiver::start();
    receiver.always("/slow", Receives::Slow(700));
    let hook = json!({"url": receiver.url("/slow"), "events": ["account_frozen", "account_unfrozen"]});
    customer.api.post("/v1/webhooks", &hook).await.ok();
    for round in 0..6 {
        let act = if round % 2 == 0 { "freeze" } else { "unfreeze" };
        let (acted, asked, delivering, projecting) = tokio::join!(
            freeze(&server, &customer.id, act),
            customer.api.get("/v1/usage"),
            restart(&server, "webhook"),
            restart(&server, "projector"),
        );
        for answer in [acted, asked, delivering, projecting] {
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
        // A call may be under way now.
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(restart(&server, "webhook").await.status, 200);
    }
    let began = Instant::now();
    while receiver.calls("/slow").len() < 6 {
        assert!(began.elapsed() < Duration::from_mins(1), "{} calls", receiver.calls("/slow").len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Longer than it takes to find that one is due still.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let kinds: Vec<String> = receiver.calls("/slow").iter().map(Call::kind).collect();
    assert_eq!(kinds, ["account_frozen", "account_unfrozen"].repeat(3), "each once, in order");
    assert_eq!(ask(&customer.api).await.status, 200);
    assert_eq!(customer.settled(1).await.len(), 1, "the tables are made");
    for (actor, says) in [
        ("journal", "only writer"),
        ("supervisor", "start others"),
        ("pool 7B", "no model in memory"),
        ("provider nobody", "none of this name"),
        ("payment other", "there is one"),
    ] {
        let refused = restart(&server, actor).await;
        assert!(refused.status == 409 && refused.body.contains(says), "{actor}: {}", refused.body);
    }
    for (actor, says) in [("pool 7b", "there is no pool 7b; there are 7B"), ("engine", "must be engine and its model")]
    {
        let refused = restart(&server, actor).await;
        assert!(refused.status == 400 && refused.body.contains(says), "{actor}: {}", refused.body);
    }
    assert_eq!(restart(&server, "provider").await.ok()["done"], "restarted", "all of them");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn payments_and_refunds_are_carried_on_while_their_actor_is_restarted() {
    let (_fake, server, customer) = stage().await;
    let buy = async |card: &'static str| {
        let wanted = json!({"amount": "10", "payment_method": card});
        customer.api.post("/v1/credits/purchase", &wanted).await
    };
    // One waits for its owner, and goes on so.
    let waiting = buy("pm_card_authenticationRequired").await;
    assert_eq!(waiting.status, 202, "{}", waiting.body);
    let waiting = waiting.json()["payment"]["id"].as_str().unwrap().to_owned();
    let cards = ["pm_card_visa", "pm_card_timesOutThenSucceeds", "pm_card_duplicatesWebhook", "pm_card_visa"];
    let purchases = futures::future::join_all(cards.map(buy));
    let restarts = async {
        for _ in 0..8 {
            assert_eq!(restart(&server, "payment").await.ok()["done"], "restarted");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    let (bought, ()) = tokio::join!(purchases, restarts);
    for answer in &bought {
        assert_eq!((answer.status, &answer.json()["payment"]["status"]), (200, &json!("succeeded")), "{}", answer.body);
    }
    let grants = customer.api.get("/v1/grants").await.ok();
    let paid = grants["data"].as_array().unwrap().iter().filter(|grant| grant["source"] == "purchase").count();
    assert_eq!(paid, 4, "each once: {grants}");
    // Refunds, too, of which each is made once.
    let admin = server.admin();
    let refunds = bought.iter().map(|answer| {
        let id = answer.json()["payment"]["id"].as_str().unwrap().to_owned();
        let body = json!({"amount": "4", "reason": "to see it"});
        let (api, path) = (&admin.0, format!("/admin/v1/payments/{id}/refund"));
        async move { api.post(&path, &body).await }
    });
    let (given, restarted) = tokio::join!(futures::future::join_all(refunds), restart(&server, "payment"));
    assert_eq!(restarted.status, 200, "{}", restarted.body);
    for answer in given {
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let approved =
        customer.api.post(&format!("/v1/payments/{waiting}/authenticate"), &json!({"verdict": "approve"})).await;
    assert_eq!(approved.status, 200, "{}", approved.body);
    let payments = customer.api.get("/v1/payments").await.ok();
    for payment in payments["data"].as_array().unwrap() {
        let reversed = if payment["id"] == waiting.as_str() { "0.00" } else { "4.00" };
        assert_eq!((&payment["status"], &payment["reversed"]), (&json!("succeeded"), &json!(reversed)), "{payment}");
    }
    // Lives whose place was taken end.
    let began = Instant::now();
    loop {
        let overview = admin.0.get("/admin/v1/overview").await.ok();
        let kinds = overview["kinds"].as_array().unwrap();
        let live = &kinds.iter().find(|kind| kind["kind"] == "payment").unwrap()["live"];
        if *live == 1 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{live} lives");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    admin.assert_audit().await;
}
