//! The price book of an operator: entries over those of the program, taken over while it serves, with a version that
//! charges name; announced prices; what is disputed.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::{Answer, Customer},
    fake_openai::{Behaviour, FakeOpenAi},
    server::{Options, Server},
    temporary, with,
};

struct Stage {
    fake: FakeOpenAi,
    server: Server,
    customer: Customer,
    folder: PathBuf,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// An entry of a price file.
fn entry(id: &str, more: &str) -> String {
    format!("[[model]]\nid = {id:?}\ncontext = 128000\nmax_output = 1000\n{more}\n")
}

fn price(input: &str, output: &str) -> String {
    format!("price = {{ input = {input:?}, output = {output:?} }}")
}

impl Stage {
    async fn set(file: &str) -> Self {
        Self::set_at("test", file).await
    }

    /// With this clock.
    async fn set_at(clock: &str, file: &str) -> Self {
        let (fake, folder) = (FakeOpenAi::start(), temporary("prices"));
        fs::create_dir_all(&folder).unwrap();
        let stage = Self::write_to(&folder, file);
        let options = Options::default().calling(fake.url()).set("FAREBOX_PRICES__FOLDER", stage.to_str().unwrap());
        let options = options.set("FAREBOX_CLOCK", clock);
        let server = Server::start(options).await;
        let customer = server.admin().customer("payg", "5").await;
        Self { fake, server, customer, folder }
    }

    fn write_to(folder: &Path, text: &str) -> PathBuf {
        // Written beside it and moved there, as editors do: never read half.
        let (draft, file) = (folder.join(".draft"), folder.join("mine.toml"));
        fs::write(&draft, format!("provider = \"openai\"\n{text}")).unwrap();
        fs::rename(draft, file).unwrap();
        folder.to_owned()
    }

    fn write(&self, text: &str) {
        Self::write_to(&self.folder, text);
    }

    async fn model(&self, id: &str) -> Value {
        self.customer.api.get(&format!("/v1/models/{id}")).await.ok()
    }

    /// Waits until a model has this price of input.
    async fn wait_for(&self, id: &str, input: &str) {
        let wait = async {
            while self.model(id).await["price"]["input"] != input {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
    }

    async fn chat(&self, more: &Value) -> Answer {
        self.customer.api.post("/v1/chat/completions", &body(more)).await
    }

    /// The base cost and the price version of a request.
    async fn charged(&self, id: &str) -> (String, i64) {
        let request = self.customer.api.get(&format!("/v1/requests/{id}")).await.ok();
        (request["base_cost"].as_str().unwrap().to_owned(), request["price_version"].as_i64().unwrap())
    }
}

fn body(more: &Value) -> Value {
    with(&json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}]}), more)
}

fn id(answer: &Answer) -> String {
    answer.header("x-request-id").unwrap().to_owned()
}

