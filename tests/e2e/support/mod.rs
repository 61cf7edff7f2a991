//! What stories stand on: the gateway's process, the databases beside it, and clients that speak to it.

pub(crate) mod book;
pub(crate) mod client;
pub(crate) mod companion;
pub(crate) mod fake_openai;
pub(crate) mod fake_stripe;
pub(crate) mod postgres;
pub(crate) mod receiver;
pub(crate) mod redis;
pub(crate) mod server;
pub(crate) mod socket;
pub(crate) mod tls;

use std::env;
use std::net::TcpListener;
use std::path::PathBuf;

use serde_json::Value;

/// A port nobody listened on a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A name for a temporary folder that no other test takes.
pub(crate) fn temporary(name: &str) -> PathBuf {
    env::temp_dir().join(format!("farebox-e2e-{name}-{}", uuid::Uuid::new_v4().simple()))
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

/// Says that a test is skipped, and why; with `FAREBOX_TEST_REQUIRE_SERVERS` that is a failure.
pub(crate) fn skip(why: &str) {
    assert!(env::var_os("FAREBOX_TEST_REQUIRE_SERVERS").is_none(), "required: {why}");
    eprintln!("skipped: {why}");
}
