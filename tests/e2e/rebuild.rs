//! `farebox rebuild`: the tables are what the log makes of them, beside traffic too; falsified and lost ones are made again;
//! and what people had is there as before. And `farebox migrate`: a ledger of before has a log afterwards that its tables
//! can be made from, however often it was killed meanwhile.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::{Api, Customer, answer},
    fake_openai::FakeOpenAi,
    receiver::Receiver,
    server::Server,
    test_ledger::TestLedger,
    upgraded,
};

/// What it printed; it ended with this status.
#[track_caller]
fn said(output: &Output, status: i32) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}");
    said
}

/// A command of the binary on a ledger.
fn farebox(ledger: &TestLedger, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FAREBOX_") {
            command.env_remove(name);
        }
    }
    command.env("FAREBOX_DATABASE__URL", ledger.url()).current_dir(std::env::temp_dir()).args(arguments);
    command
}

fn run(ledger: &TestLedger, arguments: &[&str]) -> Output {
    farebox(ledger, arguments).output().unwrap()
}

async fn put(api: &Api, path: &str, body: &Value) -> Value {
    answer(api.request(Method::PUT, path).json(body)).await.ok()
}

async fn chat(api: &Api) -> u16 {
    let body = json!({"model": "openai/gpt-4o-mini", "prompt_cache_key": "ses_1", "messages": [{"role": "user", "content": "Hi"}]});
    api.post("/v1/chat/completions", &body).await.status
}

/// What an owner sees of an account.
async fn seen(api: &Api) -> Value {
    let mut seen = serde_json::Map::new();
    for path in [
        "balance",
        "keys",
        "payment-methods",
        "webhooks",
        "payments",
        "grants",
        "requests",
        "usage?group_by=session",
        "events",
        "auto-reload",
    ] {
        seen.insert(path.to_owned(), api.get(&format!("/v1/{path}")).await.ok());
    }
    Value::Object(seen)
}

/// An owner who does a bit of everything. Returns the keys: one that works, and one that was revoked.
async fn everything(server: &Server, receiver: &Receiver) -> (String, String) {
    let Customer { key: own, api, .. } = server.admin().customer("payg", "1").await;
    for card in ["pm_card_visa", "pm_card_mastercard", "pm_card_amex"] {
        api.post("/v1/payment-methods", &json!({"card": card})).await.ok();
    }
    let cards = api.get("/v1/payment-methods").await.ok()["data"].clone();
    let id = |place: usize| cards[place]["id"].as_str().unwrap();
    put(&api, &format!("/v1/payment-methods/{}/default", id(0)), &json!({})).await;
    answer(api.request(Method::DELETE, &format!("/v1/payment-methods/{}", id(1)))).await.ok();
    for path in ["/one", "/two", "/three"] {
        api.post("/v1/webhooks", &json!({"url": receiver.url(path)})).await.ok();
    }
    let hooks = api.get("/v1/webhooks").await.ok()["data"].clone();
    let hook = |place: usize| format!("/v1/webhooks/{}", hooks[place]["id"].as_str().unwrap());
    api.post(&format!("{}/disable", hook(1)), &json!({})).await;
    answer(api.request(Method::DELETE, &hook(2))).await.ok();
    let limited = json!({"name": "limited", "limits": {"day": "0.50"}});
    let limited = api.post("/v1/keys", &limited).await.ok();
    let gone = api.post("/v1/keys", &json!({"name": "gone"})).await.ok();
    let key = |made: &Value| made["key"].as_str().unwrap().to_owned();
    let (limited, gone_key) = (server.api(&key(&limited)), key(&gone));
    let revoked = server.api(&gone_key);
    answer(api.request(Method::DELETE, &format!("/v1/keys/{}", gone["id"].as_str().unwrap()))).await.ok();
    put(&api, "/v1/auto-reload", &json!({"enabled": true, "threshold": "2", "amount": "10", "monthly_max": "50"}))
        .await;
    for _ in 0..3 {
        assert_eq!((chat(&api).await, chat(&limited).await, chat(&revoked).await), (200, 200, 401));
    }
    api.post("/v1/credits/purchase", &json!({"amount": "10"})).await.ok();
    (own, gone_key)
}

fn remove(folder: &Path) {
    for more in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(folder.join(format!("ledger.db{more}")));
    }
}

