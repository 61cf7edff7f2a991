//! Bodies of as many tiny entries as they have room for: they are refused before they are read, or take memory by what is read
//! of them and not by a hundred times their length.

use serde_json::json;

use crate::support::{
    client::Customer,
    fake_openai::FakeOpenAi,
    memory::peak_mib,
    server::{Options, Server},
};

fn list(entry: &str, count: usize) -> String {
    let mut list = entry.to_owned() + ",";
    list = list.repeat(count);
    list.pop();
    format!("[{list}]")
}

/// The status of a request with these members, and the error's words.
async fn ask(customer: &Customer, path: &str, members: &str) -> (u16, String) {
    let body = format!(r#"{{"model":"gpt-4o-mini",{members}}}"#);
    let request = customer.api.request(reqwest::Method::POST, path).header("content-type", "application/json");
    let answer = crate::support::client::answer(request.body(body)).await;
    let words = answer.json()["message"].as_str().unwrap_or_default().to_owned();
    (answer.status, words)
}

#[tokio::test]
async fn megabytes_of_tiny_entries_are_refused_for_little_memory() {
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().calling(fake.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    let said = r#""messages":[{"role":"user","content":"Say hello to me"}]"#;
    let (chat, responses) = ("/v1/chat/completions", "/v1/responses");
    assert_eq!(ask(&customer, chat, said).await.0, 200, "the counter of tokens is there");
    let before = peak_mib(server.id());
    let (sevens, empty) = (list("7", 5_000_000), list("{}", 4_000_000));
    let parts = list(r#"{"type":"text","text":""}"#, 800_000);
    for (path, members) in [
        (chat, format!(r#"{said},"tools":{sevens}"#)),
        (chat, format!(r#"{said},"stop":{sevens}"#)),
        (responses, format!(r#""input":"x","tools":{empty}"#)),
        (responses, format!(r#""input":{empty}"#)),
        ("/v1/messages", format!(r#""max_tokens":9,"messages":[{{"role":"user","content":{parts}}}]"#)),
        ("/v1/embeddings", format!(r#""input":{}"#, list(r#""""#, 3_000_000))),
    ] {
        let (status, words) = ask(&customer, path, &members).await;
        assert!(status == 400 && words.contains("body: must have at most"), "{path}: {status} {words}");
    }
    // As many entries without a meaning as are told apart, and as many as there may be.
    let (status, words) = ask(&customer, chat, &format!(r#"{said},"tools":{}"#, list("7", 490_000))).await;
    assert!(status == 400 && words.contains("tools[50000]"), "{status} {words}");
    if let (Some(before), Some(after)) = (before, peak_mib(server.id())) {
        assert!(after - before < 120.0, "{before} MiB before, {after} at most since");
    }
    assert_eq!(customer.api.get("/v1/balance").await.ok()["held"], json!("0.00"));
    assert_eq!(fake.requests().len(), 1);
    server.admin().assert_audit().await;
}
