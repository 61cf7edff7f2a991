//! Answers that are given again: the same request of the same account costs nothing a second time, where its client
//! allows an earlier answer and the answer is determined.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    open,
    support::{
        client::{Answer, Customer, answer},
        fake_cohere,
        fake_openai::{Behaviour, FakeOpenAi},
        server::{Options, Server},
        with,
    },
};

/// Asks, and allows an answer of so many seconds.
async fn ask(customer: &Customer, path: &str, body: &Value, max_age: &str) -> Answer {
    answer(customer.api.request(Method::POST, path).header("x-farebox-cache", max_age).json(body)).await
}

fn body(more: &Value) -> Value {
    let messages = json!([{"role": "user", "content": "Say hello to me"}]);
    with(&json!({"model": "gpt-4o-mini", "temperature": 0, "messages": messages}), more)
}

const CHAT: &str = "/v1/chat/completions";

/// What an answer says of itself: hit, miss, bypass, or nothing.
fn reused(answer: &Answer) -> Option<&str> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.header("x-farebox-cache")
}

#[tokio::test]
async fn the_same_request_again_costs_nothing() {
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().calling(fake.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    for more in [json!({}), json!({"stream": true, "stream_options": {"include_usage": true}})] {
        let before = customer.api.get("/v1/balance").await.ok()["available"].clone();
        let first = ask(&customer, CHAT, &body(&more), "60").await;
        let paid = customer.api.get("/v1/balance").await.ok()["available"].clone();
        let again = ask(&customer, CHAT, &body(&more), "60").await;
        assert_eq!((reused(&first), reused(&again)), (Some("miss"), Some("hit")));
        assert!(before != paid && again.header("age").is_some() && first.header("age").is_none());
        assert_eq!(customer.api.get("/v1/balance").await.ok()["available"], paid, "nothing was charged");
        let plain = |text: &str| {
            let lines = text.lines().filter(|line| !line.starts_with(':')).collect::<Vec<_>>().join("\n");
            // The bill differs, the answer does not.
            lines.split("\"farebox\":").next().unwrap().replace("0.000004743", "0.00")
        };
        assert_eq!(plain(&first.body), plain(&again.body));
    }
    let whole = ask(&customer, CHAT, &body(&json!({})), "60").await;
    assert_eq!((&whole.ok()["usage"]["total_tokens"], &whole.ok()["usage"]["cost"]), (&json!(13), &json!("0.00")));
    let record = customer.record(&whole).await;
    assert_eq!((&record["provider"], &record["cost"]), (&json!("farebox-cache"), &json!("0.00")), "{record}");

    let vectors = json!({"model": "text-embedding-3-small", "input": ["one", "two"]});
    let first = ask(&customer, "/v1/embeddings", &vectors, "60").await;
    let again = ask(&customer, "/v1/embeddings", &vectors, "60").await;
    assert_eq!((reused(&again), &again.ok()["data"]), (Some("hit"), &first.ok()["data"]));
    assert_eq!(fake.requests().len(), 3);

    // It takes no credits, so that none are needed.
    server.admin().void_all(&customer).await;
    assert_eq!(reused(&ask(&customer, CHAT, &body(&json!({})), "60").await), Some("hit"));
    assert_eq!(ask(&customer, CHAT, &body(&json!({"seed": 1})), "60").await.status, 402);
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn only_what_is_the_same_and_determined_and_allowed_is_given_again() {
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().calling(fake.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    assert_eq!(reused(&ask(&customer, CHAT, &body(&json!({})), "60").await), Some("miss"));
    for more in [json!({"max_tokens": 9}), json!({"user": "b"}), json!({"seed": 3})] {
        assert_eq!(reused(&ask(&customer, CHAT, &body(&more), "60").await), Some("miss"), "{more}");
    }
    assert_eq!(reused(&ask(&customer, CHAT, &body(&json!({"temperature": 1})), "60").await), Some("bypass"));
    let other = server.admin().customer("payg", "5").await;
    assert_eq!(reused(&ask(&other, CHAT, &body(&json!({})), "60").await), Some("miss"), "each account has its own");
    let plain = customer.api.post(CHAT, &body(&json!({}))).await;
    assert_eq!((reused(&plain), &plain.ok()["usage"]["total_tokens"]), (None, &json!(13)));
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(reused(&ask(&customer, CHAT, &body(&json!({})), "1").await), Some("miss"), "too old");
    for wrong in ["", "0", "-1", "x", "86401", "1.5"] {
        let refused = ask(&customer, CHAT, &body(&json!({})), wrong).await;
        assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("x-farebox-cache")), "{wrong}");
    }
    // What failed, or was cut by a limit of the account's own, is no answer to the next one.
    fake.script(Behaviour::Status(500));
    let failed = body(&json!({"seed": 9}));
    assert_eq!(ask(&customer, CHAT, &failed, "60").await.status, 502);
    assert_eq!(reused(&ask(&customer, CHAT, &failed, "60").await), Some("miss"));
    assert_eq!(reused(&ask(&customer, CHAT, &failed, "60").await), Some("hit"));
    fake.script(Behaviour::NoUsage);
    let unmeasured = body(&json!({"seed": 10}));
    assert_eq!(reused(&ask(&customer, CHAT, &unmeasured, "60").await), Some("miss"));
    assert_eq!(reused(&ask(&customer, CHAT, &unmeasured, "60").await), Some("miss"));
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn equal_requests_at_once_share_one_run() {
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().calling(fake.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    fake.script(Behaviour::Slow(100));
    let streamed = body(&json!({"stream": true, "seed": 7}));
    let all = join_all((0..8).map(|_| ask(&customer, CHAT, &streamed, "60"))).await;
    let mut words: Vec<_> = all.iter().map(|answer| reused(answer).unwrap()).collect();
    words.sort_unstable();
    assert_eq!(words, ["hit", "hit", "hit", "hit", "hit", "hit", "hit", "miss"]);
    assert_eq!(fake.requests().len(), 1);
    // The others of a run that fails ask for themselves.
    fake.script(Behaviour::Status(400));
    let refused = body(&json!({"seed": 8}));
    let all = join_all((0..3).map(|_| ask(&customer, CHAT, &refused, "60"))).await;
    assert_eq!(all.iter().filter(|answer| answer.status == 400).count(), 1);
    assert_eq!(all.iter().filter(|answer| answer.status == 200).count(), 2);
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_stream_that_waits_for_an_equal_one_is_never_silent_for_longer_than_a_heartbeat() {
    let fake = FakeOpenAi::start();
    let options = Options::default().calling(fake.url()).set("FAREBOX_HTTP__HEARTBEAT_SECONDS", "1");
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    let streamed = body(&json!({"stream": true}));
    let open = async || {
        let request = customer.api.request(Method::POST, CHAT).header("x-farebox-cache", "60").json(&streamed);
        request.send().await.unwrap()
    };
    fake.script(Behaviour::Slow(500));
    let first = open();
    let second = async {
        while fake.requests().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut waiting = open().await;
        let head = (waiting.status().as_u16(), waiting.headers().contains_key("x-request-id"));
        let early = waiting.chunk().await.unwrap().unwrap();
        (head, early, waiting.text().await.unwrap())
    };
    let (first, (head, early, rest)) = tokio::join!(async { first.await.text().await.unwrap() }, second);
    assert_eq!((head, early.first()), ((200, true), Some(&b':')), "a comment came first: {early:?}");
    assert!(rest.trim_end().ends_with("data: [DONE]") && rest.contains("\"cost\":\"0.00\""), "{rest}");
    assert!(first.contains("[DONE]") && fake.requests().len() == 1, "one run");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn an_open_models_answer_is_given_again_without_a_second() {
    let (server, customer) = open::stage("inflight").await;
    let question = open::ask("Name three colors.", &json!({"max_tokens": 8}));
    let first = ask(&customer, CHAT, &question, "60").await;
    let again = ask(&customer, CHAT, &question, "60").await;
    assert_eq!((reused(&first), reused(&again)), (Some("miss"), Some("hit")));
    let (first, again) = (first.ok(), again.ok());
    assert_eq!(first["choices"], again["choices"]);
    assert_eq!((&again["usage"]["completion_tokens"], &again["usage"]["cost"]), (&json!(8), &json!("0.00")));
    assert_eq!(again["farebox"].get("billed_seconds"), None, "{again}");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn an_answer_whose_client_left_is_not_given_again() {
    let (server, customer) = open::stage("inflight").await;
    let story = json!({"stream": true, "max_tokens": 200});
    let story = open::ask("Write a very long story about a lighthouse.", &story);
    let request = customer.api.request(Method::POST, CHAT).header("x-farebox-cache", "60").json(&story);
    let mut response = request.send().await.unwrap();
    assert!(response.chunk().await.unwrap().is_some());
    drop(response);
    assert_eq!(open::settled(&customer, 1).await[0]["ending"], "client_left");
    let whole = ask(&customer, CHAT, &story, "60").await;
    assert_eq!(reused(&whole), Some("miss"));
    assert!(whole.body.contains(r#""finish_reason":"length""#), "{}", whole.body);
    assert_eq!(reused(&ask(&customer, CHAT, &story, "60").await), Some("hit"));
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_ranking_that_is_given_again_tells_its_units() {
    let fake = fake_cohere::start();
    let options = Options::default()
        .set("FAREBOX_PROVIDERS__COHERE__API_KEY", fake_cohere::KEY)
        .set("FAREBOX_PROVIDERS__COHERE__BASE_URL", fake.url());
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    let body =
        json!({"model": "rerank-v3.5", "query": "capital of France", "documents": ["Berlin", "Paris in France"]});
    let first = ask(&customer, "/v1/rerank", &body, "60").await;
    for path in ["/v1/rerank", "/v2/rerank"] {
        let again = ask(&customer, path, &body, "60").await;
        assert_eq!(reused(&again), Some("hit"), "{path}");
        let (first, again) = (first.ok(), again.ok());
        assert_eq!((&again["results"], again["results"].is_array()), (&first["results"], true));
        assert_eq!(again["meta"]["billed_units"], first["meta"]["billed_units"], "{path}");
        assert_eq!(again["farebox"]["search_units"], 1, "{again}");
        let receipt = format!("/v1/requests/{}/receipt", again["farebox"]["request_id"].as_str().unwrap());
        customer.api.get(&receipt).await.ok();
    }
    // With the caller's own key too: what it ranks can't depend on anything else.
    let own = async || {
        let request = customer.api.request(Method::POST, "/v1/rerank").header("x-farebox-cache", "60");
        answer(request.header("provider-key", fake_cohere::KEY).json(&body)).await
    };
    assert_eq!((reused(&own().await), reused(&own().await)), (Some("miss"), Some("hit")));
    server.admin().assert_audit().await;
}
