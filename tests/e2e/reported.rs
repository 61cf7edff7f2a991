//! Usage as providers report it, end to end: what it costs, what of it the client gets, and what is counted where it is
//! silent.

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

    async fn chat(&self, behaviour: Behaviour, more: Value) -> Answer {
        self.fake.script(behaviour);
        let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}]});
        self.customer.api.post("/v1/chat/completions", &with(&body, &more)).await
    }

    /// The record of a request.
    async fn record(&self, answer: &Answer) -> Value {
        self.customer.record(answer).await
    }
}

/// The last chunk of a stream before its last word.
fn last(answer: &Answer) -> Value {
    let data: Vec<&str> = answer.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data.last(), Some(&"[DONE]"), "{}", answer.body);
    serde_json::from_str(data[data.len() - 2]).unwrap()
}

fn tokens(record: &Value) -> [Option<u64>; 4] {
    ["input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens"].map(|name| record[name].as_u64())
}

const THOUGHTS_IN_THE_TOTAL: &str = r#"{"prompt_tokens":32,"completion_tokens":9,"total_tokens":135,"num_sources_used":0,
        "completion_tokens_details":{"reasoning_tokens":94,"of_tomorrow":[1]},"cost":0.5}"#;

const CACHED_AND_WRITTEN: &str = r#"{"prompt_tokens":12000,"completion_tokens":900,"total_tokens":12900,
        "prompt_tokens_details":{"cached_tokens":8000,"cache_write_tokens":3000}}"#;

const GOOD: &str = r#"{"choices":[{"index":0,"delta":{"content":"Hello"}}],"usage":{"prompt_tokens":70,"completion_tokens":60,"prompt_tokens_details":{"cached_tokens":50}}}"#;

const THOUGHT: &[&str] = &[
    r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":null,"reasoning_content":"one two three four"}}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"five"},"finish_reason":"stop"}]}"#,
];

const BEFORE: &[&str] = &[
    r#"{"choices":[],"usage":{"prompt_tokens":70,"completion_tokens":0}}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"one two three four five"},"finish_reason":"stop"}]}"#,
];

