//! Codex CLI, unchanged, against the real binary before a fake provider: a session in which it edits a file with a tool.
//! What a gateway may break for it: the prompt cache (its prefix must stay the same to the byte), the bound of its search
//! tool, the events that it waits for, and the headers that carry its turn's state.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Mutex,
    time::{Duration, Instant},
};

use serde_json::{json, value::RawValue};

use crate::support::{
    fake_responses::{FakeResponses, Seen, Turn},
    python::run,
    server::{Options, Server},
    temporary,
};

const CODEX: &str = "@openai/codex@0.171.0";

/// The program, installed once below the build folder.
fn codex() -> PathBuf {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one = INSTALLING.lock().unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("codex-0.171.0");
    let program = folder.join("node_modules/.bin/codex");
    if !folder.exists() {
        // Whole or not at all.
        let partial = folder.with_extension("partial");
        let _ = std::fs::remove_dir_all(&partial);
        std::fs::create_dir_all(&partial).unwrap();
        std::fs::write(partial.join("package.json"), r#"{ "private": true }"#).unwrap();
        let npm = ["install", "--silent", "--no-audit", "--no-fund", "--no-package-lock", CODEX];
        run(Command::new("npm").args(npm).current_dir(&partial));
        std::fs::rename(&partial, &folder).unwrap();
    }
    program
}

/// Has Codex do a task in a folder, by a gateway at this address.
fn work(url: &str, key: &str, home: &Path, folder: &Path, task: &str) -> Output {
    std::fs::create_dir_all(home).unwrap();
    std::fs::create_dir_all(folder).unwrap();
    let config = format!(
        "model = \"gpt-5\"\nmodel_provider = \"farebox\"\ncheck_for_update_on_startup = false\n[analytics]\nenabled = false\n\
         [features]\nplugins = false\napps = false\n[model_providers.farebox]\nname = \"Farebox\"\n\
         base_url = \"{url}/v1\"\nenv_key = \"FAREBOX_KEY\"\nwire_api = \"responses\"\n"
    );
    std::fs::write(home.join("config.toml"), config).unwrap();
    Command::new(codex())
        .args(["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", task])
        .current_dir(folder)
        .env("CODEX_HOME", home)
        .env("FAREBOX_KEY", key)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap()
}

/// The text of a member of a body, as it came.
fn member(seen: &Seen, name: &str) -> String {
    let body: std::collections::HashMap<String, Box<RawValue>> = serde_json::from_str(&seen.body).unwrap();
    body[name].get().to_owned()
}

#[tokio::test]
async fn codex_edits_a_file_and_its_cached_prefix_stays_one() {
    let fake = FakeResponses::start();
    let server = Server::start(Options::default().calling(fake.url())).await;
    let customer = server.admin().customer("payg", "20").await;
    let (home, folder) = (temporary("codex-home"), temporary("codex-work"));
    fake.script(Turn::Calls("exec_command", json!({"cmd": "printf hello > greeting.txt"}).to_string()));
    fake.script(Turn::Says("It is done."));
    let (url, key, began) = (server.url().to_owned(), customer.key.clone(), Instant::now());
    let (at, within) = (home.clone(), folder.clone());
    let task = move || {
        codex();
        let began = Instant::now();
        (work(&url, &key, &at, &within, "Write hello to greeting.txt"), began.elapsed())
    };
    let (output, took) = tokio::task::spawn_blocking(task).await.unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("It is done."), "{said}");
    assert_eq!(std::fs::read_to_string(folder.join("greeting.txt")).unwrap(), "hello");
    assert!(took < Duration::from_mins(1), "{took:?} of {:?}: it stalled", began.elapsed());
    assert!(!said.contains("rerouted") && !said.contains("flagged"), "{said}");

    let seen = fake.seen();
    let [first, second] = &seen[..] else { panic!("{} requests\n{said}", seen.len()) };
    let (input, longer) = (member(first, "input"), member(second, "input"));
    assert!(longer.starts_with(&input[..input.len() - 1]), "the first turn's input begins the second's");
    assert_eq!(member(first, "tools"), member(second, "tools"));
    assert_eq!(first.json()["max_tool_calls"], 4, "its search has a bound");
    let session = |seen: &Seen| seen.header("session-id").map(str::to_owned);
    assert!(session(first).is_some() && session(first) == session(second));
    assert_eq!(second.header("x-codex-turn-state"), Some("turn"), "what the provider gave comes back to it");
    assert_eq!(second.header("originator"), Some("codex_exec"));

    let records = customer.api.get("/v1/requests").await.ok()["data"].as_array().unwrap().clone();
    assert_eq!(records.len(), 2);
    for record in records {
        assert!(record["ending"] == "completed" && record["cost"] != "0.00", "{record}");
    }
    server.admin().assert_audit().await;
    let _ = std::fs::remove_dir_all(&home);
    let _ = std::fs::remove_dir_all(&folder);
}

#[tokio::test]
async fn codex_says_what_is_wrong_where_credits_are_used_up() {
    let fake = FakeResponses::start();
    let server = Server::start(Options::default().calling(fake.url())).await;
    let poor = server.admin().customer("free", "0").await;
    server.admin().void_all(&poor).await;
    let (home, folder) = (temporary("codex-home"), temporary("codex-work"));
    let (url, key) = (server.url().to_owned(), poor.key.clone());
    let (at, within) = (home.clone(), folder.clone());
    let output = tokio::task::spawn_blocking(move || work(&url, &key, &at, &within, "Say hello")).await.unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success() && said.contains("Insufficient credits"), "{said}");
    assert_eq!(fake.seen().len(), 0, "it is refused before the provider is asked");
    assert_eq!(poor.api.get("/v1/balance").await.ok()["held"], "0.00");
    let _ = std::fs::remove_dir_all(&home);
    let _ = std::fs::remove_dir_all(&folder);
}
