//! The pools of open models: their devices and settings, and an actor for each size class.

use std::{fs, time::Duration};

use actors::pool::{
    self, PoolActor, Pools, WorkerSettings,
    placement::{Device, Placement, Rules},
};
use billing::class::SizeClass;
use runtime::{
    health::Health,
    supervisor::{Supervisor, supervise},
};

use super::library;
use crate::config::{self, Settings};

/// The memory of a machine that does not say how much it has.
const UNKNOWN: u64 = 4 << 30;

/// What one engine takes.
pub(super) fn worker(settings: &Settings) -> WorkerSettings {
    let cache_bytes = settings.runtime.cache_mib.saturating_mul(1 << 20);
    WorkerSettings {
        queue: settings.limits.pool_queue,
        sequences: settings.runtime.sequences.get(),
        cache_bytes: usize::try_from(cache_bytes).unwrap_or(usize::MAX),
    }
}

/// Starts the pools.
pub(super) fn start(
    settings: &Settings,
    chief: &actix::Addr<Supervisor>,
    arbiter: &actix::ArbiterHandle,
    health: &Health,
) -> Pools {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let threads = settings.runtime.threads.map_or(cores, std::num::NonZeroUsize::get);
    let lookup = match settings.runtime.lookup {
        config::Lookup::Auto => pool::Lookup::Auto,
        config::Lookup::Off => pool::Lookup::Off,
    };
    let made_of = pool::EngineSettings { library: library(settings), threads, lookup, worker: worker(settings) };
    let devices = devices(settings);
    for device in &devices {
        tracing::info!(device = %device.name, memory_bytes = device.memory, "open models have this memory");
    }
    let wait = Duration::from_secs(settings.pools.queue_seconds);
    Pools::start(Placement::new(devices, rules(settings)), health, wait, |class, board| {
        let made_of = made_of.clone();
        let make = move |exit| PoolActor::new(class, made_of.clone(), board.clone(), exit);
        supervise(chief, arbiter.clone(), health, class.name(), make)
    })
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

/// The devices of the settings, or the CPU with three quarters of the memory that this process may use: the rest is for all
/// that is not a model.
fn devices(settings: &Settings) -> Vec<Device> {
    if settings.pools.device.is_empty() {
        let memory = memory() / 4 * 3;
        return vec![Device { name: "cpu".to_owned(), memory, classes: SizeClass::ALL.to_vec() }];
    }
    let device = |device: &crate::config::PoolDevice| Device {
        name: device.kind.to_string(),
        memory: device.memory.0,
        classes: device.classes.clone(),
    };
    settings.pools.device.iter().map(device).collect()
}

/// The memory that this process may use: the machine's, or its control group's where that has less.
fn memory() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text)).unwrap_or(UNKNOWN);
    let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limits = groups.iter().filter_map(|file| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok());
    limits.fold(machine, u64::min)
}

/// The total of `/proc/meminfo`, in bytes.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machines_memory_is_read_and_one_that_says_nothing_has_some() {
        assert_eq!(total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert!(memory() > 64 << 20);
        let all = devices(&Settings::default());
        assert_eq!((all.len(), all[0].classes.len()), (1, SizeClass::ALL.len()));
    }
}
