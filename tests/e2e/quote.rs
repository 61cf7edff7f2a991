//! Quotes: what a request would cost and whether it would run, in the same numbers and words as running it, with nothing
//! placed, called or charged.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::answer,
    fake_openai::FakeOpenAi,
    server::{Options, Server},
    temporary,
};

#[tokio::test]
async fn a_quote_says_what_running_it_would() {
    let server = Server::start(Options::default().calling("http://127.0.0.1:9")).await;
    let admin = server.admin();
    let customer = admin.customer("payg", "5").await;
    let body =
        json!({"model": "gpt-4o-mini", "max_tokens": 100, "messages": [{"role": "user", "content": "hello world"}]});
    let quote = customer.api.post("/v1/quote", &body).await.ok();
    // Nine prompt tokens at $0.15 and at most a hundred at $0.60 a million, and 2 %.
    assert_eq!((&quote["prompt_tokens"], &quote["max_output_tokens"]), (&json!(9), &json!(100)));
    assert_eq!(quote["cost"], json!({"least": "0.000001377", "expected": "0.000062577", "most": "0.000062577"}));
    assert_eq!((&quote["admitted"], &quote["hold"]), (&json!(true), &json!("0.000062577")));
    assert_eq!(quote["refusal"], json!(null));

    let clamped = json!({"model": "gpt-4o-mini", "max_cost": "0.00001", "prompt": "hello world"});
    let answer = customer.api.post("/v1/quote", &clamped).await;
    assert_eq!((answer.status, &answer.json()["field"]), (400, &json!("model")), "a chat model completes no prompt");

    let poor = admin.customer("free", "0.000001").await;
    let long = json!({"model": "gpt-4.1", "max_tokens": 16384, "messages": [{"role": "user", "content": "long ".repeat(500_000)}]});
    let refused = poor.api.post("/v1/quote", &long).await.ok();
    let ran = poor.api.post("/v1/chat/completions", &long).await;
    assert_eq!((ran.status, &refused["admitted"], &refused["hold"]), (402, &json!(false), &json!(null)));
    for field in ["status", "error", "message", "code", "available", "needed"] {
        assert_eq!(refused["refusal"][field], ran.json()[field], "{field}: {}", ran.body);
    }

    for (body, status, field) in [
        (json!({"model": "gpt-4o-mini"}), 400, "messages"),
        (
            json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}], "max_cost": "-1"}),
            400,
            "max_cost",
        ),
        (json!({"model": "nothing", "messages": [{"role": "user", "content": "x"}]}), 404, ""),
    ] {
        let answer = customer.api.post("/v1/quote", &body).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_eq!(answer.json()["field"].as_str().unwrap_or_default(), field, "{}", answer.body);
    }
    let text = json!([{"role": "user", "content": "Say hello to me"}]);
    for (route, body, most) in [
        ("/v1/chat/completions", json!({"model": "gpt-4o-mini", "messages": text, "max_tokens": 100}), 100),
        ("/v1/messages", json!({"model": "gpt-4o-mini", "messages": text, "max_tokens": 100}), 100),
        ("/v1/responses", json!({"model": "gpt-4o-mini", "input": text, "max_output_tokens": 100}), 100),
        ("/v1/embeddings", json!({"model": "text-embedding-3-small", "input": "Say hello to me"}), 0),
    ] {
        let quote = customer.api.post(&format!("/v1/quote?route={route}"), &body).await.ok();
        assert_eq!((&quote["admitted"], &quote["max_output_tokens"]), (&json!(true), &json!(most)), "{route}: {quote}");
        assert!(quote["prompt_tokens"].as_u64().is_some_and(|tokens| (4..20).contains(&tokens)), "{route}: {quote}");
    }
    for (query, field) in [("route=/v1/images", "route"), ("format=chat", "format")] {
        let answer = customer.api.post(&format!("/v1/quote?{query}"), &json!({"model": "m", "messages": text})).await;
        assert_eq!((answer.status, &answer.json()["field"]), (400, &json!(field)), "{}", answer.body);
    }
    for one in [&customer, &poor] {
        assert_eq!(one.api.get("/v1/requests").await.ok()["data"], json!([]));
        assert_eq!(one.api.get("/v1/holds").await.ok()["data"], json!([]));
    }
    admin.assert_audit().await;
}

