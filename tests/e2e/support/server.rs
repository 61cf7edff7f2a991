//! A gateway under test: the real binary, in a temporary folder, on a free port, with settings from variables only. It
//! dies with its `Server`, and what it logged is shown when the test fails.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Admin, Answer, Api};
use super::{postgres, temporary};

const BINARY: &str = env!("CARGO_BIN_EXE_farebox");
const START_WITHIN: Duration = Duration::from_mins(1);
const STOP_WITHIN: Duration = Duration::from_mins(1);
const ADMIN_TOKEN: &str = "the-operators-token-of-the-tests";

/// Where a gateway keeps its ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Database {
    /// A file in its folder.
    Sqlite,
    /// A fresh database of the run's cluster, or SQLite where PostgreSQL is not to be had.
    Postgres,
    /// This one.
    At(String),
}

/// How a gateway is started.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    database: Database,
    variables: Vec<(String, String)>,
    /// Variables of the environment that it does not have.
    without: Vec<&'static str>,
    arguments: Vec<String>,
}

impl Default for Options {
    /// The test clock, and SQLite unless `FAREBOX_TEST_DATABASE=postgres`: one run of all stories for each database.
    fn default() -> Self {
        let database = match env::var("FAREBOX_TEST_DATABASE").as_deref() {
            Ok("postgres") => Database::Postgres,
            _ => Database::Sqlite,
        };
        Self { database, variables: Vec::new(), without: Vec::new(), arguments: Vec::new() }
            .set("FAREBOX_CLOCK", "test")
    }
}

impl Options {
    /// One setting, by its variable.
    pub(crate) fn set(mut self, variable: &str, value: &str) -> Self {
        self.variables.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// One variable that it does not have, though the tests do.
    pub(crate) fn unset(mut self, variable: &'static str) -> Self {
        self.without.push(variable);
        self
    }

    /// A provider at this address, and a key that it takes.
    pub(crate) fn calling(self, url: &str) -> Self {
        // A story says itself how often its provider is to be asked.
        self.set("FAREBOX_PROVIDERS__OPENAI__API_KEY", "sk-test")
            .set("FAREBOX_PROVIDERS__OPENAI__BASE_URL", url)
            .set("FAREBOX_PROVIDERS__OPENAI__RETRIES", "0")
    }

    /// Anthropic at this address, and a key that it takes.
    pub(crate) fn calling_anthropic(self, url: &str) -> Self {
        self.set("FAREBOX_PROVIDERS__ANTHROPIC__API_KEY", "sk-ant-test")
            .set("FAREBOX_PROVIDERS__ANTHROPIC__BASE_URL", url)
            .set("FAREBOX_PROVIDERS__ANTHROPIC__RETRIES", "0")
    }

    /// One more argument after `serve`, at the first start.
    pub(crate) fn with_argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    pub(crate) fn on(mut self, database: Database) -> Self {
        self.database = database;
        self
    }

    /// Runs a command that must end by itself, such as a start that is refused.
    pub(crate) async fn output(self, arguments: &[&str]) -> Output {
        let folder = temporary("refused");
        fs::create_dir_all(&folder).unwrap();
        let Database::At(url) = self.database else { panic!("no database is named") };
        let mut variables = self.variables;
        variables.extend([
            ("FAREBOX_DATABASE__URL".to_owned(), url),
            ("FAREBOX_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("FAREBOX_ADMIN_TOKEN".to_owned(), ADMIN_TOKEN.to_owned()),
        ]);
        let mut command = bare(&folder, &variables);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let began = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if began.elapsed() > STOP_WITHIN {
                let _ = child.kill();
                panic!("it goes on, and should have ended");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let output = child.wait_with_output().unwrap();
        let _ = fs::remove_dir_all(&folder);
        output
    }
}

/// A gateway under test.
pub(crate) struct Server {
    child: Child,
    url: String,
    folder: PathBuf,
    variables: Vec<(String, String)>,
    without: Vec<&'static str>,
    logs: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts one, and waits until it is ready.
    pub(crate) async fn start(options: Options) -> Self {
        let folder = temporary("server");
        fs::create_dir_all(&folder).unwrap();
        let mut variables = vec![
            ("FAREBOX_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("FAREBOX_ADMIN_TOKEN".to_owned(), ADMIN_TOKEN.to_owned()),
            ("FAREBOX_HTTP__METRICS".to_owned(), "open".to_owned()),
        ];
        let database = match options.database {
            Database::Sqlite => None,
            Database::Postgres => postgres::fresh_database(),
            Database::At(url) => Some(url),
        };
        variables.extend(database.map(|url| ("FAREBOX_DATABASE__URL".to_owned(), url)));
        variables.extend(options.variables);
        let (logs, without) = (Arc::default(), options.without);
        let child = spawn(&folder, &options.arguments, &variables, &without);
        let mut server = Self { child, url: String::new(), folder, variables, without, logs };
        server.wait_until_ready().await;
        server
    }

    /// Its address, such as `http://127.0.0.1:4000`; a restart changes it.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Another command of the binary, with the same settings, beside it.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        let listen = self.url.trim_start_matches("http://");
        let mut command = bare(&self.folder, &self.variables);
        command.env("FAREBOX_LISTEN", listen).args(arguments).output().unwrap()
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn admin_token() -> &'static str {
        ADMIN_TOKEN
    }

    /// An operator of this gateway.
    pub(crate) fn admin(&self) -> Admin {
        Admin(self.api(ADMIN_TOKEN))
    }

    /// A user of this gateway, by key.
    pub(crate) fn api(&self, key: &str) -> Api {
        Api::new(&self.url, Some(key))
    }

    /// A request without a key.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        Api::new(&self.url, None).get(path).await
    }

    /// Everything printed and logged so far, over all its lives.
    pub(crate) fn logs(&self) -> String {
        self.logs.lock().unwrap().join("\n")
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill_nine(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and waits for its end.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        self.ask_to_stop();
        let status = self.wait_for_end().await;
        self.assert_rebuilt();
        status
    }

    /// Fails the test when the tables are not what the log makes of them. A log whose rows were archived is left out.
    #[track_caller]
    fn assert_rebuilt(&self) {
        let rebuilt = self.cli(&["rebuild"]);
        let is_archived = String::from_utf8_lossy(&rebuilt.stderr).contains("name the archive");
        assert!(rebuilt.status.success() || is_archived, "{rebuilt:?}");
    }

    /// Asks it to stop (SIGTERM), and returns at once.
    pub(crate) fn ask_to_stop(&self) {
        self.signal("TERM");
    }

    /// Sends any signal: `STOP` and `CONT` make a paused owner.
    pub(crate) fn signal(&self, signal: &str) {
        let order = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &order]).status().unwrap().success(), "{order}");
    }

