//! Calls to Redis, each within its bound. It connects behind the calls: none waits for more than its own time.

use std::{
    sync::{
        Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use redis::{
    Client, Cmd, FromRedisValue, RedisError, RedisFuture, RedisResult, ScriptInvocation,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
};
use tokio::time::{sleep, timeout};

use crate::{Options, Standing, breaker::Breaker, place::Place};

pub(crate) struct Store {
    pub(crate) place: Place,
    pub(crate) options: Options,
    /// The beginning of all names.
    prefix: String,
    connection: OnceLock<Connection>,
    breaker: Mutex<Breaker>,
    began: Instant,
    answered: AtomicU64,
    failed: AtomicU64,
}

/// A connection that mends itself. Clones share it.
#[derive(Clone)]
pub(crate) enum Connection {
    One(ConnectionManager),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, redis::Value> {
        match self {
            Self::One(one) => one.req_packed_command(cmd),
            Self::Cluster(cluster) => cluster.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a redis::Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<redis::Value>> {
        match self {
            Self::One(one) => one.req_packed_commands(cmd, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(one) => one.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}

impl Store {
    pub(crate) fn new(place: Place, ledger: &str, options: Options) -> Self {
        // Names may be parts of others; a ledger's own name ends them.
        let prefix = format!("farebox:{ledger}:");
        let breaker = Mutex::new(Breaker::new(options.rest));
        Self {
            place,
            options,
            prefix,
            connection: OnceLock::new(),
            breaker,
            began: Instant::now(),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// The name of something of this ledger.
    pub(crate) fn name(&self, what: impl std::fmt::Display) -> String {
        format!("{}{what}", self.prefix)
    }

    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.answered.load(Relaxed), self.failed.load(Relaxed))
    }

    pub(crate) fn standing(&self) -> Standing {
        self.with_breaker(|breaker| breaker.standing(self.began.elapsed()))
    }

    fn with_breaker<T>(&self, act: impl FnOnce(&mut Breaker) -> T) -> T {
        act(&mut self.breaker.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a command answers; none where it does not in time, or nonsense.
    pub(crate) async fn call<T: FromRedisValue>(&self, command: &Cmd) -> Option<T> {
        self.bounded(async |mut connection| command.query_async(&mut connection).await).await
    }

    /// What a script answers; none where it does not in time, or nonsense.
    pub(crate) async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Option<T> {
        self.bounded(async |mut connection| script.invoke_async(&mut connection).await).await
    }

    async fn bounded<T>(&self, call: impl AsyncFnOnce(Connection) -> RedisResult<T>) -> Option<T> {
        let connection = self.connection.get()?.clone();
        let began = self.began.elapsed();
        if !self.with_breaker(|breaker| breaker.may_ask(began)) {
            return None;
        }
        let why = match timeout(self.options.call, call(connection)).await {
            Ok(Ok(answer)) => {
                self.answered.fetch_add(1, Relaxed);
                self.with_breaker(Breaker::answered);
                return Some(answer);
            }
            Ok(Err(error)) => reason(&error),
            Err(_) => "no answer in time".to_owned(),
        };
        self.failed.fetch_add(1, Relaxed);
        self.note(began, &why);
        None
    }

    /// Notes a failure of what began then.
    fn note(&self, began: Duration, why: &str) {
        let now = self.began.elapsed();
        let was_ready = self.with_breaker(|breaker| {
            let was_ready = breaker.standing(now) == Standing::Ready;
            breaker.failed(began, now, why.to_owned());
            was_ready
        });
        if was_ready {
            tracing::warn!(why, "Redis is left alone for a while");
        }
    }

    /// Connects, however long it takes. From then on the connection mends itself.
    pub(crate) async fn connect_behind(store: Weak<Self>) {
        while let Some(store) = store.upgrade() {
            let began = store.began.elapsed();
            // A cluster is asked for its servers, one after the other.
            let connecting = timeout(store.options.connect * 4, store.connect()).await;
            match connecting.unwrap_or_else(|_| Err((redis::ErrorKind::Io, "no connection in time").into())) {
                Ok(connection) => {
                    store.with_breaker(Breaker::answered);
                    return drop(store.connection.set(connection));
                }
                Err(error) => store.note(began, &reason(&error)),
            }
            let rest = store.options.rest.0;
            drop(store);
            sleep(rest).await;
        }
    }

    async fn connect(&self) -> RedisResult<Connection> {
        let (call, connect) = (self.options.call, self.options.connect);
        if self.place.is_cluster {
            let client = ClusterClient::builder(self.place.servers.iter().cloned())
                .connection_timeout(connect)
                .response_timeout(call)
                .retries(1)
                .build()?;
            return client.get_async_connection().await.map(Connection::Cluster);
        }
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(connect))
            .set_response_timeout(Some(call))
            .set_number_of_retries(1);
        ConnectionManager::new_with_config(self.client()?, config).await.map(Connection::One)
    }

    /// The client of one server: the first that is named.
    pub(crate) fn client(&self) -> RedisResult<Client> {
        match self.place.servers.first() {
            Some(server) => Client::open(server.clone()),
            None => Err((redis::ErrorKind::InvalidClientConfig, "no server is named").into()),
        }
    }

    /// The clients of the servers that are named, for what any of them can do.
    pub(crate) fn clients(&self) -> impl Iterator<Item = RedisResult<Client>> + '_ {
        self.place.servers.iter().map(|server| Client::open(server.clone()))
    }
}

/// A reason that shows nothing of what was sent.
pub(crate) fn reason(error: &RedisError) -> String {
    match error.code() {
        Some(code) => code.to_owned(),
        None => format!("{:?}", error.kind()),
    }
}

/// Milliseconds, as Redis takes them: at least one.
pub(crate) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}
