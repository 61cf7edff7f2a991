//! Embeddings, end to end: vectors come back as the provider wrote them, and their tokens are charged exactly.

use std::process::Command;

use serde_json::json;

use crate::support::{
    fake_openai::{Behaviour, FakeOpenAi},
    python::{package, run, scripts},
    server::{Options, Server},
    with,
};

/// 5 x 0.02 / 1e6 x 1.02: five words.
const COST: &str = "0.000000102";

#[tokio::test]
async fn texts_become_vectors_and_their_tokens_are_charged() {
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().calling(fake.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    let body = json!({"model": "text-embedding-3-small", "input": ["one two three", "four five"]});
    let answer = customer.api.post("/v1/embeddings", &body).await;
    let vectors = answer.ok();
    assert_eq!(vectors["data"][1], json!({"object": "embedding", "index": 1, "embedding": [0.5, -1.0]}));
    assert_eq!(vectors["usage"], json!({"prompt_tokens": 5, "total_tokens": 5, "cost": COST}));
    assert_eq!(answer.header("x-farebox-cost"), Some(COST));
    let record = customer.api.get(&format!("/v1/requests/{}", answer.header("x-request-id").unwrap())).await.ok();
    assert_eq!(
        (&record["cost"], &record["input_tokens"], &record["output_tokens"]),
        (&json!(COST), &json!(5), &json!(0))
    );
    assert_eq!(record["estimated"], false);
    for (more, field) in [
        (json!({"input": []}), "input"),
        (json!({"input": ["", "x"]}), "input"),
        (json!({"encoding_format": "hex"}), "encoding_format"),
        (json!({"model": "gpt-4o-mini"}), "model"),
        (json!({"a_field_of_tomorrow": 1}), "a_field_of_tomorrow"),
        (json!({"max_cost": "0.0000000001"}), "max_cost"),
    ] {
        let refused = customer.api.post("/v1/embeddings", &with(&body, &more)).await;
        assert_eq!((refused.status, refused.json()["error"]["param"].as_str()), (400, Some(field)), "{more}");
    }
    let chat = json!({"model": "text-embedding-3-small", "messages": [{"role": "user", "content": "x"}]});
    assert_eq!(customer.api.post("/v1/chat/completions", &chat).await.status, 400);
    fake.script(Behaviour::Status(500));
    assert_eq!(customer.api.post("/v1/embeddings", &body).await.status, 502);
    assert_eq!(customer.api.get("/v1/balance").await.ok()["available"], "9.999999898", "a failed call costs nothing");
    assert_eq!(fake.requests().len(), 2, "what is refused here never reaches the provider");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn openais_sdk_embeds_as_it_does_anywhere() {
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().calling(fake.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    let (url, key) = (server.url().to_owned(), customer.key.clone());
    let work = move || {
        let mut command = Command::new("python3");
        command.arg(scripts().join("openai_embeddings.py")).env("PYTHONPATH", package("openai==3.57.0"));
        run(command.env("FAREBOX_URL", url).env("FAREBOX_KEY", key))
    };
    let output = tokio::task::spawn_blocking(work).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok");
    server.admin().assert_audit().await;
}
