//! The composition root: builds and starts everything, and distributes the addresses. What can fail comes before the ledger
//! where it can, so that a failed start changes nothing for a process that already serves. How everything stops is in
//! [`stopping`].

mod devices;
mod joining;
mod nodes;
mod people;
mod pools;
pub mod prices;
mod providers;
mod service_manager;
mod sockets;
pub mod stopping;
mod succession;

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, Arbiter};
use actix_web::{dev::ServerHandle, web};
use actors::{
    accounts::Accounts,
    admission,
    delivery::{Calls, DeliveryActor, Webhooks},
    journal::Journal,
    payment::{PaymentActor, TakeUp},
    spool::Spool,
    sweeper::Sweeper,
};
use anyhow::{Context, Result, bail};
use billing::{Timestamp, class::Weighting};
use cards::{
    Processor,
    sandbox::Sandbox,
    stripe::{self, Stripe},
};
use ledger::{Claim, Ledger, LedgerError, Opening, log::Shards};
use runtime::{
    clock::Clock,
    health::Health,
    mailbox::{self, Handle},
    supervisor::{Supervisor, Vacancy, supervise_replaceable},
};
use traces::Traces;
use upstream::delivery::{DeliveryClient, Reach};

use self::{
    sockets::Places,
    succession::{
        offer::{Offer, Own, Place},
        predecessor::Predecessor,
    },
};
use crate::{
    catalogue::{aliases::Aliases, folder},
    config::{self, Settings},
    gateway::{Gateway, Models, Rules, pins::Pins},
    http::{self, ended, state::State},
    service::{
        Service,
        people::{letters, notices},
    },
    signing::{self, Signer, jws},
    telemetry::Metrics,
};

/// The running process.
pub struct Running {
    /// The address that it listens on.
    pub address: SocketAddr,
    /// The operator's token.
    pub admin_token: String,
    /// The state shared by handlers.
    pub state: web::Data<State>,
    listener: TcpListener,
    /// Whether the service manager listens at the same socket, and goes on when this process has ended.
    is_held: bool,
    servers: Vec<ServerHandle>,
    offer: Option<Offer>,
    serving: actix_web::rt::task::JoinHandle<std::io::Result<()>>,
}

/// What a process does about another one that serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It is refused: a ledger has one owner.
    Beside,
    /// It takes the ledger over, and what runs there is settled here.
    TakeOver,
    /// It takes the place of the one that serves from the same data folder, which finishes and ends.
    Replace,
}

