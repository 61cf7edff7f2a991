//! The models of a key: each name in its list means what its owner means, in requests, in earlier answers, on every transport
//! and in the list of models.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::{Api, Customer, answer},
    fake_openai::{Behaviour, FakeOpenAi},
    server::{Options, Server},
    socket::Socket,
    temporary, with,
};

/// An endpoint with a model that OpenAI has too, and one of its own.
const PRICES: &str = r#"
provider = "azure"
[[model]]
id = "gpt-4o-mini"
context = 128000
max_output = 16384
price = { input = "0.15", output = "0.60" }
[[model]]
id = "own-model"
context = 128000
max_output = 16384
price = { input = "0.15", output = "0.60" }
"#;

struct Stage {
    openai: FakeOpenAi,
    server: Server,
    customer: Customer,
}

impl Stage {
    async fn set() -> Self {
        let (openai, azure) = (FakeOpenAi::start(), FakeOpenAi::start());
        let folder = temporary("prices");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("azure.toml"), PRICES).unwrap();
        let options = Options::default()
            .calling(openai.url())
            .set("FAREBOX_PRICES__FOLDER", folder.to_str().unwrap())
            .set("FAREBOX_PROVIDERS__AZURE__BASE_URL", azure.url())
            .set("FAREBOX_PROVIDERS__AZURE__API_KEY", "sk-azure")
            .set("FAREBOX_ROUTING__ALIASES", "fast=gpt-4o>gpt-4o-mini, slow=own-model");
        let server = Server::start(options).await;
        let customer = server.admin().customer("payg", "5").await;
        Self { openai, server, customer }
    }

    async fn key(&self, models: Value) -> (Api, String) {
        let made = self.customer.api.post("/v1/keys", &json!({"models": models})).await.ok();
        let key = made["key"].as_str().unwrap().to_owned();
        (self.server.api(&key), key)
    }
}

fn body(model: &str) -> Value {
    json!({"model": model, "temperature": 0, "messages": [{"role": "user", "content": "Say hello to me"}]})
}

/// The status of a chat, with the code of an error and the provider of an answer.
async fn chat(api: &Api, model: &str) -> (u16, String) {
    let answer = api.post("/v1/chat/completions", &body(model)).await;
    let json = answer.json();
    let said = if answer.status == 200 { &json["farebox"]["provider"] } else { &json["code"] };
    (answer.status, said.as_str().unwrap_or_default().to_owned())
}

async fn listed(api: &Api) -> Vec<String> {
    let all = api.get("/v1/models").await.ok()["data"].as_array().unwrap().clone();
    all.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

fn refused() -> (u16, String) {
    (403, "key_limit".to_owned())
}

fn served(provider: &str) -> (u16, String) {
    (200, provider.to_owned())
}

#[tokio::test]
async fn a_name_means_the_model_of_any_provider_of_one_or_what_an_alias_stands_for() {
    let stage = Stage::set().await;
    let (qualified, _) = stage.key(json!(["azure/gpt-4o-mini"])).await;
    assert_eq!(chat(&qualified, "azure/gpt-4o-mini").await, served("azure"));
    for other in ["gpt-4o-mini", "openai/gpt-4o-mini", "own-model", "fast"] {
        assert_eq!(chat(&qualified, other).await, refused(), "{other}");
    }
    assert_eq!(listed(&qualified).await, ["azure/gpt-4o-mini"]);

    let (bare, _) = stage.key(json!(["gpt-4o-mini"])).await;
    assert_eq!(chat(&bare, "azure/gpt-4o-mini").await, served("azure"));
    assert_eq!(chat(&bare, "gpt-4o-mini").await, served("openai"));
    assert_eq!(chat(&bare, "fast").await, served("openai"), "what it may not use is passed over");
    assert_eq!(chat(&bare, "slow").await, refused());
    assert_eq!(listed(&bare).await, ["fast", "azure/gpt-4o-mini", "gpt-4o-mini"]);

    let (alias, key) = stage.key(json!(["fast"])).await;
    assert_eq!(chat(&alias, "fast").await, served("openai"));
    stage.openai.script(Behaviour::Status(503));
    assert_eq!(chat(&alias, "fast").await, served("openai"), "all that it stands for");
    for other in ["gpt-4o", "gpt-4o-mini", "slow"] {
        assert_eq!(chat(&alias, other).await, refused(), "{other}");
    }
    assert_eq!(listed(&alias).await, ["fast"]);
    assert_eq!(alias.get("/v1/models/fast").await.ok()["id"], "fast");
    let hidden = alias.get("/v1/models/gpt-4o").await;
    assert_eq!((hidden.status, &hidden.json()["code"]), (403, &json!("key_limit")));
    let quote = alias.post("/v1/quote", &body("fast")).await.ok();
    assert_eq!(quote["admitted"], true, "{quote}");
    let mut socket = Socket::open(stage.server.url(), &key).await;
    socket.send(&json!({"type": "chat.create", "id": "a", "body": body("fast")})).await;
    assert_eq!(socket.next_of("chat.done").await["id"], "a");
    // What follows the alias in the request is not of the alias.
    for _ in 0..2 {
        stage.openai.script(Behaviour::Status(503));
    }
    let beside = with(&body("fast"), &json!({"models": ["own-model"]}));
    let beside = alias.post("/v1/chat/completions", &beside).await;
    assert_eq!(
        (beside.status, &beside.json()["code"]),
        (503, &json!("provider_error")),
        "that of the models it may use"
    );
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn an_earlier_answer_is_of_the_provider_that_made_it() {
    let stage = Stage::set().await;
    let ask = async |api: &Api, model: &str| {
        let request = api.request(Method::POST, "/v1/chat/completions").header("x-farebox-cache", "60");
        answer(request.json(&body(model))).await
    };
    let (qualified, _) = stage.key(json!(["openai/gpt-4o-mini"])).await;
    for reused in ["miss", "hit"] {
        let answer = ask(&qualified, "gpt-4o-mini").await;
        assert_eq!((answer.status, answer.header("x-farebox-cache")), (200, Some(reused)), "{}", answer.body);
    }
    let (other, _) = stage.key(json!(["azure/gpt-4o-mini"])).await;
    assert_eq!(ask(&other, "gpt-4o-mini").await.status, 403, "the answer that is there is not its own model's");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_name_that_means_nothing_is_refused_with_the_nearest() {
    let stage = Stage::set().await;
    let made = stage.customer.api.post("/v1/keys", &json!({"models": ["fast", "gpt-4o-mimi"]})).await;
    let error = made.json();
    assert_eq!((made.status, &error["field"]), (400, &json!("models[1]")), "{error}");
    assert_eq!(error["nearest"][0], "gpt-4o-mini", "{error}");
    for known in ["own-model", "azure/own-model", "slow", "openai/gpt-4o", "gpt-4o-2024-08-06"] {
        stage.key(json!([known])).await;
    }
    for unknown in ["openai/own-model", "azure", "azure/", "", "fast "] {
        let made = stage.customer.api.post("/v1/keys", &json!({"models": [unknown]})).await;
        assert_eq!(made.status, 400, "{unknown:?}: {}", made.body);
    }
}