async fn made_again(ledger: TestLedger) {
    let (provider, receiver) = (FakeOpenAi::start(), Receiver::start());
    let options = ledger.options().calling(provider.url()).set("FAREBOX_WEBHOOKS__ALLOW_PRIVATE", "true");
    let mut server = Server::start(options).await;
    let (key, revoked) = everything(&server, &receiver).await;
    let other = server.admin().customer("free", "3").await;
    let all = async |server: &Server| (seen(&server.api(&key)).await, seen(&server.api(&other.key)).await);
    // Beside the server, and not in its place.
    let told = said(&run(&ledger, &["rebuild"]), 0);
    assert!(told.contains("rows made from the log") && told.contains("as they are in the tables"), "{told}");
    let told = said(&run(&ledger, &["rebuild", "--replace"]), 2);
    assert!(told.contains("owns this ledger and is alive"), "{told}");
    let before = all(&server).await;
    assert!(server.stop().await.success(), "{}", server.logs());

    ledger.run(&format!("UPDATE account SET debt = 5 WHERE id = {}", ledger.id(&other.id)));
    ledger.run("DELETE FROM payment_method WHERE removed_at IS NULL");
    ledger.run("UPDATE api_key SET name = 'stolen', revoked_at = NULL");
    ledger.run("UPDATE webhook_endpoint SET url = 'http://elsewhere/'");
    let told = said(&run(&ledger, &["rebuild"]), 1);
    for difference in [
        &format!("account: id {} has another debt 5 instead of 0", other.id),
        "payment_method: id ",
        " is missing",
        "api_key: id ",
        "webhook_endpoint: id ",
        " has another url",
    ] {
        assert!(told.contains(difference), "{difference}: {told}");
    }
    assert!(!told.contains("elsewhere"), "texts may be secrets: {told}");
    let told = said(&run(&ledger, &["rebuild", "--replace"]), 0);
    assert!(told.contains("they are the ledger's tables now"), "{told}");
    said(&run(&ledger, &["rebuild"]), 0);
    said(&run(&ledger, &["audit"]), 0);
    server.restart().await;
    assert_eq!(all(&server).await, before);
    assert_eq!((chat(&server.api(&key)).await, chat(&server.api(&revoked)).await), (200, 401));
    server.admin().assert_audit().await;
    let before = all(&server).await;
    assert!(server.stop().await.success(), "{}", server.logs());

    if let TestLedger::Sqlite(folder) = &ledger {
        remove(folder);
        let told = said(&run(&ledger, &["serve"]), 2);
        assert!(told.contains("ledger-log.db"), "{told}");
        let told = said(&run(&ledger, &["rebuild", "--replace"]), 0);
        assert!(told.contains("there were none to compare them with; they are the ledger's tables now"), "{told}");
        server.restart().await;
        assert_eq!(all(&server).await, before);
        assert_eq!((chat(&server.api(&key)).await, chat(&server.api(&revoked)).await), (200, 401));
        server.admin().assert_audit().await;
        assert!(server.stop().await.success(), "{}", server.logs());
    }
}

#[tokio::test]
async fn sqlites_tables_are_made_again_from_the_log() {
    made_again(TestLedger::sqlite()).await;
}

#[tokio::test]
async fn postgresqls_tables_are_made_again_from_the_log() {
    let Some(ledger) = TestLedger::postgres() else { return };
    made_again(ledger).await;
}

fn migrated(ledger: &TestLedger) {
    upgraded::old_ledger(ledger);
    // Killed at any point, it goes on.
    for wait in (0..14).map(|step| Duration::from_millis(20 + 25 * step)) {
        let mut child = farebox(ledger, &["migrate"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(wait);
        let _ = child.kill();
        child.wait().unwrap();
    }
    let told = said(&run(ledger, &["migrate"]), 0);
    assert!(told.contains("clean: "), "{told}");
    let told = said(&run(ledger, &["rebuild"]), 0);
    assert!(told.contains("as they are in the tables"), "{told}");
    said(&run(ledger, &["rebuild", "--replace"]), 0);
    said(&run(ledger, &["migrate"]), 0);
    said(&run(ledger, &["rebuild"]), 0);
}

#[test]
fn a_sqlite_ledger_of_before_has_a_log_that_makes_its_tables() {
    migrated(&TestLedger::sqlite());
}

#[test]
fn a_postgresql_ledger_of_before_has_a_log_that_makes_its_tables() {
    let Some(ledger) = TestLedger::postgres() else { return };
    migrated(&ledger);
}

#[test]
fn what_is_not_clean_is_not_brought_into_a_log() {
    let ledger = TestLedger::sqlite();
    upgraded::old_ledger(&ledger);
    ledger.run("UPDATE credit_grant SET available = available + 1, spent = spent - 1 WHERE spent > 0");
    let told = said(&run(&ledger, &["migrate"]), 1);
    assert!(told.contains("NOT clean") && told.contains("nothing was brought into a log"), "{told}");
    let told = said(&run(&ledger, &["rebuild"]), 2);
    assert!(told.contains("no log yet"), "{told}");
}
