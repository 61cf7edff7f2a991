//! Signed receipts: what anyone can check of them without this gateway, what is refused of them, and what the ledger's log
//! says to them. And that a key which was replaced still counts.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use billing::Nanos;
use ledger::log::{
    Head, Shard,
    body::{self, Body},
    chain,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::{Answer, Api, Customer, answer},
    fake_openai::FakeOpenAi,
    python::{package, run, scripts},
    server::{Options, Server},
    test_ledger::TestLedger,
};

const READER: &str = "jwcrypto==1.6.1";
const JWKS: &str = "/.well-known/jwks.json";

struct Stage {
    _fake: FakeOpenAi,
    server: Server,
    customer: Customer,
}

impl Stage {
    async fn on(options: Options) -> Self {
        let fake = FakeOpenAi::start();
        let server = Server::start(options.calling(fake.url())).await;
        let customer = server.admin().customer("payg", "5").await;
        Self { _fake: fake, server, customer }
    }

    /// A request that ended, and the path of its receipt.
    async fn request(&self) -> String {
        let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello"}]});
        let answered = self.customer.api.post("/v1/chat/completions", &body).await;
        assert_eq!(answered.status, 200, "{}", answered.body);
        format!("/v1/requests/{}/receipt", answered.header("x-request-id").unwrap())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.server.folder().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// `farebox receipt verify` of a text from standard input.
    fn verify(&self, text: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let path = self.file("a.jws", text);
        let mut all = vec!["receipt", "verify", path.to_str().unwrap()];
        all.extend(arguments);
        told(&self.server.cli(&all))
    }
}

fn told(output: &Output) -> (Option<i32>, String) {
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said)
}

async fn as_jose(api: &Api, path: &str) -> Answer {
    answer(api.request(Method::GET, path).header("accept", "application/jose")).await
}

/// The header and the payload of a JWS, as another program reads them with these keys.
async fn independently(stage: &Stage, jws: &str, jwks: &str) -> (Value, Value) {
    let (jws, jwks) = (stage.file("b.jws", jws), stage.file("keys.json", jwks));
    let check = move || {
        let mut command = Command::new("python3");
        command.arg(scripts().join("verify_receipt.py")).args([jwks, jws]).env("PYTHONPATH", package(READER));
        run(&mut command)
    };
    let output = tokio::task::spawn_blocking(check).await.unwrap();
    let mut read: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let payload = read.pop().unwrap();
    (read.pop().unwrap(), payload)
}

/// A JWS with one letter of a part changed to another.
fn changed(jws: &str, part: usize) -> String {
    let mut parts: Vec<_> = jws.split('.').map(str::to_owned).collect();
    let middle = parts[part].len() / 2;
    let other = if &parts[part][middle..=middle] == "A" { "B" } else { "A" };
    parts[part].replace_range(middle..=middle, other);
    parts.join(".")
}

