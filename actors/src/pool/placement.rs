//! Which models are in the memory of which device: a pure machine of commands and the time, with no thread, no clock and
//! no I/O. It knows requests by their numbers alone. The pools carry its effects out ([`super::board`]); the simulation
//! drives the same code.
//!
//! What holds: no device has more bytes than its memory; a model that runs, loads or is pinned is never taken out; each
//! request gets one [`Effect::Run`] or one [`Effect::End`]; who waits is answered within a bound; of equal claims the
//! earliest is served first, and of idle models the one that was used least recently goes. A model that is taken out
//! counts until its memory is free, which its engine's end tells ([`Placement::freed`]).

mod end;
mod load_times;
mod operate;
mod picture;
mod room;
mod slot;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use billing::class::SizeClass;
use wire::inference::Failure;

pub use ::engine::device::Device as Kind;

pub use self::{
    end::gib,
    load_times::{Basis, Expected},
    operate::{Acted, NotActed},
    picture::{DevicePicture, LoadingPicture, ModelPicture, Standing},
    slot::back_off,
};
use self::{
    load_times::LoadTimes,
    slot::{Instance, Slot, State, Waiter},
};

/// One import of a name: another import is another model.
pub type Import = (u64, u128);

/// A request, by a number of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// One life of a model in memory, from the beginning of its load until its memory is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub u64);

/// A device that models run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Which.
    pub kind: Kind,
    /// Bytes for weights and caches.
    pub memory: u64,
    /// The size classes that it serves.
    pub classes: Vec<SizeClass>,
}

impl Device {
    /// Whether a model may be there, if nothing else is.
    fn serves(&self, model: &Wanted) -> bool {
        self.takes(model) && self.memory >= model.bytes
    }

    /// Whether it runs models of this kind.
    fn takes(&self, model: &Wanted) -> bool {
        self.classes.contains(&model.class) && (self.kind == Kind::Cpu || !model.needs_cpu)
    }
}

/// The bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The most requests of one size class that wait for a model.
    pub queue: usize,
    /// The longest that a request waits for memory.
    pub wait: Duration,
    /// The longest that a request waits for a load that has begun.
    pub load: Duration,
    /// How long a model waits for memory before one that is busy must make room: that one begins nothing new, and goes
    /// when it is idle.
    pub turn: Duration,
    /// How long an idle model stays; `None`: until its memory is needed.
    pub idle: Option<Duration>,
}

/// A model that is wanted in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The model's name.
    pub id: Arc<str>,
    /// The import.
    pub import: Import,
    /// The size class.
    pub class: SizeClass,
    /// Bytes of weights and caches.
    pub bytes: u64,
    /// Whether it has a form for processors only.
    pub needs_cpu: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Load a model.
    Load {
        /// The load.
        instance: InstanceId,
        /// The model.
        model: Wanted,
        /// The device's place in the list of devices.
        device: usize,
    },
    /// Give a request to a loaded model's engine.
    Run {
        /// The request.
        job: JobId,
        /// The model.
        instance: InstanceId,
        /// Whether it waited for the model.
        has_waited: bool,
    },
    /// End an engine. Nothing runs on it.
    Unload(InstanceId),
    /// Answer a request that does not run.
    End(JobId, End),
}

/// Why a request does not run.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// The model is larger than any device of its class; none has any memory for the class where `most` is 0.
    NeverFits {
        /// Bytes that the model needs.
        needs: u64,
        /// Bytes of the largest device of its class.
        most: u64,
    },
    /// An operator took the model out of service.
    Drained,
    /// The model's loads failed; none is tried for so long.
    LeftAlone(Duration),
    /// Too many wait for models of this class.
    Full,
    /// No memory came free in time.
    NoRoom,
    /// The load takes too long.
    LoadingLong,
    /// The load failed.
    Failed(Failure),
    /// The model was imported anew while the request waited for it.
    ImportedAnew,
    /// Its client has left.
    Left,
}

/// Effects, each with the size class whose pool carries it out.
pub type Effects = Vec<(SizeClass, Effect)>;

/// Where a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Waiting(Arc<str>),
    Running(InstanceId),
}

/// The machine.
#[derive(Debug)]
pub struct Placement {
    devices: Vec<Device>,
    rules: Rules,
    models: BTreeMap<Arc<str>, Slot>,
    instances: BTreeMap<InstanceId, Instance>,
    jobs: BTreeMap<JobId, Place>,
    load_times: LoadTimes,
    begun: u64,
}

