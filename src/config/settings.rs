//! The settings themselves, as the rest of the gateway reads them, and their defaults. What is secret does not show in
//! `Debug`, and a database's password does not either.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use billing::Timestamp;
use serde::{Deserialize, Serialize};

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where HTTP is served; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What Farebox keeps beside the database: quickstart's file, spooled captures, downloaded models.
    pub data_dir: PathBuf,
    /// The operator's token; made at first start when none is set.
    pub admin_token: Option<Secret>,
    /// The clock the rules of money are told.
    pub clock: Clock,
    /// Lets an operator have actors die of a panic.
    #[cfg(feature = "faults")]
    pub faults: bool,
    /// The ledger's database.
    pub database: Database,
    /// Fan-out between nodes.
    pub redis: Redis,
    /// The limit of everything.
    pub limits: Limits,
    /// Closed providers.
    pub providers: Providers,
    /// How cards are charged.
    pub payments: Payments,
    /// How owners' webhooks are called.
    pub webhooks: Webhooks,
    /// ONNX Runtime and the models it runs.
    pub runtime: Runtime,
    /// Logs.
    pub log: Log,
    /// The HTTP server.
    pub http: Http,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            data_dir: PathBuf::from("data"),
            admin_token: None,
            clock: Clock::System,
            #[cfg(feature = "faults")]
            faults: false,
            database: Database { url: ServerUrl("sqlite://data/farebox.db".to_owned()) },
            redis: Redis::default(),
            limits: Limits::default(),
            providers: Providers::default(),
            payments: Payments::default(),
            webhooks: Webhooks::default(),
            runtime: Runtime::default(),
            log: Log::default(),
            http: Http::default(),
        }
    }
}

/// Which clock money lives by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Clock {
    /// The system's.
    System,
    /// One that starts at the system's time, or at another, and is moved forward by `/admin/v1/clock`; sandbox payments only.
    Test {
        /// Where it starts.
        from: Option<Timestamp>,
    },
}

impl TryFrom<String> for Clock {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not `system`, `test`, or `test:` and a time such as 2026-11-28T10:12:00Z");
        match text.split_once(':') {
            None if text == "system" => Ok(Self::System),
            None if text == "test" => Ok(Self::Test { from: None }),
            Some(("test", from)) => Ok(Self::Test { from: Some(from.parse().map_err(|_| wrong())?) }),
            _ => Err(wrong()),
        }
    }
}

impl From<Clock> for String {
    fn from(clock: Clock) -> Self {
        match clock {
            Clock::System => "system".into(),
            Clock::Test { from: None } => "test".into(),
            Clock::Test { from: Some(from) } => format!("test:{from}"),
        }
    }
}

/// The ledger's database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `sqlite://FILE` or `postgres://USER@HOST/NAME`.
    pub url: ServerUrl,
}

/// What several nodes share that may be lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// `redis://HOST:PORT`; none: one node, or slower ones.
    pub url: Option<ServerUrl>,
}

/// The limit of everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The largest request body.
    pub body_bytes: usize,
    /// Whether a running request may cost more than its hold.
    pub overdraft: Overdraft,
    /// What a size class weighs in permits.
    pub concurrency: Concurrency,
    /// Requests one size class may have waiting.
    pub pool_queue: usize,
    /// What a slow reader of a live socket is given.
    pub live_buffer_bytes: usize,
    /// Bytes of answers that wait for slow readers, of all streams and live sockets together.
    pub unread_bytes: usize,
    /// Bytes of request bodies that have not come whole, of all together.
    pub bodies_bytes: usize,
    /// The longest a request's body may take to come.
    pub body_seconds: u64,
    /// Abandoned streams read to their end for their usage, per provider.
    pub drains: usize,
    /// The longest such a stream is read.
    pub drain_seconds: u64,
    /// How long stopping takes in all, at most.
    pub stop_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 10 * 1024 * 1024,
            overdraft: Overdraft::Inflight,
            concurrency: Concurrency::Weighted,
            pool_queue: 256,
            live_buffer_bytes: 1024 * 1024,
            unread_bytes: 32 * 1024 * 1024,
            bodies_bytes: 256 * 1024 * 1024,
            body_seconds: 120,
            drains: 64,
            drain_seconds: 30,
            stop_seconds: 30,
        }
    }
}

/// What happens when a running request outgrows its hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overdraft {
    /// It completes, and what credits do not pay becomes debt.
    Inflight,
    /// It stops at what its hold pays.
    None,
}

/// What a size class weighs in permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Concurrency {
    /// Its weight of the table of classes.
    Weighted,
    /// One.
    Flat,
}

