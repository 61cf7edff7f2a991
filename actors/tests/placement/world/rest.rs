//! What holds after each step of a story, and at its end.

use std::{sync::Arc, time::Duration};

use actors::pool::placement::{Device, Kind, ModelPicture};

use super::{Mutant, STEP_MS, World, ms};
use crate::check::{Asked, Checked, Life, LifeState, check, needs_cpu};

impl World {
    /// What holds after each step.
    pub(super) fn hold(&self) -> Checked {
        let longest = self.rules.wait + self.rules.load + ms(STEP_MS) * 2;
        let late = self.truth.asked.iter().find(|(_, asked)| asked.on.is_none() && self.now > asked.since + longest);
        check(late.is_none(), || format!("{late:?} is not answered"))?;
        for (place, device) in self.placement.devices().iter().enumerate() {
            let used = self.truth.used(place);
            check(device.used == used, || {
                format!("{} has {used} bytes, and is said to have {}", device.name, device.used)
            })?;
        }
        let waiting: usize = self.placement.pictures(self.now).iter().map(|model| model.waiting).sum();
        let wait = self.truth.asked.values().filter(|asked| asked.on.is_none()).count();
        check(waiting == wait, || format!("{wait} requests wait, and {waiting} are known to"))?;
        self.goes_on()
    }

    /// Where one model alone is waited for and there is room for it, it loads.
    fn goes_on(&self) -> Checked {
        let mut waited: Vec<&Arc<str>> =
            self.truth.asked.values().filter(|asked| asked.on.is_none()).map(|asked| &asked.model).collect();
        waited.dedup();
        let [model] = waited[..] else { return Ok(()) };
        let Some(files) = self.files.iter().find(|files| files.id == *model) else { return Ok(()) };
        let lives = |life: &Life| life.model == *model && !matches!(life.state, LifeState::Ending(_));
        let is_old = |asked: &Asked| asked.on.is_none() && asked.import != files.import;
        if self.truth.lives.values().any(lives) || self.truth.asked.values().any(is_old) {
            return Ok(());
        }
        // An operator's load may come first, and one whose engine panicked again is left alone for a while.
        let claims = |it: &ModelPicture| {
            let waits = it.loading.is_some_and(|load| load.elapsed.is_none());
            if it.id == *model { it.retry_in.is_some() } else { waits }
        };
        if self.placement.pictures(self.now).iter().any(claims) {
            return Ok(());
        }
        let has_room = |(place, device): (usize, &Device)| {
            device.classes.contains(&files.class)
                && (device.kind == Kind::Cpu || !needs_cpu(model))
                && device.memory - self.truth.used(place) >= files.bytes
        };
        let room = self.devices.iter().enumerate().find(|device| has_room(*device));
        check(room.is_none(), || format!("{model} waits, and there is room for it on {room:?}"))
    }

    /// No more requests come and what runs ends: then all is answered, and nothing is loaded without a reason.
    pub(super) fn rest(&mut self) -> Checked {
        self.tell("rest");
        for files in &mut self.files {
            files.fails = 0;
        }
        let longest = self.rules.wait + self.rules.load + Duration::from_mins(10);
        let until = self.now + longest;
        while self.now < until {
            self.now += ms(STEP_MS);
            self.pass_time()?;
            while let Some(job) = self.some_job(true) {
                if self.is(Mutant::EndedEarly) {
                    return Err("a request passes for ended".to_owned());
                }
                let on = self.truth.asked.remove(&job).and_then(|asked| asked.on);
                let now = self.now;
                if let Some(life) = on.and_then(|id| self.truth.lives.get_mut(&id)) {
                    life.running.retain(|other| *other != job);
                    life.used_at = now;
                }
                self.command(|placement, now, effects| placement.ended(job, now, effects))?;
            }
            self.hold()?;
        }
        check(self.truth.asked.is_empty(), || format!("{:?} have no answer", self.truth.asked))?;
        let loads = self.stats.loads;
        // One that was imported anew may be too large now.
        let fits = |id: &Arc<str>| {
            let place = self.files.iter().position(|files| files.id == *id);
            place.is_some_and(|place| self.placement.fits(&self.wanted(place)).is_ok())
        };
        let pinned_out = |id: &&Arc<str>| fits(id) && !self.truth.lives.values().any(|life| life.model == **id);
        let missing: Vec<_> = self.truth.pinned.iter().filter(pinned_out).collect();
        check(missing.is_empty(), || format!("{missing:?} are pinned, and not loaded"))?;
        for _ in 0..200 {
            self.now += Duration::from_secs(5);
            self.pass_time()?;
        }
        check(self.stats.loads <= loads + 1, || "models are loaded for nobody".to_owned())
    }
}