#[tokio::test]
async fn a_requests_receipt_is_checked_by_anyone_and_no_byte_of_it_can_be_changed() {
    let ledger = TestLedger::usual();
    let stage = Stage::on(ledger.options()).await;
    let path = stage.request().await;
    let mut receipt = stage.customer.api.get(&path).await.ok();
    let jws = as_jose(&stage.customer.api, &path).await;
    assert_eq!((jws.status, jws.header("content-type")), (200, Some("application/jose")));
    assert_eq!(receipt["jws"], jws.body, "the same receipt is always the same text");
    let jwks = stage.server.get(JWKS).await;
    assert_eq!(jwks.header("cache-control"), Some("public, max-age=300"));

    let (header, payload) = independently(&stage, &jws.body, &jwks.body).await;
    assert_eq!((&header["alg"], &header["typ"]), (&json!("EdDSA"), &json!("farebox-request-receipt+jws")));
    assert_eq!(header["kid"], jwks.json()["keys"][0]["kid"]);
    receipt.as_object_mut().unwrap().remove("jws");
    assert_eq!(payload, receipt, "what is signed is what is answered");
    let ended = stage.customer.api.get(path.trim_end_matches("/receipt")).await.ok();
    for (field, same) in [("charged", "cost"), ("base_cost", "base_cost"), ("fee", "fee"), ("quantities", "quantities")]
    {
        assert_eq!(receipt[field], ended[same], "{field}");
    }
    let nanos: i64 = receipt["charged_nanos"].as_str().unwrap().parse().unwrap();
    assert_eq!(receipt["charged"], json!(Nanos::new(nanos)));
    assert_eq!((&receipt["account_id"], &receipt["request_id"]), (&json!(stage.customer.id), &ended["id"]));

    let (status, said) = stage.verify(&jws.body, &["--log"]);
    assert_eq!(status, Some(0), "{said}");
    for words in ["the signature is right", "gpt-4o-mini", "tokens.input", "the ledger says the same"] {
        assert!(said.contains(words), "{words} is not in {said}");
    }
    let (status, said) = stage.verify(&jws.body, &["--keys", &format!("{}{JWKS}", stage.server.url())]);
    assert_eq!(status, Some(0), "{said}");
    for (part, name) in ["header", "payload", "signature"].into_iter().enumerate() {
        let (status, said) = stage.verify(&changed(&jws.body, part), &[]);
        assert!(status == Some(1) && said.contains("NOT trusted: "), "{name}: {said}");
    }
    // The JSON around it counts, too.
    let answered = stage.customer.api.get(&path).await.body;
    assert_eq!(stage.verify(&answered, &[]).0, Some(0));
    let (status, said) = stage.verify(&answered.replace("gpt-4o-mini", "gpt-4o"), &[]);
    assert!(status == Some(1) && said.contains("not what was signed"), "{said}");
}

#[tokio::test]
async fn a_receipt_by_an_unknown_key_is_refused_and_one_by_a_replaced_key_is_not() {
    let (mut stage, other) = (Stage::on(Options::default()).await, Stage::on(Options::default()).await);
    let path = stage.request().await;
    let old = as_jose(&stage.customer.api, &path).await.body;
    let theirs = stage.file("theirs.json", &other.server.get(JWKS).await.body);
    let (status, said) = stage.verify(&old, &["--keys", theirs.to_str().unwrap()]);
    assert!(status == Some(1) && said.contains("none of the 1 keys"), "{said}");
    let strangers = Api::new(stage.server.url(), Some(&stage.server.admin().customer("free", "1").await.key));
    assert_eq!(strangers.get(&path).await.status, 404, "another account's request");
    assert_eq!(as_jose(&strangers, &path).await.status, 404);

    let key = stage.server.folder().join("data/signing_key.pem");
    fs::remove_file(&key).unwrap();
    assert!(stage.server.stop().await.success());
    stage.server.restart().await;
    stage.customer.api = stage.server.api(&stage.customer.key);
    let new = as_jose(&stage.customer.api, &path).await.body;
    assert_ne!(old, new);
    let jwks = stage.server.get(JWKS).await;
    assert_eq!(jwks.json()["keys"].as_array().unwrap().len(), 2);
    for jws in [&old, &new] {
        independently(&stage, jws, &jwks.body).await;
        assert_eq!(stage.verify(jws, &["--log"]).0, Some(0));
    }
}

