//! The settings, as the rest of the gateway reads them, and their defaults. `Debug` shows neither secrets nor a
//! database's password.

use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;

use billing::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Cluster, Hub, People, Pools, Providers, Traces};

/// The shards of a new ledger in PostgreSQL.
const SHARDS: NonZeroU16 = NonZeroU16::MIN.saturating_add(15);

/// All settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The address of the HTTP server; port 0 takes a free port.
    pub listen: SocketAddr,
    /// The folder of files outside the database: quickstart's file, spooled captures, downloaded models.
    pub data_dir: PathBuf,
    /// The operator's token; made at first start where none is set.
    pub admin_token: Option<Secret>,
    /// The private key that signs receipts, a file; made in the data folder at the first start where none is set.
    pub signing_key: Option<PathBuf>,
    /// The clock that the rules of money use.
    pub clock: Clock,
    /// Lets an operator have actors die of a panic.
    #[cfg(feature = "faults")]
    pub faults: bool,
    /// The ledger's database.
    pub database: Database,
    /// This node among several.
    pub cluster: Cluster,
    /// Fan-out between nodes.
    pub redis: Redis,
    /// The limits.
    pub limits: Limits,
    /// The prices of closed models.
    pub prices: Prices,
    /// How requests find their model.
    pub routing: Routing,
    /// Closed providers.
    pub providers: Providers,
    /// How cards are charged.
    pub payments: Payments,
    /// How owners' webhooks are called.
    pub webhooks: Webhooks,
    /// People who sign in.
    pub people: People,
    /// ONNX Runtime and the models it runs.
    pub runtime: Runtime,
    /// Where open models are pulled from.
    pub hub: Hub,
    /// The memory of open models.
    pub pools: Pools,
    /// Logs.
    pub log: Log,
    /// Traces.
    pub traces: Traces,
    /// The HTTP server.
    pub http: Http,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            data_dir: PathBuf::from("data"),
            admin_token: None,
            signing_key: None,
            clock: Clock::System,
            #[cfg(feature = "faults")]
            faults: false,
            database: Database { url: ServerUrl("sqlite://data/farebox.db".to_owned()), shards: SHARDS },
            cluster: Cluster::default(),
            redis: Redis::default(),
            limits: Limits::default(),
            prices: Prices::default(),
            routing: Routing::default(),
            providers: Providers::default(),
            payments: Payments::default(),
            webhooks: Webhooks::default(),
            people: People::default(),
            runtime: Runtime::default(),
            hub: Hub::default(),
            pools: Pools::default(),
            log: Log::default(),
            traces: Traces::default(),
            http: Http::default(),
        }
    }
}

/// The clock that the rules of money use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Clock {
    /// The system's clock.
    System,
    /// A clock that starts at the system's time or at another, and is moved forward by `/admin/v1/clock`. With sandbox
    /// payments only.
    Test {
        /// The time at the start.
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
    /// The shards of a ledger that is made in PostgreSQL. It keeps them; SQLite's have one.
    pub shards: NonZeroU16,
}

/// State that several nodes share and may lose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// `redis://HOST:PORT`, or `redis-cluster://HOST:PORT,HOST:PORT`; with TLS `rediss://` or `rediss-cluster://`.
    pub url: Option<ServerUrl>,
}

/// The limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The largest request body.
    pub body_bytes: usize,
    /// The largest body of a request by an agent, which sends all of its conversation each time.
    pub long_body_bytes: usize,
    /// Whether a running request may cost more than its hold.
    pub overdraft: Overdraft,
    /// How many permits a request takes, by size class.
    pub concurrency: Concurrency,
    /// The most waiting requests of one size class.
    pub pool_queue: usize,
    /// The buffer of a slow reader of a live socket.
    pub live_buffer_bytes: usize,
    /// Bytes of frames that are remembered of one account's requests that outlive their live sockets.
    pub live_replay_bytes: usize,
    /// How long they are remembered after the request has ended.
    pub live_replay_seconds: u64,
    /// Bytes of answers that wait for slow readers, of all streams and live sockets together.
    pub unread_bytes: usize,
    /// Bytes of answers that are remembered for requests that allow an earlier one.
    pub answers_bytes: usize,
    /// Bytes of incomplete request bodies, of all requests together.
    pub bodies_bytes: usize,
    /// The longest that a request's body may take to arrive.
    pub body_seconds: u64,
    /// The requests that one address may send in a minute, of all nodes together; 0: as many as it likes.
    pub address_per_minute: u32,
    /// Abandoned streams that are read to their end for their usage, per provider.
    pub drains: usize,
    /// The longest that such a stream is read. A whole answer is read to its end, within the time limits of any call: what
    /// it costs is told nowhere else, and it is made and billed whether it is read or not.
    pub drain_seconds: u64,
    /// The longest that stopping may take in all.
    pub stop_seconds: u64,
    /// How long `/readyz` says that it stops, while everything is served, before nobody new is let in; and how long no request may
    /// have come by the connections that are left before they are closed.
    pub notice_seconds: u64,
}

/// The beginnings of paths whose bodies may be long.
const LONG: [&str; 8] = [
    "/v1/messages",
    "/v1/responses",
    "/v2/chat",
    "/v1/models/",
    "/v1beta/models/",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/images/edits",
];