/// How long a predecessor may take to end: longer than `limits.stop_seconds` may be.
const ENDS_WITHIN: Duration = Duration::from_secs(3_700);
/// How long the ledger of a predecessor that has ended may count as owned: its session or its lock ends with it.
const FREE_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Starts everything, and claims the ledger by `start`. Must run within an actix system.
///
/// # Errors
///
/// The address or the metrics address is taken, the ledger can't be opened or belongs to another process, or a part
/// can't be started. The error's text names the part, and the process should end with it.
pub async fn start(settings: &Settings, metrics: Metrics, start: Start) -> Result<Running> {
    let clock = match settings.clock {
        config::Clock::System | config::Clock::Test { from: None } => Clock::default(),
        config::Clock::Test { from: Some(from) } => Clock::from(from),
    };
    let health = Health::default();
    let mut places = match start {
        Start::Beside | Start::TakeOver => Places::take(settings)?,
        Start::Replace => Places::inherit(settings)?,
    };
    // Nothing is taken from a living owner before it is known that this process can serve.
    let aliases = Aliases::read(&settings.routing.aliases).context("setting `routing.aliases`")?;
    let signer = Arc::new(Signer::open(&signing_key_file(settings)).context("can't use the key of receipts")?);
    let book = prices::book(settings)?;
    let processor = processor(settings, clock.now())?;
    let is_successor = places.predecessor.is_some();
    // One process owns the ledger, and then the other. Nodes own it together.
    if settings.cluster.listen.is_none()
        && let Some(predecessor) = places.predecessor.take()
    {
        let predecessor = is_prepared(predecessor);
        predecessor.has_ended(ENDS_WITHIN).await.context("the process to be replaced does not end")?;
    }
    let ledger = Arc::new(open_ledger(settings, start, is_successor).await?);
    actix_rt::spawn(tell_of_twins(Arc::clone(&ledger)));
    let models = folder::open_models(&settings.runtime.models_dir);
    if !models.is_empty() {
        warn_without_runtime(&library(settings));
    }
    health.executors().watch("main");
    let arbiters: Vec<_> = (0..actor_threads()).map(|number| arbiter(&health, format!("actors-{number}"))).collect();
    let main = arbiters.first().context("no thread for actors")?.clone();
    // What can still fail comes before the first actor. A token is made behind the ledger: one without a ledger is a sign
    // of a ledger that was lost.
    let admin_token = admin_token(settings)?;
    let chief = Supervisor::new(&health).start();
    let Money { journal, accounts, payments } =
        start_money(&chief, arbiters, Arc::clone(&ledger), processor, clock.clone(), health.clone())?;
    let spool =
        Spool::open(settings.data_dir.join("captures")).context("can't read the captures that wait for the ledger")?;
    accounts.spool_to(spool);
    let told = payments.clone();
    let on_begin = move || mailbox::tell(&told.address(), TakeUp);
    let node = nodes::node(settings, &ledger, clock.clone()).await?;
    let hints = node.as_ref().and_then(|node| node.hints.clone());
    let cluster = match node {
        Some(node) => nodes::join(settings, node, &accounts, &journal, is_successor, on_begin).await?.map(Arc::new),
        None => None,
    };
    actix_rt::spawn(admission::replay(accounts.clone()));
    let versions = cluster.as_ref().map_or_else(
        || nodes::Versions::Own(Arc::clone(&journal)),
        |cluster| nodes::Versions::Shared(Arc::clone(cluster)),
    );
    let catalogue = prices::catalogue(book, &versions, &clock).await?.with_open(models);
    let _sweeper = {
        let accounts = accounts.clone();
        let make = move |obituary| Sweeper::new(accounts.clone(), obituary);
        supervise_replaceable(&chief, main.clone(), &health, "sweeper", make)
    };
    let webhooks = start_webhooks(settings, &chief, &accounts)?;
    let pools = pools::start(settings, &chief, &main, &health)?;
    let providers = providers::start(settings, &chief, &main, &health);
    let rules = rules(settings);
    let pools = (pools, pools::worker(settings), library(settings));
    let models = Models::new(catalogue, settings.runtime.models_dir.clone(), clock).with_aliases(aliases);
    let pins = Pins::of(&settings.data_dir).context("can't read which models operators have pinned")?;
    let gateway = Gateway::new(accounts, models, providers, pools, pins, rules, settings.limits.drains);
    let gateway = Arc::new(gateway);
    actix_rt::spawn({
        let gateway = Arc::clone(&gateway);
        let (load, pin) = (settings.pools.preload.clone(), settings.pools.pin.clone());
        async move {
            gateway.preload(&load, &pin).await;
            gateway.warm().await;
        }
    });
    prices::follow(settings, &gateway, versions);
    let webhook_timeout = Duration::from_secs(settings.webhooks.timeout_seconds);
    let known = Arc::clone(&signer);
    let open = move |text: &str| jws::text_of(text, signing::CHECKPOINT, known.keys());
    let people = people::people(settings, &admin_token)?;
    let accounts = gateway.accounts.clone();
    let service = Service::new(accounts, journal, payments, webhooks, webhook_timeout, people, open);
    let telemetry = (metrics, traces(settings)?);
    let nodes = (cluster, hints);
    let state = State::new(gateway, settings.clone(), &admin_token, telemetry, service, signer, nodes);
    let state = web::Data::new(state);
    actix_rt::spawn({
        let (state, revoked) = (state.clone(), ledger.revocations());
        async move { state.keys.follow(revoked).await }
    });
    actix_rt::spawn(ended::follow(state.clone()));
    actix_rt::spawn({
        let state = state.clone();
        async move { letters::carry(&state.service).await }
    });
    actix_rt::spawn({
        let state = state.clone();
        async move { notices::follow(&state.service).await }
    });
    nodes::relay(&state);
    serve(settings, places, start, admin_token, state)
}

/// Where the spans of requests go.
fn traces(settings: &Settings) -> Result<Traces> {
    let Some(endpoint) = &settings.traces.endpoint else { return Ok(Traces::default()) };
    let options = traces::Options {
        endpoint: endpoint.as_str().to_owned(),
        headers: settings.traces.headers().unwrap_or_default(),
        ratio: settings.traces.ratio(),
        service: settings.traces.service.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance: uuid::Uuid::new_v4().to_string(),
    };
    Traces::export(options).context("traces can't be exported")
}

/// Tells a predecessor that this process can take its place.
fn is_prepared(mut predecessor: Predecessor) -> Predecessor {
    if let Err(error) = predecessor.is_prepared() {
        // The listening sockets are this process's all the same.
        tracing::warn!(%error, "the process to be replaced has gone by itself");
    }
    predecessor
}

/// What the settings say of money and of limits.
fn rules(settings: &Settings) -> Rules {
    Rules {
        overdraft_none: settings.limits.overdraft == config::Overdraft::None,
        weighting: match settings.limits.concurrency {
            config::Concurrency::Weighted => Weighting::Weighted,
            config::Concurrency::Flat => Weighting::Flat,
        },
        drain_seconds: settings.limits.drain_seconds,
        unread_bytes: settings.limits.unread_bytes,
        answers_bytes: settings.limits.answers_bytes,
    }
}

