//! Where a request's time went: in its record, in its receipt, in the CSV and on its page. What a restart remembers is the ledger's.

use reqwest::Method;
use serde_json::{Value, json};

use super::dashboard::visitor;
use crate::support::{
    client::Customer,
    fake_openai::{Behaviour, FakeOpenAi},
    server::{Options, Server},
};

const NAMES: [&str; 5] = ["admission_ms", "load_ms", "queue_ms", "run_ms", "first_ms"];

/// The times of a record in their order; `None` for null.
pub(super) fn timings(record: &Value) -> [Option<u64>; 5] {
    let timings = record["timings"].as_object().unwrap_or_else(|| panic!("no timings: {record}"));
    assert_eq!(timings.len(), NAMES.len(), "{record}");
    NAMES.map(|name| timings[name].as_u64())
}

async fn chat(customer: &Customer, stream: bool) -> String {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let body = json!({"model": "gpt-4o-mini", "stream": stream, "messages": messages});
    let answer = customer.api.post("/v1/chat/completions", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.header("x-request-id").unwrap().to_owned()
}

#[tokio::test]
async fn a_closed_request_says_where_its_time_went() {
    let fake = FakeOpenAi::start();
    let mut server = Server::start(Options::default().calling(fake.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    fake.script(Behaviour::Slow(300));
    let whole = chat(&customer, false).await;
    fake.script(Behaviour::Slow(100));
    let streamed = chat(&customer, true).await;
    server.restart().await;
    let customer = Customer { api: server.api(&customer.key), ..customer };
    let record = async |id: &str| customer.api.get(&format!("/v1/requests/{id}")).await.ok();
    let [of_whole, of_streamed] = [record(&whole).await, record(&streamed).await];
    let [_, load, queue, run, first] = timings(&of_whole);
    assert_eq!([load, queue, first], [Some(0), Some(0), None], "{of_whole}");
    assert!(run.unwrap() >= 300, "{of_whole}");
    // Its first piece comes after 100 ms, and each other one 100 ms later.
    let [_, _, _, run, first] = timings(&of_streamed);
    assert!((100..run.unwrap() - 200).contains(&first.unwrap()), "{of_streamed}");
    for (id, record) in [(&whole, &of_whole), (&streamed, &of_streamed)] {
        let receipt = customer.api.get(&format!("/v1/requests/{id}/receipt")).await.ok();
        assert_eq!(receipt["timings"], record["timings"]);
        let csv = customer.api.get("/v1/usage.csv").await.body;
        let line = csv.lines().find(|line| line.starts_with(id.as_str())).unwrap();
        let written = timings(record).map(|ms| ms.map(|ms| ms.to_string()).unwrap_or_default()).join(",");
        assert!(line.ends_with(&format!(",{written}")), "{line}");
        let page = visitor(&server, &customer.key).await.get(&format!("/requests/{id}")).await.body;
        let stages = page.split("id=\"stages\"").nth(1).unwrap_or_else(|| panic!("{page}"));
        assert!(stages.contains("At the provider") && !stages.contains("Load of the model"), "{stages}");
        assert_eq!(stages.contains("first piece"), *id == streamed, "{stages}");
    }
    server.admin().assert_audit().await;
}

/// A process that died tells nobody how long what took.
#[tokio::test]
async fn a_request_whose_process_died_has_no_times() {
    let fake = FakeOpenAi::start();
    let mut server = Server::start(Options::default().calling(fake.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    fake.script(Behaviour::Slow(30_000));
    let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]});
    let asking = tokio::spawn({
        let request = customer.api.request(Method::POST, "/v1/chat/completions").json(&body);
        request.send()
    });
    while customer.api.get("/v1/holds").await.ok()["data"].as_array().unwrap().is_empty() {}
    server.kill_nine();
    assert!(asking.await.unwrap().is_err());
    server.restart().await;
    let customer = Customer { api: server.api(&customer.key), ..customer };
    let record = customer.settled(1).await[0].clone();
    assert_eq!((&record["ending"], &record["timings"]), (&json!("written_off"), &Value::Null), "{record}");
    let id = record["id"].as_str().unwrap();
    let page = visitor(&server, &customer.key).await.get(&format!("/requests/{id}")).await.body;
    assert!(!page.contains("Where the time went"), "{page}");
    let csv = customer.api.get("/v1/usage.csv").await.body;
    assert!(csv.lines().nth(1).unwrap().ends_with(",,,,,"), "{csv}");
    server.admin().assert_audit().await;
}
