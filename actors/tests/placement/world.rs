//! One story: engines, requests and operators, as the placement decides.

mod rest;

use std::{sync::Arc, time::Duration};

use actors::pool::placement::{Device, Effect, Effects, End, InstanceId, JobId, Kind, Placement, Rules, Wanted};
use billing::class::SizeClass;
use wire::inference::Failure;

use crate::{
    check::{Asked, Checked, Life, LifeState, Stats, Truth, check, needs_cpu},
    random::Random,
};

/// Steps while requests come.
const STEPS: usize = 120;
/// The longest step.
const STEP_MS: i64 = 2_000;
/// A fault that the story must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A request passes for ended while it runs.
    EndedEarly,
    /// Memory passes for free while the engine still ends.
    FreedEarly,
    /// A failed load is not told.
    FailureUnheard,
    /// The time is not told.
    NoTicks,
    /// A pin is not told.
    PinUnheard,
    /// A request is given to its engine twice.
    RunTwice,
    /// An end is not carried out.
    EndLost,
    /// A model says that it needs half of what it needs.
    SizeUnderstated,
    /// A client that leaves while it waits is not told.
    LeaveUnheard,
    /// A model that was imported anew passes for the one before.
    ImportUnheard,
}

impl Mutant {
    pub(crate) const ALL: [Self; 10] = [
        Self::EndedEarly,
        Self::FreedEarly,
        Self::FailureUnheard,
        Self::NoTicks,
        Self::PinUnheard,
        Self::RunTwice,
        Self::EndLost,
        Self::SizeUnderstated,
        Self::LeaveUnheard,
        Self::ImportUnheard,
    ];
}

impl Stats {
    fn pairs(&mut self) -> [&mut u64; 17] {
        [
            &mut self.requests,
            &mut self.ran,
            &mut self.waited,
            &mut self.loads,
            &mut self.failed,
            &mut self.panicked,
            &mut self.evicted,
            &mut self.left,
            &mut self.no_room,
            &mut self.loading_long,
            &mut self.left_alone,
            &mut self.never_fits,
            &mut self.full,
            &mut self.drained,
            &mut self.imported_anew,
            &mut self.lost,
            &mut self.pools_died,
        ]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        let mut other = *other;
        for (sum, more) in self.pairs().into_iter().zip(other.pairs()) {
            *sum += *more;
        }
    }

    /// Asserts that in so many stories everything has happened.
    pub(crate) fn assert_told(&self, stories: u64) {
        let mut own = *self;
        assert!(own.ran > 5 * stories && own.loads > stories && own.evicted > stories, "{self:?}");
        assert!(own.pairs().into_iter().all(|count| *count * 50 >= stories), "{self:?}");
    }
}

/// A model's files.
#[derive(Debug)]
struct Files {
    id: Arc<str>,
    class: SizeClass,
    bytes: u64,
    import: u64,
    /// In how many loads of a hundred it fails.
    fails: i64,
    /// The longest of its loads.
    load_ms: i64,
}

pub(crate) struct World {
    random: Random,
    mutant: Option<Mutant>,
    rules: Rules,
    devices: Vec<Device>,
    placement: Placement,
    truth: Truth,
    files: Vec<Files>,
    now: Duration,
    asked: u64,
    /// The class whose pool is dead just now: what it is told is lost.
    dead: Option<SizeClass>,
    story: Vec<String>,
    pub(crate) stats: Stats,
}