/// Serves requests, and offers this process's place to a successor.
fn serve(
    settings: &Settings,
    mut places: Places,
    start: Start,
    admin_token: String,
    state: web::Data<State>,
) -> Result<Running> {
    let (predecessor, of_metrics) = (places.predecessor.take(), places.metrics.take());
    let place = match (places.offer.take(), start) {
        (Some(inherited), _) => Place::Inherited(inherited),
        (None, Start::TakeOver) => Place::TakeOver,
        (None, Start::Beside | Start::Replace) => Place::IfFree,
    };
    let is_held = places.is_held;
    let listener = places.listen()?;
    let address = listener.local_addr()?;
    state.service.people().serve_at(format!("http://{address}"));
    let own = Own { http: &listener, metrics: of_metrics.as_ref(), is_held };
    let offer = sockets::offer(&settings.data_dir, place, own);
    let server = http::server::serve(listener.try_clone()?, &state).context("can't serve requests")?;
    let mut servers = vec![server.handle()];
    if let Some(socket) = of_metrics {
        let server = http::operations::serve_metrics(socket, &state).context("can't serve metrics")?;
        servers.push(server.handle());
        actix_web::rt::spawn(server);
    }
    let serving = actix_web::rt::spawn(server);
    if let Some(predecessor) = predecessor {
        // Both serve by now.
        is_prepared(predecessor);
    }
    service_manager::is_ready();
    Ok(Running { address, admin_token, state, listener, is_held, servers, offer, serving })
}

/// The actors that keep the money: everything that accounts need, and nothing in front of them.
pub struct Money {
    /// The only writer of the ledger.
    pub journal: Arc<Journal>,
    /// The accounts and their actors.
    pub accounts: Accounts,
    /// The actor that charges cards.
    pub payments: Handle<PaymentActor>,
}

/// Starts the money actors. Accounts live on the arbiters, of which there is at least one; payments on the first. The
/// journal writes on a thread of its own.
///
/// # Errors
///
/// The journal's thread can't be started.
///
/// # Panics
///
/// There is no arbiter.
pub fn start_money(
    chief: &actix::Addr<Supervisor>,
    arbiters: Vec<actix::ArbiterHandle>,
    ledger: Arc<Ledger>,
    processor: Processor,
    clock: Clock,
    health: Health,
) -> Result<Money> {
    let main = arbiters[0].clone();
    let journal = Journal::start(Arc::clone(&ledger), clock.clone(), health.clone());
    let journal = Arc::new(journal.context("no thread for the journal")?);
    // Accounts need the payment actor and it needs them, so its place is made first.
    let vacancy = Vacancy::new(&health, "payment");
    let charges = Arc::new(vacancy.handle().clone());
    let accounts = Accounts::new(arbiters, ledger, Arc::clone(&journal) as _, charges, processor, clock, health);
    let told = accounts.clone();
    let payments = vacancy.fill_replaceable(chief, main, move |exit| PaymentActor::new(told.clone(), exit));
    Ok(Money { journal, accounts, payments })
}

/// The card processor of the settings. The settings were checked: Stripe has its keys.
///
/// # Errors
///
/// Stripe is chosen and lacks a key, or its HTTP client can't be made.
pub fn processor(settings: &Settings, now: Timestamp) -> Result<Processor> {
    let keys = &settings.payments.stripe;
    match (settings.payments.processor, &keys.secret_key, &keys.webhook_secret) {
        (config::Processor::Sandbox, ..) => Ok(Processor::Sandbox(Sandbox::new(now))),
        (config::Processor::Stripe, Some(secret_key), Some(webhook_secret)) => {
            let opened = Stripe::new(stripe::StripeSettings {
                base_url: keys.base_url.clone().unwrap_or_else(|| stripe::ADDRESS.to_owned()),
                secret_key: secret_key.expose().to_owned(),
                webhook_secret: webhook_secret.expose().to_owned(),
                browser: keys.publishable_key.clone().map(|publishable_key| stripe::Browser {
                    publishable_key,
                    script: keys.script.clone().unwrap_or_else(|| stripe::SCRIPT.to_owned()),
                }),
            });
            Ok(Processor::Stripe(opened?))
        }
        (config::Processor::Stripe, ..) => bail!("Stripe needs its keys"),
    }
}

async fn open_ledger(settings: &Settings, start: Start, is_successor: bool) -> Result<Ledger> {
    let kept = ["admin_token", "quickstart.json"].map(|name| settings.data_dir.join(name)).to_vec();
    let claim = match start {
        Start::TakeOver => Claim::TakeOver,
        Start::Beside | Start::Replace if settings.cluster.listen.is_some() => Claim::Share,
        Start::Beside | Start::Replace => Claim::IfFree,
    };
    let opening = Opening { claim, kept, shards: Shards::new(settings.database.shards) };
    let until = Instant::now() + if is_successor { FREE_WITHIN } else { Duration::ZERO };
    loop {
        match Ledger::open(settings.database.url.as_str(), &opening).await {
            Err(LedgerError::Owned(_)) if Instant::now() < until => tokio::time::sleep(LOOK_EVERY).await,
            opened => return opened.with_context(|| format!("can't open the ledger at {}", settings.database.url)),
        }
    }
}

