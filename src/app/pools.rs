//! The pools of open models: their devices and settings, and an actor for each size class.

use std::time::Duration;

use actors::pool::{
    self, CacheScope, PoolActor, Pools, WorkerSettings,
    placement::{Placement, Rules},
};
use anyhow::Result;
use runtime::{
    health::Health,
    supervisor::{Supervisor, supervise},
};

use super::{devices::devices, library};
use crate::config::{self, Settings};

/// What one engine takes.
pub(super) fn worker(settings: &Settings) -> WorkerSettings {
    let cache_bytes = settings.runtime.cache_mib.saturating_mul(1 << 20);
    WorkerSettings {
        queue: settings.limits.pool_queue,
        sequences: settings.runtime.sequences.get(),
        cache_bytes: usize::try_from(cache_bytes).unwrap_or(usize::MAX),
        cache_scope: match settings.runtime.cache_scope {
            config::CacheScope::Account => CacheScope::Account,
            config::CacheScope::All => CacheScope::All,
            config::CacheScope::None => CacheScope::None,
        },
    }
}

/// Starts the pools.
///
/// # Errors
///
/// A device can't be used.
pub(super) fn start(
    settings: &Settings,
    chief: &actix::Addr<Supervisor>,
    arbiter: &actix::ArbiterHandle,
    health: &Health,
) -> Result<Pools> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let threads = settings.runtime.threads.map_or(cores, std::num::NonZeroUsize::get);
    let lookup = match settings.runtime.lookup {
        config::Lookup::Auto => pool::Lookup::Auto,
        config::Lookup::Off => pool::Lookup::Off,
    };
    let made_of = pool::EngineSettings { library: library(settings), threads, lookup, worker: worker(settings) };
    let devices = devices(settings)?;
    for device in &devices {
        tracing::info!(device = %device.kind, memory_bytes = device.memory, "open models have this memory");
    }
    let wait = Duration::from_secs(settings.pools.queue_seconds);
    let pools = Pools::start(Placement::new(devices, rules(settings)), health, wait, |class, board| {
        let made_of = made_of.clone();
        let make = move |exit| PoolActor::new(class, made_of.clone(), board.clone(), exit);
        supervise(chief, arbiter.clone(), health, class.name(), make)
    });
    Ok(pools)
}

fn rules(settings: &Settings) -> Rules {
    let pools = &settings.pools;
    Rules {
        queue: settings.limits.pool_queue,
        wait: Duration::from_secs(pools.wait_seconds),
        load: Duration::from_secs(pools.load_seconds),
        turn: Duration::from_secs(pools.turn_seconds),
        idle: Some(pools.idle_seconds).filter(|seconds| *seconds > 0).map(Duration::from_secs),
    }
}