/// An account's view of one model.
async fn seen(customer: &crate::support::client::Customer, model: &str) -> (Value, String) {
    let seen = customer.api.get(&format!("/v1/models/{model}")).await.ok();
    let listed = customer.api.get("/v1/models").await.ok();
    let in_list = listed["data"].as_array().unwrap().iter().find(|listed| listed["id"] == seen["id"]);
    assert!(in_list.is_none_or(|listed| *listed == seen), "{listed} {seen}");
    (seen["available"].clone(), seen["why"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn what_can_not_run_is_neither_offered_nor_admitted() {
    let (models, fake) = (temporary("models"), FakeOpenAi::start());
    std::fs::create_dir_all(models.join("small")).unwrap();
    let card = json!({"id": "small", "parameters": 100_000_000, "context": 4_096});
    std::fs::write(models.join("small/farebox.json"), card.to_string()).unwrap();
    // A provider without a key, and no ONNX Runtime.
    let options = Options::default()
        .set("FAREBOX_RUNTIME__MODELS_DIR", models.to_str().unwrap())
        .set("FAREBOX_PROVIDERS__OPENAI__BASE_URL", fake.url());
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    for (model, status, word) in [("gpt-4o-mini", 400, "API key"), ("small", 503, "ONNX Runtime")] {
        let (available, why) = seen(&customer, model).await;
        assert!(available == false && why.contains(word), "{available} {why}");
        let body = json!({"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
        let quote = customer.api.post("/v1/quote", &body).await.ok();
        assert_eq!((&quote["admitted"], &quote["hold"]), (&json!(false), &json!(null)), "{quote}");
        let ran = customer.api.post("/v1/chat/completions", &body).await;
        assert_eq!(ran.status, status, "{}", ran.body);
        for field in ["status", "message", "code"] {
            assert_eq!(quote["refusal"][field], ran.json()[field], "{field}: {} {quote}", ran.body);
        }
    }
    // Refused before anything was admitted, so nothing is recorded.
    assert_eq!(customer.api.get("/v1/requests").await.ok()["data"], json!([]));

    // Whoever brings a key is served, and pays the provider alone.
    let body = json!({"model": "gpt-4o-mini", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
    let own =
        |path: &str| answer(customer.api.request(Method::POST, path).header("provider-key", "sk-own").json(&body));
    let quote = own("/v1/quote").await.ok();
    assert_eq!((&quote["admitted"], &quote["hold"]), (&json!(true), &json!("0.00")), "{quote}");
    assert_eq!(quote["cost"], json!({"least": "0.00", "expected": "0.00", "most": "0.00"}));
    assert_eq!(own("/v1/chat/completions").await.status, 200);
    server.admin().assert_audit().await;
    std::fs::remove_dir_all(models).unwrap();
}

#[tokio::test]
async fn a_snapshot_runs_under_its_own_name_at_its_models_price() {
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().calling(fake.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    let messages = json!([{"role": "user", "content": "Say hello to me"}]);
    let mut costs = Vec::new();
    for model in ["gpt-4o-mini", "gpt-4o-mini-2024-07-18"] {
        let ran = customer.api.post("/v1/chat/completions", &json!({"model": model, "messages": messages})).await.ok();
        assert_eq!(ran["model"], model);
        assert_eq!(fake.requests().last().unwrap()["model"], model, "the provider is asked for what was asked for");
        costs.push(ran["usage"]["cost"].clone());
        assert_eq!(seen(&customer, model).await, (json!(true), String::new()));
    }
    assert_eq!(costs[0], costs[1]);
    let records = customer.api.get("/v1/requests").await.ok();
    assert_eq!(records["data"][0]["model"], "gpt-4o-mini-2024-07-18");
    let unknown = json!({"model": "gpt-9-2024-07-18", "messages": messages});
    assert_eq!(customer.api.post("/v1/chat/completions", &unknown).await.status, 404);
    server.admin().assert_audit().await;
}
