//! A ledger of an earlier version: what its binary left when it was killed is taken over whole, on both databases.

use std::time::{Duration, Instant};

use billing::Nanos;
use serde_json::json;

use crate::support::{
    client::{Answer, Api},
    fake_openai::FakeOpenAi,
    server::Server,
    test_ledger::TestLedger,
    upgraded,
};

const DAY: u64 = 86_400;

async fn amount(api: &Api, name: &str) -> Nanos {
    api.get("/v1/balance").await.ok()[name].as_str().unwrap().parse().unwrap()
}

async fn chat(api: &Api) -> Answer {
    let body = json!({"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]});
    api.post("/v1/chat/completions", &body).await
}

async fn taken_over(ledger: TestLedger) {
    let old = upgraded::old_ledger(&ledger);
    let (said, clock) = (&old["accounts"], format!("test:{}", old["at"].as_str().unwrap()));
    let provider = FakeOpenAi::start();
    let options = ledger.options().calling(provider.url()).set("FAREBOX_CLOCK", &clock);
    let mut server = Server::start(options).await;
    server.admin().assert_audit().await;
    let key = |name: &str| said[name]["key"].as_str().unwrap().to_owned();
    for name in ["ada", "bob", "eve", "limited"] {
        let api = server.api(&key(name));
        let balance = api.get("/v1/balance").await.ok();
        for part in ["available", "held", "debt", "tier"] {
            assert_eq!(balance[part], said[name]["balance"][part], "{name}: {part}");
        }
        let requests = api.get("/v1/requests?limit=100").await.ok();
        // What was counted is there as quantities; at which rates it was charged was not kept.
        for request in requests["data"].as_array().unwrap() {
            let listed = |of: &str| -> u64 {
                let all = request["quantities"].as_array().unwrap().iter();
                let like = all.filter(|part| part["quantity"].as_str().unwrap().starts_with(of));
                like.map(|part| part["amount"].as_u64().unwrap()).sum()
            };
            let counted = ["input_tokens", "output_tokens"].map(|count| request[count].as_u64().unwrap());
            assert_eq!(["tokens.input", "tokens.output"].map(listed), counted, "{request}");
        }
        // A limited key sees its own alone now.
        let count = if name == "limited" { json!(4) } else { said[name]["requests"].clone() };
        assert_eq!(requests["data"].as_array().unwrap().len(), count, "{name}");
        if name == "limited" {
            assert_eq!(api.get("/v1/payments").await.status, 403, "nor what its account pays");
            continue;
        }
        let payments = api.get("/v1/payments").await.ok();
        for (is, was) in payments["data"].as_array().unwrap().iter().zip(said[name]["payments"].as_array().unwrap()) {
            for part in ["id", "amount", "status"] {
                assert_eq!(is[part], was[part], "{name}: {part}");
            }
        }
    }
    // The request that ran when it died holds nothing any more, and cost nothing, or what its provider was told to do.
    let dan = server.api(&key("dan"));
    assert_eq!((amount(&dan, "held").await, amount(&dan, "debt").await), (Nanos::ZERO, Nanos::ZERO));
    // What was given back in parts is rounded once; the rest can be given back too.
    let bob = server.api(&key("bob"));
    let payments = bob.get("/v1/payments").await.ok();
    let first = payments["data"].as_array().unwrap().iter().find(|payment| payment["amount"] == "10.00").unwrap();
    let path = format!("/admin/v1/payments/{}/refund", first["id"].as_str().unwrap());
    server.admin().0.post(&path, &json!({"reason": "all of it"})).await.ok();
    server.admin().assert_audit().await;
    // Each account is used as before; the key goes on from what it had used of its day's and its whole limit.
    for name in ["ada", "bob", "eve", "dan"] {
        chat(&server.api(&key(name))).await.ok();
    }
    let limited = server.api(&key("limited")).get("/v1/keys").await.ok();
    for window in ["day", "total"] {
        assert_eq!(limited["data"][0]["limits"][window]["used"], "0.00126072", "{limited}");
    }
    bob.post("/v1/credits/purchase", &json!({"amount": "10"})).await.ok();
    server.admin().assert_audit().await;
    // Renewals, reloads and expiries that were due, and a second start.
    server.admin().advance(29 * DAY).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    let eve = server.api(&key("eve"));
    while eve.get("/v1/payments").await.ok()["data"].as_array().unwrap().len() < 2 {
        assert!(Instant::now() < deadline, "the subscription is not renewed\n{}", server.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.admin().assert_audit().await;
    assert!(server.stop().await.success(), "{}", server.logs());
}

#[tokio::test]
async fn a_sqlite_ledger_of_before_reversals_is_taken_over() {
    taken_over(TestLedger::sqlite()).await;
}

#[tokio::test]
async fn a_postgresql_ledger_of_before_reversals_is_taken_over() {
    let Some(ledger) = TestLedger::postgres() else { return };
    taken_over(ledger).await;
}
