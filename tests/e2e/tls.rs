//! Providers are called by TLS, over HTTP/2 where they speak it, and only where their certificate is trusted.

use actix_web::http::Version;
use serde_json::{Value, json};

use crate::support::{
    client::Customer,
    fake_openai::FakeOpenAi,
    server::{Options, Server},
    tls::Relay,
    with,
};

async fn stage(relay: &Relay, is_trusted: bool) -> (Server, Customer) {
    let mut options = Options::default().calling(&format!("{}/v1", relay.url()));
    if is_trusted {
        options = options.set("SSL_CERT_FILE", relay.authority().to_str().unwrap());
    }
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    (server, customer)
}

fn body(more: &Value) -> Value {
    with(&json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}]}), more)
}

#[tokio::test]
async fn a_provider_is_called_by_the_best_http_its_tls_agrees_on() {
    for (protocols, version) in [(&["h2", "http/1.1"][..], Version::HTTP_2), (&["http/1.1"], Version::HTTP_11)] {
        let fake = FakeOpenAi::start();
        let relay = Relay::before(fake.address(), protocols).await;
        let (server, customer) = stage(&relay, true).await;
        let chat = |more: Value| {
            let api = customer.api.clone();
            async move { api.post("/v1/chat/completions", &body(&more)).await }
        };
        let answers = futures::future::join_all((0..8).map(|_| chat(json!({})))).await;
        for answer in answers {
            assert_eq!(answer.ok()["choices"][0]["message"]["content"], "Hello from the fake provider.");
        }
        let streamed = chat(json!({"stream": true})).await;
        assert!(streamed.body.contains("[DONE]"), "{}", streamed.body);
        assert_eq!(fake.versions(), [version; 9]);
        let records = customer.api.get("/v1/requests").await.ok()["data"].as_array().unwrap().clone();
        assert_eq!(records.len(), 9, "{records:?}");
        assert!(records.iter().all(|record| record["cost"] == "0.000004743"), "{records:?}");
        server.admin().assert_audit().await;
    }
}

#[tokio::test]
async fn a_provider_whose_certificate_is_not_trusted_is_told_nothing() {
    let fake = FakeOpenAi::start();
    let relay = Relay::before(fake.address(), &["h2", "http/1.1"]).await;
    let (server, customer) = stage(&relay, false).await;
    let refused = customer.api.post("/v1/chat/completions", &body(&json!({}))).await;
    assert_eq!((refused.status, &refused.json()["code"]), (502, &json!("provider_error")), "{}", refused.body);
    assert!(refused.body.contains("certificate"), "{}", refused.body);
    assert!(fake.requests().is_empty());
    let balance = customer.api.get("/v1/balance").await.ok();
    assert_eq!((&balance["available"], &balance["held"]), (&json!("10.00"), &json!("0.00")));
    server.admin().assert_audit().await;
}
