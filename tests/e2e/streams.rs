//! The stream that clients read: never silent for long, never an event too many, one name for all its chunks, whatever
//! stands between.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, sync::Notify};

use crate::support::{
    client::{Customer, answer},
    fake_openai::FakeOpenAi,
    nginx::Nginx,
    plain::{self, STREAM, chunk},
    server::{Options, Server},
};

fn body() -> Value {
    json!({"model": "gpt-4o-mini", "stream": true, "messages": [{"role": "user", "content": "Say hello to me"}]})
}

async fn stage(url: &str) -> (Server, Customer) {
    let server = Server::start(Options::default().calling(url).set("FAREBOX_HTTP__HEARTBEAT_SECONDS", "1")).await;
    let customer = server.admin().customer("payg", "5").await;
    (server, customer)
}

async fn open(customer: &Customer) -> reqwest::Response {
    let request = customer.api.request(reqwest::Method::POST, "/v1/chat/completions").json(&body());
    tokio::time::timeout(Duration::from_secs(30), request.send()).await.unwrap().unwrap()
}

/// Reads on until there are so many comments in all.
async fn comments(response: &mut reqwest::Response, text: &mut String, count: usize) {
    while text.lines().filter(|line| line.starts_with(':')).count() < count {
        let piece = tokio::time::timeout(Duration::from_secs(30), response.chunk()).await.unwrap();
        text.push_str(std::str::from_utf8(&piece.unwrap().unwrap()).unwrap());
    }
}

