//! What operators do to models: load, unload, reload, pin, unpin, drain. No request fails of it: what runs is finished.

use std::{sync::Arc, time::Duration};

use super::{
    Effects, End, Placement, Wanted,
    slot::{Instance, Slot, State},
};

/// What became of an operator's act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acted {
    /// The model is loaded, or waits for memory.
    Loading,
    /// It was loaded already.
    Loaded,
    /// It is taken out now.
    Unloading,
    /// It is taken out once so many requests have ended.
    Finishing(usize),
    /// It was not loaded.
    Cold,
}

/// Why an operator's act is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotActed {
    /// No device of its class has so much memory.
    NeverFits {
        /// Bytes that the model needs.
        needs: u64,
        /// Bytes of the largest device of its class.
        most: u64,
    },
    /// The model is pinned.
    Pinned,
    /// Beside the models that are pinned there is no room for it.
    NoRoomBesidePinned,
    /// The model is not known here.
    Unknown,
}

impl Placement {
    /// Loads a model, and takes it back into service where it was drained.
    ///
    /// # Errors
    ///
    /// [`NeverFits`](NotActed::NeverFits).
    pub fn load(&mut self, model: &Wanted, now: Duration, effects: &mut Effects) -> Result<Acted, NotActed> {
        if let Err(End::NeverFits { needs, most }) = self.fits(model) {
            return Err(NotActed::NeverFits { needs, most });
        }
        self.know(model, now, effects);
        let Some(slot) = self.models.get_mut(&model.id) else { return Err(NotActed::Unknown) };
        (slot.is_drained, slot.retry_at) = (false, None);
        // One that was to go, and is not gone, stays.
        let stays = |instance: &Instance| {
            let is_own = instance.model == model.id && instance.import == model.import;
            is_own && instance.retires && instance.state != State::Leaving
        };
        let leaving = self.instances.iter().rfind(|(_, instance)| stays(instance)).map(|(id, _)| *id);
        slot.current = slot.current.or(leaving);
        let current = slot.current.and_then(|id| self.instances.get_mut(&id));
        let acted = if let Some(instance) = current {
            instance.retires = false;
            if instance.is_ready() { Acted::Loaded } else { Acted::Loading }
        } else {
            slot.asked_at = slot.asked_at.or(Some(now));
            Acted::Loading
        };
        self.settle(now, effects);
        Ok(acted)
    }

    /// Takes a model out once what runs on it has ended. The next request loads it again.
    ///
    /// # Errors
    ///
    /// [`Pinned`](NotActed::Pinned), or [`Unknown`](NotActed::Unknown) where it was never asked for.
    pub fn unload(&mut self, id: &str, now: Duration, effects: &mut Effects) -> Result<Acted, NotActed> {
        let slot = self.models.get_mut(id).ok_or(NotActed::Unknown)?;
        if slot.is_pinned {
            return Err(NotActed::Pinned);
        }
        slot.asked_at = None;
        let Some(current) = slot.current else {
            let acted = self.leaves(id);
            self.settle(now, effects);
            return Ok(acted);
        };
        let Some(instance) = self.instances.get_mut(&current) else { return Ok(Acted::Cold) };
        instance.retires = true;
        let runs = if instance.is_loading() {
            // Who waits for the load runs on it.
            slot.waiting.len()
        } else {
            slot.current = None;
            instance.running
        };
        self.settle(now, effects);
        Ok(if runs == 0 { Acted::Unloading } else { Acted::Finishing(runs) })
    }

    /// Begins another life of a model that is in memory, also of a pinned one: what runs is finished on the one there is, what
    /// comes waits for the other. Where there is no room for both, it waits for the end of what runs, too.
    ///
    /// # Errors
    ///
    /// [`Unknown`](NotActed::Unknown) where it was never asked for.
    pub fn reload(&mut self, id: &str, now: Duration, effects: &mut Effects) -> Result<Acted, NotActed> {
        let slot = self.models.get_mut(id).ok_or(NotActed::Unknown)?;
        let current = slot.current.and_then(|id| self.instances.get_mut(&id));
        let Some(instance) = current else { return Ok(self.leaves(id)) };
        if instance.is_loading() {
            return Ok(Acted::Loading);
        }
        instance.retires = true;
        let runs = instance.running;
        (slot.current, slot.asked_at) = (None, Some(now));
        self.settle(now, effects);
        Ok(if runs == 0 { Acted::Loading } else { Acted::Finishing(runs) })
    }

