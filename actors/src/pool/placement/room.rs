//! How room is found: claims in the order in which they came, each on the first of its devices that has room, can make it,
//! or must.

use std::{sync::Arc, time::Duration};

use super::{
    Effect, Effects, InstanceId, Placement,
    slot::{Instance, State},
};

impl Placement {
    /// Begins the loads for which there is room, and makes room for others.
    pub(super) fn place(&mut self, now: Duration, effects: &mut Effects) {
        self.instances.values_mut().for_each(|instance| instance.yields = false);
        let wants = self.models.iter().filter_map(|(id, slot)| Some((slot.wants_since(now)?, Arc::clone(id))));
        let mut claims: Vec<(Duration, Arc<str>)> = wants.collect();
        claims.sort();
        // Bytes of each device that earlier claims wait for.
        let mut promised = vec![0; self.devices.len()];
        for (since, model) in claims {
            let is_due = now.saturating_sub(since) >= self.rules.turn;
            self.claim(&model, is_due, now, &mut promised, effects);
        }
    }

    fn claim(
        &mut self,
        model: &Arc<str>,
        is_due: bool,
        now: Duration,
        promised: &mut [u64],
        effects: &mut Effects,
    ) -> Option<()> {
        let wanted = &self.models.get(model)?.model;
        let bytes = wanted.bytes;
        let fits = |(_, device): &(usize, &super::Device)| device.serves(wanted);
        let devices: Vec<usize> = self.devices.iter().enumerate().filter(fits).map(|(place, _)| place).collect();
        let has_room = |device: usize| self.free(device) >= promised[device].saturating_add(bytes);
        if let Some(device) = devices.iter().copied().find(|device| has_room(*device)) {
            self.begin(model, device, now, effects);
            return None;
        }
        for device in &devices {
            if let Some(evicted) = self.room_by(*device, promised[*device] + bytes, Self::is_evictable) {
                for id in evicted {
                    self.take_out(id, effects);
                }
                promised[*device] += bytes;
                return None;
            }
        }
        if is_due {
            for device in &devices {
                if let Some(chosen) = self.room_by(*device, promised[*device] + bytes, Self::may_yield) {
                    for id in chosen {
                        if self.is_evictable(id) {
                            self.take_out(id, effects);
                        } else if let Some(instance) = self.instances.get_mut(&id) {
                            instance.yields = true;
                        }
                    }
                    promised[*device] += bytes;
                    return None;
                }
            }
        }
        None
    }

    /// Bytes of a device that nothing has.
    pub(super) fn free(&self, device: usize) -> u64 {
        let memory = self.devices.get(device).map_or(0, |device| device.memory);
        let on_it = self.instances.values().filter(|instance| instance.device == device);
        memory.saturating_sub(on_it.map(|instance| instance.bytes).sum())
    }

    /// The least recently used of those that may go, whose going makes so many bytes free on a device, beside those that
    /// leave already; `None` where it does not.
    fn room_by(&self, device: usize, bytes: u64, may: impl Fn(&Self, InstanceId) -> bool) -> Option<Vec<InstanceId>> {
        let leaves = |instance: &Instance| instance.state == State::Leaving;
        let on_it = || self.instances.iter().filter(|(_, instance)| instance.device == device);
        let leaving = on_it().filter(|(_, instance)| leaves(instance)).map(|(_, instance)| instance.bytes);
        let mut room = self.free(device) + leaving.sum::<u64>();
        let mut candidates: Vec<_> = on_it().filter(|(id, instance)| !leaves(instance) && may(self, **id)).collect();
        candidates.sort_by_key(|(id, instance)| (instance.used_at, **id));
        let mut candidates = candidates.into_iter();
        let mut chosen = Vec::new();
        while room < bytes {
            let (id, instance) = candidates.next()?;
            room += instance.bytes;
            chosen.push(*id);
        }
        Some(chosen)
    }

    /// Whether a model may be taken out: it is loaded, idle, and not pinned.
    pub(super) fn is_evictable(&self, id: InstanceId) -> bool {
        self.may_yield(id) && self.instances.get(&id).is_some_and(|instance| instance.running == 0)
    }

    /// Whether a model may have to make room: it is loaded and not pinned.
    fn may_yield(&self, id: InstanceId) -> bool {
        self.instances.get(&id).is_some_and(|instance| {
            let slot = self.models.get(&instance.model).filter(|slot| slot.current == Some(id));
            instance.is_ready() && !slot.is_some_and(|slot| slot.is_pinned)
        })
    }

    fn begin(&mut self, model: &Arc<str>, device: usize, now: Duration, effects: &mut Effects) {
        let Some(slot) = self.models.get_mut(model) else { return };
        self.begun += 1;
        let id = InstanceId(self.begun);
        (slot.current, slot.asked_at) = (Some(id), None);
        let wanted = slot.model.clone();
        self.instances.insert(
            id,
            Instance {
                model: Arc::clone(model),
                import: wanted.import,
                class: wanted.class,
                device,
                bytes: wanted.bytes,
                state: State::Loading(now),
                running: 0,
                used_at: now,
                retires: false,
                yields: false,
            },
        );
        effects.push((wanted.class, Effect::Load { instance: id, model: wanted, device }));
    }
}