/// Closed providers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each is the provider of its name")]
pub struct Providers {
    pub openai: Provider,
    pub anthropic: Provider,
    pub google: Provider,
    pub mistral: Provider,
    pub cohere: Provider,
}

/// One closed provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Without one, its models are served only with the caller's own key.
    pub api_key: Option<Secret>,
    /// Where it is; the provider's own address by default.
    pub base_url: Option<String>,
}

/// How cards are charged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payments {
    /// Who charges them.
    pub processor: Processor,
    /// Stripe's side.
    pub stripe: Stripe,
}

impl Default for Payments {
    fn default() -> Self {
        Self { processor: Processor::Sandbox, stripe: Stripe::default() }
    }
}

/// Who charges cards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Processor {
    /// Built in, with test cards.
    Sandbox,
    /// Stripe.
    Stripe,
}

/// Stripe's keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stripe {
    /// The API key.
    pub secret_key: Option<Secret>,
    /// Signs its webhooks.
    pub webhook_secret: Option<Secret>,
    /// Where it is; its own address by default.
    pub base_url: Option<String>,
}

/// How owners' webhooks are called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhooks {
    /// Whether they may be at private addresses, and speak plain HTTP.
    pub allow_private: bool,
    /// The longest one call takes.
    pub timeout_seconds: u64,
}

impl Default for Webhooks {
    fn default() -> Self {
        Self { allow_private: false, timeout_seconds: 15 }
    }
}

/// ONNX Runtime and the models it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// The shared library; found in `data_dir/runtime` by default.
    pub onnxruntime: Option<PathBuf>,
    /// What it runs on.
    pub device: Device,
    /// Threads of one engine; one a core by default.
    pub threads: Option<NonZeroUsize>,
    /// Where models are.
    pub models_dir: PathBuf,
}

impl Default for Runtime {
    fn default() -> Self {
        Self { onnxruntime: None, device: Device::Auto, threads: None, models_dir: PathBuf::from("data/models") }
    }
}

/// What models run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// CUDA if there, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// CUDA, or no start.
    Cuda,
}

/// Logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A level, or `tracing` directives: `info,actors=debug`.
    pub level: String,
    /// For people or for machines.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info,ort=warn".to_owned(), format: LogFormat::Text }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// The HTTP server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Its threads; one a core by default.
    pub workers: Option<NonZeroUsize>,
    /// What a 402 has as its `error`.
    pub error_form: ErrorForm,
    /// Whose pages may call it from a browser: `https://app.example.com`, or `*`.
    pub cors_origins: Vec<String>,
    /// The longest a stream of events or a live socket is silent.
    pub heartbeat_seconds: u64,
    /// Who may read `/metrics`.
    pub metrics: MetricsAt,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            workers: None,
            error_form: ErrorForm::Auto,
            cors_origins: Vec::new(),
            heartbeat_seconds: 15,
            metrics: MetricsAt::Token,
        }
    }
}

/// Who may read `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum MetricsAt {
    /// Clients with the operator's token.
    Token,
    /// Everyone.
    Open,
    /// Every client of this address, which serves nothing else; nobody where requests are served.
    Address(SocketAddr),
}

impl TryFrom<String> for MetricsAt {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "token" => Ok(Self::Token),
            "open" => Ok(Self::Open),
            address => address
                .parse()
                .map(Self::Address)
                .map_err(|_| format!("`{text}` is neither `token` nor `open` nor an address such as 127.0.0.1:9100")),
        }
    }
}

impl From<MetricsAt> for String {
    fn from(at: MetricsAt) -> Self {
        match at {
            MetricsAt::Token => "token".to_owned(),
            MetricsAt::Open => "open".to_owned(),
            MetricsAt::Address(address) => address.to_string(),
        }
    }
}

/// What a 402 has as its `error` where others have an object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorForm {
    /// An object for clients that show that they read one, else the text `Payment Required`.
    #[default]
    Auto,
    /// The text.
    Literal,
    /// An object.
    Object,
}

/// Text that is never shown: not by `Debug`, not when settings are written out.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the code that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("hidden")
    }
}

/// A server's address, whose password `Debug` hides.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServerUrl(String);

impl ServerUrl {
    /// The whole address, password and all.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for ServerUrl {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.split_once("://").and_then(|(scheme, rest)| {
            let (user, host) = rest.rsplit_once('@')?;
            let (name, _) = user.split_once(':')?;
            Some(format!("{scheme}://{name}:hidden@{host}"))
        });
        f.write_str(shown.as_deref().unwrap_or(&self.0))
    }
}