impl Placement {
    /// A machine with nothing loaded.
    pub fn new(devices: Vec<Device>, rules: Rules) -> Self {
        let (models, instances, jobs) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { devices, rules, models, instances, jobs, load_times: LoadTimes::default(), begun: 0 }
    }

    /// Whether a model fits a device that takes it while nothing else is there.
    ///
    /// # Errors
    ///
    /// [`NeverFits`](End::NeverFits).
    pub fn fits(&self, model: &Wanted) -> Result<(), End> {
        let takers = self.devices.iter().filter(|device| device.takes(model));
        let most = takers.map(|device| device.memory).max().unwrap_or(0);
        if model.bytes > most || most == 0 { Err(End::NeverFits { needs: model.bytes, most }) } else { Ok(()) }
    }

    /// Whether a model can run at all.
    ///
    /// # Errors
    ///
    /// [`NeverFits`](End::NeverFits) or [`Drained`](End::Drained).
    pub fn check(&self, model: &Wanted) -> Result<(), End> {
        self.fits(model)?;
        let is_drained = self.models.get(&model.id).is_some_and(|slot| slot.is_drained);
        if is_drained { Err(End::Drained) } else { Ok(()) }
    }

    /// Whether a model is known: it is in memory, waited for, pinned, or failed of late.
    pub fn knows(&self, id: &str) -> bool {
        self.models.contains_key(id)
    }

    /// Whether a life still has memory.
    pub fn has(&self, id: InstanceId) -> bool {
        self.instances.contains_key(&id)
    }

    /// Whether requests of a class wait or run.
    pub fn has_work(&self, class: SizeClass) -> bool {
        let runs = |instance: &Instance| instance.class == class && instance.is_ready() && instance.running > 0;
        self.waiting_of(class) > 0 || self.instances.values().any(runs)
    }

    /// A device.
    pub(super) fn device(&self, device: usize) -> Option<&Device> {
        self.devices.get(device)
    }

    /// A request for a model.
    pub fn request(&mut self, job: JobId, model: &Wanted, now: Duration, effects: &mut Effects) {
        if let Err(end) = self.try_request(job, model, now, effects) {
            effects.push((model.class, Effect::End(job, end)));
        }
        self.settle(now, effects);
    }

    fn try_request(&mut self, job: JobId, model: &Wanted, now: Duration, effects: &mut Effects) -> Result<(), End> {
        self.fits(model)?;
        self.know(model, now, effects);
        let waiting = self.waiting_of(model.class);
        let Some(slot) = self.models.get_mut(&model.id) else { return Ok(()) };
        if slot.is_drained {
            return Err(End::Drained);
        }
        if let Some(id) = slot.current
            && let Some(instance) = self.instances.get_mut(&id)
            && instance.takes_work()
        {
            instance.running += 1;
            instance.used_at = now;
            self.jobs.insert(job, Place::Running(id));
            effects.push((instance.class, Effect::Run { job, instance: id, has_waited: false }));
            return Ok(());
        }
        if slot.current.is_none()
            && let Some(wait) = slot.retry_at.and_then(|at| at.checked_sub(now)).filter(|wait| !wait.is_zero())
        {
            return Err(End::LeftAlone(wait));
        }
        if waiting >= self.rules.queue {
            return Err(End::Full);
        }
        slot.waiting.push_back(Waiter { job, since: now });
        self.jobs.insert(job, Place::Waiting(Arc::clone(&model.id)));
        Ok(())
    }

    /// Notes a model as it is now. One that was imported anew leaves, once what runs on it has ended.
    fn know(&mut self, model: &Wanted, now: Duration, effects: &mut Effects) {
        let slot = self.models.entry(Arc::clone(&model.id)).or_insert_with(|| Slot::new(model));
        if slot.model.import == model.import {
            return;
        }
        let class = std::mem::replace(&mut slot.model, model.clone()).class;
        (slot.failures, slot.retry_at, slot.failure) = (0, None, None);
        slot.asked_at = slot.is_pinned.then_some(now);
        let (waiting, current) = (std::mem::take(&mut slot.waiting), slot.current.take());
        if let Some(instance) = current.and_then(|id| self.instances.get_mut(&id)) {
            instance.retires = true;
        }
        // Who waits was made ready for the one before.
        self.end_all(class, waiting, &End::ImportedAnew, effects);
    }

    fn end_all(&mut self, class: SizeClass, waiting: VecDeque<Waiter>, end: &End, effects: &mut Effects) {
        for Waiter { job, .. } in waiting {
            self.jobs.remove(&job);
            effects.push((class, Effect::End(job, end.clone())));
        }
    }