#[tokio::test]
async fn a_payments_receipt_is_signed_and_read_from_standard_input() {
    let stage = Stage::on(Options::default()).await;
    let bought = json!({"amount": "12.34", "payment_method": "pm_card_visa"});
    let bought = stage.customer.api.post("/v1/credits/purchase", &bought).await.ok();
    let path = bought["payment"]["receipt"].as_str().unwrap();
    let mut receipt = stage.customer.api.get(path).await.ok();
    let jws = as_jose(&stage.customer.api, path).await.body;
    assert_eq!(receipt["jws"], jws);
    receipt.as_object_mut().unwrap().remove("jws");
    let (header, payload) = independently(&stage, &jws, &stage.server.get(JWKS).await.body).await;
    assert_eq!((&header["typ"], &payload), (&json!("farebox-payment-receipt+jws"), &receipt));
    let page = answer(stage.customer.api.request(Method::GET, path).header("accept", "text/html")).await;
    assert!(page.body.contains(&jws), "{}", page.body);
    let (status, said) = stage.verify(&jws, &["--log"]);
    assert!(status == Some(0) && said.contains("12.34") && said.contains("the ledger says the same"), "{said}");

    let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
    let keys = stage.server.folder().join("keys.json");
    command.args(["receipt", "verify", "-", "--keys"]).arg(keys).current_dir(std::env::temp_dir());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(jws.as_bytes()).unwrap();
    let (status, said) = told(&child.wait_with_output().unwrap());
    assert_eq!(status, Some(0), "{said}");
}

/// Rewrites the row of a log from which a request's receipt is, with its hash: the log is whole by itself up to there.
fn rewrite(log: &Path, row: i64) {
    let connection = rusqlite::Connection::open(log).unwrap();
    connection.execute_batch("DROP TRIGGER log_no_UPDATE").unwrap();
    let sql = "SELECT epoch, at, prev_hash, body FROM log WHERE seq = ?";
    let (epoch, at, before, content): (i64, i64, Vec<u8>, Vec<u8>) =
        connection.query_row(sql, [row], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap();
    let Body::Transitions(mut transitions) = body::decode(&content).unwrap() else { panic!("transitions") };
    transitions.iter_mut().filter_map(|transition| transition.usage.as_mut()).for_each(|usage| {
        usage.charged += Nanos::new(1);
    });
    let before = Head { seq: row.unsigned_abs() - 1, hash: before.try_into().unwrap() };
    let other = chain::next(Shard::FIRST, before, epoch, billing::Timestamp(at), body::encode(&transitions));
    let values = rusqlite::params![other.body, other.hash.to_vec(), row];
    connection.execute("UPDATE log SET body = ?, hash = ? WHERE seq = ?", values).unwrap();
}

#[tokio::test]
async fn a_log_that_says_something_else_than_a_receipt_is_found() {
    let ledger = TestLedger::sqlite();
    let mut stage = Stage::on(ledger.options()).await;
    let path = stage.request().await;
    let receipt = stage.customer.api.get(&path).await.ok();
    let (row, jws) = (receipt["log"]["row"].as_i64().unwrap(), receipt["jws"].as_str().unwrap());
    assert!(stage.server.stop().await.success());
    let TestLedger::Sqlite(folder) = &ledger else { panic!("a file") };
    let log = folder.join("ledger-log.db");
    rewrite(&log, row);
    let (status, said) = stage.verify(jws, &["--log"]);
    assert_eq!(status, Some(1), "{said}");
    for words in ["NOT so in the ledger: log is ", "NOT so in the ledger: charged is "] {
        assert!(said.contains(words), "{words} is not in {said}");
    }
    assert_eq!(stage.verify(jws, &[]).0, Some(0), "the receipt itself is as it was");
    let connection = rusqlite::Connection::open(&log).unwrap();
    connection.execute("UPDATE log SET at = at + 1 WHERE seq = ?", [row]).unwrap();
    let (status, said) = stage.verify(jws, &["--log"]);
    assert!(status == Some(1) && said.contains(&format!("row {row} was changed")), "{said}");
    connection.execute_batch("DROP TRIGGER log_no_DELETE").unwrap();
    connection.execute("DELETE FROM log WHERE seq = ?", [row]).unwrap();
    let (status, said) = stage.verify(jws, &["--log"]);
    assert!(status == Some(1) && said.contains(&format!("the log has no row {row}")), "{said}");
}
