//! One provider's actor: its credentials, its connection pool, how many calls run at once, and a circuit breaker. A call
//! runs as a task of its own on its request's thread and sends its events straight to the request; the actor only starts
//! it and learns how it ended. Starting one takes proof of an admission.

mod breaker;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use actix::{Actor, AsyncContext, Context, Handler, Message};
use tokio::{runtime::Handle, sync::mpsc};
use wire::inference::{Event, Failure, TextRequest};

use crate::{
    account::Admission,
    health::{Health, Kind, Obituary},
    mailbox,
    transport::{self, Call, Endpoint, Timeouts},
};
use breaker::Breaker;

/// Messages that wait, at most.
const MAILBOX: usize = 4_096;
/// Calls of one provider that run at once, at most.
pub const MOST_CALLS: usize = 4_096;

/// Run this call.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Run {
    request: TextRequest,
    upstream: String,
    limit: Option<u32>,
    own_key: Option<String>,
    events: mpsc::Sender<Event>,
    runtime: Handle,
    posted_at: Instant,
}

impl Run {
    /// A call for an admitted request: without an [`Admission`] there is none.
    pub fn new(
        _: &Admission,
        request: TextRequest,
        upstream: String,
        limit: Option<u32>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self { request, upstream, limit, own_key: None, events, runtime: Handle::current(), posted_at: Instant::now() }
    }

    /// With the caller's own key.
    #[must_use]
    pub fn with_key(mut self, key: Option<String>) -> Self {
        self.own_key = key;
        self
    }
}

/// A call ended. Bounded by the calls that run.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Ended {
    failed: bool,
}

/// Test-only: dies of a panic.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Panic;

/// What a provider's actor is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name.
    pub name: &'static str,
    /// Where it is.
    pub base_url: String,
    /// Our key, if we have one.
    pub api_key: Option<String>,
    /// How long it may take.
    pub timeouts: Timeouts,
}

/// The actor.
#[derive(Debug)]
pub struct ProviderActor {
    settings: Settings,
    /// A client for each thread that calls: a connection is served by the thread that opened it.
    clients: HashMap<tokio::runtime::Id, transport::Client>,
    running: Arc<AtomicUsize>,
    breaker: Breaker,
    health: Health,
    _obituary: Obituary,
}

impl ProviderActor {
    /// A new life.
    pub fn new(settings: Settings, health: Health, obituary: Obituary) -> Self {
        let breaker = Breaker::default();
        Self { settings, clients: HashMap::new(), running: Arc::default(), breaker, health, _obituary: obituary }
    }

    fn prepare(&mut self, run: &Run) -> Result<(transport::Client, Endpoint), Failure> {
        let name = self.settings.name;
        let Some(api_key) = run.own_key.clone().or_else(|| self.settings.api_key.clone()) else {
            return Err(Failure::Overloaded(format!("{name} has no API key here; send one as provider-key")));
        };
        if self.running.load(Ordering::Relaxed) >= MOST_CALLS {
            return Err(Failure::Overloaded(format!("{MOST_CALLS} calls to {name} are running")));
        }
        if !self.breaker.admits(Instant::now()) {
            return Err(Failure::Overloaded(format!("{name} keeps failing; not called for a moment")));
        }
        let client = if let Some(client) = self.clients.get(&run.runtime.id()) {
            client.clone()
        } else {
            let client = transport::client().map_err(|error| Failure::Transport(error.to_string()))?;
            self.clients.insert(run.runtime.id(), client.clone());
            client
        };
        Ok((client, Endpoint { base_url: self.settings.base_url.clone(), api_key }))
    }
}

/// Counts a call while it lives, however it ends.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Actor for ProviderActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<Run> for ProviderActor {
    type Result = ();

    fn handle(&mut self, run: Run, ctx: &mut Self::Context) {
        let (began, posted_at) = (Instant::now(), run.posted_at);
        match self.prepare(&run) {
            Err(failure) => drop(run.events.try_send(Event::Failed(failure))),
            Ok((client, endpoint)) => {
                self.running.fetch_add(1, Ordering::Relaxed);
                let counted = Counted(Arc::clone(&self.running));
                let (timeouts, address, own_key) = (self.settings.timeouts, ctx.address(), run.own_key.is_some());
                let Run { request, upstream, limit, events, runtime, .. } = run;
                runtime.spawn(async move {
                    let _counted = counted;
                    let call = Call { endpoint, request, upstream, limit };
                    let result = transport::run(&client, &call, timeouts, &events).await;
                    // A caller's own bad key says nothing about the provider.
                    if !own_key {
                        mailbox::tell(&address, Ended { failed: result.as_ref().is_err_and(breaker::counts) });
                    }
                });
            }
        }
        self.health.handled(Kind::Provider, posted_at, began);
    }
}

impl Handler<Ended> for ProviderActor {
    type Result = ();

    fn handle(&mut self, ended: Ended, _: &mut Self::Context) {
        self.breaker.note(ended.failed, Instant::now());
    }
}

impl Handler<Panic> for ProviderActor {
    type Result = ();

    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("asked to panic");
    }
}
