//! Circuit breakers: a model that keeps failing at its provider is left alone and its neighbours are not, a provider that is
//! not reached is left alone as a whole, operators see which and why, and what recovers is called again by itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    client::{Answer, Customer},
    free_port,
    raw_provider::{RawProvider, answer},
    server::{Options, Server},
};

const DONE: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,
    "message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
const FAILED: &str = r#"{"error":{"message":"no","type":"server_error"}}"#;
/// The failures in a row that open a breaker.
const OPENS_AFTER: usize = 20;

async fn ask(customer: &Customer, model: &str) -> Answer {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "hello"}]});
    customer.api.post("/v1/chat/completions", &body).await
}

async fn provider(server: &Server) -> Value {
    let actors = server.admin().actors().await;
    let all = actors["actors"].as_array().unwrap();
    all.iter().find(|actor| actor["kind"] == "provider" && actor["name"] == "openai").unwrap().clone()
}

/// Asks until it is answered, which must be within a few periods.
async fn until_answered(customer: &Customer, model: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while ask(customer, model).await.status != 200 {
        assert!(Instant::now() < deadline, "{model} is never tried again");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_model_that_keeps_failing_is_left_alone_and_its_neighbours_are_not() {
    let is_sick = Arc::new(AtomicBool::new(true));
    let sick = Arc::clone(&is_sick);
    let fake = RawProvider::start(move |asked| {
        let fails = asked.body["model"] == "gpt-4o" && sick.load(Ordering::Relaxed);
        if fails { answer(529, &[], FAILED) } else { answer(200, &[], DONE) }
    });
    let options = Options::default()
        .calling(fake.url())
        .set("FAREBOX_PROVIDERS__OPENAI__RETRIES", "0")
        .set("FAREBOX_ROUTING__ALIASES", "fast=gpt-4o>gpt-4o-mini");
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    for _ in 0..OPENS_AFTER {
        assert_eq!(ask(&customer, "gpt-4o").await.json()["code"], "provider_error");
        assert_eq!(ask(&customer, "gpt-4o-mini").await.status, 200, "an answer of another model is none of this one");
    }
    let before = fake.asked().len();
    let refused = ask(&customer, "gpt-4o").await;
    let message = refused.json()["message"].as_str().unwrap().to_owned();
    assert!(refused.status == 503 && message.contains("gpt-4o at openai keeps failing"), "{message}");
    assert!(refused.header("retry-after").is_some_and(|wait| (1..=6).contains(&wait.parse::<u64>().unwrap())));
    assert_eq!(fake.asked().len(), before, "it is not called");
    let other = ask(&customer, "fast").await;
    assert_eq!((other.status, other.header("x-farebox-route")), (200, Some("gpt-4o 503, gpt-4o-mini")));
    assert_eq!(fake.asked().len(), before + 1);

    let seen = provider(&server).await;
    assert_eq!((&seen["verdict"], seen["parts"].as_array().unwrap().len()), (&json!("degraded"), 1), "{seen}");
    let part = &seen["parts"][0];
    assert_eq!((&part["name"], &part["verdict"]), (&json!("gpt-4o"), &json!("down")));
    assert_eq!(part["why"], "the last 20 calls failed (HTTP 529): it is left alone, and tried every 5 s");
    assert!(part["tried_at"].as_str() > part["since"].as_str(), "{part}");
    let shown = server.cli(&["actors"]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    let line = text.lines().find(|line| line.contains("openai/gpt-4o")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.starts_with("model") && line.contains("down") && line.contains("HTTP 529"), "{line}");
    assert_eq!(shown.status.code(), Some(0), "the provider is not down");
    let metrics = server.get("/metrics").await.body;
    let line = r#"farebox_provider_model_verdict{provider="openai",model="gpt-4o"} 2"#;
    assert!(metrics.lines().any(|found| found == line), "{metrics}");

    is_sick.store(false, Ordering::Relaxed);
    until_answered(&customer, "gpt-4o").await;
    let seen = provider(&server).await;
    assert_eq!((&seen["verdict"], &seen["parts"]), (&json!("ok"), &json!([])));
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn what_a_load_balancer_answers_is_of_the_endpoint_and_not_of_a_model() {
    let is_away = Arc::new(AtomicBool::new(true));
    let away = Arc::clone(&is_away);
    let fake = RawProvider::start(move |_| {
        let is_away = away.load(Ordering::Relaxed);
        if is_away {
            answer(503, &[], "<html><h1>503 Service Temporarily Unavailable</h1></html>")
        } else {
            answer(200, &[], DONE)
        }
    });
    let server =
        Server::start(Options::default().calling(fake.url()).set("FAREBOX_PROVIDERS__OPENAI__RETRIES", "0")).await;
    let customer = server.admin().customer("payg", "5").await;
    for turn in 0..OPENS_AFTER {
        assert_eq!(ask(&customer, if turn % 2 == 0 { "gpt-4o" } else { "gpt-4o-mini" }).await.status, 503);
    }
    let before = fake.asked().len();
    let message = ask(&customer, "gpt-4.1").await.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("openai keeps failing") && !message.contains(" at openai"), "{message}");
    assert_eq!(fake.asked().len(), before, "none of its models is called");
    let seen = provider(&server).await;
    assert_eq!((&seen["verdict"], &seen["parts"]), (&json!("down"), &json!([])), "{seen}");
    is_away.store(false, Ordering::Relaxed);
    until_answered(&customer, "gpt-4.1").await;
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn an_endpoint_that_is_not_reached_is_left_alone_with_all_its_models() {
    let port = free_port();
    let options = Options::default()
        .calling(&format!("http://127.0.0.1:{port}/v1"))
        .set("FAREBOX_PROVIDERS__OPENAI__RETRIES", "0");
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    for turn in 0..OPENS_AFTER {
        assert_eq!(ask(&customer, if turn % 2 == 0 { "gpt-4o" } else { "gpt-4o-mini" }).await.status, 502);
    }
    for model in ["gpt-4o", "gpt-4o-mini", "gpt-4.1"] {
        let message = ask(&customer, model).await.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("openai keeps failing") && !message.contains(" at openai"), "{message}");
    }
    let seen = provider(&server).await;
    assert_eq!((&seen["verdict"], &seen["parts"]), (&json!("down"), &json!([])), "{seen}");
    assert!(seen["reasons"][0].as_str().unwrap().contains("did not reach it"), "{seen}");
    assert_eq!(server.cli(&["actors"]).status.code(), Some(1));
    std::thread::spawn(move || {
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        for connection in listener.incoming().map_while(Result::ok) {
            crate::support::raw_provider::serve_one(connection, &answer(200, &[], DONE));
        }
    });
    until_answered(&customer, "gpt-4.1").await;
    assert_eq!((ask(&customer, "gpt-4o").await.status, provider(&server).await["verdict"] == "ok"), (200, true));
    server.admin().assert_audit().await;
}
