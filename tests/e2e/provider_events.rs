//! What a provider says, in every form it may say it, through the whole gateway: what the client is told, and what is
//! charged. Providers here write bytes of the tests' choosing.

use futures::StreamExt;
use serde_json::{Value, json};

use crate::support::{
    client::{Answer, Customer},
    raw_provider::{RawProvider, answer, broken},
    server::{Options, Server},
    with,
};

/// (7 x 0.15 + 6 x 0.60) / 1e6 x 1.02
const COST: &str = "0.000004743";
const USAGE: &str = r#"{"id":"c","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":6,"total_tokens":13}}"#;

async fn before(provider: &RawProvider) -> (Server, Customer) {
    let server = Server::start(Options::default().calling(provider.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    (server, customer)
}

/// Has the provider answer as `user` says, which it is sent as it is.
async fn chat(customer: &Customer, user: &str, more: Value) -> Answer {
    let body =
        json!({"model": "gpt-4o-mini", "user": user, "messages": [{"role": "user", "content": "Say hello to me"}]});
    customer.api.post("/v1/chat/completions", &with(&body, &more)).await
}

async fn record(customer: &Customer, answer: &Answer) -> Value {
    customer.record(answer).await
}

fn piece(text: &str) -> String {
    json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]})
    .to_string()
}

fn stream_of(events: &[&str]) -> String {
    events.iter().map(|data| wire::sse::encode(data)).collect()
}

fn whole_stream() -> String {
    let end = r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    stream_of(&[&piece("Hello"), end, USAGE, "[DONE]"])
}

/// The data of a client's stream.
fn data(answer: &Answer) -> Vec<&str> {
    answer.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect()
}

#[tokio::test]
async fn a_stream_cut_at_any_byte_is_charged_by_the_table() {
    let stream = whole_stream();
    let usage_at = stream.find(USAGE).unwrap() + USAGE.len();
    let done_at = stream.find("[DONE]").unwrap() + "[DONE]".len();
    let provider = RawProvider::start({
        let stream = stream.clone();
        move |asked| {
            let cut: usize = asked.body["user"].as_str().unwrap().parse().unwrap();
            // A body that ends with its connection looks whole; one in chunks does not.
            let begun = &stream[..cut];
            if cut.is_multiple_of(2) {
                broken(begun)
            } else {
                answer(200, &[("content-type", "text/event-stream")], begun)
            }
        }
    });
    let (server, customer) = before(&provider).await;
    let length = stream.len();
    let calls = (0..=length).map(|cut| {
        let customer = &customer;
        async move {
            let answer = chat(customer, &cut.to_string(), json!({"stream": true})).await;
            let record = record(customer, &answer).await;
            // A provider that does nothing but fail is left alone.
            if cut.is_multiple_of(2) {
                assert_eq!(chat(customer, &length.to_string(), json!({"stream": true})).await.status, 200);
            }
            (cut, answer, record)
        }
    });
    let mut calls = futures::stream::iter(calls).buffer_unordered(6);
    while let Some((cut, answer, record)) = calls.next().await {
        assert_eq!(record["cost"], if cut >= usage_at { COST } else { "0.00" }, "cut at {cut}: {record}");
        assert_eq!(record["ending"], if cut >= done_at { "completed" } else { "failed" }, "cut at {cut}: {record}");
        assert_eq!(answer.body.contains("[DONE]"), cut >= done_at, "cut at {cut}: {}", answer.body);
        assert!(cut >= done_at || answer.body.contains("provider_error"), "cut at {cut}: {}", answer.body);
    }
    server.admin().assert_audit().await;
}

/// Errors as providers write them into a body that began well.
const ERRORS: [&str; 10] = [
    r#"data: {"object":"error","message":"out of memory","code":50000}"#,
    r#"data: {"error":{"message":"out of memory"}}"#,
    r#"data: {"error":"out of memory"}"#,
    r#"data: {"error":["out of memory"]}"#,
    r#"data: {"detail":"out of memory"}"#,
    r#"data: {"message":"out of memory"}"#,
    r#"data: {"id":"c","choices":[{"delta":{},"finish_reason":"error"}],"error":{"message":"out of memory"}}"#,
    "event: error\ndata: out of memory",
    "data: out of memory",
    r#"{"error":{"message":"out of memory"}}"#,
];

