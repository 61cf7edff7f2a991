//! The state that all handlers share, and how far the process is on its way to its end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::web;
use actors::cluster::Cluster;
use hints::Hints;
use tokio::sync::watch;
use traces::Traces;

use super::{
    addresses::Addresses,
    attempts::Attempts,
    auth::Keys,
    ended::Ended,
    guesses::Guesses,
    inference::background::Backgrounds,
    live::{ongoing::Ongoings, sockets::Sockets},
    once::Onces,
    operator,
    session::Sessions,
    strangers::Strangers,
};
use crate::{
    config::Settings,
    gateway::{Gateway, room::Room},
    idempotency::store::Store,
    kept::Responses,
    sealing::Sealer,
    service::Service,
    signing::Signer,
    telemetry::Metrics,
};

/// How far the process is on its way to its end. It never goes back past [`Stage::Yielding`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It serves.
    Serving,
    /// Each answer closes its connection, so that clients come back by new ones, which another process takes.
    Yielding,
    /// `/readyz` says that it stops, too. Everything is served.
    Leaving,
    /// Nobody new is let in. Live sockets begin nothing, and end once they are idle; requests of connections that are still
    /// open are served.
    Parting,
    /// Nothing begins any more.
    Stopping,
}

/// The state that handlers share.
pub struct State {
    /// The gateway, which runs inference requests.
    pub gateway: Arc<Gateway>,
    /// The settings.
    pub settings: Settings,
    /// The cache of keys.
    pub keys: Keys,
    /// The idempotency store.
    pub idempotency: Store,
    /// The responses that are kept for their accounts.
    pub responses: Responses,
    /// The responses that are made in the background.
    pub backgrounds: Backgrounds,
    /// The recorder behind `/metrics`.
    pub metrics: Metrics,
    /// The services: everything beside inference.
    pub service: Service,
    /// The room of request bodies that are being read.
    pub bodies: Arc<Room>,
    /// The room of request bodies without a key, by network.
    pub strangers: Strangers,
    /// The sessions of browsers.
    pub sessions: Sessions,
    /// The sessions that have ended before their cookies do.
    pub ended: Ended,
    /// The sessions of operators at their pages.
    pub(super) operators: operator::Sessions,
    /// Seals what browsers remember of sign-ins by issuers.
    pub(super) sign_ons: Sealer,
    /// Makes and checks the ids of forms.
    pub(super) onces: Onces,
    /// The addresses of clients.
    pub addresses: Addresses,
    /// The counts of wrong operator's tokens.
    pub guesses: Guesses,
    /// The tries of people who sign in.
    pub attempts: Attempts,
    /// The counts of open live sockets.
    pub sockets: Sockets,
    /// The requests that outlive their live sockets.
    pub ongoings: Ongoings,
    /// The key of receipts.
    pub signer: Arc<Signer>,
    /// The traces of requests.
    pub traces: Traces,
    /// The other nodes, if this is one of several.
    pub cluster: Option<Arc<Cluster>>,
    /// What nodes tell each other by Redis, where there is one.
    pub hints: Option<Hints>,
    pub(super) admin_token: blake3::Hash,
    stage: watch::Sender<Stage>,
    /// The number of detached requests, with or without a client.
    detached: Arc<AtomicUsize>,
    /// The number of requests that a handler has, and has not answered.
    handled: Arc<AtomicUsize>,
    /// The number of requests that handlers ever had.
    asked: AtomicUsize,
    /// The number of open connections.
    connections: Arc<AtomicUsize>,
}

impl State {
    /// The state of a process that is ready.
    pub fn new(
        gateway: Arc<Gateway>,
        settings: Settings,
        admin_token: &str,
        (metrics, traces): (Metrics, Traces),
        service: Service,
        signer: Arc<Signer>,
        (cluster, hints): (Option<Arc<Cluster>>, Option<Hints>),
    ) -> Self {
        let admin_token = blake3::hash(admin_token.as_bytes());
        let ended = Ended::default();
        let (stage, _) = watch::channel(Stage::Serving);
        let idempotency = Store::new(gateway.accounts.clone(), &admin_token);
        let responses = Responses::new(gateway.accounts.clone(), &admin_token);
        let bodies = Room::new(settings.limits.bodies_bytes);
        let addresses = Addresses::new(&settings, hints.clone());
        let remembered = Duration::from_secs(settings.limits.live_replay_seconds);
        let ongoings = Ongoings::new(settings.limits.live_replay_bytes, remembered);
        Self {
            gateway,
            settings,
            keys: Keys::default(),
            idempotency,
            responses,
            backgrounds: Backgrounds::default(),
            metrics,
            service,
            bodies,
            strangers: Strangers::default(),
            sessions: Sessions::new(&admin_token, ended.clone()),
            sign_ons: Sealer::new("farebox 2026-11-30 sign-ins by issuers", &admin_token),
            operators: operator::Sessions::new(&admin_token, ended.clone()),
            ended,
            onces: Onces::new(&admin_token),
            addresses,
            guesses: Guesses::new(hints.clone()),
            attempts: Attempts::new(hints.clone()),
            sockets: Sockets::default(),
            traces,
            ongoings,
            signer,
            cluster,
            hints,
            admin_token,
            stage,
            detached: Arc::default(),
            handled: Arc::default(),
            asked: AtomicUsize::new(0),
            connections: Arc::default(),
        }
    }

    /// How far the process is on its way to its end.
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Whether requests begin.
    pub fn takes_work(&self) -> bool {
        self.stage() < Stage::Stopping
    }

    /// Counts a detached request until the returned guard is dropped.
    pub(in crate::http) fn count_detached(&self) -> Counted {
        Counted::among(&self.detached)
    }

    /// Counts a request that a handler has until the returned guard is dropped.
    pub(super) fn count_handled(&self) -> Counted {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Counted::among(&self.handled)
    }

    /// Counts a connection until the returned guard is dropped.
    pub(super) fn count_connection(&self) -> Counted {
        Counted::among(&self.connections)
    }

    /// The number of detached requests.
    pub fn detached(&self) -> usize {
        self.detached.load(Ordering::Relaxed)
    }

    /// The number of requests that handlers have: those whose bodies still come are among them, streams are not.
    pub fn handled(&self) -> usize {
        self.handled.load(Ordering::Relaxed)
    }

    /// The number of requests that handlers ever had.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// The number of open connections.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Enters a stage.
    pub fn enter(&self, stage: Stage) {
        self.stage.send_replace(stage);
    }

    /// Resolves once the process is at a stage, or past it.
    pub async fn reached(&self, stage: Stage) {
        let mut now = self.stage.subscribe();
        // The sender is this state's own, so it can't be gone.
        let _ = now.wait_for(|now| *now >= stage).await;
    }
}

/// The guard of one that is counted.
pub struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn among(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The shared state, as handlers take it.
pub type Shared = web::Data<State>;
