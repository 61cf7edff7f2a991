//! The state that all handlers share, and whether the process still accepts new work.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use actix_web::web;
use actors::cluster::Cluster;
use hints::Hints;
use tokio::sync::watch;

use super::{
    addresses::Addresses, auth::Keys, guesses::Guesses, inference::background::Backgrounds, live::sockets::Sockets,
    session::Sessions,
};
use crate::{
    config::Settings,
    gateway::{Gateway, room::Room},
    idempotency::store::Store,
    kept::Responses,
    service::Service,
    signing::Signer,
    telemetry::Metrics,
};

/// The most bytes of request bodies without a key that are read at once.
const STRANGERS: usize = 8 << 20;

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
    /// The room of request bodies without a key.
    pub strangers: Arc<Room>,
    /// The sessions of browsers.
    pub sessions: Sessions,
    /// The addresses of clients.
    pub addresses: Addresses,
    /// The counts of wrong operator's tokens.
    pub guesses: Guesses,
    /// The counts of open live sockets.
    pub sockets: Sockets,
    /// The key of receipts.
    pub signer: Arc<Signer>,
    /// The other nodes, if this is one of several.
    pub cluster: Option<Arc<Cluster>>,
    /// What nodes tell each other by Redis, where there is one.
    pub hints: Option<Hints>,
    pub(super) admin_token: blake3::Hash,
    /// Whether the process is stopping.
    stopping: watch::Sender<bool>,
    /// The number of detached requests, with or without a client.
    detached: Arc<AtomicUsize>,
}

impl State {
    /// The state of a process that is ready.
    pub fn new(
        gateway: Arc<Gateway>,
        settings: Settings,
        admin_token: &str,
        metrics: Metrics,
        service: Service,
        signer: Arc<Signer>,
        (cluster, hints): (Option<Arc<Cluster>>, Option<Hints>),
    ) -> Self {
        let admin_token = blake3::hash(admin_token.as_bytes());
        let (stopping, _) = watch::channel(false);
        let idempotency = Store::new(gateway.accounts.clone(), &admin_token);
        let responses = Responses::new(gateway.accounts.clone(), &admin_token);
        let bodies = Room::new(settings.limits.bodies_bytes);
        let addresses = Addresses::new(&settings, hints.clone());
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
            strangers: Room::new(STRANGERS),
            sessions: Sessions::new(&admin_token),
            addresses,
            guesses: Guesses::new(hints.clone()),
            sockets: Sockets::default(),
            signer,
            cluster,
            hints,
            admin_token,
            stopping,
            detached: Arc::default(),
        }
    }

    /// Whether new work is accepted.
    pub fn is_ready(&self) -> bool {
        !*self.stopping.borrow()
    }

    /// Counts a detached request until the returned guard is dropped.
    pub(in crate::http) fn count_detached(&self) -> Detached {
        self.detached.fetch_add(1, Ordering::Relaxed);
        Detached(Arc::clone(&self.detached))
    }

    /// The number of detached requests.
    pub fn detached(&self) -> usize {
        self.detached.load(Ordering::Relaxed)
    }

    /// Accepts no new work from now on.
    pub fn stop_being_ready(&self) {
        self.stopping.send_replace(true);
    }

    /// Resolves once the process is stopping: bodies that have not arrived and sockets without work end then.
    pub async fn stopping(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender is this state's own, so it can't be gone.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }
}

/// The guard of a detached request's count.
pub(in crate::http) struct Detached(Arc<AtomicUsize>);

impl Drop for Detached {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The shared state, as handlers take it.
pub type Shared = web::Data<State>;