    /// Waits until the process has ended.
    pub(crate) async fn wait_for_end(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < STOP_WITHIN, "the gateway did not stop");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts it again with the same folder, database and settings; kills it first if it still runs.
    pub(crate) async fn restart(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.kill_nine();
        }
        self.child = spawn(&self.folder, &[], &self.variables, &self.without);
        self.wait_until_ready().await;
    }

    async fn wait_until_ready(&mut self) {
        let (found, address) = std::sync::mpsc::channel();
        collect(self.child.stdout.take().unwrap(), Arc::clone(&self.logs), move |line| {
            if let Some(url) = line.strip_prefix("listening on ") {
                let _ = found.send(url.trim().to_owned());
            }
        });
        collect(self.child.stderr.take().unwrap(), Arc::clone(&self.logs), |_| {});
        let began = Instant::now();
        let logs = Arc::clone(&self.logs);
        let still_starting = |child: &mut Child, what: &str| {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the gateway ended before {what}: {status}\n{}", logs.lock().unwrap().join("\n"));
            }
            assert!(began.elapsed() < START_WITHIN, "the gateway was too slow: {what}");
        };
        self.url = loop {
            if let Ok(url) = address.try_recv() {
                break url;
            }
            still_starting(&mut self.child, "it listened");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        while self.get("/readyz").await.status != 200 {
            still_starting(&mut self.child, "it was ready");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let logs = self.logs.lock().map(|logs| logs.join("\n")).unwrap_or_default();
            eprintln!("--- the gateway in {} said:\n{logs}\n---", self.folder.display());
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Runs the binary with no settings but these.
fn spawn(folder: &Path, arguments: &[String], variables: &[(String, String)], without: &[&str]) -> Child {
    let mut command = bare(folder, variables);
    for name in without {
        command.env_remove(name);
    }
    command
        .arg("serve")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The binary in a folder, with no settings but these.
fn bare(folder: &Path, variables: &[(String, String)]) -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("FAREBOX_") && name != "FAREBOX_CACHE" {
            command.env_remove(name);
        }
    }
    command.envs(variables.iter().map(|(name, value)| (name, value))).current_dir(folder);
    command
}

/// Keeps every line, and shows each to `watch`; ends with the pipe.
fn collect(pipe: impl Read + Send + 'static, logs: Arc<Mutex<Vec<String>>>, watch: impl Fn(&str) + Send + 'static) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            watch(&line);
            logs.lock().unwrap().push(line);
        }
    });
}
