//! What is seen of the machine: its devices and models. Operators and users read the same pictures.

use std::{sync::Arc, time::Duration};

use billing::class::SizeClass;
use serde::{Deserialize, Serialize};

use super::{
    End, Expected, InstanceId, Placement,
    slot::{Instance, Slot, State},
};

/// How a model stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is not in memory.
    Cold,
    /// It loads, or waits for memory.
    Loading,
    /// It is loaded.
    Warm,
    /// Its last load failed, and none is tried now.
    Failed,
    /// It can't run: an operator took it out of service, or it is larger than any device.
    Unavailable,
}

/// A load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadingPicture {
    /// How long it takes already; `None` while it waits for memory.
    pub elapsed: Option<Duration>,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePicture {
    /// Its name.
    pub name: String,
    /// The size classes that it serves.
    pub classes: Vec<SizeClass>,
    /// Bytes for weights and caches.
    pub memory: u64,
    /// Bytes that models have, those that leave included.
    pub used: u64,
}

/// A model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelPicture {
    /// Its name.
    pub id: Arc<str>,
    /// Its size class.
    pub class: SizeClass,
    /// Bytes of weights and caches.
    pub bytes: u64,
    /// How it stands.
    pub standing: Standing,
    /// Why it does not run.
    pub why: Option<String>,
    /// Its load, where it loads.
    pub loading: Option<LoadingPicture>,
    /// Its life in memory.
    pub instance: Option<InstanceId>,
    /// The device's place in the list.
    pub device: Option<usize>,
    /// Requests that it runs, or that wait in its engine.
    pub running: usize,
    /// Requests that wait for the model.
    pub waiting: usize,
    /// Lives of it that end: of an unload, or of an earlier import.
    pub leaving: usize,
    /// Whether it is never taken out for another.
    pub is_pinned: bool,
    /// How long ago it was used; `None` where it is not in memory.
    pub unused_for: Option<Duration>,
    /// In how long it is loaded again, where it failed.
    pub retry_in: Option<Duration>,
    /// The time that its load is expected to take.
    pub expected: Option<Expected>,
}

impl Placement {
    /// The devices.
    pub fn devices(&self) -> Vec<DevicePicture> {
        let picture = |(place, device): (usize, &super::Device)| DevicePicture {
            name: device.kind.to_string(),
            classes: device.classes.clone(),
            memory: device.memory,
            used: device.memory - self.free(place),
        };
        self.devices.iter().enumerate().map(picture).collect()
    }

    /// The room that a model finds now: bytes that are free on the devices that take it, and whether it fits one of them.
    pub fn room(&self, model: &super::Wanted) -> (u64, bool) {
        let takers = self.devices.iter().enumerate().filter(|(_, device)| device.takes(model));
        let free = takers.map(|(place, _)| self.free(place));
        free.fold((0, false), |(all, fits), free| (all + free, fits || free >= model.bytes))
    }

    /// All models that were asked for and are not forgotten.
    pub fn pictures(&self, now: Duration) -> Vec<ModelPicture> {
        self.models.iter().map(|(id, slot)| self.picture_of(id, Some(slot), &slot.model, now)).collect()
    }

    /// A model, whether it was asked for or not.
    pub fn picture(&self, model: &super::Wanted, now: Duration) -> ModelPicture {
        // Of another import nothing is known.
        let slot = self.models.get(&model.id).filter(|slot| slot.model.import == model.import || slot.is_drained);
        self.picture_of(&model.id, slot, model, now)
    }

    fn picture_of(&self, id: &Arc<str>, slot: Option<&Slot>, model: &super::Wanted, now: Duration) -> ModelPicture {
        let current = slot.and_then(|slot| slot.current);
        let instance = current.and_then(|id| self.instances.get(&id));
        let retry_in = slot.and_then(|slot| slot.retry_at?.checked_sub(now)).filter(|wait| !wait.is_zero());
        let is_awaited = slot.is_some_and(|slot| !slot.waiting.is_empty() || slot.asked_at.is_some());
        let failure = slot.and_then(|slot| slot.failure.as_ref()).map(ToString::to_string);
        let (standing, why) = match (self.fits(model), slot, instance) {
            (Err(end), ..) => (Standing::Unavailable, end.told(id)),
            (_, Some(slot), _) if slot.is_drained => (Standing::Unavailable, End::Drained.told(id)),
            (.., Some(instance)) if instance.is_ready() => (Standing::Warm, None),
            (.., Some(_)) => (Standing::Loading, None),
            (.., None) if failure.is_some() && retry_in.is_some() => (Standing::Failed, failure),
            (.., None) if is_awaited => (Standing::Loading, failure),
            (.., None) if failure.is_some() => (Standing::Failed, failure),
            (.., None) => (Standing::Cold, None),
        };
        let elapsed = || instance.and_then(Instance::loading_since).map(|since| now.saturating_sub(since));
        let others = self.instances.iter().filter(|(other, it)| it.model == *id && Some(**other) != current);
        ModelPicture {
            id: Arc::clone(id),
            class: model.class,
            bytes: instance.map_or(model.bytes, |instance| instance.bytes),
            standing,
            why,
            loading: (standing == Standing::Loading).then(|| LoadingPicture { elapsed: elapsed() }),
            instance: current,
            device: instance.map(|instance| instance.device),
            running: self
                .instances
                .values()
                .filter(|it| it.model == *id && it.state != State::Leaving)
                .map(|it| it.running)
                .sum(),
            waiting: slot.map_or(0, |slot| slot.waiting.len()),
            leaving: others.count(),
            is_pinned: slot.is_some_and(|slot| slot.is_pinned),
            unused_for: instance.map(|it| if it.running > 0 { Duration::ZERO } else { now.saturating_sub(it.used_at) }),
            retry_in,
            expected: self.load_times.expected(id, model.bytes),
        }
    }
}
