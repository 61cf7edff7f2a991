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
    for (actor, says) in [("payment", "card processor"), ("pool 7B", "drain"), ("journal", "only writer")] {
        let refused = restart(&server, actor).await;
        assert!(refused.status == 409 && refused.body.contains(says), "{actor}: {}", refused.body);
    }
    server.admin().assert_audit().await;
}