#[tokio::test]
async fn an_error_in_a_good_answer_is_told_in_its_words_and_not_charged() {
    let provider = RawProvider::start(|asked| {
        let user = asked.body["user"].as_str().unwrap();
        let (place, which) = user.split_once(' ').unwrap();
        let error = ERRORS[which.parse::<usize>().unwrap()];
        let body = match place {
            "first" => format!("{error}\n\ndata: [DONE]\n\n"),
            "later" => format!("data: {}\n\n{error}\n\ndata: [DONE]\n\n", piece("Hello")),
            "used" => format!("data: {}\n\ndata: {USAGE}\n\n{error}\n\ndata: [DONE]\n\n", piece("Hello")),
            // As it is, where no stream was asked for.
            _ => error.rsplit_once("data: ").map_or(error, |(_, data)| data).to_owned(),
        };
        answer(200, &[("content-type", "text/event-stream")], &body)
    });
    let (server, customer) = before(&provider).await;
    for (which, error) in ERRORS.iter().enumerate() {
        for (place, stream, status, cost) in [
            ("first", true, 502, "0.00"),
            ("later", true, 200, "0.00"),
            ("used", true, 200, COST),
            ("whole", false, 502, "0.00"),
        ] {
            let told = chat(&customer, &format!("{place} {which}"), json!({"stream": stream})).await;
            let what = format!("{place}: {error}: {}", told.body);
            assert_eq!(told.status, status, "{what}");
            assert!(told.body.contains("out of memory") && !told.body.contains("[DONE]"), "{what}");
            let error: Value =
                if status == 200 { serde_json::from_str(data(&told).last().unwrap()).unwrap() } else { told.json() };
            assert!(error["error"]["message"].as_str().unwrap().contains("out of memory"), "{what}");
            assert_eq!(error["code"], "provider_error", "{what}");
            let record = record(&customer, &told).await;
            assert_eq!((&record["cost"], &record["ending"]), (&json!(cost), &json!("failed")), "{what}");
        }
    }
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn an_answer_in_the_other_form_is_told_in_the_one_that_was_asked_for() {
    let whole = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0,
        "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 6, "total_tokens": 13}})
    .to_string();
    let provider = RawProvider::start(move |asked| {
        let kind = asked.body["user"].as_str().unwrap();
        let body = if asked.body["stream"] == true {
            format!("\n\n{whole}")
        } else {
            format!("\u{feff}: hi\r\n{}", whole_stream())
        };
        answer(200, &[("Content-Type", kind)], &body)
    });
    let (server, customer) = before(&provider).await;
    for kind in ["application/json", "text/event-stream", "Text/Event-Stream;charset=UTF-8", "text/plain", "x"] {
        let streamed = chat(&customer, kind, json!({"stream": true})).await;
        assert_eq!(
            (streamed.status, streamed.header("content-type")),
            (200, Some("text/event-stream")),
            "{}",
            streamed.body
        );
        let chunks = data(&streamed);
        assert_eq!(chunks.last(), Some(&"[DONE]"), "{}", streamed.body);
        let chunks: Vec<Value> =
            chunks[..chunks.len() - 1].iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect();
        let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
        let finishes: Vec<&str> =
            chunks.iter().filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str()).collect();
        assert_eq!((&*text, &finishes[..]), ("Hello", &["stop"][..]), "{}", streamed.body);
        assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk"), "{}", streamed.body);
        assert_eq!(record(&customer, &streamed).await["cost"], COST);

        let gathered = chat(&customer, kind, json!({})).await;
        let answer = gathered.ok();
        let choice = &answer["choices"][0];
        assert_eq!(
            (&choice["message"]["content"], &choice["finish_reason"]),
            (&json!("Hello"), &json!("stop")),
            "{answer}"
        );
        assert_eq!(
            (&answer["object"], &answer["usage"]["cost"]),
            (&json!("chat.completion"), &json!(COST)),
            "{answer}"
        );
        assert_eq!(record(&customer, &gathered).await["cost"], COST);
    }
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn what_is_not_known_is_passed_on_and_counted_and_is_never_an_answer() {
    let provider = RawProvider::start(|asked| {
        let new = r#"{"type":"new.kind","of":"event"}"#;
        let end = [USAGE, "[DONE]"];
        let events: Vec<String> = match asked.body["user"].as_str().unwrap() {
            "beside" => [new.into(), piece("Hello"), new.into(), "7".into()].into(),
            "beating" => [r#"{"type":"ping"}"#.into(), String::new(), piece("Hello")].into(),
            _ => [new.into()].into(),
        };
        let events: Vec<&str> = events.iter().map(String::as_str).chain(end).collect();
        answer(200, &[("content-type", "text/event-stream")], &stream_of(&events))
    });
    let (server, customer) = before(&provider).await;
    let told = chat(&customer, "beside", json!({"stream": true})).await;
    let data = data(&told);
    let kinds: Vec<&str> = data.iter().map(|data| if data.contains("new.kind") { "new" } else { "chunk" }).collect();
    assert_eq!(kinds, ["chunk", "new", "new", "chunk", "chunk"], "{}", told.body);
    assert_eq!((data.last(), &record(&customer, &told).await["cost"]), (Some(&"[DONE]"), &json!(COST)));
    let metrics = server.get("/metrics").await.body;
    assert!(metrics.contains("farebox_provider_unknown_events_total{provider=\"openai\"} 3"), "{metrics}");
    let beating = chat(&customer, "beating", json!({"stream": true})).await;
    assert!(beating.body.contains("[DONE]") && !beating.body.contains("ping"), "{}", beating.body);
    for stream in [true, false] {
        let alone = chat(&customer, "alone", json!({"stream": stream})).await;
        assert_eq!(alone.status, 502, "{}", alone.body);
        assert!(alone.body.contains("new.kind"), "{}", alone.body);
        assert_eq!(record(&customer, &alone).await["cost"], COST, "the provider reported it");
    }
    server.admin().assert_audit().await;
}
