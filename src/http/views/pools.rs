//! Open models in memory: how one stands for its users, and devices, models and acts for operators.

use std::time::Duration;

use actors::pool::placement::{Acted, DevicePicture};
use serde::Serialize;
use utoipa::ToSchema;

use crate::gateway::pools::{Act, All, Basis, Standing, Status};

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The name of a standing.
pub const fn state_name(standing: Standing) -> &'static str {
    match standing {
        Standing::Cold => "cold",
        Standing::Loading => "loading",
        Standing::Warm => "warm",
        Standing::Failed => "failed",
        Standing::Unavailable => "unavailable",
    }
}

/// How a model stands here.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelStatus {
    pub(in crate::http) id: String,
    pub(in crate::http) object: &'static str,
    /// `cold`: a request waits for its load; `loading`; `warm`; `failed`: its last load failed; `unavailable`. A model that a
    /// provider runs is `warm` or `unavailable`, and the numbers here are none of its.
    pub(in crate::http) state: &'static str,
    /// Why it is `failed` or `unavailable`.
    #[schema(required)]
    pub(in crate::http) why: Option<String>,
    /// The device that it is on; null where it is on none.
    #[schema(required)]
    pub(in crate::http) device: Option<String>,
    /// How long a load is expected to take; null where nothing was loaded here yet.
    #[schema(required)]
    pub(in crate::http) expected_load_ms: Option<u64>,
    /// `measured` by its earlier loads, or `estimated` from its size and the loads of others.
    #[schema(required)]
    pub(in crate::http) expected_load_from: Option<&'static str>,
    /// The load that goes on.
    #[schema(required)]
    pub(in crate::http) load: Option<Load>,
    /// Seconds until it is loaded again, where it failed.
    #[schema(required)]
    pub(in crate::http) retry_after_seconds: Option<u64>,
    /// Requests that run.
    pub(in crate::http) running: usize,
    /// Requests that wait.
    pub(in crate::http) waiting: usize,
    /// The place in line of a request that is sent now; 0 where it would run at once.
    pub(in crate::http) place_in_queue: usize,
    /// Mean milliseconds to the first token, of late; null until something ran.
    #[schema(required)]
    pub(in crate::http) time_to_first_token_ms: Option<f64>,
    /// Mean tokens a second of one request after its first token, of late; null until something ran.
    #[schema(required)]
    pub(in crate::http) tokens_per_second: Option<f64>,
}

/// A load that goes on.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Load {
    /// `waiting` for memory, `reading` its files, or `session`: ONNX Runtime makes it ready.
    pub(in crate::http) phase: &'static str,
    /// How long it takes already; null while it waits for memory.
    #[schema(required)]
    pub(in crate::http) elapsed_ms: Option<u64>,
    /// Bytes of its files that were read; null while it waits for memory.
    #[schema(required)]
    pub(in crate::http) read_bytes: Option<u64>,
    /// Bytes of all of them.
    #[schema(required)]
    pub(in crate::http) of_bytes: Option<u64>,
}

impl Load {
    fn of(status: &Status) -> Option<Self> {
        let loading = status.seen.model.loading?;
        let progress = status.seen.progress;
        let phase = match (progress, loading.elapsed) {
            (Some(progress), _) => progress.phase.name(),
            (None, Some(_)) => "reading",
            (None, None) => "waiting",
        };
        let (read_bytes, of_bytes) = (progress.map(|it| it.read), progress.map(|it| it.of));
        Some(Self { phase, elapsed_ms: loading.elapsed.map(ms), read_bytes, of_bytes })
    }
}

fn basis(basis: Basis) -> &'static str {
    match basis {
        Basis::Measured => "measured",
        Basis::Estimated => "estimated",
    }
}

impl ModelStatus {
    /// An open model, by one of its names. `why` is the reason why it can't run, where there is one beside those of its pool.
    pub fn of(name: &str, status: &Status, why: Option<String>) -> Self {
        let model = &status.seen.model;
        let round = |number: f64| (number * 100.0).round() / 100.0;
        Self {
            id: name.to_owned(),
            object: "model.status",
            state: if why.is_some() { state_name(Standing::Unavailable) } else { state_name(model.standing) },
            why: why.or_else(|| model.why.clone()),
            device: status.device.clone(),
            expected_load_ms: model.expected.map(|expected| ms(expected.time)),
            expected_load_from: model.expected.map(|expected| basis(expected.basis)),
            load: Load::of(status),
            retry_after_seconds: model.retry_in.map(|wait| ms(wait).div_ceil(1_000)),
            running: status.seen.begun,
            waiting: status.waiting(),
            place_in_queue: status.place,
            time_to_first_token_ms: status.pace.first_ms.map(round),
            tokens_per_second: status.pace.tokens_per_second.map(round),
        }
    }

    /// A model that a provider runs: nothing is loaded for it here.
    pub fn of_provider(name: &str, why: Option<String>) -> Self {
        Self {
            id: name.to_owned(),
            object: "model.status",
            state: state_name(if why.is_some() { Standing::Unavailable } else { Standing::Warm }),
            why,
            device: None,
            expected_load_ms: None,
            expected_load_from: None,
            load: None,
            retry_after_seconds: None,
            running: 0,
            waiting: 0,
            place_in_queue: 0,
            time_to_first_token_ms: None,
            tokens_per_second: None,
        }
    }
}

