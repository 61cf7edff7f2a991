//! What stories stand on: the gateway's process, the databases beside it, and clients that speak to it.

pub(crate) mod accounts;
pub(crate) mod background;
pub(crate) mod browser;
pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod collector;
pub(crate) mod companion;
pub(crate) mod fake_anthropic;
pub(crate) mod fake_cohere;
pub(crate) mod fake_gemini;
pub(crate) mod fake_gpt;
/// The stand-in for a hub of the hub's own tests.
#[path = "../../../actors/hub/tests/hub/fake.rs"]
pub(crate) mod fake_hub;
pub(crate) mod fake_media;
pub(crate) mod fake_mistral;
pub(crate) mod fake_openai;
pub(crate) mod fake_provider;
pub(crate) mod fake_responses;
pub(crate) mod fake_smtp;
pub(crate) mod fake_stripe;
pub(crate) mod fake_vllm;
/// The small model of the engine's tests, as an exporter writes it.
#[path = "../../../actors/engine/tests/engine/hugging.rs"]
pub(crate) mod hugging;
pub(crate) mod issuer;
pub(crate) mod memory;
pub(crate) mod nginx;
pub(crate) mod node;
pub(crate) mod pages;
pub(crate) mod people;
pub(crate) mod plain;
pub(crate) mod postgres;
pub(crate) mod proxy;
pub(crate) mod python;
pub(crate) mod raw_provider;
pub(crate) mod receiver;
pub(crate) mod redis;
pub(crate) mod server;
pub(crate) mod socket;
mod stripe_js;
pub(crate) mod test_ledger;
/// The small model of the engine's tests.
#[path = "../../../actors/engine/tests/engine/tiny.rs"]
pub(crate) mod tiny;
pub(crate) mod tls;
pub(crate) mod upgraded;

use std::env;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A port nobody listened on a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A name for a temporary folder that no other test takes.
pub(crate) fn temporary(name: &str) -> PathBuf {
    env::temp_dir().join(format!("farebox-e2e-{name}-{}", uuid::Uuid::new_v4().simple()))
}

/// A folder that the stories of this run share. Those of runs that have ended are removed: each holds models.
pub(crate) fn shared_folder(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for folder in std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let file_name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let process = file_name.strip_prefix(name).and_then(|rest| rest.strip_prefix('-')?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            // Another run that begins now may be quicker.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
    root.join(format!("{name}-{}", std::process::id()))
}

/// A body with more fields, or others.
pub(crate) fn with(body: &Value, more: &Value) -> Value {
    let mut body = body.clone();
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// A program, looked for in some folders and then on PATH.
pub(crate) fn find_program(name: &str, first: &[PathBuf]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = first.iter().cloned().chain(env::split_paths(&path));
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// Says that a test is skipped, and why. Where servers were promised that is a failure: by `make test`, which sets
/// `FAREBOX_TEST_REQUIRE_SERVERS`, and by whoever names a database.
pub(crate) fn skip(why: &str) {
    let set = |name| env::var(name).ok();
    let (required, database) = (set("FAREBOX_TEST_REQUIRE_SERVERS"), set("FAREBOX_TEST_DATABASE"));
    assert!(!are_promised(required.as_deref(), database.as_deref()), "a server that was promised is not here: {why}");
    // Past what the test's own output is kept in: else nobody would see it.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// Whether these variables promise that all servers are here.
fn are_promised(required: Option<&str>, database: Option<&str>) -> bool {
    required.is_some_and(|required| !matches!(required, "" | "0")) || database == Some("postgres")
}

#[test]
fn servers_are_promised_by_make_and_by_whoever_names_one() {
    for (required, database, promised) in [
        (None, None, false),
        (Some("0"), None, false),
        (Some(""), Some("sqlite"), false),
        (Some("1"), None, true),
        (Some("0"), Some("postgres"), true),
        (None, Some("postgres"), true),
    ] {
        assert_eq!(are_promised(required, database), promised, "{required:?} {database:?}");
    }
    let makefile = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Makefile")).unwrap();
    assert!(makefile.contains("\nexport FAREBOX_TEST_REQUIRE_SERVERS ?= 1\n"), "make test promises them");
}
