//! Farebox itself, in a folder and a database of its own, and its operator's calls.

use std::{env, ffi::OsString, fs, path::Path, path::PathBuf, process::Command};

use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::{contest::Look, load::Target, process::Process};

const ADMIN_TOKEN: &str = "a-token-for-the-benchmark-alone-000000";
/// The operator's calls under way at a time.
const CALLS: usize = 32;

/// Where a gateway keeps its ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Database {
    /// Files in its folder.
    Sqlite,
    /// An empty database of PostgreSQL.
    Postgres(String),
}

/// A running gateway.
pub(crate) struct Farebox {
    process: Option<Process>,
    folder: PathBuf,
    database: Database,
    upstream: String,
    more: Vec<(&'static str, String)>,
    pub(crate) url: String,
    client: reqwest::Client,
}

impl Farebox {
    /// Starts one with a new ledger, which calls this provider.
    pub(crate) fn start(upstream: &str, database: Database) -> Self {
        let kind = if database == Database::Sqlite { "sqlite" } else { "postgres" };
        Self::start_as(kind, upstream, database, Vec::new())
    }

    /// Starts one of a name, with more settings by their variables.
    pub(crate) fn start_as(name: &str, upstream: &str, database: Database, more: Vec<(&'static str, String)>) -> Self {
        let folder = env::temp_dir().join(format!("farebox-bench-{}-on-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (url, upstream, client) = (String::new(), upstream.to_owned(), reqwest::Client::new());
        let mut farebox = Self { process: None, folder, database, upstream, more, url, client };
        farebox.resume();
        farebox
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        drop(self.process.take());
    }

    /// Stops it cleanly; its folder and its database stay.
    pub(crate) fn stop(&mut self) {
        self.process.take().unwrap().stop();
    }

    /// Starts it again, at another address.
    pub(crate) fn resume(&mut self) {
        let mut command = Command::new(program());
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FAREBOX_")) {
            command.env_remove(name);
        }
        if let Database::Postgres(url) = &self.database {
            command.env("FAREBOX_DATABASE__URL", url);
        }
        command
            .arg("serve")
            .current_dir(&self.folder)
            .env("FAREBOX_LISTEN", "127.0.0.1:0")
            .env("FAREBOX_ADMIN_TOKEN", ADMIN_TOKEN)
            .env("FAREBOX_LOG__LEVEL", "warn")
            .envs(self.more.iter().map(|(name, value)| (name, value)))
            .env("FAREBOX_PROVIDERS__OPENAI__API_KEY", "sk-bench")
            .env("FAREBOX_PROVIDERS__OPENAI__BASE_URL", format!("{}/v1", self.upstream));
        let (process, url) = Process::start(&mut command);
        (self.process, self.url) = (Some(process), url);
    }

    pub(crate) fn process(&self) -> &Process {
        self.process.as_ref().unwrap()
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// The bytes of all files in its folder.
    pub(crate) fn bytes_in_folder(&self) -> u64 {
        bytes_below(&self.folder)
    }

    /// New accounts with so many dollars each, as a target of load.
    pub(crate) async fn accounts(&self, count: usize, dollars: &str) -> Target {
        let made = stream::iter(0..count).map(|_| async { self.account_with(dollars).await.1 });
        let keys = made.buffered(CALLS).collect().await;
        Target { urls: vec![self.url.clone()], keys }
    }

    /// New accounts without credits, each used once.
    pub(crate) async fn used_accounts(&self, count: usize) {
        let made = stream::iter(0..count).map(|_| async {
            let (_, key) = self.account().await;
            let request = self.client.get(format!("{}/v1/balance", self.url)).bearer_auth(key);
            assert_eq!(request.send().await.unwrap().status(), 200);
        });
        made.buffered(CALLS).collect::<Vec<()>>().await;
    }

    /// A new account with so many dollars: its id and its key.
    pub(crate) async fn account_with(&self, dollars: &str) -> (String, String) {
        let (id, key) = self.account().await;
        self.admin(&format!("accounts/{id}/grants"), json!({"source": "promo", "amount": dollars})).await;
        (id, key)
    }

    async fn account(&self) -> (String, String) {
        let email = format!("{}@example.com", uuid::Uuid::now_v7().simple());
        let account = self.admin("accounts", json!({"email": email, "plan": "payg"})).await;
        let id = account["id"].as_str().unwrap().to_owned();
        let key = self.admin(&format!("accounts/{id}/keys"), json!({})).await["key"].as_str().unwrap().to_owned();
        (id, key)
    }

    /// Has the ledger checked, and prints what was found.
    pub(crate) async fn audit(&self) {
        let audit = self.admin("audit", json!({})).await;
        println!("  audit     ok {}, {} requests, {} open holds", audit["ok"], audit["requests"], audit["open_holds"]);
        assert_eq!(audit["ok"], true, "{audit}");
    }

    /// An operator's question.
    pub(crate) async fn look(&self, path: &str) -> Value {
        let request = self.client.get(format!("{}/admin/v1/{path}", self.url)).bearer_auth(ADMIN_TOKEN);
        request.send().await.unwrap().json().await.unwrap()
    }

    /// What an operator looks at, again and again.
    pub(crate) fn looking_at(&self, path: &str) -> Look {
        Look { url: format!("{}/admin/v1/{path}", self.url), token: ADMIN_TOKEN, client: self.client.clone() }
    }

    /// Its metrics, in Prometheus' text format.
    pub(crate) async fn metrics(&self) -> String {
        let request = self.client.get(format!("{}/metrics", self.url)).bearer_auth(ADMIN_TOKEN);
        request.send().await.unwrap().text().await.unwrap()
    }

    async fn admin(&self, path: &str, body: Value) -> Value {
        let request = self.client.post(format!("{}/admin/v1/{path}", self.url)).bearer_auth(ADMIN_TOKEN);
        let response = request.json(&body).send().await.unwrap();
        let status = response.status();
        let answer: Value = response.json().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }
}

impl Drop for Farebox {
    fn drop(&mut self) {
        drop(self.process.take());
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The program that is measured: the one that was built with the benchmark, or another, as a release.
pub(crate) fn program() -> OsString {
    let given = env::var_os("FAREBOX_BENCH_PROGRAM").filter(|path| !path.is_empty());
    let path = given.unwrap_or_else(|| env!("CARGO_BIN_EXE_farebox").into());
    // It is started in another folder.
    fs::canonicalize(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter_map(|entry| {
            let about = entry.metadata().ok()?;
            Some(if about.is_dir() { bytes_below(&entry.path()) } else { about.len() })
        })
        .sum()
}
