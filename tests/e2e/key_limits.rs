//! A key's limit binds what runs, not only what enters: what is sent upstream is cut to what the limit pays, an engine is
//! stopped where it is used up, and requests that run together pass it together no more than alone.

use billing::Nanos;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    open,
    support::{
        client::{Api, Customer, answer},
        fake_openai::{Behaviour, FakeOpenAi},
        server::{Options, Server},
    },
};

async fn stage() -> (FakeOpenAi, Server, Customer) {
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().calling(fake.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    (fake, server, customer)
}

#[tokio::test]
async fn limits_are_an_object() {
    let server = Server::start(Options::default()).await;
    let customer = server.admin().customer("payg", "5").await;
    for limits in [json!(["1", null, null, null]), json!([]), json!("1"), Value::Null] {
        let refused = customer.api.post("/v1/keys", &json!({"name": "n", "limits": limits})).await;
        assert_eq!((refused.status, &refused.json()["field"]), (400, &json!("limits")), "{limits} {}", refused.body);
    }
}

async fn limited(server: &Server, customer: &Customer, limits: Value) -> (String, Api) {
    let made = customer.api.post("/v1/keys", &json!({"limits": limits})).await.ok();
    (made["id"].as_str().unwrap().to_owned(), server.api(made["key"].as_str().unwrap()))
}

fn hello(stream: bool) -> Value {
    json!({"model": "gpt-4o-mini", "stream": stream, "messages": [{"role": "user", "content": "Say hello to me"}]})
}

fn nanos(text: &Value) -> Nanos {
    text.as_str().unwrap().parse().unwrap()
}

async fn used(customer: &Customer, key: &str, window: &str) -> Nanos {
    let listed = customer.api.get("/v1/keys").await.ok();
    let key = listed["data"].as_array().unwrap().iter().find(|it| it["id"] == key).unwrap().clone();
    nanos(&key["limits"][window]["used"])
}

#[tokio::test]
async fn a_closed_request_is_sent_no_more_than_its_keys_limit_pays() {
    let (fake, server, customer) = stage().await;
    for stream in [false, true] {
        let (id, key) = limited(&server, &customer, json!({"total": "0.001", "day": "5"})).await;
        fake.script(Behaviour::Fills);
        let said = key.post("/v1/chat/completions", &hello(stream)).await;
        assert_eq!(said.status, 200, "{}", said.body);
        let sent = fake.requests().pop().unwrap();
        let most = sent.get("max_completion_tokens").or_else(|| sent.get("max_tokens")).and_then(Value::as_u64);
        assert!(most.is_some_and(|most| (1_500..1_640).contains(&most)), "{sent}");
        assert!(said.body.contains("key_limit") && said.body.contains("\"length\""), "{}", said.body);
        let spent = used(&customer, &id, "total").await;
        assert!(spent <= Nanos::new(1_000_000) && spent > Nanos::new(950_000), "{spent} were used");
        let refused = key.post("/v1/chat/completions", &hello(stream)).await;
        assert_eq!((refused.status, &refused.json()["code"]), (403, &json!("key_limit")), "{}", refused.body);
    }
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn requests_that_run_together_stay_within_the_limit_together() {
    let (fake, server, customer) = stage().await;
    let (id, key) = limited(&server, &customer, json!({"month": "0.02"})).await;
    for _ in 0..12 {
        fake.script(Behaviour::Fills);
    }
    let calls = (0..12).map(|_| async { key.post("/v1/chat/completions", &hello(false)).await });
    let answers = futures::future::join_all(calls).await;
    assert!(answers.iter().any(|answer| answer.status == 200));
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((refused.status, &refused.json()["code"]), (403, &json!("key_limit")), "{}", refused.body);
    }
    let spent = used(&customer, &id, "month").await;
    assert!(spent <= Nanos::new(20_000_000), "{spent} were used of 0.02");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn what_a_provider_counts_beyond_a_limit_is_charged_and_told_of() {
    let (fake, server, customer) = stage().await;
    let (id, key) = limited(&server, &customer, json!({"total": "0.0003"})).await;
    // More than it was allowed to write.
    fake.script(Behaviour::Reports(2_000));
    let said = key.post("/v1/chat/completions", &hello(false)).await.ok();
    let cost = nanos(&said["usage"]["cost"]);
    assert!(cost > Nanos::new(300_000), "{said}");
    assert_eq!(used(&customer, &id, "total").await, cost);
    assert_eq!(key.post("/v1/chat/completions", &hello(false)).await.status, 403);
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn an_open_request_ends_where_its_keys_limit_is_used_up() {
    let (server, customer) = open::stage("inflight").await;
    let (id, key) = limited(&server, &customer, json!({"total": "0.000144"})).await;
    let long = open::ask("Write a very long story about a lighthouse.", &json!({"temperature": 1, "seed": 7}));
    let said = key.post("/v1/chat/completions", &long).await.ok();
    assert_eq!(said["choices"][0]["finish_reason"], "length", "{said}");
    assert_eq!(said["farebox"]["stop"], "key_limit", "{said}");
    assert_eq!(said["farebox"]["billed_seconds"], 2, "{said}");
    assert_eq!(used(&customer, &id, "total").await, Nanos::new(144_000));
    let refused = key.post("/v1/chat/completions", &long).await;
    assert_eq!((refused.status, &refused.json()["code"]), (403, &json!("key_limit")), "{}", refused.body);
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_key_that_is_revoked_while_its_request_runs_still_limits_it() {
    let (server, customer) = open::stage("inflight").await;
    let (id, key) = limited(&server, &customer, json!({"total": "0.000216"})).await;
    let long = open::ask("Write a long story.", &json!({"stream": true, "temperature": 1, "seed": 7}));
    let mut running = key.request(Method::POST, "/v1/chat/completions").json(&long).send().await.unwrap();
    assert!(running.chunk().await.unwrap().is_some());
    answer(customer.api.request(Method::DELETE, &format!("/v1/keys/{id}"))).await.ok();
    let mut said = String::new();
    while let Ok(Some(piece)) = running.chunk().await {
        said.push_str(&String::from_utf8_lossy(&piece));
    }
    assert!(said.contains("key_limit") && said.ends_with("data: [DONE]\n\n"), "{said}");
    let records = customer.api.get("/v1/requests").await.ok();
    assert!(nanos(&records["data"][0]["cost"]) <= Nanos::new(216_000), "{records}");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn settings_that_are_changed_at_once_do_not_undo_each_other() {
    let (_fake, server, customer) = stage().await;
    let put = async |path: &str, body: Value| {
        answer(customer.api.request(Method::PUT, path).json(&body)).await.ok();
    };
    put("/v1/auto-reload", json!({"enabled": true, "amount": "1", "threshold": "0"})).await;
    for pair in 0..250_u32 {
        let (is_on, most) = (pair % 2 == 0, format!("{}.00", 100 + pair));
        let reload = put("/v1/auto-reload", json!({"enabled": is_on}));
        let scale = put("/v1/auto-scale", json!({"max_monthly_spend": most}));
        tokio::join!(reload, scale);
        let (reload, scale) =
            (customer.api.get("/v1/auto-reload").await.ok(), customer.api.get("/v1/auto-scale").await.ok());
        assert_eq!((&reload["enabled"], &scale["max_monthly_spend"]), (&json!(is_on), &json!(most)), "pair {pair}");
        assert_eq!(reload["amount"], "1.00");
    }
    server.admin().assert_audit().await;
}
