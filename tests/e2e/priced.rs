//! What a request to a closed model may contain where the gateway's key pays: what has a price, and nothing else.

use billing::Nanos;
use serde_json::{Value, json};

use crate::support::{
    client::{Answer, Customer},
    fake_openai::{Behaviour, FakeOpenAi},
    server::{Options, Server},
    with,
};

struct Stage {
    fake: FakeOpenAi,
    server: Server,
    customer: Customer,
}

impl Stage {
    async fn set() -> Self {
        let fake = FakeOpenAi::start();
        let server = Server::start(Options::default().calling(fake.url())).await;
        let customer = server.admin().customer("payg", "5").await;
        Self { fake, server, customer }
    }

    async fn chat(&self, more: &Value) -> Answer {
        self.customer.api.post("/v1/chat/completions", &body(more)).await
    }
}

fn body(more: &Value) -> Value {
    let body =
        json!({"model": "gpt-4o-mini", "max_tokens": 10, "messages": [{"role": "user", "content": "Say hello to me"}]});
    with(&body, more)
}

/// A message with a part.
#[expect(clippy::needless_pass_by_value, reason = "it is made where it is asked for")]
fn part(part: Value) -> Value {
    json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "Say hello"}, part]}]})
}

fn nanos(value: &Value) -> Nanos {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_has_no_price_is_refused_unless_its_caller_pays() {
    let stage = Stage::set().await;
    let file = |file: Value| part(json!({"type": "file", "file": file}));
    for (more, field) in [
        (json!({"web_search_options": {}}), "web_search_options"),
        (json!({"tools": [{"type": "web_search_preview"}]}), "tools[0].type"),
        (json!({"prediction": {"type": "content", "content": "x"}}), "prediction"),
        (json!({"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}), "modalities"),
        (json!({"plugins": [{"id": "web"}]}), "plugins"),
        (json!({"a_field_of_tomorrow": true}), "a_field_of_tomorrow"),
        (
            part(json!({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}})),
            "messages[0].content[1].type",
        ),
        (part(json!({"type": "video_url", "video_url": {"url": "https://x/y"}})), "messages[0].content[1].type"),
        (file(json!({"file_id": "file-1"})), "messages[0].content[1].file.file_id"),
    ] {
        let answer = stage.chat(&more).await;
        // Two that are wrong are named in whatever order.
        let param = answer.json()["error"]["param"].as_str().unwrap_or_default().to_owned();
        assert!(
            answer.status == 400 && (param == field || (field == "modalities" && param == "audio")),
            "{more}: {}",
            answer.body
        );
        let quote = stage.customer.api.post("/v1/quote", &body(&more)).await;
        assert_eq!((quote.status, quote.json()["field"].as_str()), (400, Some(&*param)), "{}", quote.body);
        assert!(stage.fake.requests().is_empty());
    }
    let sent = body(&file(json!({"file_id": "file-1"})));
    let sent = with(&sent, &json!({"web_search_options": {}, "a_field_of_tomorrow": true, "tools": [{"type": "x"}]}));
    let request = stage.customer.api.request(reqwest::Method::POST, "/v1/chat/completions").json(&sent);
    assert_eq!(request.header("provider-key", "sk-own").send().await.unwrap().status(), 200);
    assert_eq!(stage.fake.requests(), [sent]);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_file_is_held_for_and_charged_at_most_as_its_models_context() {
    let stage = Stage::set().await;
    let data = format!("data:application/pdf;base64,{}", "JVBERi0x".repeat(250_000));
    let file = part(json!({"type": "file", "file": {"filename": "a.pdf", "file_data": data}}));
    // (128,000 x 0.15 + 10 x 0.60) / 1e6 x 1.02
    let quote = stage.customer.api.post("/v1/quote", &body(&file)).await.ok();
    assert_eq!((&quote["cost"]["most"], &quote["prompt_tokens"]), (&json!("0.01959012"), &json!(128_000)));
    stage.fake.script(Behaviour::NoUsage);
    let answer = stage.chat(&file).await;
    assert!(nanos(&answer.ok()["usage"]["cost"]) <= nanos(&quote["cost"]["most"]), "{}", answer.body);
    // A prompt of text that is longer than the context is no more than it either.
    let long = json!({"messages": [{"role": "user", "content": "long ".repeat(300_000)}]});
    let quote = stage.customer.api.post("/v1/quote", &body(&long)).await.ok();
    assert_eq!(quote["prompt_tokens"], 128_000);
    stage.fake.script(Behaviour::NoUsage);
    let answer = stage.chat(&long).await;
    assert!(nanos(&answer.ok()["usage"]["cost"]) <= nanos(&quote["cost"]["most"]), "{}", answer.body);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn ten_requests_from_a_tenth_of_a_cent_owe_no_more_than_their_worst_cases_say() {
    let stage = Stage::set().await;
    let admin = stage.server.admin();
    let grants = stage.customer.api.get("/v1/grants").await.ok()["data"].as_array().unwrap().clone();
    for (place, grant) in grants.iter().enumerate() {
        let available = nanos(&grant["available"]);
        // All but a tenth of a cent of the first.
        let amount = if place == 0 { available - Nanos::new(1_000_000) } else { available };
        let path = format!("/admin/v1/accounts/{}/grants/{}/void", stage.customer.id, grant["id"].as_str().unwrap());
        admin.0.post(&path, &json!({"reason": "test", "amount": amount.to_string()})).await.ok();
    }
    assert_eq!(stage.customer.api.get("/v1/balance").await.ok()["available"], "0.001");
    let mut allowed = Nanos::ZERO;
    for (place, more) in [
        json!({"web_search_options": {"search_context_size": "high"}}),
        json!({"tools": [{"type": "web_search"}]}),
        json!({"prediction": {"type": "content", "content": "x ".repeat(5_000)}}),
        json!({"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}),
        part(json!({"type": "file", "file": {"file_id": "file-1"}})),
        part(json!({"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0x"}})),
        part(json!({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}})),
        part(json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}})),
        json!({"max_tokens": 16_384}),
        json!({"n": 10, "max_completion_tokens": 10, "max_tokens": 16_384}),
    ]
    .into_iter()
    .enumerate()
    {
        let quote = stage.customer.api.post("/v1/quote", &body(&more)).await;
        if quote.status == 200 && quote.json()["admitted"] == true {
            let quote = quote.json();
            allowed += nanos(&quote["cost"]["most"]) - nanos(&quote["hold"]);
            // All that it may write.
            stage.fake.script(Behaviour::Reports(quote["max_output_tokens"].as_u64().unwrap()));
        }
        let answer = stage.chat(&more).await;
        assert!([200, 400, 402].contains(&answer.status), "{place}: {}", answer.body);
    }
    let balance = stage.customer.api.get("/v1/balance").await.ok();
    assert!(nanos(&balance["debt"]) <= allowed, "{balance}: at most {allowed}");
    admin.assert_audit().await;
}
