//! Quotes: what a request would cost and whether it would run, in the same numbers and words as running it, with nothing
//! placed, called or charged.

use serde_json::json;

use crate::support::server::{Options, Server};

#[tokio::test]
async fn a_quote_says_what_running_it_would() {
    let server = Server::start(Options::default()).await;
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
    let long = json!({"model": "gpt-4o", "max_tokens": 16384, "messages": [{"role": "user", "content": "long ".repeat(500_000)}]});
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
    for one in [&customer, &poor] {
        assert_eq!(one.api.get("/v1/requests").await.ok()["data"], json!([]));
        assert_eq!(one.api.get("/v1/holds").await.ok()["data"], json!([]));
    }
    admin.assert_audit().await;
}
