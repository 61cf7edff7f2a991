//! Responses, end to end: what they cost, that the client's bytes and the provider's events pass, who pays when a stream
//! ends early, and that models of other formats answer in this one. OpenAI's own SDKs are the clients of one story.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    open,
    support::{
        client::Customer,
        fake_anthropic::{Behaviour, FakeAnthropic},
        fake_responses::{FakeResponses, Turn},
        python::{python_script, run},
        server::{Options, Server},
        with,
    },
};

struct Stage {
    fake: FakeResponses,
    server: Server,
    customer: Customer,
}

/// (2 x 0.15 + 4 x 0.60) / 1e6 x 1.02: eleven bytes of input, twelve of output, four a token.
const COST: &str = "0.000002754";

impl Stage {
    async fn set() -> Self {
        let fake = FakeResponses::start();
        let server = Server::start(Options::default().calling(fake.url())).await;
        let customer = server.admin().customer("payg", "5").await;
        Self { fake, server, customer }
    }

    fn body(more: &Value) -> Value {
        with(&json!({"model": "gpt-4o-mini", "input": "Say hello"}), more)
    }

    /// The text of a stream, as far as it comes.
    async fn stream(&self, more: &Value) -> String {
        let body = with(&Self::body(more), &json!({"stream": true}));
        let sent = self.customer.api.request(Method::POST, "/v1/responses").json(&body).send().await.unwrap();
        assert_eq!(sent.status(), 200);
        sent.text().await.unwrap()
    }

    /// The only record, once nothing is held.
    async fn record(&self) -> Value {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let records = self.customer.api.get("/v1/requests").await.ok()["data"].as_array().unwrap().clone();
            let held = self.customer.api.get("/v1/balance").await.ok()["held"] != "0.00";
            if let ([record], false) = (&records[..], held) {
                return record.clone();
            }
            assert!(Instant::now() < deadline, "{records:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The events of a stream: each has its name.
fn events(text: &str) -> Vec<Value> {
    let event = |block: &str| {
        let (name, data) = block.split_once('\n')?;
        let data: Value = serde_json::from_str(data.strip_prefix("data: ")?).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str(), "{block}");
        Some(data)
    };
    text.split("\n\n").filter_map(event).collect()
}

#[tokio::test]
async fn a_response_is_charged_its_usage_and_two_percent() {
    let stage = Stage::set().await;
    let answer = stage.customer.api.post("/v1/responses", &Stage::body(&json!({}))).await;
    let body = answer.ok();
    assert_eq!(body["output"][0]["content"][0]["text"], "Hello there.");
    assert_eq!((&body["usage"]["cost"], &body["farebox"]["provider"]), (&json!(COST), &json!("openai")));
    assert_eq!((answer.header("x-farebox-cost"), answer.header("x-codex-turn-state")), (Some(COST), Some("turn")));
    assert_eq!(stage.record().await["cost"], COST);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_stream_is_the_providers_own_and_its_last_event_has_the_cost() {
    let stage = Stage::set().await;
    let body = with(&Stage::body(&json!({})), &json!({"stream": true}));
    let sent = stage.customer.api.request(Method::POST, "/v1/responses").json(&body).send().await.unwrap();
    let header = |name: &str| sent.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("x-codex-turn-state").as_deref(), Some("turn"));
    assert_eq!(header("openai-model"), None, "agents take another name for a sign of being flagged");
    let events = events(&sent.text().await.unwrap());
    let numbers: Vec<_> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>(), "none is lost, none is added");
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["response"]["usage"]["cost"]), (&json!("response.completed"), &json!(COST)));
    assert_eq!(last["response"]["usage"]["output_tokens"], 4);
    assert_eq!(stage.record().await["cost"], COST);
}

