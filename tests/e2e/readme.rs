//! A new user's way: `farebox quickstart` in an empty folder, then every `curl` of the README's tour, as written there. A
//! second start keeps the key, and `farebox serve` runs the same model.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::support::{fake_openai::FakeOpenAi, temporary};

struct Quickstart(Child);

impl Drop for Quickstart {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it and gives its address and all it printed before it listened.
fn quickstart(folder: &Path, fake: &FakeOpenAi) -> (Quickstart, String, String) {
    start("quickstart", folder, fake)
}

fn start(command: &str, folder: &Path, fake: &FakeOpenAi) -> (Quickstart, String, String) {
    let child = Command::new(env!("CARGO_BIN_EXE_farebox"))
        .arg(command)
        .current_dir(folder)
        .env("FAREBOX_LISTEN", "127.0.0.1:0")
        .env("FAREBOX_PROVIDERS__OPENAI__API_KEY", "sk-test")
        .env("FAREBOX_PROVIDERS__OPENAI__BASE_URL", fake.url())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut server = Quickstart(child);
    let mut printed = String::new();
    for line in BufReader::new(server.0.stdout.take().unwrap()).lines().map_while(Result::ok) {
        if let Some(url) = line.strip_prefix("listening on ") {
            return (server, url.to_owned(), printed);
        }
        printed.push_str(&line);
        printed.push('\n');
    }
    panic!("it ended before it listened: {printed}");
}

/// The shell blocks of the README's tour that call the server.
fn tour() -> Vec<String> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let tour = readme.split("## A tour").nth(1).unwrap().split("\n## ").next().unwrap();
    let blocks = tour.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap().to_owned());
    blocks.filter(|block| block.contains("curl")).collect()
}

fn shell(script: &str, url: &str, key: &str) -> String {
    let output = Command::new("bash").args(["-ec", script]).env("URL", url).env("KEY", key).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_readmes_tour_works_as_written_and_a_second_start_keeps_everything() {
    let (folder, fake) = (temporary("quickstart"), FakeOpenAi::start());
    std::fs::create_dir_all(&folder).unwrap();
    let (server, url, printed) = quickstart(&folder, &fake);
    let kept: Value = serde_json::from_slice(&std::fs::read(folder.join("data/quickstart.json")).unwrap()).unwrap();
    let key = kept["api_key"].as_str().unwrap();
    assert!(printed.contains(key) && printed.contains(&url), "{printed}");
    for field in ["account_id", "admin_token", "model", "url"] {
        assert!(kept[field].as_str().is_some_and(|text| !text.is_empty()), "{kept}");
    }

    let printed_curl =
        printed.lines().skip_while(|line| !line.contains("curl -N")).take(3).collect::<Vec<_>>().join("\n");
    let streamed = shell(&printed_curl, &url, key);
    assert!(streamed.contains("data: [DONE]") && streamed.contains("\"cost\":\"0.0"), "{streamed}");

    let blocks = tour();
    assert_eq!(blocks.len(), 5, "{blocks:?}");
    let answers: Vec<String> = blocks.iter().map(|block| shell(block, &url, key)).collect();
    assert!(answers[0].contains("data: [DONE]"), "{}", answers[0]);
    assert!(answers[1].contains("\"admitted\":true"), "{}", answers[1]);
    assert!(
        answers[2].contains("\"currency\":\"USD\"") && answers[2].contains("\"ending\":\"completed\""),
        "{}",
        answers[2]
    );
    assert!(answers[3].contains("\"status\":\"succeeded\""), "{}", answers[3]);
    assert!(answers[4].contains("Hello from the fake provider."), "{}", answers[4]);
    drop(server);

    // What quickstart fetched is where `serve` looks for it.
    let (server, url, _) = start("serve", &folder, &fake);
    let short = blocks[0].replace("\"max_tokens\": 200", "\"max_tokens\": 3");
    assert_ne!(short, blocks[0]);
    assert!(shell(&short, &url, key).contains("data: [DONE]"));
    drop(server);

    let (server, _, printed) = quickstart(&folder, &fake);
    assert!(printed.contains(key), "{printed}");
    let audit =
        Command::new(env!("CARGO_BIN_EXE_farebox")).args(["audit", "--json"]).current_dir(&folder).output().unwrap();
    assert!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stdout));
    // It writes there as long as it lives.
    drop(server);
    std::fs::remove_dir_all(&folder).unwrap();
}