/// Devices and models, for operators.
#[derive(Debug, Serialize, ToSchema)]
pub struct Pools {
    pub(in crate::http) devices: Vec<Device>,
    /// The models that are in memory, waited for, pinned, out of service, or failed of late.
    pub(in crate::http) models: Vec<PoolModel>,
}

/// A device.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PoolDevice)]
pub(in crate::http) struct Device {
    pub(in crate::http) name: String,
    /// The size classes that it serves.
    pub(in crate::http) classes: Vec<&'static str>,
    /// Bytes for weights and caches.
    pub(in crate::http) memory_bytes: u64,
    /// Bytes that models have, those that leave included.
    pub(in crate::http) used_bytes: u64,
}

/// A model, for operators.
#[derive(Debug, Serialize, ToSchema)]
pub struct PoolModel {
    pub(in crate::http) id: String,
    pub(in crate::http) class: &'static str,
    /// `cold`, `loading`, `warm`, `failed` or `unavailable`.
    pub(in crate::http) state: &'static str,
    /// Why it is `failed` or `unavailable`, or makes no progress.
    #[schema(required)]
    pub(in crate::http) why: Option<String>,
    #[schema(required)]
    pub(in crate::http) device: Option<String>,
    /// Bytes of its weights and caches.
    pub(in crate::http) bytes: u64,
    #[schema(required)]
    pub(in crate::http) load: Option<Load>,
    /// Requests that run.
    pub(in crate::http) running: usize,
    /// Requests that wait behind others in its engine.
    pub(in crate::http) queued: usize,
    /// Requests that wait for the model.
    pub(in crate::http) waiting: usize,
    /// Whether it is never taken out for another.
    pub(in crate::http) pinned: bool,
    /// Lives of it that end once their requests have ended.
    pub(in crate::http) leaving: usize,
    /// Milliseconds since it was used; null where it is not in memory.
    #[schema(required)]
    pub(in crate::http) unused_ms: Option<u64>,
    #[schema(required)]
    pub(in crate::http) retry_after_seconds: Option<u64>,
    #[schema(required)]
    pub(in crate::http) expected_load_ms: Option<u64>,
    #[schema(required)]
    pub(in crate::http) time_to_first_token_ms: Option<f64>,
    #[schema(required)]
    pub(in crate::http) tokens_per_second: Option<f64>,
}

impl From<Status> for PoolModel {
    fn from(status: Status) -> Self {
        let model = &status.seen.model;
        let stalled = status.seen.stalled.map(|stands| format!("makes no progress for {} s", stands.as_secs()));
        let ModelStatus { expected_load_ms, time_to_first_token_ms, tokens_per_second, retry_after_seconds, .. } =
            ModelStatus::of(&model.id, &status, None);
        Self {
            id: model.id.to_string(),
            class: model.class.name(),
            state: state_name(model.standing),
            why: stalled.or_else(|| model.why.clone()),
            device: status.device.clone(),
            bytes: model.bytes,
            load: Load::of(&status),
            running: status.seen.begun,
            queued: status.seen.queued,
            waiting: model.waiting,
            pinned: model.is_pinned,
            leaving: model.leaving,
            unused_ms: model.unused_for.map(ms),
            retry_after_seconds,
            expected_load_ms,
            time_to_first_token_ms,
            tokens_per_second,
        }
    }
}

impl From<DevicePicture> for Device {
    fn from(device: DevicePicture) -> Self {
        let DevicePicture { name, classes, memory, used } = device;
        let classes = classes.into_iter().map(billing::class::SizeClass::name).collect();
        Self { name, classes, memory_bytes: memory, used_bytes: used }
    }
}

impl From<All> for Pools {
    fn from(all: All) -> Self {
        let All { devices, models } = all;
        let devices = devices.into_iter().map(Device::from).collect();
        Self { devices, models: models.into_iter().map(PoolModel::from).collect() }
    }
}

/// What became of an operator's act.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelActed {
    pub(in crate::http) id: String,
    /// `load`, `unload`, `reload`, `pin`, `unpin` or `drain`.
    pub(in crate::http) act: &'static str,
    /// `loading` (also where it waits for memory), `loaded`, `unloading`, `finishing` (requests run; it goes when they have
    /// ended), `cold`, or `unpinned`.
    pub(in crate::http) done: &'static str,
    /// The requests that are finished before it goes.
    pub(in crate::http) finishing: usize,
}

impl ModelActed {
    /// What became of an act.
    pub fn of(id: &str, act: Act, acted: Acted) -> Self {
        let (done, finishing) = match (act, acted) {
            (Act::Unpin, _) => ("unpinned", 0),
            (_, Acted::Loading) => ("loading", 0),
            (_, Acted::Loaded) => ("loaded", 0),
            (_, Acted::Unloading) => ("unloading", 0),
            (_, Acted::Finishing(requests)) => ("finishing", requests),
            (_, Acted::Cold) => ("cold", 0),
        };
        Self { id: id.to_owned(), act: act.name(), done, finishing }
    }
}
