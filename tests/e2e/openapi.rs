//! The document of the API: it is valid, its viewer needs nothing from elsewhere, and what it says is so. For the last, clients
//! that are made of it (schemathesis) ask for everything they can think of: no answer is a fault, or one it does not name.

use std::{path::PathBuf, process::Command};

use serde_json::{Value, json};

use crate::support::{
    fake_openai::FakeOpenAi,
    python::{package, run},
    server::{Options, Server},
    temporary,
};

const VALIDATOR: &str = "openapi-spec-validator==0.9.0";
const SCHEMATHESIS: &str = "schemathesis==4.32.5";
/// What of an answer is held against the document.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance";

#[tokio::test]
async fn the_document_is_valid_and_whole() {
    let server = Server::start(Options::default()).await;
    let answer = server.api("none").get("/openapi.json").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let document: Value = answer.ok();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let file: PathBuf = temporary("openapi.json");
    std::fs::write(&file, &answer.body).unwrap();
    let validate = move || {
        let mut command = Command::new("python3");
        command.args(["-m", "openapi_spec_validator"]).arg(&file).env("PYTHONPATH", package(VALIDATOR));
        run(&mut command);
        std::fs::remove_file(file).unwrap();
    };
    tokio::task::spawn_blocking(validate).await.unwrap();
}

#[tokio::test]
async fn the_viewer_is_one_page_that_asks_this_server_alone() {
    let server = Server::start(Options::default()).await;
    let page = server.api("none").get("/docs").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'nonce-"), "{policy}");
    let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    assert_eq!(page.body.matches(nonce).count(), 2, "its script and its style");
    for elsewhere in ["http://", "https://", "src=", "@import", "{script}", "{style}", "{nonce}"] {
        assert!(!page.body.contains(elsewhere), "{elsewhere}");
    }
    let other = server.api("none").get("/docs").await;
    assert!(!other.body.contains(nonce), "each page has its own");
}

/// Has schemathesis ask for so long, with this credential, for what these arguments choose. Where a path names an account, it
/// is this one.
async fn asks(url: &str, credential: &str, account: &str, seconds: u32, chosen: &'static [&'static str]) {
    let (url, credential) = (format!("{url}/openapi.json"), format!("Authorization: Bearer {credential}"));
    let settings = format!("[parameters]\n\"path.account\" = \"{account}\"\n");
    let work = move || {
        let folder = temporary("schemathesis");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("schemathesis.toml"), settings).unwrap();
        let mut command = Command::new("python3");
        command.args(["-m", "schemathesis.cli", "run", &url, "--checks", CHECKS, "--header", &credential]);
        command.args(["--max-time", &seconds.to_string(), "--phases", "examples,coverage,fuzzing", "--seed", "7"]);
        command.args(["--no-color", "--warnings", "off", "--continue-on-failure", "--suppress-health-check", "all"]);
        command.args(chosen).current_dir(&folder).env("PYTHONPATH", package(SCHEMATHESIS));
        run(&mut command);
        std::fs::remove_dir_all(folder).unwrap();
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

#[tokio::test]
async fn clients_made_of_the_document_find_nothing_that_it_does_not_say() {
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().calling(fake.url())).await;
    let customer = server.admin().customer("payg", "5").await;
    customer.api.post("/v1/credits/purchase", &json!({"amount": "10"})).await.ok();
    // The socket is no answer, its stream has no end; and a key that revokes itself ends the story.
    let own = &["--exclude-path-regex", "^/admin/|^/v1/live$|^/v1/events/stream$", "--exclude-path", "/v1/keys/{key}"];
    asks(server.url(), &customer.key, &customer.id, 35, own).await;
    // An actor that panics is not there for a moment, as was asked for.
    let operators = &["--include-path-regex", "^/admin/", "--exclude-path", "/admin/v1/faults"];
    asks(server.url(), Server::admin_token(), &customer.id, 25, operators).await;
    server.admin().assert_audit().await;
}