impl Limits {
    /// The largest body of a request to this path.
    pub fn of_body(&self, path: &str) -> usize {
        let is_long = LONG.iter().any(|begin| path.starts_with(begin));
        if is_long { self.body_bytes.max(self.long_body_bytes) } else { self.body_bytes }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 10 * 1024 * 1024,
            long_body_bytes: 32 * 1024 * 1024,
            overdraft: Overdraft::Inflight,
            concurrency: Concurrency::Weighted,
            pool_queue: 256,
            live_buffer_bytes: 1024 * 1024,
            live_replay_bytes: 16 * 1024 * 1024,
            live_replay_seconds: 300,
            unread_bytes: 32 * 1024 * 1024,
            answers_bytes: 64 * 1024 * 1024,
            bodies_bytes: 256 * 1024 * 1024,
            body_seconds: 120,
            address_per_minute: 0,
            drains: 64,
            drain_seconds: 30,
            stop_seconds: 30,
            notice_seconds: 1,
        }
    }
}

/// What happens when a running request outgrows its hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overdraft {
    /// The request completes, and cost beyond the credits becomes debt.
    Inflight,
    /// The request stops at its hold.
    None,
}

/// How many permits a request takes, by size class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Concurrency {
    /// The class's weight in the table of classes.
    Weighted,
    /// One permit for every class.
    Flat,
}

/// How requests find their model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routing {
    /// The operator's own names for models, each `NAME=MODEL`, or `NAME=MODEL>MODEL` with those that are asked where the
    /// one before is not served; also by weight, by price (`cheapest`) or by how soon each answers (`fastest`).
    pub aliases: Vec<String>,
}

/// The prices of closed models.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// A folder of price files, over those of the program. They are read again when they change.
    pub folder: Option<PathBuf>,
}

/// How cards are charged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payments {
    /// The processor that charges cards.
    pub processor: Processor,
    /// Stripe's settings.
    pub stripe: Stripe,
}

impl Default for Payments {
    fn default() -> Self {
        Self { processor: Processor::Sandbox, stripe: Stripe::default() }
    }
}

/// A card processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Processor {
    /// The built-in processor, with test cards.
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
    /// The secret that signs Stripe's webhooks.
    pub webhook_secret: Option<Secret>,
    /// The key that browsers show to Stripe, so that cards can be saved on the dashboard.
    pub publishable_key: Option<String>,
    /// The address of Stripe's script for browsers; Stripe's own by default.
    pub script: Option<String>,
    /// The address; Stripe's own by default.
    pub base_url: Option<String>,
}

/// How owners' webhooks are called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhooks {
    /// Whether webhooks may have private addresses and plain HTTP.
    pub allow_private: bool,
    /// The longest that one call may take.
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
    /// The device that models run on.
    pub device: Device,
    /// The threads of one engine; one for each core by default.
    pub threads: Option<NonZeroUsize>,
    /// The most sequences that one engine runs at once. A request is one, or as many as it asks for choices.
    pub sequences: NonZeroUsize,
    /// The most memory of one engine's caches, in MiB. One sequence alone gets what it needs.
    pub cache_mib: u64,
    /// Whose caches a prompt may begin with.
    pub cache_scope: CacheScope,
    /// Whether what a model writes is drafted from what it has read and written, and verified several tokens at once.
    pub lookup: Lookup,
    /// The folder of the models.
    pub models_dir: PathBuf,
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            onnxruntime: None,
            device: Device::Auto,
            threads: None,
            sequences: const { NonZeroUsize::new(8).unwrap() },
            cache_mib: 2_048,
            cache_scope: CacheScope::Account,
            lookup: Lookup::Auto,
            models_dir: PathBuf::from("data/models"),
        }
    }
}

/// Whose caches a prompt may begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheScope {
    /// Those of its own account.
    Account,
    /// Those of all accounts: how soon an answer comes shows what others have asked.
    All,
    /// None.
    None,
}

/// Speculation by prompt look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lookup {
    /// Where it is faster, and every token stays the same.
    Auto,
    /// Never.
    Off,
}

/// The device that models run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// CUDA where it is available, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// CUDA; without it the start fails.
    Cuda,
}

/// Logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A level, or `tracing` directives: `info,actors=debug`.
    pub level: String,
    /// The format of log lines.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info,ort=error,sea_orm_migration=warn,actix_server=warn".to_owned(), format: LogFormat::Text }
    }
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The HTTP server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// The threads of the server; one for each core by default.
    pub workers: Option<NonZeroUsize>,
    /// The form of `error` in a 402.
    pub error_form: ErrorForm,
    /// The origins whose pages may call the server from a browser: `https://app.example.com`, or `*`.
    pub cors_origins: Vec<String>,
    /// The proxies, as addresses or networks, whose `X-Forwarded-For` says who asks.
    pub trusted_proxies: Vec<String>,
    /// The longest silence of an event stream or a live socket.
    pub heartbeat_seconds: u64,
    /// The readers of `/metrics`.
    pub metrics: MetricsAt,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            workers: None,
            error_form: ErrorForm::Auto,
            cors_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            heartbeat_seconds: 15,
            metrics: MetricsAt::Token,
        }
    }
}

/// The readers of `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum MetricsAt {
    /// Clients with the operator's token.
    Token,
    /// Every client.
    Open,
    /// Every client of this separate address, which serves nothing else; the main address does not serve `/metrics`.
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

/// The form of `error` in a 402, where other errors have an object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorForm {
    /// An object for clients that are known to read one, else the text `Payment Required`.
    #[default]
    Auto,
    /// The text.
    Literal,
    /// An object.
    Object,
}

/// A text that is never shown: neither by `Debug` nor in written settings.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the code that needs the secret.
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

/// A server's address. `Debug` hides its password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServerUrl(String);

impl ServerUrl {
    /// The whole address, with its password.
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