    /// Takes a model out of service: what runs is finished, what waits and what comes is refused, until it is loaded again
    /// by an operator.
    ///
    /// # Errors
    ///
    /// [`Pinned`](NotActed::Pinned).
    pub fn drain(&mut self, model: &Wanted, now: Duration, effects: &mut Effects) -> Result<Acted, NotActed> {
        self.know(model, now, effects);
        let Some(slot) = self.models.get_mut(&model.id) else { return Err(NotActed::Unknown) };
        if slot.is_pinned {
            return Err(NotActed::Pinned);
        }
        (slot.is_drained, slot.asked_at) = (true, None);
        let class = slot.model.class;
        let (waiting, current) = (std::mem::take(&mut slot.waiting), slot.current.take());
        self.end_all(class, waiting, &End::Drained, effects);
        if let Some(instance) = current.and_then(|id| self.instances.get_mut(&id)) {
            instance.retires = true;
        }
        self.settle(now, effects);
        Ok(self.leaves(&model.id))
    }

    /// What of a model without a current life still leaves.
    fn leaves(&self, id: &str) -> Acted {
        let of_model = || self.instances.values().filter(|instance| &*instance.model == id);
        let running = of_model().filter(|instance| instance.state != State::Leaving).map(|instance| instance.running);
        match (running.sum(), of_model().next()) {
            (0, None) => Acted::Cold,
            (0, Some(_)) => Acted::Unloading,
            (runs, _) => Acted::Finishing(runs),
        }
    }

    /// Loads a model that is never taken out for another or for idleness.
    ///
    /// # Errors
    ///
    /// [`NeverFits`](NotActed::NeverFits) or [`NoRoomBesidePinned`](NotActed::NoRoomBesidePinned).
    pub fn pin(&mut self, model: &Wanted, now: Duration, effects: &mut Effects) -> Result<Acted, NotActed> {
        if let Err(End::NeverFits { needs, most }) = self.fits(model) {
            return Err(NotActed::NeverFits { needs, most });
        }
        // One that was imported anew is not where the one before is.
        self.know(model, now, effects);
        if !self.fits_beside_pinned(model) {
            self.settle(now, effects);
            return Err(NotActed::NoRoomBesidePinned);
        }
        self.models.entry(Arc::clone(&model.id)).or_insert_with(|| Slot::new(model)).is_pinned = true;
        self.load(model, now, effects)
    }

    /// Lets a model be taken out again. Returns whether it was pinned.
    pub fn unpin(&mut self, id: &str, now: Duration, effects: &mut Effects) -> bool {
        let slot = self.models.get_mut(id);
        let was = slot.is_some_and(|slot| std::mem::replace(&mut slot.is_pinned, false));
        self.settle(now, effects);
        was
    }

    /// Whether all pinned models and one more fit the devices: those that are in memory where they are, the others, the
    /// largest first, each on the first device that has room.
    fn fits_beside_pinned(&self, model: &Wanted) -> bool {
        let mut rooms: Vec<u64> = self.devices.iter().map(|device| device.memory).collect();
        let pinned = self.models.iter().filter(|(id, slot)| slot.is_pinned && **id != model.id);
        let mut homeless: Vec<&Wanted> = Vec::new();
        for (_, slot) in pinned {
            match slot.current.and_then(|id| self.instances.get(&id)) {
                Some(instance) => rooms[instance.device] = rooms[instance.device].saturating_sub(instance.bytes),
                None => homeless.push(&slot.model),
            }
        }
        let current = self.models.get(&model.id).and_then(|slot| self.instances.get(&slot.current?));
        match current {
            Some(instance) => rooms[instance.device] = rooms[instance.device].saturating_sub(instance.bytes),
            None => homeless.push(model),
        }
        homeless.sort_by_key(|wanted| std::cmp::Reverse(wanted.bytes));
        homeless.into_iter().all(|wanted| {
            let mut places = self.devices.iter().zip(&mut rooms);
            let place = places.find(|(device, room)| device.serves(wanted) && **room >= wanted.bytes);
            place.map(|(_, room)| *room -= wanted.bytes).is_some()
        })
    }
}