/// Closed models need no ONNX Runtime, so a missing library prevents neither the start nor readiness.
fn warn_without_runtime(library: &std::path::Path) {
    if !library.is_file() {
        tracing::warn!(
            library = %library.display(),
            "there are open models and no ONNX Runtime: they are answered 503 until it is there; `farebox quickstart` fetches \
             it, and runtime.onnxruntime names another"
        );
    }
}

/// Logs accounts that share their e-mail address with an older account: an operator should know them. No start waits for it,
/// as all accounts are looked through.
async fn tell_of_twins(ledger: Arc<Ledger>) {
    match ledger.twins().await {
        Ok(twins) => {
            for (id, email) in twins {
                tracing::warn!(account.id = %id, email, "an older account has this address, written otherwise");
            }
        }
        Err(error) => tracing::warn!(%error, "accounts that share an address could not be looked for"),
    }
}

/// Starts the actor that calls owners' webhooks, on a thread of its own, so that no request waits for TLS handshakes.
fn start_webhooks(settings: &Settings, chief: &actix::Addr<Supervisor>, accounts: &Accounts) -> Result<Webhooks> {
    let reach = if settings.webhooks.allow_private { Reach::Anywhere } else { Reach::Public };
    let longest = Duration::from_secs(settings.webhooks.timeout_seconds);
    let deliveries = DeliveryClient::new(reach, longest).map_err(anyhow::Error::msg)?;
    let (of_actor, found) = (deliveries.clone(), accounts.clone());
    let calls = Calls::default();
    let make = move |obituary| DeliveryActor::new(found.clone(), of_actor.clone(), calls.clone(), obituary);
    let thread = arbiter(accounts.health(), "webhooks".to_owned());
    let actor = supervise_replaceable(chief, thread, accounts.health(), "webhook", make);
    Ok(Webhooks { deliveries, actor })
}

/// The path of ONNX Runtime's library.
pub fn library(settings: &Settings) -> PathBuf {
    settings.runtime.onnxruntime.clone().unwrap_or_else(|| runtime_library(settings))
}

/// The default path of ONNX Runtime's library.
pub fn runtime_library(settings: &Settings) -> PathBuf {
    settings.data_dir.join("runtime").join("libonnxruntime.so")
}

/// A new thread for actors, which is watched under this name.
fn arbiter(health: &Health, name: String) -> actix::ArbiterHandle {
    let (arbiter, executors) = (Arbiter::new().handle(), health.executors().clone());
    // It ends with the process alone.
    arbiter.spawn_fn(move || executors.watch(name));
    arbiter
}

/// Half the cores, at least one: the others serve HTTP.
fn actor_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}

/// The file of the operator's token, where the settings have none.
pub fn admin_token_file(settings: &Settings) -> PathBuf {
    settings.data_dir.join("admin_token")
}

/// The file of the key that signs receipts: the settings', or the data folder's, which is made at the first start.
pub fn signing_key_file(settings: &Settings) -> PathBuf {
    settings.signing_key.clone().unwrap_or_else(|| settings.data_dir.join("signing_key.pem"))
}

/// The token in the settings, or the data folder's, which is made at first start.
fn admin_token(settings: &Settings) -> Result<String> {
    if let Some(token) = &settings.admin_token {
        return Ok(token.expose().to_owned());
    }
    let path = admin_token_file(settings);
    if let Ok(token) = std::fs::read_to_string(&path)
        && !token.trim().is_empty()
    {
        return Ok(token.trim().to_owned());
    }
    std::fs::create_dir_all(&settings.data_dir)?;
    let token = format!("fba_{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    crate::secret_file::write(&path, &token).with_context(|| format!("can't write {}", path.display()))?;
    println!("admin token (shown once, kept in {}): {token}", path.display());
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_stripe_in_the_example_file_are_those_that_are_called() {
        let file = include_str!("../config/farebox.toml");
        let section = file.split("[payments.stripe]").nth(1).unwrap().split("\n[").next().unwrap();
        let shown = section.lines().find_map(|line| line.strip_prefix("# base_url = "));
        assert_eq!(shown, Some(format!("{:?}", stripe::ADDRESS).as_str()));
        let shown = section.lines().find_map(|line| line.strip_prefix("# script = "));
        assert_eq!(shown, Some(format!("{:?}", stripe::SCRIPT).as_str()));
    }
}