#[tokio::test]
async fn reasoning_that_only_the_total_has_is_charged_and_the_object_is_handed_on_whole() {
    let stage = Stage::set().await;
    for stream in [false, true] {
        let answer = stage.chat(Behaviour::Usage(THOUGHTS_IN_THE_TOTAL), json!({"stream": stream})).await;
        let usage = if stream { last(&answer)["usage"].clone() } else { answer.ok()["usage"].clone() };
        let mut own: Value = serde_json::from_str(THOUGHTS_IN_THE_TOTAL).unwrap();
        // (32 x 0.15 + 103 x 0.60) / 1e6 x 1.02
        own["cost"] = "0.000067932".into();
        assert_eq!(usage, own);
        let record = stage.record(&answer).await;
        assert_eq!((tokens(&record), &record["estimated"]), ([Some(32), Some(0), Some(0), Some(103)], &json!(false)));
    }
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn what_is_written_to_a_cache_is_charged_recorded_and_exported() {
    let stage = Stage::set().await;
    let answer = stage.chat(Behaviour::Usage(CACHED_AND_WRITTEN), json!({"model": "gpt-6-sol"})).await;
    let record = stage.record(&answer).await;
    assert_eq!(tokens(&record), [Some(12_000), Some(8_000), Some(3_000), Some(900)]);
    let money = ["base_cost", "fee", "cost"].map(|name| record[name].as_str().unwrap().to_owned());
    assert_eq!(money, ["0.0201", "0.000402", "0.020502"]);
    // Kept for longer, it costs twice as much: the dearest that was asked for, as the report does not say.
    let part = json!({"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}});
    let more = json!({"model": "gpt-6-sol", "messages": [{"role": "user", "content": [part]}]});
    let answer = stage.chat(Behaviour::Usage(CACHED_AND_WRITTEN), more).await;
    assert_eq!(stage.record(&answer).await["base_cost"], "0.0276");
    let parts = stage.record(&answer).await["quantities"].clone();
    let parts: Vec<_> =
        parts.as_array().unwrap().iter().map(|part| (part["quantity"].clone(), part["cost"].clone())).collect();
    let expected = [
        ("tokens.input", "0.002"),
        ("tokens.input.cache_read", "0.0016"),
        ("tokens.input.cache_write_12h", "0.015"),
        ("tokens.output", "0.009"),
    ];
    assert_eq!(parts, expected.map(|(quantity, cost)| (json!(quantity), json!(cost))));
    // Where no writes are billed, they are input.
    let answer = stage.chat(Behaviour::Usage(CACHED_AND_WRITTEN), json!({})).await;
    assert_eq!(stage.record(&answer).await["base_cost"], "0.00174");
    let csv = stage.customer.api.get("/v1/usage.csv").await.body;
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    let column = rows[0].iter().position(|name| *name == "cache_write_tokens").unwrap();
    assert_eq!(rows[1..].iter().map(|row| row[column]).collect::<Vec<_>>(), ["3000"; 3]);
    let total = stage.customer.api.get("/v1/usage").await.ok()["total"].clone();
    assert_eq!(
        (&total["cache_write_tokens"], &total["quantities"]["tokens.input.cache_write"]),
        (&json!(9_000), &json!(9_000))
    );
    assert_eq!(total["quantities"]["tokens.input"], 3_000);
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn an_odd_report_voids_no_good_one() {
    let stage = Stage::set().await;
    for later in [
        r#"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":null,"completion_tokens":"60"}}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":90000000,"completion_tokens":-1}}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":70,"completion_tokens":60.0,"prompt_tokens_details":{"cached_tokens":"x"}}}"#,
        r#"{"choices":[],"x_groq":{"usage":{"prompt_tokens":7,"completion_tokens":6}}}"#,
    ] {
        // The scripted words are static.
        let said: &'static [&'static str] = Box::leak(Box::new([GOOD, later]));
        let answer = stage.chat(Behaviour::Says(said), json!({"stream": true})).await;
        let usage = last(&answer)["usage"].clone();
        let record = stage.record(&answer).await;
        assert_eq!(tokens(&record), [Some(70), Some(50), Some(0), Some(60)], "{later}");
        assert_eq!((&record["estimated"], &usage["prompt_tokens"]), (&json!(false), &json!(70)), "{later}: {usage}");
    }
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn what_no_report_has_is_counted_thoughts_and_calls_included() {
    let stage = Stage::set().await;
    let quote = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}]});
    let counted = stage.customer.api.post("/v1/quote", &quote).await.ok()["prompt_tokens"].as_u64();
    let answer = stage.chat(Behaviour::Says(THOUGHT), json!({"stream": true})).await;
    let record = stage.record(&answer).await;
    assert_eq!((record["estimated"].as_bool(), record["input_tokens"].as_u64()), (Some(true), counted));
    assert!(record["output_tokens"].as_u64() >= Some(5), "{record}");
    assert_eq!(last(&answer)["usage"]["completion_tokens"], record["output_tokens"]);
    // A number alone: the other one stands.
    let answer = stage.chat(Behaviour::Usage(r#"{"prompt_tokens":null,"completion_tokens":60}"#), json!({})).await;
    let record = stage.record(&answer).await;
    assert_eq!((record["input_tokens"].as_u64(), record["output_tokens"].as_u64()), (counted, Some(60)));
    assert_eq!(record["estimated"], true);
    // A report of before the text is none of it.
    let answer = stage.chat(Behaviour::Says(BEFORE), json!({"stream": true})).await;
    let record = stage.record(&answer).await;
    assert_eq!(record["input_tokens"], 70);
    assert!(record["output_tokens"].as_u64() >= Some(5), "{record}");
    stage.server.admin().assert_audit().await;
}