fn ms(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

impl World {
    pub(crate) fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let mut random = Random::new(seed);
        let (small, large) = ([SizeClass::B7], [SizeClass::B7, SizeClass::B15]);
        let device = |kind, memory: i64, classes: &[SizeClass]| Device {
            kind,
            memory: memory.unsigned_abs(),
            classes: classes.to_vec(),
        };
        let mut devices = vec![device(Kind::Cpu, random.between(8, 24), &large)];
        if random.percent(40) {
            devices.push(device(Kind::Cuda(0), random.between(4, 16), &small));
        }
        let rules = Rules {
            queue: if random.percent(20) { 3 } else { 50 },
            wait: Duration::from_secs(random.between(10, 60).unsigned_abs()),
            load: Duration::from_secs(random.between(5, 40).unsigned_abs()),
            turn: Duration::from_secs(random.between(2, 12).unsigned_abs()),
            idle: random.percent(30).then(|| Duration::from_secs(20)),
        };
        let models = random.between(2, 6);
        let files = (0..models).map(|place| {
            let most = if random.percent(15) { 40 } else { 12 };
            Files {
                id: format!("m{place}").into(),
                class: if random.percent(70) { SizeClass::B7 } else { SizeClass::B15 },
                bytes: random.between(2, most).unsigned_abs(),
                import: 1,
                fails: if random.percent(25) { random.between(20, 100) } else { 0 },
                load_ms: if random.percent(10) { 120_000 } else { random.between(1_000, 12_000) },
            }
        });
        let files = files.collect();
        let placement = Placement::new(devices.clone(), rules);
        Self {
            random,
            mutant,
            rules,
            devices,
            placement,
            truth: Truth::default(),
            files,
            now: Duration::from_secs(100),
            asked: 0,
            dead: None,
            story: Vec::new(),
            stats: Stats::default(),
        }
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn tell(&mut self, what: &str) {
        self.story.push(format!("{:>7.2} {what}", self.now.as_secs_f64()));
    }

    /// The last events.
    pub(crate) fn story(&self, shown: usize) -> String {
        self.story[self.story.len().saturating_sub(shown)..].join("\n")
    }

    pub(crate) fn run(&mut self) -> Checked {
        for _ in 0..STEPS {
            self.now += ms(self.random.below(STEP_MS));
            self.act()?;
            self.pass_time()?;
            self.hold()?;
        }
        self.rest()
    }

    /// Gives a command, and carries its effects out.
    fn command(&mut self, command: impl FnOnce(&mut Placement, Duration, &mut Effects)) -> Checked {
        let mut effects = Effects::new();
        command(&mut self.placement, self.now, &mut effects);
        for (_, effect) in effects {
            self.carry_out(effect)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect) -> Checked {
        self.tell(&format!("{effect:?}"));
        match effect {
            Effect::Load { instance, model, device } => self.load(instance, &model, device),
            Effect::Run { job, instance, has_waited } => {
                self.stats.waited += u64::from(has_waited);
                self.give(job, instance)?;
                if self.is(Mutant::RunTwice) { self.give(job, instance) } else { Ok(()) }
            }
            Effect::Unload(id) => self.unload(id),
            Effect::End(..) if self.is(Mutant::EndLost) && self.random.percent(30) => Ok(()),
            Effect::End(job, end) => self.end(job, &end),
        }
    }

    fn load(&mut self, id: InstanceId, model: &Wanted, device: usize) -> Checked {
        self.stats.loads += 1;
        let place = self.files.iter().position(|files| files.id == model.id);
        let Some(files) = place.map(|place| &self.files[place]) else { return Err("nobody's model".to_owned()) };
        let (load_ms, is_to_go) = (files.load_ms, model.import.0 != files.import);
        let bytes = if self.is(Mutant::SizeUnderstated) { model.bytes * 2 } else { model.bytes };
        self.truth.may_load(&self.devices, device, model, bytes)?;
        check(!self.truth.drained.contains(&model.id), || format!("{} is loaded and drained", model.id))?;
        let until = self.now + ms(self.random.between(100, load_ms));
        let is_lost = self.dead == Some(model.class);
        let life = Life {
            model: Arc::clone(&model.id),
            import: model.import.0,
            device,
            bytes,
            state: if is_lost { LifeState::Ending(self.now) } else { LifeState::Loading(until) },
            running: Vec::new(),
            used_at: self.now,
            is_to_go,
            has_died: is_lost,
        };
        self.truth.lives.insert(id, life);
        Ok(())
    }

    fn give(&mut self, job: JobId, id: InstanceId) -> Checked {
        // An engine that ended a moment ago, which the placement does not know yet.
        let has_died = |life: &Life| life.has_died;
        if self.random.percent(1) && self.truth.may_run(job, id).is_ok() {
            self.tell(&format!("{id:?} had ended"));
            self.die(id)?;
        }
        if self.truth.lives.get(&id).is_some_and(has_died) {
            self.stats.lost += 1;
            if let Some(asked) = self.truth.asked.get_mut(&job) {
                asked.since = self.now;
            }
            return self.command(|placement, now, effects| placement.lost(job, id, now, effects));
        }
        self.truth.may_run(job, id)?;
        self.stats.ran += 1;
        let now = self.now;
        if let (Some(asked), Some(life)) = (self.truth.asked.get_mut(&job), self.truth.lives.get_mut(&id)) {
            asked.on = Some(id);
            life.running.push(job);
            life.used_at = now;
        }
        Ok(())
    }

    /// An engine ends by itself, with all that runs on it. Its memory is free a moment later.
    fn die(&mut self, id: InstanceId) -> Checked {
        let until = self.now + ms(self.random.between(1, 500));
        let Some(life) = self.truth.lives.get_mut(&id) else { return Ok(()) };
        (life.state, life.has_died) = (LifeState::Ending(until), true);
        for job in std::mem::take(&mut life.running) {
            self.truth.asked.remove(&job);
            self.command(|placement, now, effects| placement.ended(job, now, effects))?;
        }
        Ok(())
    }

    fn unload(&mut self, id: InstanceId) -> Checked {
        if self.truth.lives.get(&id).is_some_and(|life| life.has_died) {
            return Ok(());
        }
        let is_over = |life: &Life| self.rules.idle.is_some_and(|idle| self.now >= life.used_at + idle);
        let is_idle_over = self.truth.lives.get(&id).is_some_and(is_over);
        self.truth.may_unload(id, is_idle_over)?;
        let until = self.now + ms(self.random.between(0, 3_000));
        if let Some(life) = self.truth.lives.get_mut(&id) {
            self.stats.evicted += u64::from(!life.is_to_go && !is_idle_over);
            life.state = LifeState::Ending(until);
        }
        if self.is(Mutant::FreedEarly) {
            return self.command(|placement, now, effects| placement.freed(id, false, now, effects));
        }
        Ok(())
    }

    fn end(&mut self, job: JobId, end: &End) -> Checked {
        let Some(asked) = self.truth.asked.remove(&job) else {
            return check(*end == End::Left, || format!("{job:?} is answered again: {end:?}"));
        };
        check(asked.on.is_none(), || format!("{job:?} runs and is answered {end:?}"))?;
        let waited = self.now.saturating_sub(asked.since);
        let count = match end {
            End::NoRoom => {
                check(waited >= self.rules.wait, || format!("{job:?} is given up after {waited:?}"))?;
                &mut self.stats.no_room
            }
            End::LoadingLong => &mut self.stats.loading_long,
            End::NeverFits { needs, most } => {
                check(needs > most, || format!("{needs} bytes never fit {most}"))?;
                &mut self.stats.never_fits
            }
            End::LeftAlone(_) => &mut self.stats.left_alone,
            End::Full => &mut self.stats.full,
            End::Drained => &mut self.stats.drained,
            End::Failed(_) => &mut self.stats.failed,
            End::ImportedAnew => &mut self.stats.imported_anew,
            End::Left => return Err(format!("{job:?} has not left")),
        };
        *count += 1;
        Ok(())
    }

    fn wanted(&self, place: usize) -> Wanted {
        let Files { id, class, bytes, import, .. } = &self.files[place];
        let bytes = if self.is(Mutant::SizeUnderstated) { bytes / 2 } else { *bytes };
        let import = if self.is(Mutant::ImportUnheard) { 1 } else { *import };
        Wanted { id: Arc::clone(id), import: (import, 0), class: *class, bytes, needs_cpu: needs_cpu(id) }
    }

    fn some_model(&mut self) -> usize {
        usize::try_from(self.random.below(i64::try_from(self.files.len()).unwrap_or(1))).unwrap_or(0)
    }

    /// Something happens.
    fn act(&mut self) -> Checked {
        match self.random.below(100) {
            0..45 => {
                let model = self.some_model();
                let most = if self.random.percent(10) { 8 } else { 2 };
                for _ in 0..self.random.between(1, most) {
                    self.request(model)?;
                }
                Ok(())
            }
            45..55 => self.leave(),
            55..78 => self.finish(),
            78..81 => self.panic(),
            81..84 => self.import_anew(),
            84 => self.pool_dies(),
            85..97 => self.operate(),
            _ => Ok(()),
        }
    }

    fn request(&mut self, model: usize) -> Checked {
        self.stats.requests += 1;
        self.asked += 1;
        let (job, wanted) = (JobId(self.asked), self.wanted(model));
        let asked =
            Asked { model: Arc::clone(&wanted.id), import: self.files[model].import, since: self.now, on: None };
        self.truth.asked.insert(job, asked);
        self.tell(&format!("{job:?} for {} of {} bytes", wanted.id, wanted.bytes));
        self.command(|placement, now, effects| placement.request(job, &wanted, now, effects))
    }

    fn some_job(&mut self, runs: bool) -> Option<JobId> {
        let jobs: Vec<JobId> =
            self.truth.asked.iter().filter(|(_, asked)| asked.on.is_some() == runs).map(|(job, _)| *job).collect();
        self.random.pick(&jobs)
    }

    /// A client that waits leaves: it says so, or is gone.
    fn leave(&mut self) -> Checked {
        let Some(job) = self.some_job(false) else { return Ok(()) };
        self.stats.left += 1;
        self.tell(&format!("{job:?} leaves"));
        self.truth.asked.remove(&job);
        if self.is(Mutant::LeaveUnheard) {
            return Ok(());
        }
        if self.random.percent(50) {
            self.command(|placement, now, effects| placement.left(job, now, effects))?;
        }
        self.command(|placement, now, effects| placement.ended(job, now, effects))
    }

    /// A request that runs ends.
    fn finish(&mut self) -> Checked {
        let Some(job) = self.some_job(true) else { return Ok(()) };
        self.tell(&format!("{job:?} ends"));
        if !self.is(Mutant::EndedEarly) {
            let now = self.now;
            let on = self.truth.asked.remove(&job).and_then(|asked| asked.on);
            if let Some(life) = on.and_then(|id| self.truth.lives.get_mut(&id)) {
                life.running.retain(|other| *other != job);
                life.used_at = now;
            }
        }
        self.command(|placement, now, effects| placement.ended(job, now, effects))
    }

    fn panic(&mut self) -> Checked {
        let ready: Vec<InstanceId> =
            self.truth.lives.iter().filter(|(_, life)| life.state == LifeState::Ready).map(|(id, _)| *id).collect();
        let Some(id) = self.random.pick(&ready) else { return Ok(()) };
        self.stats.panicked += 1;
        self.tell(&format!("{id:?} panics"));
        let jobs = self.truth.lives.get(&id).map(|life| life.running.clone()).unwrap_or_default();
        self.truth.lives.remove(&id);
        self.command(|placement, now, effects| placement.freed(id, true, now, effects))?;
        for job in jobs {
            self.truth.asked.remove(&job);
            self.command(|placement, now, effects| placement.ended(job, now, effects))?;
        }
        Ok(())
    }

    fn import_anew(&mut self) -> Checked {
        let model = self.some_model();
        let bytes = self.random.between(2, 12).unsigned_abs();
        let files = &mut self.files[model];
        files.import += 1;
        files.bytes = bytes;
        let id = Arc::clone(&files.id);
        self.tell(&format!("{id} is imported anew, of {bytes} bytes"));
        // Who asked before may still run on what was loaded; what is asked from now on may not.
        for life in self.truth.lives.values_mut().filter(|life| life.model == id) {
            life.is_to_go = true;
        }
        if self.random.percent(50) { self.request(model) } else { Ok(()) }
    }

    /// A pool dies: its engines end, who waits is gone, and a new life begins.
    fn pool_dies(&mut self) -> Checked {
        let class = if self.random.percent(50) { SizeClass::B7 } else { SizeClass::B15 };
        self.stats.pools_died += 1;
        self.tell(&format!("the pool of {class:?} dies"));
        self.dead = Some(class);
        let of_class = |id: &Arc<str>, files: &[Files]| files.iter().any(|it| it.id == *id && it.class == class);
        let ids: Vec<InstanceId> =
            self.truth.lives.iter().filter(|(_, life)| of_class(&life.model, &self.files)).map(|(id, _)| *id).collect();
        for id in ids {
            let is_ending = matches!(self.truth.lives.get(&id).map(|life| life.state), Some(LifeState::Ending(_)));
            if !is_ending {
                self.die(id)?;
            }
        }
        let waiting: Vec<JobId> = self
            .truth
            .asked
            .iter()
            .filter(|(_, asked)| asked.on.is_none() && of_class(&asked.model, &self.files))
            .map(|(job, _)| *job)
            .collect();
        for job in &waiting {
            self.truth.asked.remove(job);
        }
        self.dead = None;
        self.command(|placement, now, effects| placement.pool_began(class, now, effects))?;
        for job in waiting {
            self.command(|placement, now, effects| placement.ended(job, now, effects))?;
        }
        Ok(())
    }

    /// A model is in service, and the last life of this import is not to go.
    fn stays(&mut self, model: &Wanted) {
        self.truth.drained.retain(|other| *other != model.id);
        let own = |life: &Life| {
            life.model == model.id && life.import == model.import.0 && !matches!(life.state, LifeState::Ending(_))
        };
        let lives = &mut self.truth.lives;
        if !lives.values().any(|life| own(life) && !life.is_to_go)
            && let Some(life) = lives.values_mut().rfind(|life| own(life))
        {
            life.is_to_go = false;
        }
    }

    fn operate(&mut self) -> Checked {
        let model = self.some_model();
        let wanted = self.wanted(model);
        let id = Arc::clone(&wanted.id);
        let mut effects = Effects::new();
        let now = self.now;
        let act = self.random.below(7);
        match act {
            0 => {
                if self.placement.load(&wanted, now, &mut effects).is_ok() {
                    self.stays(&wanted);
                }
            }
            1 => {
                if self.placement.unload(&id, now, &mut effects).is_ok() {
                    self.truth.lives.values_mut().filter(|it| it.model == id).for_each(|life| life.is_to_go = true);
                }
            }
            6 => {
                let was = |life: &Life| life.model == id && life.state == LifeState::Ready;
                if self.placement.reload(&id, now, &mut effects).is_ok() {
                    self.truth.lives.values_mut().filter(|life| was(life)).for_each(|life| life.is_to_go = true);
                }
            }
            2 if self.is(Mutant::PinUnheard) => self.truth.pinned.push(Arc::clone(&id)),
            2 if self.truth.pinned.is_empty() => {
                if self.placement.pin(&wanted, now, &mut effects).is_ok() {
                    self.truth.pinned.push(Arc::clone(&id));
                    self.stays(&wanted);
                }
            }
            3 if self.random.percent(30) => {
                if self.placement.drain(&wanted, now, &mut effects).is_ok() {
                    self.truth.drained.push(Arc::clone(&id));
                    self.truth.lives.values_mut().filter(|it| it.model == id).for_each(|life| life.is_to_go = true);
                }
            }
            _ => {
                self.placement.unpin(&id, now, &mut effects);
                self.truth.pinned.retain(|other| *other != id);
            }
        }
        self.tell(&format!("operator's act {act} on {id}"));
        for (_, effect) in effects {
            self.carry_out(effect)?;
        }
        Ok(())
    }

    /// What is due by now: loads that end, engines that have ended, and the time itself.
    fn pass_time(&mut self) -> Checked {
        let due = |life: &Life| match life.state {
            LifeState::Loading(until) | LifeState::Ending(until) => until <= self.now,
            LifeState::Ready => false,
        };
        let ids: Vec<InstanceId> = self.truth.lives.iter().filter(|(_, life)| due(life)).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(life) = self.truth.lives.get(&id) else { continue };
            if matches!(life.state, LifeState::Ending(_)) {
                self.truth.lives.remove(&id);
                self.tell(&format!("{id:?} is gone"));
                self.command(|placement, now, effects| placement.freed(id, false, now, effects))?;
                continue;
            }
            let fails = self.files.iter().find(|files| files.id == life.model).map_or(0, |files| files.fails);
            if self.random.percent(fails) {
                self.fail(id)?;
            } else {
                let now = self.now;
                if let Some(life) = self.truth.lives.get_mut(&id) {
                    (life.state, life.used_at) = (LifeState::Ready, now);
                }
                self.tell(&format!("{id:?} is loaded"));
                self.command(|placement, now, effects| placement.loaded(id, now, effects))?;
            }
        }
        if self.is(Mutant::NoTicks) { Ok(()) } else { self.command(Placement::tick) }
    }

    /// A load fails: it says so, or its thread dies.
    fn fail(&mut self, id: InstanceId) -> Checked {
        self.tell(&format!("{id:?} fails"));
        self.truth.lives.remove(&id);
        if self.is(Mutant::FailureUnheard) {
            return Ok(());
        }
        let failure = self.random.percent(80).then(|| Failure::Engine("broken".to_owned()));
        if let Some(failure) = failure {
            self.command(|placement, now, effects| placement.load_failed(id, failure, now, effects))?;
        }
        self.command(|placement, now, effects| placement.freed(id, false, now, effects))
    }
}
