//! `/v1/completions`, the older shape: a prompt and a text, of a closed model and of an open one, whole and streamed.

use serde_json::{Value, json};

use crate::{
    open::{self, MODEL},
    support::{
        client::{Answer, Customer},
        fake_openai::FakeOpenAi,
        server::{Options, Server},
        with,
    },
};

const PATH: &str = "/v1/completions";

/// The chunks of a stream that ended well; the last one has the usage.
fn chunks(answer: &Answer) -> Vec<Value> {
    let data: Vec<&str> = answer.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data.last(), Some(&"[DONE]"), "{}", answer.body);
    let chunks: Vec<Value> = data[..data.len() - 1].iter().map(|data| serde_json::from_str(data).unwrap()).collect();
    for chunk in &chunks {
        assert_eq!(chunk["object"], "text_completion", "{chunk}");
        assert!(chunk["id"].as_str().unwrap().starts_with("cmpl-"), "{chunk}");
    }
    chunks
}

fn text(chunks: &[Value]) -> String {
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect()
}

async fn whole(customer: &Customer, body: &Value) -> Value {
    let answer = customer.api.post(PATH, body).await.ok();
    assert_eq!(answer["object"], "text_completion", "{answer}");
    assert!(answer["id"].as_str().unwrap().starts_with("cmpl-"), "{answer}");
    assert!(answer["choices"][0].get("message").is_none(), "{answer}");
    answer
}

#[tokio::test]
async fn a_closed_model_completes_a_prompt_whole_and_streamed() {
    let fake = FakeOpenAi::start();
    let options = Options::default().calling(fake.url());
    let server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    let body = json!({"model": "gpt-3.5-turbo-instruct", "prompt": "Say hello to me"});
    let answer = whole(&customer, &body).await;
    assert_eq!(answer["choices"][0]["text"], "Hello from the fake provider.", "{answer}");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    // Four words at $1.50 and six at $2 a million, and 2 %.
    assert_eq!((&answer["usage"]["prompt_tokens"], &answer["usage"]["completion_tokens"]), (&json!(4), &json!(6)));
    assert_eq!(answer["usage"]["cost"], "0.00001836");

    let short = whole(&customer, &with(&body, &json!({"max_tokens": 2}))).await;
    assert_eq!(short["choices"][0]["text"], "Hello from");
    assert_eq!(short["choices"][0]["finish_reason"], "length");

    let streamed = chunks(&customer.api.post(PATH, &with(&body, &json!({"stream": true}))).await);
    assert_eq!(text(&streamed), "Hello from the fake provider.");
    assert_eq!(streamed.last().unwrap()["usage"]["cost"], "0.00001836");
    for sent in fake.requests() {
        assert_eq!((&sent["prompt"], &sent["messages"]), (&json!("Say hello to me"), &Value::Null), "{sent}");
    }

    for (body, field) in [
        (json!({"model": "gpt-3.5-turbo-instruct"}), "prompt"),
        (json!({"model": "gpt-3.5-turbo-instruct", "messages": [{"role": "user", "content": "hi"}]}), "prompt"),
        (json!({"model": "gpt-4o-mini", "prompt": "hi"}), "model"),
    ] {
        let refused = customer.api.post(PATH, &body).await;
        assert_eq!((refused.status, &refused.json()["field"]), (400, &json!(field)), "{}", refused.body);
    }
    assert_eq!(fake.requests().len(), 3, "what is refused is not sent");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn the_open_model_continues_a_prompt_whole_and_streamed() {
    let (server, customer) = open::stage("inflight").await;
    let prompt = "The three primary colors are";
    let body = json!({"model": MODEL, "prompt": prompt, "max_tokens": 5, "temperature": 0});
    let answer = whole(&customer, &body).await;
    let continued = answer["choices"][0]["text"].as_str().unwrap().to_owned();
    assert!(!continued.trim().is_empty() && !continued.contains(prompt), "{answer}");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 5);
    let seconds = answer["farebox"]["billed_seconds"].as_i64().unwrap();
    let cost: billing::Nanos = answer["usage"]["cost"].as_str().unwrap().parse().unwrap();
    assert_eq!(cost.get(), 72_000 * seconds);

    let streamed = chunks(&customer.api.post(PATH, &with(&body, &json!({"stream": true}))).await);
    assert_eq!(text(&streamed), continued, "greedy: the same text streamed or not");
    assert_eq!(streamed.last().unwrap()["usage"]["completion_tokens"], 5);

    let echoed = whole(&customer, &with(&body, &json!({"echo": true}))).await;
    assert_eq!(echoed["choices"][0]["text"], format!("{prompt}{continued}"));
    server.admin().assert_audit().await;
}