/// The events of a stream, as a decoder reads it that takes every empty line for the end of an event.
fn events(text: &str) -> Vec<Value> {
    let whole = text.strip_suffix("\n\n").unwrap();
    let datas = whole.split("\n\n").map(|event| {
        let lines = event.lines().filter(|line| !line.starts_with(':'));
        lines.map(|line| line.strip_prefix("data: ").unwrap_or_else(|| panic!("{line:?}"))).collect::<String>()
    });
    let datas: Vec<String> = datas.collect();
    assert!(datas.iter().all(|data| !data.is_empty()), "an empty event in {text:?}");
    datas.iter().filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

fn assert_no_empty_event(text: &str) {
    let lines: Vec<&str> = text.split('\n').collect();
    for pair in lines.windows(2) {
        assert!(!(pair[0].starts_with(':') && pair[1].is_empty()), "a comment and an empty line in {text:?}");
    }
}

#[tokio::test]
async fn silence_of_a_provider_before_its_head_and_midway_is_filled_with_comments() {
    let steps: Arc<[Notify; 3]> = Arc::default();
    let told = Arc::clone(&steps);
    let url = plain::provider(move |mut connection| {
        let steps = Arc::clone(&told);
        async move {
            steps[0].notified().await;
            connection.write_all((STREAM.to_owned() + &chunk("Hel", None)).as_bytes()).await.unwrap();
            steps[1].notified().await;
            let rest = chunk("lo", Some("stop")) + "data: [DONE]\n\n";
            connection.write_all(rest.as_bytes()).await.unwrap();
        }
    })
    .await;
    let (server, customer) = stage(&url).await;
    let mut response = open(&customer).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    comments(&mut response, &mut text, 2).await;
    steps[0].notify_one();
    comments(&mut response, &mut text, 4).await;
    steps[1].notify_one();
    text.push_str(&response.text().await.unwrap());
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert_no_empty_event(&text);
    let events = events(&text);
    assert_eq!(events.len(), 2, "{text}");
    for event in &events {
        assert_eq!((&event["id"], &event["created"]), (&json!("chatcmpl-theirs"), &json!(7)), "{event}");
        assert_eq!(event["model"], "gpt-4o-mini-2024-07-18", "{event}");
        assert_eq!(
            (&event["service_tier"], &event["system_fingerprint"]),
            (&json!("default"), &json!("fp_1")),
            "{event}"
        );
    }
    assert!(events[1]["usage"]["cost"].is_string(), "{}", events[1]);
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn what_fails_after_the_head_is_an_event_in_the_form_of_sdks() {
    let failing = Arc::new(Notify::new());
    let told = Arc::clone(&failing);
    let url = plain::provider(move |mut connection| {
        let failing = Arc::clone(&told);
        async move {
            failing.notified().await;
            let error = r#"{"error":{"message":"It broke.","type":"server_error"}}"#;
            let head = format!("HTTP/1.1 500 Oh no\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", error.len());
            connection.write_all((head + error).as_bytes()).await.unwrap();
        }
    })
    .await;
    let (server, customer) = stage(&url).await;
    let mut response = open(&customer).await;
    let mut text = String::new();
    comments(&mut response, &mut text, 1).await;
    failing.notify_one();
    text.push_str(&response.text().await.unwrap());
    let events = events(&text);
    assert_eq!(events.len(), 1, "{text}");
    assert!(events[0]["error"]["message"].as_str().unwrap().contains("It broke."), "{text}");
    assert!(!text.contains("[DONE]"), "{text}");
    assert_eq!(customer.api.get("/v1/balance").await.ok()["available"], "10.00");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn an_event_may_be_as_large_as_an_answer() {
    const SIZE: usize = 5 << 20;
    let url = plain::provider(|mut connection| async move {
        let stream = STREAM.to_owned() + &chunk(&"x".repeat(SIZE), Some("stop")) + "data: [DONE]\n\n";
        connection.write_all(stream.as_bytes()).await.unwrap();
    })
    .await;
    let (server, customer) = stage(&url).await;
    let text = open(&customer).await.text().await.unwrap();
    let events = events(&text);
    assert_eq!(events[0]["choices"][0]["delta"]["content"].as_str().map(str::len), Some(SIZE));
    assert!(text.ends_with("data: [DONE]\n\n"));
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn chunks_come_through_nginx_and_its_tls_as_they_are_made() {
    let next = Arc::new(Notify::new());
    let told = Arc::clone(&next);
    let url = plain::provider(move |mut connection| {
        let next = Arc::clone(&told);
        async move {
            connection.write_all(STREAM.as_bytes()).await.unwrap();
            for word in ["one", "two", "three"] {
                connection.write_all(chunk(word, None).as_bytes()).await.unwrap();
                next.notified().await;
            }
            connection.write_all(b"data: [DONE]\n\n").await.unwrap();
        }
    })
    .await;
    let (server, customer) = stage(&url).await;
    let Some(nginx) = Nginx::before(plain::address(server.url())) else { return };
    let client = reqwest::Client::builder().no_proxy().danger_accept_invalid_certs(true).build().unwrap();
    let request = client.post(nginx.url() + "/v1/chat/completions").bearer_auth(&customer.key).json(&body());
    let mut response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut text = String::new();
    for word in ["one", "two", "three"] {
        // The provider says no more before this word was read.
        while !text.contains(word) {
            let piece = tokio::time::timeout(Duration::from_secs(30), response.chunk()).await.unwrap();
            text.push_str(std::str::from_utf8(&piece.unwrap().unwrap()).unwrap());
        }
        next.notify_one();
    }
    text.push_str(&response.text().await.unwrap());
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
}

#[tokio::test]
async fn http_1_0_gets_a_stream_without_chunks() {
    let fake = FakeOpenAi::start();
    let (server, customer) = stage(fake.url()).await;
    let body = body().to_string();
    let key = &customer.key;
    let length = body.len();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.0\r\nauthorization: Bearer {key}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let export = format!("GET /v1/usage.csv HTTP/1.0\r\nconnection: keep-alive\r\nauthorization: Bearer {key}\r\n\r\n");
    for (request, begins, ends) in [(&request, "data: {", "data: [DONE]\n\n"), (&export, "request_id,", "\r\n")] {
        let answer = plain::exchange(server.url(), request).await;
        let (head, answered) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.0 200"), "{head}");
        assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
        assert!(answered.contains(begins) && answered.ends_with(ends), "{answered}");
    }
}

#[tokio::test]
async fn a_stream_that_is_replayed_is_not_held_back_either() {
    let fake = FakeOpenAi::start();
    let (_server, customer) = stage(fake.url()).await;
    let ask = || {
        let request = customer.api.request(reqwest::Method::POST, "/v1/chat/completions");
        answer(request.header("idempotency-key", "once").json(&body()))
    };
    let (first, again) = (ask().await, ask().await);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(first.body, again.body);
    for answer in [&first, &again] {
        assert_eq!(answer.header("x-accel-buffering"), Some("no"));
        assert_no_empty_event(&answer.body);
    }
}