#[tokio::test]
async fn a_folders_price_is_taken_over_while_serving_and_what_runs_keeps_its_own() {
    let mut stage = Stage::set(&entry("gpt-4o-mini", &price("1.00", "2.00"))).await;
    // Seven words read, six written: 7 x 1 + 6 x 2.
    let first = id(&stage.chat(&json!({})).await);
    assert_eq!(stage.charged(&first).await, ("0.000019".to_owned(), 1));
    let seen = stage.model("gpt-4o-mini").await;
    assert_eq!((&seen["price"]["input"], &seen["price_with_fee"]["input"]), (&json!("1"), &json!("1.02")), "{seen}");

    stage.fake.script(Behaviour::Slow(1_500));
    let streamed = body(&json!({"stream": true}));
    let mut running =
        stage.customer.api.request(Method::POST, "/v1/chat/completions").json(&streamed).send().await.unwrap();
    let running_id = running.headers()["x-request-id"].to_str().unwrap().to_owned();
    stage.write(&entry("gpt-4o-mini", &price("10.00", "20.00")));
    stage.wait_for("gpt-4o-mini", "10").await;
    let second = id(&stage.chat(&json!({})).await);
    assert_eq!(stage.charged(&second).await, ("0.00019".to_owned(), 2));
    while running.chunk().await.unwrap().is_some() {}
    assert_eq!(stage.charged(&running_id).await, ("0.000019".to_owned(), 1), "it was admitted before");

    // A broken file is told once, and the book before stays.
    stage.write(&entry("gpt-4o-mini", &price("3.00", "4.00")).replace("price", "prise"));
    stage.server.says("mine.toml: gpt-4o-mini: unknown field `prise`").await;
    // Two looks more.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(stage.server.logs().matches("unknown field `prise`").count(), 1);
    let third = id(&stage.chat(&json!({})).await);
    assert_eq!(stage.charged(&third).await, ("0.00019".to_owned(), 2));

    // The first text again has its first version again.
    stage.write(&entry("gpt-4o-mini", &price("1.00", "2.00")));
    stage.wait_for("gpt-4o-mini", "1").await;
    let fourth = id(&stage.chat(&json!({})).await);
    assert_eq!(stage.charged(&fourth).await, ("0.000019".to_owned(), 1));

    let history = stage.server.cli(&["prices", "history", "--json"]);
    let history: Value = serde_json::from_slice(&history.stdout).unwrap();
    assert_eq!(history.as_array().unwrap().len(), 2, "{history}");
    // What ran at ten times the price would have cost a tenth.
    let rerated = stage.server.cli(&["prices", "rerate", "--from", "2", "--json"]);
    let rerated: Value = serde_json::from_slice(&rerated.stdout).unwrap();
    let row = &rerated[0];
    assert_eq!(
        (&row["requests"], &row["charged"], &row["would_be"]),
        (&json!(2), &json!("0.0003876"), &json!("0.00003876"))
    );
    assert_eq!(row["difference"], "-0.00034884");
    stage.server.admin().assert_audit().await;
    // The tables, versions of prices too, are what the log makes of them.
    stage.server.stop().await;
}

#[tokio::test]
async fn an_announced_price_comes_into_force_by_itself_and_a_disputed_one_is_refused() {
    let soon = "[[model.change]]\nvalid_from = \"2027-01-01T00:00:00Z\"\n";
    let announced = format!("{}\nends = \"2027-06-01\"", price("1.00", "2.00"));
    let announced = entry("m-announced", &format!("{announced}\n{soon}{}", price("5.00", "6.00")));
    let disputed = entry("m-disputed", &format!("disputed = \"a says 1, b says 2\"\n{}", price("1.00", "2.00")));
    let stage = Stage::set_at("test:2026-12-31T23:00:00Z", &(announced + &disputed)).await;
    let chat = async |model: &str| stage.chat(&json!({"model": model})).await;

    let refused = chat("m-disputed").await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (400, &json!("unpriced_model")), "{}", refused.body);
    assert_eq!(stage.fake.requests().len(), 0);
    let seen = stage.model("m-disputed").await;
    assert_eq!((&seen["available"], &seen["price"]), (&json!(false), &Value::Null));
    assert!(seen["why"].as_str().unwrap().contains("a says 1, b says 2"), "{seen}");

    let seen = stage.model("m-announced").await;
    assert_eq!(
        (&seen["next_price"]["price"]["input"], &seen["deprecation"]["ends"]),
        (&json!("5"), &json!("2027-06-01"))
    );
    let answered = chat("m-announced").await;
    assert_eq!(answered.header("sunset"), Some("Tue, 01 Jun 2027 00:00:00 GMT"));
    assert_eq!(chat("gpt-4o-mini").await.header("sunset"), None);
    let before = id(&answered);
    assert_eq!(stage.charged(&before).await, ("0.000019".to_owned(), 1));
    stage.server.admin().advance(3_600).await;
    let after = id(&chat("m-announced").await);
    assert_eq!(stage.charged(&after).await, ("0.000071".to_owned(), 1), "a part of the same book");
    assert_eq!(stage.model("m-announced").await.get("next_price"), None);
    stage.server.admin().assert_audit().await;
}
