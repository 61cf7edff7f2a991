//! A gateway under test: the real binary, in a temporary folder, on a free port, with settings from variables only. It
//! dies with its `Server`, and what it logged is shown when the test fails.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
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

/// A process of a gateway: one that the tests started, or one that such a process has started.
enum Process {
    NotYet,
    Ours(Child),
    Theirs(u32),
}

impl Process {
    fn id(&self) -> u32 {
        match self {
            Self::NotYet => 0,
            Self::Ours(child) => child.id(),
            Self::Theirs(id) => *id,
        }
    }

    /// How it ended, if it has. Of one that is not the tests' own the end alone is known: it counts as a good one.
    fn ended(&mut self) -> Option<ExitStatus> {
        match self {
            Self::NotYet => Some(ExitStatus::default()),
            Self::Ours(child) => child.try_wait().unwrap(),
            Self::Theirs(id) => {
                let state = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
                let is_dead = state.rsplit(") ").next().is_none_or(|rest| rest.starts_with('Z')) || state.is_empty();
                is_dead.then(ExitStatus::default)
            }
        }
    }

    fn kill(&mut self) {
        match self {
            Self::NotYet => {}
            Self::Ours(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Self::Theirs(id) => {
                let _ = Command::new("sh").args(["-c", &format!("kill -KILL {id} 2>/dev/null")]).status();
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.kill();
        }
    }
}

/// The process whose place another one takes.
pub(crate) struct Former(Process);

impl Former {
    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.ended().is_some()
    }

    /// Waits for its end.
    pub(crate) async fn status(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.0.ended() {
                return status;
            }
            assert!(began.elapsed() < STOP_WITHIN, "the process that is replaced did not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A gateway under test.
pub(crate) struct Server {
    child: Process,
    url: String,
    folder: PathBuf,
    variables: Vec<(String, String)>,
    without: Vec<&'static str>,
    logs: Arc<Mutex<Vec<String>>>,
    /// Where the logs of its newest life begin.
    since: usize,
}

impl Server {
    /// Starts one, and waits until it is ready.
    pub(crate) async fn start(options: Options) -> Self {
        let arguments = options.arguments.clone();
        let mut server = Self::not_started(options);
        let command = command(&server.folder, &arguments, &server.variables, &server.without);
        server.child = spawn(command, &server.logs);
        server.wait_until_ready().await;
        server
    }

    fn not_started(options: Options) -> Self {
        let folder = temporary("server");
        fs::create_dir_all(&folder).unwrap();
        let mut variables = vec![
            ("FAREBOX_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("FAREBOX_ADMIN_TOKEN".to_owned(), ADMIN_TOKEN.to_owned()),
            ("FAREBOX_HTTP__METRICS".to_owned(), "open".to_owned()),
            // No balancer needs to hear of it.
            ("FAREBOX_LIMITS__NOTICE_SECONDS".to_owned(), "0".to_owned()),
        ];
        let database = match options.database {
            Database::Sqlite => None,
            Database::Postgres => postgres::fresh_database(),
            Database::At(url) => Some(url),
        };
        variables.extend(database.map(|url| ("FAREBOX_DATABASE__URL".to_owned(), url)));
        variables.extend(options.variables);
        let (url, logs, without) = (String::new(), Arc::default(), options.without);
        Self { child: Process::NotYet, url, folder, variables, without, logs, since: 0 }
    }

    /// Starts one at a socket that is given to it, as a service manager does.
    pub(crate) async fn start_on(listener: &TcpListener, options: Options) -> Self {
        let mut server = Self::not_started(options);
        server.restart_on(listener).await;
        server
    }

    /// Starts it again at a socket that is given to it.
    pub(crate) async fn restart_on(&mut self, listener: &TcpListener) {
        self.since = self.logs.lock().unwrap().len();
        let given = command(&self.folder, &[], &self.variables, &self.without);
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"", "sh"]);
        shell.arg(given.get_program()).args(given.get_args()).current_dir(&self.folder);
        for (name, value) in given.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell.stdin(OwnedFd::from(listener.try_clone().unwrap()));
        self.child = spawn(shell, &self.logs);
        self.wait_until_ready().await;
    }

    /// Starts another process, with the same folder and settings, that is to take this one's place; it counts as this
    /// gateway from now on. Returns the one that is to end.
    pub(crate) fn begin_to_replace(&mut self) -> Former {
        self.since = self.logs.lock().unwrap().len();
        let arguments = ["--replace".to_owned()];
        let next = spawn(command(&self.folder, &arguments, &self.variables, &self.without), &self.logs);
        Former(std::mem::replace(&mut self.child, next))
    }

    /// Waits until the process that this one has started serves in its place. Returns the one that is to end.
    pub(crate) async fn is_succeeded(&mut self) -> Former {
        let began = Instant::now();
        let next = loop {
            let said = self.logs.lock().unwrap().iter().skip(self.since).find_map(|line| {
                let (_, said) = line.split_once("started to take this process's place")?;
                let digits = said.split_once("process=")?.1.chars().take_while(char::is_ascii_digit);
                digits.collect::<String>().parse().ok()
            });
            if let Some(next) = said {
                break next;
            }
            assert!(began.elapsed() < START_WITHIN, "no successor was started\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let old = std::mem::replace(&mut self.child, Process::Theirs(next));
        self.since = self.logs.lock().unwrap().iter().rposition(|line| line.contains("started to take")).unwrap();
        self.wait_until_ready().await;
        Former(old)
    }

    /// Counts a process as this gateway again whose place was not taken.
    pub(crate) fn is_again(&mut self, former: Former) {
        self.child = former.0;
    }

    /// Its address, such as `http://127.0.0.1:4000`; a restart changes it.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Another command of the binary, with the same settings, beside it.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        self.cli_with(arguments, &[])
    }

    /// The same, with some settings of its own.
    pub(crate) fn cli_with(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Output {
        let listen = self.url.trim_start_matches("http://");
        let mut command = bare(&self.folder, &self.variables);
        command.env("FAREBOX_LISTEN", listen).envs(settings.iter().copied()).args(arguments).output().unwrap()
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

    /// Waits until it has said something: its lines come through a pipe, later than its answers.
    pub(crate) async fn says(&self, what: &str) {
        let began = Instant::now();
        while !self.logs().contains(what) {
            assert!(began.elapsed() < START_WITHIN, "it never said {what:?}\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill_nine(&mut self) {
        self.child.kill();
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
            if let Some(status) = self.child.ended() {
                return status;
            }
            assert!(began.elapsed() < STOP_WITHIN, "the gateway did not stop");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts it again with the same folder, database and settings; kills it first if it still runs.
    pub(crate) async fn restart(&mut self) {
        self.kill_nine();
        self.since = self.logs.lock().unwrap().len();
        self.child = spawn(command(&self.folder, &[], &self.variables, &self.without), &self.logs);
        self.wait_until_ready().await;
    }

    /// Waits until its newest life listens, and is ready.
    pub(crate) async fn wait_until_ready(&mut self) {
        let began = Instant::now();
        let (logs, since) = (Arc::clone(&self.logs), self.since);
        let still_starting = |child: &mut Process, what: &str| {
            if let Some(status) = child.ended() {
                panic!("the gateway ended before {what}: {status:?}\n{}", logs.lock().unwrap().join("\n"));
            }
            assert!(began.elapsed() < START_WITHIN, "the gateway was too slow: {what}");
        };
        let listens = || {
            let logs = logs.lock().unwrap();
            let url = logs.iter().skip(since).find_map(|line| line.strip_prefix("listening on "));
            url.map(|url| url.trim().to_owned())
        };
        self.url = loop {
            if let Some(url) = listens() {
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
        if thread::panicking() {
            let logs = self.logs.lock().map(|logs| logs.join("\n")).unwrap_or_default();
            eprintln!("--- the gateway in {} said:\n{logs}\n---", self.folder.display());
        }
        self.child.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The command that serves, with no settings but these.
fn command(folder: &Path, arguments: &[String], variables: &[(String, String)], without: &[&str]) -> Command {
    let mut command = bare(folder, variables);
    for name in without {
        command.env_remove(name);
    }
    command.arg("serve").args(arguments).stdin(Stdio::null());
    command
}

/// Starts a process whose output is kept.
fn spawn(mut command: Command, logs: &Arc<Mutex<Vec<String>>>) -> Process {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    collect(child.stdout.take().unwrap(), Arc::clone(logs));
    collect(child.stderr.take().unwrap(), Arc::clone(logs));
    Process::Ours(child)
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

/// Keeps every line; ends with the pipe.
fn collect(pipe: impl Read + Send + 'static, logs: Arc<Mutex<Vec<String>>>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            logs.lock().unwrap().push(line);
        }
    });
}