    /// A request's client has left. One that runs is ended by its engine.
    pub fn left(&mut self, job: JobId, now: Duration, effects: &mut Effects) {
        if let Some(class) = self.forget_waiting(job) {
            effects.push((class, Effect::End(job, End::Left)));
        }
        self.settle(now, effects);
    }

    /// A request has ended, in whatever way. One that still waited is forgotten.
    pub fn ended(&mut self, job: JobId, now: Duration, effects: &mut Effects) {
        if let Some(class) = self.forget_waiting(job) {
            effects.push((class, Effect::End(job, End::Left)));
        } else if let Some(Place::Running(id)) = self.jobs.remove(&job)
            && let Some(instance) = self.instances.get_mut(&id)
        {
            instance.running = instance.running.saturating_sub(1);
            instance.used_at = now;
        }
        self.settle(now, effects);
    }

    /// Takes a request out of its line, where it waits in one. Returns the class of its model.
    fn forget_waiting(&mut self, job: JobId) -> Option<SizeClass> {
        let Place::Waiting(model) = self.jobs.get(&job)? else { return None };
        let slot = self.models.get_mut(model)?;
        slot.waiting.retain(|waiter| waiter.job != job);
        self.jobs.remove(&job);
        Some(slot.model.class)
    }

    /// A model is loaded.
    pub fn loaded(&mut self, id: InstanceId, now: Duration, effects: &mut Effects) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let State::Loading(began) = instance.state else {
            // Its pool has begun anew meanwhile: nobody waits for it.
            effects.push((instance.class, Effect::Unload(id)));
            return;
        };
        let took = now.saturating_sub(began);
        self.load_times.note(&instance.model, instance.bytes, took);
        (instance.state, instance.used_at) = (State::Ready(now), now);
        let model = Arc::clone(&instance.model);
        match self.models.get_mut(&model).filter(|slot| slot.current == Some(id)) {
            Some(slot) => slot.failure = None,
            None => instance.retires = true,
        }
        // Who waited for this load runs on it, also where it leaves afterwards.
        self.serve(&model, now, effects);
        if self.instances.get(&id).is_some_and(|instance| instance.retires)
            && let Some(slot) = self.models.get_mut(&model).filter(|slot| slot.current == Some(id))
        {
            slot.current = None;
        }
        self.settle(now, effects);
    }

    /// A load failed.
    pub fn load_failed(&mut self, id: InstanceId, failure: Failure, now: Duration, effects: &mut Effects) {
        if let Some(instance) = self.instances.get_mut(&id).filter(|instance| instance.is_loading()) {
            instance.state = State::Leaving;
            let (model, class) = (Arc::clone(&instance.model), instance.class);
            self.failed(id, &model, class, failure, now, effects);
        }
        self.settle(now, effects);
    }

    /// The life of a model ended by itself. Who waits for it is told why.
    fn failed(
        &mut self,
        id: InstanceId,
        model: &Arc<str>,
        class: SizeClass,
        failure: Failure,
        now: Duration,
        effects: &mut Effects,
    ) {
        let Some(slot) = self.models.get_mut(model).filter(|slot| slot.current == Some(id)) else { return };
        slot.current = None;
        slot.failed(failure.clone(), now);
        let waiting = std::mem::take(&mut slot.waiting);
        self.end_all(class, waiting, &End::Failed(failure), effects);
    }

    /// The memory of a model is free: its engine ended, or its load was given up. Where nobody asked for that, it is a
    /// failure, if `has_panicked`.
    pub fn freed(&mut self, id: InstanceId, has_panicked: bool, now: Duration, effects: &mut Effects) {
        if let Some(Instance { model, class, state, .. }) = self.instances.remove(&id) {
            match state {
                State::Loading(_) => {
                    let failure = Failure::Engine("the load of the model ended before it was done".to_owned());
                    self.failed(id, &model, class, failure, now, effects);
                }
                State::Ready(since) => {
                    if let Some(slot) = self.models.get_mut(&model).filter(|slot| slot.current == Some(id)) {
                        slot.ended(since, has_panicked, now);
                    }
                }
                State::Leaving => {}
            }
        }
        self.settle(now, effects);
    }

    /// A request was given to an engine that had ended. It asks again.
    pub fn lost(&mut self, job: JobId, id: InstanceId, now: Duration, effects: &mut Effects) {
        let Some(Place::Running(on)) = self.jobs.get(&job) else { return };
        if *on != id {
            return;
        }
        self.jobs.remove(&job);
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let (model, class, since) = (Arc::clone(&instance.model), instance.class, instance.ready_since());
        instance.state = State::Leaving;
        let Some(slot) = self.models.get_mut(&model) else {
            effects.push((class, Effect::End(job, End::ImportedAnew)));
            return;
        };
        if let Some(since) = since
            && slot.current == Some(id)
        {
            slot.ended(since, true, now);
        }
        let model = slot.model.clone();
        self.request(job, &model, now, effects);
    }

    /// The pool of a class begins a new life: its engines end, and the requests that waited are gone.
    pub fn pool_began(&mut self, class: SizeClass, now: Duration, effects: &mut Effects) {
        for slot in self.models.values_mut().filter(|slot| slot.model.class == class) {
            for waiter in std::mem::take(&mut slot.waiting) {
                self.jobs.remove(&waiter.job);
            }
            if slot.current.take().is_some() && slot.is_pinned {
                slot.asked_at = Some(now);
            }
        }
        for instance in self.instances.values_mut().filter(|instance| instance.class == class) {
            instance.state = State::Leaving;
        }
        self.settle(now, effects);
    }

    /// What the time alone brings: who waited too long is answered, what was idle too long goes, what failed is tried
    /// again. To be called a few times a second.
    pub fn tick(&mut self, now: Duration, effects: &mut Effects) {
        for slot in self.models.values_mut() {
            let load = slot.current.and_then(|id| self.instances.get(&id)).and_then(Instance::loading_since);
            let class = slot.model.class;
            slot.waiting.retain(|waiter| {
                let (until, end) = match load {
                    Some(began) => (began + self.rules.load, End::LoadingLong),
                    None => (waiter.since + self.rules.wait, End::NoRoom),
                };
                if now >= until {
                    self.jobs.remove(&waiter.job);
                    effects.push((class, Effect::End(waiter.job, end)));
                }
                now < until
            });
        }
        if let Some(idle) = self.rules.idle {
            let ids: Vec<InstanceId> = self.instances.keys().copied().collect();
            for id in ids {
                let is_over = |instance: &Instance| now.saturating_sub(instance.used_at) >= idle;
                if self.is_evictable(id) && self.instances.get(&id).is_some_and(is_over) {
                    self.take_out(id, effects);
                }
            }
        }
        self.settle(now, effects);
    }

    /// Goes on with what waits: engines that are to end and have, claims on memory, requests of loaded models.
    fn settle(&mut self, now: Duration, effects: &mut Effects) {
        let idle = |instance: &Instance| instance.retires && instance.is_ready() && instance.running == 0;
        let over: Vec<InstanceId> =
            self.instances.iter().filter(|(_, instance)| idle(instance)).map(|(id, _)| *id).collect();
        for id in over {
            self.take_out(id, effects);
        }
        self.place(now, effects);
        let served: Vec<Arc<str>> =
            self.models.iter().filter(|(_, slot)| !slot.waiting.is_empty()).map(|(id, _)| Arc::clone(id)).collect();
        for model in served {
            self.serve(&model, now, effects);
        }
        self.models.retain(|_, slot| !slot.is_forgettable(now));
    }

    /// Runs the requests that wait for a model that is loaded.
    fn serve(&mut self, model: &Arc<str>, now: Duration, effects: &mut Effects) {
        let Some(slot) = self.models.get_mut(model) else { return };
        let Some(id) = slot.current else { return };
        let Some(instance) = self.instances.get_mut(&id).filter(|it| it.is_ready() && !it.yields) else { return };
        for Waiter { job, .. } in std::mem::take(&mut slot.waiting) {
            instance.running += 1;
            instance.used_at = now;
            self.jobs.insert(job, Place::Running(id));
            effects.push((instance.class, Effect::Run { job, instance: id, has_waited: true }));
        }
    }

    /// Ends an idle engine.
    fn take_out(&mut self, id: InstanceId, effects: &mut Effects) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        instance.state = State::Leaving;
        effects.push((instance.class, Effect::Unload(id)));
        if let Some(slot) = self.models.get_mut(&instance.model).filter(|slot| slot.current == Some(id)) {
            // It went as it was asked to: it was well.
            (slot.current, slot.failures, slot.retry_at) = (None, 0, None);
        }
    }

    fn waiting_of(&self, class: SizeClass) -> usize {
        let of_class = self.models.values().filter(|slot| slot.model.class == class);
        of_class.map(|slot| slot.waiting.len()).sum()
    }
}

#[cfg(test)]
mod tests;
