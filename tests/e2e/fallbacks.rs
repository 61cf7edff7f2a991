//! Fall-backs: where the model that a request names is not served, the next of its `models` is asked. The answer says by
//! which way it came, only the attempt that answers is charged, and what is wrong with the request is wrong for all.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::Customer,
    fake_openai::{Behaviour, FakeOpenAi},
    fake_responses::{FakeResponses, Turn},
    raw_provider::{RawProvider, answer},
    server::{Options, Server},
    socket::Socket,
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
async fn a_receipt_tells_every_attempt_and_what_each_was_charged_also_after_a_restart() {
    let mut stage = Stage::set().await;
    stage.fake.script(Behaviour::Status(503));
    let body = Stage::body(&json!({"model": "gpt-9", "models": ["gpt-4o", "gpt-4o-mini"]}));
    let answer = stage.customer.api.post("/v1/chat/completions", &body).await;
    assert_eq!((answer.status, answer.header("x-farebox-route")), (200, Some("gpt-9 404, gpt-4o 503, gpt-4o-mini")));
    let path = format!("/v1/requests/{}", answer.header("x-request-id").unwrap());
    let before = stage.customer.api.get(&path).await.ok();
    let receipt = stage.customer.api.get(&format!("{path}/receipt")).await.ok();
    assert_eq!(before["attempts"], receipt["attempts"]);
    let attempts = receipt["attempts"].as_array().unwrap().clone();
    let told = |name: &str| attempts.iter().map(|attempt| attempt[name].clone()).collect::<Vec<_>>();
    assert_eq!(told("model"), [json!("gpt-9"), json!("gpt-4o"), json!("gpt-4o-mini")]);
    assert_eq!(told("provider"), [Value::Null, json!("openai"), json!("openai")]);
    assert_eq!(told("outcome"), [json!("model_not_found"), json!("provider_error"), json!("completed")]);
    assert_eq!(told("status"), [json!(404), json!(503), Value::Null]);
    assert_eq!(told("charged"), [json!("0.00"), json!("0.00"), json!(COST_OF_MINI)]);
    assert_eq!((&receipt["charged"], &attempts[0]["request_id"]), (&json!(COST_OF_MINI), &Value::Null));
    let times: Vec<_> = attempts.iter().flat_map(|attempt| [&attempt["started_at"], &attempt["ended_at"]]).collect();
    assert!(times.is_sorted_by_key(|time| time.as_str()), "one after another: {times:?}");
    // Each that was held for has a record of its own, with the same charge.
    for attempt in &attempts[1..] {
        let own =
            stage.customer.api.get(&format!("/v1/requests/{}", attempt["request_id"].as_str().unwrap())).await.ok();
        assert_eq!((&own["model"], &own["cost"]), (&attempt["model"], &attempt["charged"]));
    }
    let alone = stage.customer.api.post("/v1/chat/completions", &Stage::body(&json!({}))).await;
    let alone = stage.customer.api.get(&format!("/v1/requests/{}", alone.header("x-request-id").unwrap())).await.ok();
    assert_eq!(alone.get("attempts"), None, "one attempt is the request");

    stage.server.kill_nine();
    stage.server.restart().await;
    stage.customer.api = stage.server.api(&stage.customer.key);
    assert_eq!(stage.customer.api.get(&path).await.ok(), before);
    let file = stage.server.folder().join("receipt.json");
    std::fs::write(&file, receipt.to_string()).unwrap();
    let verified = stage.server.cli(&["receipt", "verify", file.to_str().unwrap(), "--log"]);
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(0), "{said}");
    assert!(said.contains("gpt-4o at openai: provider_error (503)"), "{said}");
    assert!(said.contains("the ledger says the same"), "{said}");
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
async fn a_chat_on_the_live_socket_falls_back_before_its_first_piece_and_never_after() {
    let fake = FakeOpenAi::start();
    let options = Options::default().calling(fake.url()).set("FAREBOX_ROUTING__ALIASES", "fast=gpt-4o>gpt-4o-mini");
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    let mut socket = Socket::open(server.url(), &customer.key).await;
    let body = json!({"model": "fast", "messages": [{"role": "user", "content": "Say hello to me"}]});
    let chat = |id: &str, more: &Value| json!({"type": "chat.create", "id": id, "body": with(&body, more)});
    fake.script(Behaviour::Status(503));
    socket.send(&chat("a", &json!({}))).await;
    let done = socket.next_of("chat.done").await;
    assert_eq!((&done["id"], &done["cost"]), (&json!("a"), &json!(COST_OF_MINI)), "{done}");
    fake.script(Behaviour::Status(503));
    socket.send(&chat("b", &json!({"model": "gpt-4o", "models": ["gpt-4o-mini"]}))).await;
    assert_eq!(socket.next_of("chat.done").await["cost"], COST_OF_MINI, "its own models too");
    let asked = fake.requests().len();
    fake.script(Behaviour::CutAfter(3));
    socket.send(&chat("c", &json!({}))).await;
    let failed = socket.next_of("error").await;
    assert_eq!((&failed["id"], fake.requests().len()), (&json!("c"), asked + 1), "pieces were sent: {failed}");
    for _ in 0..2 {
        fake.script(Behaviour::Status(503));
    }
    socket.send(&chat("d", &json!({}))).await;
    let failed = socket.next_of("error").await;
    assert_eq!((&failed["id"], &failed["code"]), (&json!("d"), &json!("provider_error")), "{failed}");
    customer.settled(7).await;
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_response_in_the_background_falls_back_under_its_own_id() {
    let gpt = FakeResponses::start();
    let options = Options::default().calling(gpt.url()).set("FAREBOX_ROUTING__ALIASES", "fast=gpt-4o>gpt-4o-mini");
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    let begin = async || {
        let body = json!({"model": "fast", "input": "Say hello", "background": true});
        customer.api.post("/v1/responses", &body).await.ok()["id"].as_str().unwrap().to_owned()
    };
    let over = async |id: &str| loop {
        let response = customer.api.get(&format!("/v1/responses/{id}")).await.ok();
        if !["queued", "in_progress"].contains(&response["status"].as_str().unwrap()) {
            return response;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    gpt.script(Turn::Status(503));
    let id = begin().await;
    let response = over(&id).await;
    let told = (&response["id"], &response["status"], &response["model"]);
    assert_eq!(told, (&json!(id), &json!("completed"), &json!("gpt-4o-mini")), "{response}");
    assert_eq!(
        gpt.seen().iter().map(|seen| seen.json()["model"].clone()).collect::<Vec<_>>(),
        ["gpt-4o", "gpt-4o-mini"]
    );
    for _ in 0..2 {
        gpt.script(Turn::Status(503));
    }
    let id = begin().await;
    let response = over(&id).await;
    assert_eq!((&response["id"], &response["status"]), (&json!(id), &json!("failed")), "{response}");
    customer.settled(4).await;
    server.admin().assert_audit().await;
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

#[tokio::test]
async fn an_alias_may_ask_the_fastest_and_a_session_stays_where_it_was_answered() {
    const DONE: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,
        "message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
    let slow = Arc::new(Mutex::new("gpt-4o".to_owned()));
    let slowed = Arc::clone(&slow);
    let fake = RawProvider::start(move |asked| {
        if asked.body["model"] == **slowed.lock().unwrap() {
            std::thread::sleep(Duration::from_millis(150));
        }
        answer(200, &[], DONE)
    });
    let aliases = "quick=fastest gpt-4o|gpt-4o-mini|gemini-3.8-flash";
    let server = Server::start(Options::default().calling(fake.url()).set("FAREBOX_ROUTING__ALIASES", aliases)).await;
    let customer = server.admin().customer("payg", "5").await;
    let ask = async |session: Option<&str>| {
        let body = json!({"model": "quick", "messages": [{"role": "user", "content": "Say hello to me"}]});
        let body = with(&body, &session.map_or(json!({}), |session| json!({"prompt_cache_key": session})));
        let answer = customer.api.post("/v1/chat/completions", &body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.header("x-farebox-route").unwrap().to_owned()
    };
    // Each is tried once; Gemini has no key here.
    let first = ask(Some("a")).await;
    let other = ask(Some("b")).await;
    assert_eq!((&*first, &*other), ("gpt-4o", "gpt-4o-mini"));
    let mut fast = 0;
    for _ in 0..30 {
        fast += usize::from(ask(None).await == "gpt-4o-mini");
    }
    assert!(fast >= 24, "most ask the fastest: {fast}");
    for session in ["a", "b", "a"] {
        let expected = if session == "a" { &first } else { &other };
        assert_eq!(&ask(Some(session)).await, expected, "its cache is there");
    }
    "gpt-4o-mini".clone_into(&mut slow.lock().unwrap());
    let mut moved = 0;
    for _ in 0..60 {
        moved += usize::from(ask(None).await == "gpt-4o");
    }
    assert!(moved >= 10, "what has become slower is left: {moved}");
    let body = json!({"model": "quick", "messages": [{"role": "user", "content": "Say hello to me"}]});
    assert_eq!(customer.api.post("/v1/quote", &body).await.ok()["admitted"], true);
    server.admin().assert_audit().await;
}
