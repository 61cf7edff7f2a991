//! What is refused by plan and tier says by how much, and what would help: a model that is locked, and a rate that is met.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{
    fake_openai::FakeOpenAi,
    server::{Options, Server},
    temporary,
    tiny::Tiny,
};

#[tokio::test]
async fn a_locked_model_says_its_class_and_what_unlocks_it() {
    let models = temporary("models");
    std::fs::create_dir_all(&models).unwrap();
    let file = models.join("large.gguf");
    std::fs::write(&file, Tiny::new().bytes()).unwrap();
    let mut import = Command::new(env!("CARGO_BIN_EXE_farebox"));
    import.args(["models", "import", "--name", "large"]).arg(&file).env("FAREBOX_RUNTIME__MODELS_DIR", &models);
    let imported = import.current_dir(&models).output().unwrap();
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    let card = models.join("large/farebox.json");
    let mut large: Value = serde_json::from_slice(&std::fs::read(&card).unwrap()).unwrap();
    (large["parameters"], large["class"]) = (json!(120_000_000_000_u64), json!("120B"));
    std::fs::write(&card, large.to_string()).unwrap();
    // Its weights are not loaded before a request is admitted.
    // Nor is the runtime, while its file is there.
    let runtime = models.join("libonnxruntime.so");
    std::fs::write(&runtime, "").unwrap();
    let options = Options::default()
        .set("FAREBOX_RUNTIME__MODELS_DIR", models.to_str().unwrap())
        .set("FAREBOX_RUNTIME__ONNXRUNTIME", runtime.to_str().unwrap());
    let server = Server::start(options).await;
    let customer = server.admin().customer("free", "0").await;
    let body = json!({"model": "large", "messages": [{"role": "user", "content": "hi"}]});
    let refused = customer.api.post("/v1/chat/completions", &body).await;
    let said = refused.json();
    assert_eq!((refused.status, &said["status"], &said["code"]), (403, &json!(403), &json!("model_locked")), "{said}");
    assert_eq!((&said["class"], &said["largest"]), (&json!("120B"), &json!("7B")), "{said}");
    assert_eq!(said["unlock"], "50.00", "{said}");
    assert_eq!(said["error"]["type"], "permission_error");
    assert_eq!((&said["error"]["code"], &said["error"]["message"]), (&said["code"], &said["message"]));
    let message = said["message"].as_str().unwrap();
    assert!(message.contains("120B") && message.contains("$50.00"), "{message}");
    assert_eq!(refused.header("x-request-id"), said["request_id"].as_str());
    assert_eq!(customer.api.get("/v1/models/large").await.ok()["locked"], true);
    let quote = customer.api.post("/v1/quote", &body).await.ok();
    assert_eq!((&quote["admitted"], &quote["refusal"]["code"]), (&json!(false), &json!("model_locked")), "{quote}");
    assert_eq!(customer.api.get("/v1/requests").await.ok()["data"], json!([]), "nothing ran");

    let buy = async |amount: &Value| {
        let bought = json!({"amount": amount, "payment_method": "pm_card_visa"});
        customer.api.post("/v1/credits/purchase", &bought).await.ok();
    };
    // No less than can be bought is told, however little is missing.
    buy(&json!("49.50")).await;
    let said = customer.api.post("/v1/chat/completions", &body).await.json();
    assert_eq!(said["unlock"], "1.00", "{said}");
    let next = &customer.api.get("/v1/account").await.ok()["next_tiers"][0];
    assert_eq!(next["buy"], "1.00", "{next}");
    buy(&said["unlock"]).await;
    assert_eq!(customer.api.get("/v1/models/large").await.ok()["locked"], false, "what it said is enough");
    assert_eq!(customer.api.post("/v1/quote", &body).await.ok()["admitted"], true);
    server.admin().assert_audit().await;
    std::fs::remove_dir_all(models).unwrap();
}

#[tokio::test]
async fn a_rate_that_is_met_says_the_limit_and_when_to_come_back() {
    let fake = FakeOpenAi::start();
    let options = Options::default().calling(fake.url());
    let server = Server::start(options).await;
    let customer = server.admin().customer("free", "0").await;
    let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}]});
    let asked = (0..40).map(|_| customer.api.post("/v1/chat/completions", &body));
    let answers = futures::future::join_all(asked).await;
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    let said = refused.json();
    assert_eq!((&said["status"], &said["code"], &said["limit"]), (&json!(429), &json!("rate_limit"), &json!(10)));
    let reset = said["reset_ms"].as_u64().unwrap();
    assert!(reset > 0 && reset <= 1_000, "{said}");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(said["error"]["type"], "rate_limit_error");
    assert_eq!((&said["error"]["code"], &said["error"]["message"]), (&said["code"], &said["message"]));
    assert_eq!(refused.header("x-request-id"), said["request_id"].as_str());
    let taken = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(taken >= 10, "the burst is let through: {taken}");
    assert_eq!(fake.requests().len(), taken, "what is refused is not sent");
    server.admin().assert_audit().await;
}
