//! What all handlers share, and whether the process still takes new work.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use actix_web::web;
use tokio::sync::watch;

use super::{auth::Keys, guesses::Guesses, live::sockets::Sockets};
use crate::{
    config::Settings,
    gateway::{Gateway, room::Room},
    idempotency::store::Store,
    service::Service,
    telemetry::Metrics,
};

/// Bytes of bodies on their way of requests that show no key, of all together.
const STRANGERS: usize = 8 << 20;

/// What handlers share.
pub struct State {
    /// The life of requests.
    pub gateway: Arc<Gateway>,
    /// The settings.
    pub settings: Settings,
    /// Keys seen lately.
    pub keys: Keys,
    /// Requests with idempotency keys.
    pub idempotency: Store,
    /// For `/metrics`.
    pub metrics: Metrics,
    /// All that people do beside inference.
    pub service: Service,
    /// Request bodies on their way.
    pub bodies: Arc<Room>,
    /// Those of requests that show no key.
    pub strangers: Arc<Room>,
    /// Wrong operator's tokens.
    pub guesses: Guesses,
    /// Live sockets that are open.
    pub sockets: Sockets,
    pub(super) admin_token: blake3::Hash,
    /// Whether the process is stopping.
    stopping: watch::Sender<bool>,
    /// Requests that run detached, whether their clients are there or not.
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
    ) -> Self {
        let admin_token = blake3::hash(admin_token.as_bytes());
        let (stopping, _) = watch::channel(false);
        let idempotency = Store::new(gateway.accounts.clone(), &admin_token);
        let bodies = Room::new(settings.limits.bodies_bytes);
        Self {
            gateway,
            settings,
            keys: Keys::default(),
            idempotency,
            metrics,
            service,
            bodies,
            strangers: Room::new(STRANGERS),
            guesses: Guesses::default(),
            sockets: Sockets::default(),
            admin_token,
            stopping,
            detached: Arc::default(),
        }
    }

    /// Whether new work is taken.
    pub fn is_ready(&self) -> bool {
        !*self.stopping.borrow()
    }

    /// Counts a request that runs detached, until what this gives is dropped.
    pub(super) fn count_detached(&self) -> Detached {
        self.detached.fetch_add(1, Ordering::Relaxed);
        Detached(Arc::clone(&self.detached))
    }

    /// How many are.
    pub fn detached(&self) -> usize {
        self.detached.load(Ordering::Relaxed)
    }

    /// No new work from now on.
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

/// A request that runs detached.
pub(super) struct Detached(Arc<AtomicUsize>);

impl Drop for Detached {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The shared state, as handlers take it.
pub type Shared = web::Data<State>;
