//! The life of a request: read [`serve`] first. A request is planned, admitted by its account, run by a provider or a
//! pool, metered and settled by its own task. The client's connection only watches.

pub mod acts;
pub mod answers;
mod capability;
pub mod count;
mod drains;
pub mod explain;
#[cfg(feature = "faults")]
mod faults;
pub mod lately;
mod measure;
pub mod meter;
mod models;
pub mod offers;
pub mod pins;
pub mod plan;
pub mod pools;
pub mod providers;
pub mod quote;
pub mod race;
pub mod refusals;
pub mod room;
pub mod serve;
pub mod session;
mod sizes;
mod speeds;
pub mod stages;
pub mod target;
mod task;
mod tokenizer_cache;
pub mod watch;
pub mod ways;

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use billing::class::Weighting;

use crate::catalogue::Model;
use actors::{
    accounts::Accounts,
    pool::{Pools, WorkerSettings},
    provider,
};
use answers::Answers;
use drains::Drains;
use measure::Measures;
pub use models::{LOOK, Models};
use pins::Pins;
use race::Race;
use refusals::Refusals;
use room::Room;
use runtime::clock::Clock;
use sizes::Sizes;
use speeds::Speeds;
use tokenizer_cache::TokenizerCache;

/// The shared state of all requests.
pub struct Gateway {
    /// Accounts.
    pub accounts: Accounts,
    /// Models and prices.
    pub models: Models,
    /// The tokenizers that prepare requests to open models.
    tokenizer_cache: TokenizerCache,
    /// Providers by name.
    pub providers: HashMap<String, provider::ProviderHandle>,
    /// Which models of aliases answer soonest.
    pub race: Race,
    /// What is measured of each provider's requests.
    measures: Measures,
    /// The pools of open models.
    pools: Pools,
    /// The models that operators have pinned.
    pins: Pins,
    /// What open models need of memory.
    sizes: Sizes,
    /// How fast open models answer.
    speeds: Speeds,
    /// The path of ONNX Runtime's library, which runs open models.
    pub runtime: PathBuf,
    /// The rules of overdraft and permits.
    pub rules: Rules,
    /// Which streams are read for their usage after their client left.
    drains: Drains,
    /// The memory for answers that wait for slow readers.
    pub unread: Arc<Room>,
    /// The answers that are given again.
    answers: Answers,
    /// The latest requests that were refused.
    pub refusals: Refusals,
}

/// Settings of the rules of money.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Whether a running request never costs more than its hold (`none`).
    pub overdraft_none: bool,
    /// How permits are weighed.
    pub weighting: Weighting,
    /// How long a stream is drained after its client left, in seconds.
    pub drain_seconds: u64,
    /// Bytes of answers that wait for slow readers, of all requests together.
    pub unread_bytes: usize,
    /// Bytes of answers that are given again.
    pub answers_bytes: usize,
}

impl Gateway {
    /// A gateway.
    pub fn new(
        accounts: Accounts,
        models: Models,
        providers: HashMap<String, provider::ProviderHandle>,
        (pools, worker, runtime): (Pools, WorkerSettings, PathBuf),
        pins: Pins,
        rules: Rules,
        drains: usize,
    ) -> Self {
        let tokenizer_cache = TokenizerCache::default();
        let drains = Drains::of(providers.keys().map(String::as_str), drains);
        let unread = Room::new(rules.unread_bytes);
        let answers = Answers::new(rules.answers_bytes);
        let race = Race::of(models.aliases());
        Self {
            accounts,
            models,
            tokenizer_cache,
            providers,
            race,
            measures: Measures::default(),
            pools,
            pins,
            sizes: Sizes::new(worker),
            speeds: Speeds::default(),
            runtime,
            rules,
            drains,
            unread,
            answers,
            refusals: Refusals::default(),
        }
    }

    /// Ends all running requests, each charged as far as it came, and returns their number. Streams are no longer read
    /// to their end for their usage: the process stops.
    pub fn end_all(&self) -> usize {
        self.drains.close();
        self.accounts.running().end_all()
    }

    /// Loads what the first requests to open models would wait for.
    pub async fn warm(&self) {
        let known = self.models.known();
        let open = known.models().filter_map(|(_, model)| match model {
            Model::Open(model) => Some(Arc::clone(model)),
            Model::Closed(_) => None,
        });
        self.tokenizer_cache.warm(open).await;
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        self.accounts.clock()
    }
}
