//! Fall-backs: where the model that a request names is not served, the next of its `models` is asked. The answer says by
//! which way it came, only the attempt that answers is charged, and what is wrong with the request is wrong for all.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::Customer,
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

    fn body(more: &Value) -> Value {
        let messages = json!([{"role": "user", "content": "Say hello to me"}]);
        with(&json!({"model": "gpt-4o", "models": ["gpt-4o-mini"], "messages": messages}), more)
    }
}

/// (7 x 0.15 + 6 x 0.60) / 1e6 x 1.02.
const COST_OF_MINI: &str = "0.000004743";

#[tokio::test]
async fn the_next_model_answers_where_the_first_is_not_served_and_only_it_is_charged() {
    let stage = Stage::set().await;
    stage.fake.script(Behaviour::Status(503));
    let answer = stage.customer.api.post("/v1/chat/completions", &Stage::body(&json!({}))).await;
    let body = answer.ok();
    assert_eq!((&body["model"], &body["usage"]["cost"]), (&json!("gpt-4o-mini"), &json!(COST_OF_MINI)));
    assert_eq!(answer.header("x-farebox-route"), Some("gpt-4o 503, gpt-4o-mini"));
    assert!(stage.fake.requests().iter().all(|asked| asked.get("models").is_none()), "no provider gets our field");
    let records = stage.customer.api.get("/v1/requests").await.ok()["data"].as_array().unwrap().clone();
    let told =
        |record: &Value| (record["model"].as_str().unwrap().to_owned(), record["cost"].as_str().unwrap().to_owned());
    let mut told: Vec<_> = records.iter().map(told).collect();
    told.sort();
    assert_eq!(told, [("gpt-4o".to_owned(), "0.00".to_owned()), ("gpt-4o-mini".to_owned(), COST_OF_MINI.to_owned())]);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn an_alias_stands_for_a_model_and_those_after_it() {
    let fake = FakeOpenAi::start();
    let aliases = "fast=gpt-4o>gpt-4o-mini, gpt-4.1=gpt-4o";
    let options = Options::default().calling(fake.url()).set("FAREBOX_ROUTING__ALIASES", aliases);
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    let body = json!({"model": "fast", "messages": [{"role": "user", "content": "Say hello to me"}]});
    let first = customer.api.post("/v1/chat/completions", &body).await;
    assert_eq!((first.ok()["model"].clone(), first.header("x-farebox-route")), (json!("gpt-4o"), Some("gpt-4o")));
    fake.script(Behaviour::Status(503));
    let second = customer.api.post("/v1/chat/completions", &body).await;
    assert_eq!(second.header("x-farebox-route"), Some("gpt-4o 503, gpt-4o-mini"));
    assert_eq!(second.ok()["usage"]["cost"], COST_OF_MINI);
    let listed = customer.api.get("/v1/models").await.ok();
    assert_eq!((&listed["data"][0]["id"], &listed["data"][0]["owned_by"]), (&json!("fast"), &json!("openai")));
    let ids: Vec<_> = listed["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert_eq!(
        ids.iter().filter(|id| **id == "gpt-4.1").count(),
        1,
        "a model behind an alias of its name is not there"
    );
    assert_eq!(customer.api.get("/v1/models/fast").await.ok()["id"], "fast");
    let quote = customer.api.post("/v1/quote", &body).await.ok();
    assert_eq!((&quote["model"], &quote["admitted"]), (&json!("gpt-4o"), &json!(true)));
    assert!(fake.requests().iter().all(|asked| asked["model"] != "fast"), "{:?}", fake.requests());
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn an_alias_may_choose_by_weight_or_by_price() {
    let fake = FakeOpenAi::start();
    let aliases = "mix=gpt-4o*3|gpt-4o-mini, cheap=cheapest gpt-4o|gpt-4o-mini|gemini-3.8-flash";
    let server = Server::start(Options::default().calling(fake.url()).set("FAREBOX_ROUTING__ALIASES", aliases)).await;
    let customer = server.admin().customer("payg", "5").await;
    let ask = async |more: Value| {
        let messages = json!([{"role": "user", "content": "Say hello to me"}]);
        let body = with(&json!({"model": "mix", "messages": messages}), &more);
        let answer = customer.api.post("/v1/chat/completions", &body).await;
        let quote = customer.api.post("/v1/quote", &body).await.ok();
        (answer.ok()["model"].as_str().unwrap().to_owned(), quote["model"].as_str().unwrap().to_owned())
    };
    let mut dear = 0;
    for session in 0..40 {
        let of_session = json!({"prompt_cache_key": format!("s{session}")});
        let (model, quoted) = ask(of_session.clone()).await;
        assert_eq!((&ask(of_session).await.0, &quoted), (&model, &model), "a conversation keeps to its model");
        dear += usize::from(model == "gpt-4o");
    }
    assert!((20..40).contains(&dear), "three of four: {dear}");
    // Gemini costs less, and has no key here.
    assert_eq!(ask(json!({"model": "cheap"})).await, ("gpt-4o-mini".to_owned(), "gpt-4o-mini".to_owned()));
    fake.script(Behaviour::Status(503));
    assert_eq!(ask(json!({"model": "cheap"})).await.0, "gpt-4o", "the next by its price");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_stream_falls_back_before_its_first_piece_and_never_after() {
    let stage = Stage::set().await;
    let stream = async || {
        let body = Stage::body(&json!({"stream": true}));
        let request = stage.customer.api.request(Method::POST, "/v1/chat/completions").json(&body);
        let sent = request.send().await.unwrap();
        let route = sent.headers().get("x-farebox-route").map(|value| value.to_str().unwrap().to_owned());
        (sent.status().as_u16(), route, sent.text().await.unwrap())
    };
    stage.fake.script(Behaviour::Status(429));
    let (status, route, text) = stream().await;
    assert_eq!((status, route.as_deref()), (200, Some("gpt-4o 429, gpt-4o-mini")));
    assert!(text.contains(COST_OF_MINI) && text.trim_end().ends_with("data: [DONE]"), "{text}");
    let before = stage.fake.requests().len();
    stage.fake.script(Behaviour::CutAfter(3));
    let (status, route, text) = stream().await;
    assert_eq!((status, route, stage.fake.requests().len()), (200, None, before + 1), "{text}");
    assert!(!text.contains("[DONE]"), "{text}");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn what_is_wrong_with_the_request_is_wrong_for_every_model() {
    let stage = Stage::set().await;
    let asked = async |more: Value| stage.customer.api.post("/v1/chat/completions", &Stage::body(&more)).await;
    stage.fake.script(Behaviour::Status(400));
    assert_eq!((asked(json!({})).await.status, stage.fake.requests().len()), (400, 1));
    assert_eq!(asked(json!({"temperature": 9})).await.status, 400);
    assert_eq!(asked(json!({"models": "gpt-4o-mini"})).await.json()["error"]["param"], "models");
    let unknown = asked(json!({"model": "gpt-9", "models": ["no-such-model", "gpt-4o-mini"]})).await;
    assert_eq!(unknown.header("x-farebox-route"), Some("gpt-9 404, no-such-model 404, gpt-4o-mini"));
    stage.fake.script(Behaviour::Status(503));
    stage.fake.script(Behaviour::Status(500));
    let neither = asked(json!({})).await;
    assert_eq!((neither.status, neither.header("x-farebox-route")), (502, None), "the last one's error");
    let poor = stage.server.admin().customer("free", "0").await;
    stage.server.admin().void_all(&poor).await;
    assert_eq!(poor.api.post("/v1/chat/completions", &Stage::body(&json!({}))).await.status, 402);
    stage.server.admin().assert_audit().await;
}
