//! `/readyz` tells whether something can be committed that a restart will find, and nothing is acknowledged that would not
//! be: with the database's files gone or spoiled, with PostgreSQL away, with the ledger another's.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    fake_openai::{Behaviour, FakeOpenAi},
    postgres::Postgres,
    server::{Database, Options, Server},
    temporary,
};

const CHAT: &str = "/v1/chat/completions";

fn hello() -> Value {
    json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}]})
}

/// Waits until `/readyz` has this status; its last answer.
async fn readyz_becomes(server: &Server, status: u16) -> Value {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = server.get("/readyz").await;
        if answer.status == status {
            return answer.json();
        }
        assert!(Instant::now() < deadline, "{}\n{}", answer.body, server.logs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

type Harm = fn(&Path, &str);

/// Harms to one of the ledger's two files, by the folder and the file's name.
const HARMS: [(&str, Harm, &str); 7] = [
    ("deleted", |data, file| fs::remove_file(data.join(file)).unwrap(), "deleted or moved"),
    ("moved with its folder", |data, _| fs::rename(data, data.with_extension("moved")).unwrap(), "deleted or moved"),
    (
        "replaced by a copy",
        |data, file| {
            fs::copy(data.join(file), data.join("copy.db")).unwrap();
            fs::rename(data.join("copy.db"), data.join(file)).unwrap();
        },
        "replaced",
    ),
    ("emptied", |data, file| drop(File::create(data.join(file)).unwrap()), "was cut"),
    ("cut", |data, file| File::options().write(true).open(data.join(file)).unwrap().set_len(8_192).unwrap(), "was cut"),
    (
        "written over",
        |data, file| {
            let file = File::options().write(true).open(data.join(file)).unwrap();
            file.write_all_at(&[0x5a; 16_384], 0).unwrap();
        },
        "written over",
    ),
    (
        "without its write-ahead log",
        |data, file| fs::remove_file(data.join(format!("{file}-wal"))).unwrap(),
        "deleted or moved",
    ),
];

#[tokio::test]
async fn with_its_files_gone_or_spoiled_it_is_not_ready_and_acknowledges_nothing() {
    let fake = FakeOpenAi::start();
    let harms = ["farebox.db", "farebox-log.db"].into_iter().flat_map(|file| HARMS.map(|harm| (file, harm)));
    for (file, (what, harm, said)) in harms {
        let what = format!("{file} {what}");
        let server = Server::start(Options::default().on(Database::Sqlite).calling(fake.url())).await;
        let admin = server.admin();
        let customer = admin.customer("payg", "1").await;
        assert_eq!(customer.api.post(CHAT, &hello()).await.status, 200, "{what}");
        harm(&server.folder().join("data"), file);
        // At once, not after a while: what is acknowledged now would be lost.
        let email = json!({"email": "early@example.com", "plan": "free"});
        assert_eq!(admin.0.post("/admin/v1/accounts", &email).await.status, 503, "{what}");
        for _ in 0..20 {
            let answer = customer.api.post(CHAT, &hello()).await;
            assert_eq!(answer.status, 503, "{what}: {}", answer.body);
            assert!(answer.header("retry-after").is_some(), "{what}");
        }
        let email = json!({"email": "late@example.com", "plan": "free"});
        assert_eq!(admin.0.post("/admin/v1/accounts", &email).await.status, 503, "{what}");
        assert_eq!(
            admin.0.post(&format!("/admin/v1/accounts/{}/keys", customer.id), &json!({"name": "x"})).await.status,
            503,
            "{what}"
        );
        let body = readyz_becomes(&server, 503).await;
        assert!(body["message"].as_str().unwrap().contains(said), "{what}: {body}");
        assert_eq!(server.get("/healthz").await.status, 200, "{what}");
    }
}

#[tokio::test]
async fn a_database_that_came_back_is_served_again_and_nothing_was_lost() {
    let server = Server::start(Options::default().on(Database::Sqlite)).await;
    let customer = server.admin().customer("payg", "1").await;
    let data = server.folder().join("data");
    let away = server.folder().join("away");
    fs::rename(&data, &away).unwrap();
    readyz_becomes(&server, 503).await;
    fs::rename(&away, &data).unwrap();
    readyz_becomes(&server, 200).await;
    server.admin().grant(&customer.id, "promo", "1").await;
    assert_eq!(customer.api.get("/v1/balance").await.ok()["available"], "7.00");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn a_database_that_can_t_be_written_is_not_ready_though_nobody_asks_anything() {
    for file in ["farebox.db", "farebox-log.db"] {
        let server = Server::start(Options::default().on(Database::Sqlite)).await;
        let lock = rusqlite::Connection::open(server.folder().join("data").join(file)).unwrap();
        lock.execute_batch("BEGIN IMMEDIATE").unwrap();
        let body = readyz_becomes(&server, 503).await;
        assert!(body["message"].as_str().unwrap().contains("commit"), "{file}: {body}");
        lock.execute_batch("ROLLBACK").unwrap();
        readyz_becomes(&server, 200).await;
    }
}

#[tokio::test]
async fn without_postgres_new_work_is_refused_at_once_and_taken_again_when_it_is_back() {
    let Some(mut own) = Postgres::start() else { return };
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().on(Database::At(own.fresh_database())).calling(fake.url())).await;
    let customer = server.admin().customer("payg", "1").await;
    let cold = server.admin().customer("payg", "1").await;
    assert_eq!(customer.api.post(CHAT, &hello()).await.status, 200);
    own.stop();
    let body = readyz_becomes(&server, 503).await;
    assert!(body["message"].as_str().unwrap().contains("PostgreSQL"), "{body}");
    for path in ["/v1/balance", "/v1/requests", "/v1/models"] {
        for api in [&customer.api, &cold.api] {
            let began = Instant::now();
            let answer = api.get(path).await;
            assert!(began.elapsed() < Duration::from_secs(3), "{path} took {:?}", began.elapsed());
            assert!(answer.status == 503 || path == "/v1/models", "{path}: {} {}", answer.status, answer.body);
        }
    }
    for _ in 0..5 {
        let began = Instant::now();
        let answer = customer.api.post(CHAT, &hello()).await;
        assert!(began.elapsed() < Duration::from_secs(3), "it took {:?}", began.elapsed());
        assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true), "{}", answer.body);
    }
    own.resume();
    readyz_becomes(&server, 200).await;
    assert_eq!(customer.api.post(CHAT, &hello()).await.status, 200);
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn what_ran_while_postgres_was_away_is_charged_when_it_is_back() {
    let Some(mut own) = Postgres::start() else { return };
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().on(Database::At(own.fresh_database())).calling(fake.url())).await;
    let customer = server.admin().customer("payg", "1").await;
    fake.script(Behaviour::Slow(2_500));
    let api = customer.api.clone();
    let running = tokio::spawn(async move { api.post(CHAT, &hello()).await });
    let deadline = Instant::now() + Duration::from_secs(20);
    while fake.requests().is_empty() {
        assert!(Instant::now() < deadline, "it was not called");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    own.stop();
    readyz_becomes(&server, 503).await;
    // The provider answers meanwhile.
    tokio::time::sleep(Duration::from_secs(3)).await;
    own.resume();
    let answer = running.await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    readyz_becomes(&server, 200).await;
    let requests = customer.api.get("/v1/requests").await.ok();
    assert_eq!(requests["data"][0]["ending"], "completed", "{requests}");
    assert_ne!(requests["data"][0]["charged"], "0.00", "{requests}");
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn without_onnx_runtime_open_models_say_so_and_all_else_is_served() {
    let models = temporary("models");
    fs::create_dir_all(models.join("m")).unwrap();
    let card = json!({"id": "m", "parameters": 135_000_000, "context": 2_048});
    fs::write(models.join("m/farebox.json"), card.to_string()).unwrap();
    let options = Options::default().set("FAREBOX_RUNTIME__MODELS_DIR", &models.display().to_string());
    let server = Server::start(options.set("FAREBOX_RUNTIME__ONNXRUNTIME", "missing.so")).await;
    server.says("no ONNX Runtime").await;
    let customer = server.admin().customer("payg", "1").await;
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "Hello"}]});
    let answer = customer.api.post(CHAT, &body).await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.header("retry-after").is_some());
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("ONNX Runtime") && !message.contains('/'), "{message}");
    assert_eq!(server.get("/readyz").await.status, 200);
    assert_eq!(customer.api.get("/v1/balance").await.ok()["available"], "6.00");
    fs::remove_dir_all(&models).unwrap();
}

#[tokio::test]
async fn a_first_start_makes_the_operators_token_and_a_second_one_knows_it() {
    let options = Options::default().on(Database::Sqlite).unset("FAREBOX_ADMIN_TOKEN");
    let mut server = Server::start(options).await;
    let token = fs::read_to_string(server.folder().join("data/admin_token")).unwrap();
    server.says(token.trim()).await;
    assert_eq!(server.api(token.trim()).get("/admin/v1/actors").await.status, 200);
    server.restart().await;
    assert_eq!(server.api(token.trim()).get("/admin/v1/actors").await.status, 200);
}
