//! The devices of open models: those of the settings, or the machine's own. A card is used where a session opens on it.

use std::{fs, process::Command};

use actors::pool::{
    self,
    placement::{Device, Kind},
};
use anyhow::{Result, bail};
use billing::class::SizeClass;

use super::library;
use crate::config::{self, Settings};

/// The memory of a machine that does not say how much it has.
const UNKNOWN: u64 = 4 << 30;
/// The library that ONNX Runtime's builds for cards have beside them.
const FOR_CARDS: &str = "libonnxruntime_providers_cuda.so";

/// The devices, cards first.
///
/// # Errors
///
/// Cards are wanted, and there is none or one can't be used: it says which, and why.
pub(super) fn devices(settings: &Settings) -> Result<Vec<Device>> {
    let (wanted, library) = (settings.runtime.device, library(settings));
    let is_for_cards = || library.with_file_name(FOR_CARDS).is_file();
    let mut devices: Vec<Device> = settings.pools.device.iter().map(listed).collect();
    if devices.is_empty() {
        if wanted == config::Device::Cuda || (wanted == config::Device::Auto && is_for_cards()) {
            devices.extend(cards());
            if devices.is_empty() && wanted == config::Device::Cuda {
                bail!("setting `runtime.device`: nvidia-smi names no card; name one and its memory in `pools.device`");
            }
        }
        devices.push(processor());
    }
    let mut usable = Vec::with_capacity(devices.len());
    for device in devices {
        match pool::probe(device.kind, &library) {
            Ok(()) => usable.push(device),
            Err(reason) if wanted == config::Device::Cuda => bail!("{} can't be used: {reason}", device.kind),
            Err(reason) => tracing::warn!(device = %device.kind, reason, "this card is not used"),
        }
    }
    if usable.is_empty() {
        usable.push(processor());
    }
    Ok(usable)
}

fn listed(device: &config::PoolDevice) -> Device {
    Device { kind: device.kind, memory: device.memory.0, classes: device.classes.clone() }
}

/// The processor, with three quarters of the memory that this process may use: the rest is for all that is not a model.
fn processor() -> Device {
    Device { kind: Kind::Cpu, memory: memory() / 4 * 3, classes: SizeClass::ALL.to_vec() }
}

/// The cards that the driver's own program names, each with nine tenths of its memory: CUDA's libraries need some.
fn cards() -> Vec<Device> {
    let mut command = Command::new("nvidia-smi");
    command.args(["--query-gpu=index,memory.total", "--format=csv,noheader,nounits"]);
    match command.output() {
        Ok(output) if output.status.success() => named(&String::from_utf8_lossy(&output.stdout)),
        Ok(_) | Err(_) => Vec::new(),
    }
}

/// The cards of lines such as `0, 143771`, with memory in MiB.
fn named(lines: &str) -> Vec<Device> {
    let card = |line: &str| {
        let (number, memory) = line.split_once(',')?;
        let (number, memory) = (number.trim().parse::<u16>().ok()?, memory.trim().parse::<u64>().ok()?);
        let memory = memory.checked_mul(1 << 20)? / 10 * 9;
        Some(Device { kind: Kind::Cuda(number), memory, classes: SizeClass::ALL.to_vec() })
    };
    lines.lines().filter_map(card).collect()
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
        let all = devices(&Settings::default()).unwrap();
        assert_eq!(
            all.last().map(|device| (device.kind, device.classes.len())),
            Some((Kind::Cpu, SizeClass::ALL.len()))
        );
    }

    #[test]
    fn cards_are_those_that_the_driver_names() {
        let found = named("0, 143771\n1, 24564\nno line of a card\n2, [N/A]\n");
        let told: Vec<_> = found.iter().map(|device| (device.kind, device.memory)).collect();
        assert_eq!(told, [(Kind::Cuda(0), (143_771 << 20) / 10 * 9), (Kind::Cuda(1), (24_564 << 20) / 10 * 9)]);
        assert!(named("").is_empty());
    }

    #[test]
    fn a_card_that_can_not_be_used_is_left_out_or_refused() {
        let of = |device| {
            let mut settings = Settings::default();
            settings.runtime.onnxruntime = Some("/nowhere/libonnxruntime.so".into());
            settings.runtime.device = device;
            settings.pools.device = vec!["cuda:0 1GiB".parse().unwrap()];
            devices(&settings)
        };
        let kinds: Vec<Kind> = of(config::Device::Auto).unwrap().into_iter().map(|device| device.kind).collect();
        assert_eq!(kinds, [Kind::Cpu]);
        let refused = of(config::Device::Cuda).unwrap_err().to_string();
        assert!(refused.contains("cuda:0 can't be used") && refused.contains("no such file"), "{refused}");
    }
}
