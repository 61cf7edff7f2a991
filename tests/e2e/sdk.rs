//! OpenAI's own Python and Node SDKs, unchanged, against the real binary. The scripts are in `tests/sdk/`; the packages are
//! installed once below the build folder.

use std::{collections::HashMap, process::Command, sync::Mutex};

use serde_json::{Value, json};

use crate::support::{
    fake_openai::FakeOpenAi,
    node::node_script,
    python::{python_script, run},
    raw_provider::{RawProvider, answer},
    server::{Options, Server},
};

async fn against_farebox(url: &str, prepare: impl FnOnce() -> Command + Send + 'static) {
    let options = Options::default().calling(url);
    let server = Server::start(options).await;
    let admin = server.admin();
    let (rich, poor) = (admin.customer("payg", "5").await, admin.customer("free", "0").await);
    let url = server.url().to_owned();
    let work = move || {
        let mut command = prepare();
        run(command.env("FAREBOX_URL", url).env("FAREBOX_KEY", rich.key).env("FAREBOX_POOR_KEY", poor.key))
    };
    let output = tokio::task::spawn_blocking(work).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok");
    admin.assert_audit().await;
}

#[tokio::test]
async fn the_python_sdk_chats_streams_and_raises_its_own_exceptions() {
    let fake = FakeOpenAi::start();
    against_farebox(fake.url(), || python_script("openai_python.py")).await;
}

#[tokio::test]
async fn the_node_sdk_chats_streams_and_throws_its_own_errors() {
    let fake = FakeOpenAi::start();
    against_farebox(fake.url(), || node_script("openai_node.mjs")).await;
}

/// A provider that does what `user` says, and counts how often it was asked so.
fn moody() -> RawProvider {
    let asked_before = Mutex::new(HashMap::<String, usize>::new());
    RawProvider::start(move |asked| {
        let user = asked.body["user"].as_str().unwrap().to_owned();
        let mut counts = asked_before.lock().unwrap();
        let times = counts.entry(user.clone()).or_default();
        *times += 1;
        let error =
            |message: &str, code: &str| json!({"error": {"message": message, "type": "x", "code": code}}).to_string();
        let busy = || answer(429, &[("retry-after", "0.4")], &error("too many at once", "rate_limit_exceeded"));
        let usage = json!({"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8});
        let answer_of = |choice: Value| json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage});
        let whole = answer_of(
            json!({"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}),
        );
        let mut piece = answer_of(json!({"index": 0, "delta": {"content": "Hello"}, "finish_reason": "stop"}));
        piece["object"] = "chat.completion.chunk".into();
        match user.as_str() {
            "busy once" if *times % 2 == 1 => busy(),
            "busy" => busy(),
            "refused" => answer(401, &[], &error("no such key", "invalid_api_key")),
            "breaks" => {
                answer(200, &[], &format!("data: {piece}\n\ndata: {}\n\n", error("out of memory", "server_error")))
            }
            "streamed" => answer(200, &[], &format!("data: {piece}\n\ndata: [DONE]\n\n")),
            _ => answer(200, &[("content-type", "application/json")], &whole.to_string()),
        }
    })
}

/// How often a script has its requests sent, by what they ask for: retried where that helps, and only there.
fn assert_asked(provider: &RawProvider) {
    let mut counts = HashMap::<String, usize>::new();
    for asked in provider.asked() {
        *counts.entry(asked.body["user"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let expected = [("busy once", 2), ("busy", 2), ("refused", 2), ("breaks", 1), ("whole", 1), ("streamed", 1)];
    assert_eq!(counts, expected.map(|(user, times)| (user.to_owned(), times)).into());
}

#[tokio::test]
async fn the_python_sdk_retries_what_a_retry_helps_and_raises_the_rest_in_words() {
    let provider = moody();
    against_farebox(provider.url(), || python_script("openai_python_refusals.py")).await;
    assert_asked(&provider);
}

#[tokio::test]
async fn the_node_sdk_retries_what_a_retry_helps_and_throws_the_rest_in_words() {
    let provider = moody();
    against_farebox(provider.url(), || node_script("openai_node_refusals.mjs")).await;
    assert_asked(&provider);
}