#[tokio::test]
async fn a_body_goes_to_the_provider_byte_for_byte_and_a_prefix_stays_a_prefix() {
    let stage = Stage::set().await;
    let turn = |more: &str| {
        format!(
            "{{\"model\": \"gpt-4o-mini\",\n \"input\" : [{{\"role\":\"user\",\"content\":\"h\\u00e9 \\/ llo\"}}{more}],\"stream\":true,\
             \"tools\":[{{\"type\":\"function\",\"name\":\"f\",\"parameters\":{{ \"type\":\"object\"}},\"strict\":false}}],\
             \"store\":false,\"include\":[\"reasoning.encrypted_content\"],\"prompt_cache_key\":\"k\",\"client_metadata\":{{\"a\":\"b\"}}}}"
        )
    };
    let turns = [turn(""), turn(",{\"role\":\"user\",\"content\":\"again\"}")];
    for turn in &turns {
        let request = stage.customer.api.request(Method::POST, "/v1/responses?a=b").body(turn.clone());
        let request = request.header("content-type", "application/json").header("originator", "codex_exec");
        let request = request.header("session-id", "s1").header("x-api-key", "stays").header("cookie", "stays");
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    let seen = stage.fake.seen();
    for (seen, turn) in seen.iter().zip(&turns) {
        let turn = turn.strip_suffix('}').unwrap();
        assert_eq!(seen.body, format!(r#"{turn},"service_tier":"default"}}"#), "every byte, and our tier");
    }
    assert_eq!(seen.len(), 2);
    let (first, second) = (&seen[0], &seen[1]);
    let same = first.body.bytes().zip(second.body.bytes()).take_while(|(one, other)| one == other).count();
    assert_eq!(&first.body[..same], &turn("")[..turn("").find(']').unwrap()], "all before what was added");
    assert_eq!((first.header("originator"), first.header("session-id")), (Some("codex_exec"), Some("s1")));
    assert_eq!(
        (first.header("cookie"), first.header("x-api-key"), first.path.as_str()),
        (None, None, "/v1/responses?a=b")
    );
}

#[tokio::test]
async fn who_pays_where_a_stream_ends_early_is_decided_by_the_table() {
    for (turn, last, cost, estimated) in [
        // Cut: the provider failed, and told nothing.
        (Turn::CutAfter(6), "response.failed", "0.00", false),
        (Turn::Fails(false), "response.failed", "0.00", false),
        (Turn::Fails(true), "response.failed", COST, false),
        // (9 x 0.15 + 3 x 0.60) / 1e6 x 1.02: counted here, the prompt and "Hello there."
        (Turn::NoUsage, "response.completed", "0.000003213", true),
    ] {
        let stage = Stage::set().await;
        stage.fake.script(turn.clone());
        let events = events(&stage.stream(&json!({})).await);
        let end = events.last().unwrap();
        assert_eq!(end["type"], last, "{turn:?}");
        assert_eq!(end["response"]["id"], events[0]["response"]["id"], "{turn:?}");
        if matches!(turn, Turn::Fails(true)) {
            assert!(end["response"]["usage"]["input_tokens"].is_u64(), "what was charged is told: {end}");
        }
        let record = stage.record().await;
        assert_eq!((&record["cost"], &record["estimated"]), (&json!(cost), &json!(estimated)), "{turn:?}");
        stage.server.admin().assert_audit().await;
    }
}

#[tokio::test]
async fn a_translated_response_that_failed_and_was_charged_tells_its_usage() {
    let claude = FakeAnthropic::start();
    let server = Server::start(Options::default().calling_anthropic(claude.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    claude.script(Behaviour::ErrorAfter(4));
    let body = json!({"model": "claude-haiku-4-5", "input": "Say hello", "stream": true});
    let sent = customer.api.request(Method::POST, "/v1/responses").json(&body).send().await.unwrap();
    let text = sent.text().await.unwrap();
    let last = text.split("\n\n").filter_map(|event| event.split_once("data: ")).last().unwrap().1;
    let response = serde_json::from_str::<Value>(last).unwrap()["response"].clone();
    let record = customer.settled(1).await.remove(0);
    assert_eq!((&response["status"], &record["ending"]), (&json!("failed"), &json!("failed")), "{text}");
    assert_ne!(record["cost"], "0.00", "its prompt was told: {record}");
    assert_eq!(
        (&response["usage"]["cost"], &response["usage"]["input_tokens"]),
        (&record["cost"], &record["input_tokens"])
    );
    assert_eq!(response["farebox"]["provider"], "anthropic");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_failure_that_is_charged_is_the_last_attempt_and_tools_within_tools_are_refused() {
    let stage = Stage::set().await;
    stage.fake.script(Turn::Fails(true));
    let others = json!({"models": ["gpt-4o", "gpt-4o-mini"]});
    let failed = stage.customer.api.post("/v1/responses", &Stage::body(&others)).await;
    assert_eq!((failed.status, stage.fake.seen().len()), (502, 1), "{}", failed.body);
    assert_eq!(stage.record().await["cost"], COST);
    let paid = json!([{"type": "namespace", "name": "n", "tools": [{"type": "image_generation"}]}]);
    let refused = stage.customer.api.post("/v1/responses", &Stage::body(&json!({"tools": paid}))).await;
    assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("tools[0].tools[0].type")));
    let item = json!([{"type": "additional_tools", "role": "developer", "tools": [{"type": "image_generation"}]}]);
    let refused = stage.customer.api.post("/v1/responses", &Stage::body(&json!({"input": item}))).await;
    assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("input[0].tools[0].type")));
    assert_eq!(stage.fake.seen().len(), 1);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_client_that_leaves_pays_what_the_provider_reports() {
    let stage = Stage::set().await;
    stage.fake.script(Turn::Slow(100));
    let body = Stage::body(&json!({"stream": true}));
    let sent = stage.customer.api.request(Method::POST, "/v1/responses").json(&body).send().await.unwrap();
    let mut pieces = sent.bytes_stream();
    pieces.next().await.unwrap().unwrap();
    drop(pieces);
    let record = stage.record().await;
    assert_eq!((&record["cost"], &record["ending"]), (&json!(COST), &json!("client_left")));
}

#[tokio::test]
async fn refusals_come_before_any_hold_and_in_a_form_that_agents_read() {
    let stage = Stage::set().await;
    for (more, field) in [
        (json!({"previous_response_id": "resp_nobodys"}), "previous_response_id"),
        (json!({"conversation": "conv_1"}), "conversation"),
        (json!({"a_field_of_tomorrow": 1}), "a_field_of_tomorrow"),
        (json!({"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}), "tools[0].type"),
        (json!({"input": 7}), "input"),
        (json!({"max_cost": "x"}), "max_cost"),
    ] {
        let refused = stage.customer.api.post("/v1/responses", &Stage::body(&more)).await;
        assert_eq!((refused.status, refused.json()["error"]["param"].as_str()), (400, Some(field)), "{more}");
    }
    let poor = stage.server.admin().customer("free", "0").await;
    let dear = json!({"model": "gpt-4.1", "input": "long ".repeat(500_000)});
    let request = poor.api.request(Method::POST, "/v1/responses").header("originator", "codex_exec").json(&dear);
    let broke = crate::support::client::answer(request).await;
    assert_eq!((broke.status, broke.json()["error"]["type"].as_str()), (402, Some("insufficient_quota")));
    assert_eq!(stage.customer.api.get("/v1/requests").await.ok()["data"], json!([]), "nothing was held");
    stage.fake.script(Turn::Status(429));
    let limited = stage.customer.api.post("/v1/responses", &Stage::body(&json!({}))).await;
    assert_eq!((limited.status, limited.header("retry-after")), (429, Some("5")));
    let upgrade = stage.customer.api.request(Method::GET, "/v1/responses");
    let upgrade =
        crate::support::client::answer(upgrade.header("upgrade", "websocket").header("connection", "upgrade"));
    assert_eq!(upgrade.await.status, 426);
    assert_eq!(stage.customer.api.get("/v1/responses").await.status, 405);
}

#[tokio::test]
async fn an_open_model_answers_as_a_response() {
    let (server, customer) = open::stage("inflight").await;
    let body = json!({"model": open::MODEL, "instructions": "Be brief.", "input": "Name a color.", "max_output_tokens": 2,
        "temperature": 0});
    let whole = customer.api.post("/v1/responses", &body).await.ok();
    assert_eq!((&whole["object"], &whole["status"]), (&json!("response"), &json!("incomplete")));
    let said = whole["output"][0]["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(!said.is_empty() && whole["usage"]["output_tokens"] == 2, "{whole}");
    assert_eq!(whole["usage"]["cost"], "0.000072");
    let streamed = with(&body, &json!({"stream": true}));
    let sent = customer.api.request(Method::POST, "/v1/responses").json(&streamed).send().await.unwrap();
    let events = events(&sent.text().await.unwrap());
    let pieces = events.iter().filter(|event| event["type"] == "response.output_text.delta");
    let text: String = pieces.map(|event| event["delta"].as_str().unwrap()).collect();
    let last = events.last().unwrap();
    assert_eq!((text.as_str(), &last["type"]), (said.as_str(), &json!("response.incomplete")));
    assert_eq!(last["response"]["output"][0]["content"][0]["text"], said);
    let tools = with(&body, &json!({"tools": [{"type": "function", "name": "f", "parameters": {"type": "array"}}]}));
    let refused = customer.api.post("/v1/responses", &tools).await;
    assert_eq!((refused.status, refused.json()["error"]["param"].as_str()), (400, Some("tools")));
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn openais_sdk_makes_responses_as_it_does_anywhere() {
    let stage = Stage::set().await;
    for turn in [
        Turn::Says("Hello there."),
        Turn::Says("Hello there."),
        Turn::Calls("weather", r#"{"place": "Paris"}"#.to_owned()),
        Turn::Says("It is sunny."),
        Turn::Says(r#"{"color": "red"}"#),
        Turn::Fails(false),
    ] {
        stage.fake.script(turn);
    }
    let (url, key) = (stage.server.url().to_owned(), stage.customer.key.clone());
    let work = move || run(python_script("openai_responses.py").env("FAREBOX_URL", url).env("FAREBOX_KEY", key));
    let output = tokio::task::spawn_blocking(work).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok");
    stage.server.admin().assert_audit().await;
}
