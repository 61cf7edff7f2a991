//! Responses in the background: they go on without their client, are read and resumed by their id, end where they are
//! cancelled, and are paid as any other.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    kept::Stage,
    support::{fake_responses::Turn, server::Options, with},
};

impl Stage {
    fn body(more: &Value) -> Value {
        with(&json!({"model": "gpt-4o-mini", "input": "Say hello", "background": true}), more)
    }

    async fn begin(&self, more: &Value) -> Value {
        let begun = self.customer.api.post("/v1/responses", &Self::body(more)).await.ok();
        assert_eq!((&begun["status"], &begun["background"]), (&json!("queued"), &json!(true)), "{begun}");
        begun
    }

    async fn read(&self, id: &Value) -> Value {
        self.customer.api.get(&format!("/v1/responses/{}", id.as_str().unwrap())).await.ok()
    }

    /// The response once it is over, and nothing is held.
    async fn over(&self, id: &Value) -> Value {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let response = self.read(id).await;
            let held = self.customer.api.get("/v1/balance").await.ok()["held"] != "0.00";
            if !held && !["queued", "in_progress"].contains(&response["status"].as_str().unwrap()) {
                return response;
            }
            assert!(Instant::now() < deadline, "{response}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn costs(&self) -> Vec<String> {
        let records = self.customer.api.get("/v1/requests").await.ok()["data"].as_array().unwrap().clone();
        records.iter().map(|record| record["cost"].as_str().unwrap().to_owned()).collect()
    }
}

/// The events of a stream, as far as they came.
fn events(text: &str) -> Vec<Value> {
    let data = text.split("\n\n").filter_map(|event| event.split_once("data: "));
    let all = data.map(|(_, data)| serde_json::from_str::<Value>(data).unwrap());
    all.filter(|event| event["type"] != "keepalive").collect()
}

fn numbers(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect()
}

/// (2 x 0.15 + 4 x 0.60) / 1e6 x 1.02.
const COST: &str = "0.000002754";

#[tokio::test]
async fn it_goes_on_without_its_client_and_is_read_by_its_id() {
    let stage = Stage::set().await;
    let begun = stage.begin(&json!({})).await;
    let over = stage.over(&begun["id"]).await;
    assert_eq!((&over["id"], &over["status"], &over["background"]), (&begun["id"], &json!("completed"), &json!(true)));
    assert_eq!(
        (&over["output"][0]["content"][0]["text"], &over["usage"]["cost"]),
        (&json!("Hello there."), &json!(COST))
    );
    let asked = stage.gpt.seen()[0].json();
    assert_eq!((&asked["stream"], asked.get("background")), (&json!(true), None), "a long answer is never silent");
    assert_eq!(stage.costs().await, [COST]);

    let next = json!({"input": "Again", "previous_response_id": begun["id"], "background": false});
    let next = stage.customer.api.post("/v1/responses", &Stage::body(&next)).await.ok();
    assert_eq!((&next["status"], &next["previous_response_id"]), (&json!("completed"), &begun["id"]));

    let claude = stage.begin(&json!({"model": "claude-opus-5-5"})).await;
    let over = stage.over(&claude["id"]).await;
    assert_eq!((&over["id"], &over["status"]), (&claude["id"], &json!("completed")));
    assert_eq!(stage.claude.requests().len(), 1);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_stream_is_resumed_where_it_was_left() {
    let stage = Stage::set().await;
    stage.gpt.script(Turn::Slow(80));
    let body = Stage::body(&json!({"stream": true}));
    let sent = stage.customer.api.request(Method::POST, "/v1/responses").json(&body).send().await.unwrap();
    let (mut read, mut stream) = (String::new(), sent.bytes_stream());
    while events(&read).len() < 3 {
        read.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
    }
    drop(stream);
    let first = events(&read);
    let id = first[0]["response"]["id"].clone();
    let path = format!("/v1/responses/{}?stream=true&starting_after=", id.as_str().unwrap());
    let rest = events(&stage.customer.api.get(&format!("{path}{}", first.len() - 1)).await.body);
    let all: Vec<Value> = first.into_iter().chain(rest).collect();
    assert_eq!(numbers(&all), (0..all.len() as u64).collect::<Vec<_>>());
    let last = all.last().unwrap();
    assert_eq!((&last["type"], &last["response"]["id"]), (&json!("response.completed"), &id));
    // It can be read again for a while, whole or from anywhere.
    let again = events(&stage.customer.api.get(&format!("{path}0")).await.body);
    assert_eq!(numbers(&again), (1..all.len() as u64).collect::<Vec<_>>());
    assert_eq!(stage.over(&id).await["usage"]["cost"], COST);
    assert_eq!(stage.costs().await, [COST], "it was made once");
}

#[tokio::test]
async fn a_cancelled_response_ends_and_what_was_made_is_charged() {
    let stage = Stage::set().await;
    stage.gpt.script(Turn::Slow(200));
    let begun = stage.begin(&json!({})).await;
    let path = format!("/v1/responses/{}", begun["id"].as_str().unwrap());
    let early = json!({"input": "x", "previous_response_id": begun["id"], "background": false});
    let early = stage.customer.api.post("/v1/responses", &Stage::body(&early)).await;
    assert_eq!(
        (early.status, &early.json()["error"]["param"]),
        (400, &json!("previous_response_id")),
        "{}",
        early.body
    );
    let stranger = stage.server.admin().customer("payg", "5").await;
    assert_eq!(stranger.api.post(&format!("{path}/cancel"), &json!({})).await.status, 404);
    let cancelled = stage.customer.api.post(&format!("{path}/cancel"), &json!({})).await.ok();
    assert_eq!((&cancelled["id"], &cancelled["status"]), (&begun["id"], &json!("cancelled")));
    let over = stage.over(&begun["id"]).await;
    assert_eq!(over["status"], "cancelled");
    assert_eq!(stage.customer.api.post(&format!("{path}/cancel"), &json!({})).await.ok()["status"], "cancelled");
    assert_eq!(stage.costs().await.len(), 1);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_response_that_is_deleted_while_it_is_made_is_not_kept() {
    let stage = Stage::set().await;
    stage.gpt.script(Turn::Slow(150));
    let begun = stage.begin(&json!({})).await;
    let path = format!("/v1/responses/{}", begun["id"].as_str().unwrap());
    let deleted = stage.customer.api.request(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(deleted.status(), 200);
    let deadline = Instant::now() + Duration::from_secs(30);
    while stage.costs().await.is_empty() || stage.customer.api.get("/v1/balance").await.ok()["held"] != "0.00" {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(stage.customer.api.get(&path).await.status, 404);
    // One that ended is gone at once too.
    let begun = stage.begin(&json!({})).await;
    stage.over(&begun["id"]).await;
    let path = format!("/v1/responses/{}", begun["id"].as_str().unwrap());
    assert_eq!(stage.customer.api.request(Method::DELETE, &path).send().await.unwrap().status(), 200);
    assert_eq!(stage.customer.api.get(&path).await.status, 404);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn what_fails_says_so_and_a_process_that_dies_leaves_nothing_unfinished() {
    let mut stage = Stage::set().await;
    stage.gpt.script(Turn::Fails(true));
    let failed = stage.begin(&json!({})).await;
    let over = stage.over(&failed["id"]).await;
    assert_eq!((&over["id"], &over["status"]), (&failed["id"], &json!("failed")), "{over}");
    assert!(over["error"]["message"].is_string(), "{over}");
    stage.gpt.script(Turn::Status(500));
    let refused = stage.begin(&json!({})).await;
    assert_eq!(stage.over(&refused["id"]).await["status"], "failed");
    stage.gpt.script(Turn::Slow(5_000));
    let begun = stage.begin(&json!({})).await;
    stage.server.kill_nine();
    stage.server.restart().await;
    stage.customer.api = stage.server.api(&stage.customer.key);
    assert_eq!(stage.read(&begun["id"]).await["status"], "failed");
    assert_eq!(stage.read(&failed["id"]).await["status"], "failed", "it was kept");
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn one_that_is_stopped_midway_keeps_what_it_said() {
    let mut stage = Stage::set_with(Options::default().set("FAREBOX_LIMITS__STOP_SECONDS", "1")).await;
    stage.gpt.script(Turn::Slow(400));
    let body = Stage::body(&json!({"stream": true}));
    let sent = stage.customer.api.request(Method::POST, "/v1/responses").json(&body).send().await.unwrap();
    let (mut read, mut stream) = (String::new(), sent.bytes_stream());
    let said = |read: &str| -> String {
        let all = events(read);
        let deltas = all.iter().filter(|event| event["type"] == "response.output_text.delta");
        deltas.map(|event| event["delta"].as_str().unwrap()).collect()
    };
    while said(&read).is_empty() {
        read.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
    }
    assert!(stage.server.stop().await.success(), "{}", stage.server.logs());
    while let Some(Ok(more)) = stream.next().await {
        read.push_str(std::str::from_utf8(&more).unwrap());
    }
    stage.server.restart().await;
    stage.customer.api = stage.server.api(&stage.customer.key);
    let over = stage.over(&events(&read)[0]["response"]["id"]).await;
    assert_eq!(over["status"], "incomplete", "{over}");
    assert_eq!(over["output"][0]["content"][0]["text"], said(&read), "{over}");
    assert_eq!(stage.costs().await, [over["usage"]["cost"].as_str().unwrap()]);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn what_can_not_be_made_in_the_background_is_refused_before_any_hold() {
    let stage = Stage::set().await;
    for (more, field) in [
        (json!({"store": false}), "store"),
        (json!({"background": "yes"}), "background"),
        (json!({"background_options": {"completion_window": "8h"}}), "background_options"),
        (json!({"input": 7}), "input"),
    ] {
        let refused = stage.customer.api.post("/v1/responses", &Stage::body(&more)).await;
        assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!(field)), "{}", refused.body);
    }
    let poor = stage.server.admin().customer("payg", "5").await;
    stage.server.admin().void_all(&poor).await;
    assert_eq!(poor.api.post("/v1/responses", &Stage::body(&json!({}))).await.status, 402);
    let plain = json!({"background": false});
    let plain = stage.customer.api.post("/v1/responses", &Stage::body(&plain)).await.ok();
    let path = format!("/v1/responses/{}", plain["id"].as_str().unwrap());
    assert_eq!(stage.customer.api.get(&format!("{path}?stream=true")).await.status, 400);
    assert_eq!(stage.customer.api.get(&format!("{path}?starting_after=x")).await.status, 400);
    assert_eq!(stage.customer.api.post(&format!("{path}/cancel"), &json!({})).await.status, 400);
    assert_eq!(stage.gpt.seen().len(), 1);
}
