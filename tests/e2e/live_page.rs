//! The clients of `docs/live.md`, as they stand there.

use std::process::Command;

use crate::{
    live::{COST, Stage, TEXT},
    support::{
        fake_openai::Behaviour,
        node::node_client,
        python::{package, run},
        temporary,
    },
};

const PAGE: &str = include_str!("../../docs/live.md");

/// The program that the page has in a language.
fn program(language: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

/// What a client prints, asked for a chat.
async fn printed(stage: &Stage, mut command: Command) -> String {
    command.env("FAREBOX_URL", stage.server.url()).env("FAREBOX_API_KEY", &stage.customer.key);
    command.args(["gpt-4o-mini", "Say hello to me"]);
    let output = tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_python_client_of_the_page_works() {
    let stage = Stage::set().await;
    let script = temporary("live-client").with_extension("py");
    std::fs::write(&script, program("python")).unwrap();
    let packages = tokio::task::spawn_blocking(|| package("websockets==17.4")).await.unwrap();
    let mut command = Command::new("python3");
    command.arg(&script).env("PYTHONPATH", packages);
    assert_eq!(printed(&stage, command).await, format!("{TEXT}\n${COST}\n"));
    std::fs::remove_file(script).unwrap();
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn the_javascript_client_of_the_page_survives_a_lost_socket() {
    let stage = Stage::set().await;
    stage.fake.script(Behaviour::Slow(200));
    let mut command = tokio::task::spawn_blocking(|| node_client("live_page.mjs", program("js"))).await.unwrap();
    command.env("LOSE_AFTER", "3");
    assert_eq!(printed(&stage, command).await, format!("{TEXT}\n${COST}\n"));
    assert_eq!(stage.customer.settled(1).await.len(), 1, "it was asked once");
    stage.server.admin().assert_audit().await;
}
