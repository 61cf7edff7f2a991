//! The board: the one owner of the memory that all pools share. It holds the [`Placement`] under a lock, for moments, and
//! posts each effect to the pool that carries it out. A model's memory is a [`Lease`], which travels with its engine and
//! gives the memory back when the engine has ended, whatever became of its pool.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use ::engine::worker::Observer;
use actix::Message;
use billing::class::SizeClass;
use runtime::{
    health::{Health, Kind, Posted, Verdict},
    mailbox::{self, Handle},
};
use wire::inference::Failure;

use super::{
    ModelFolder,
    actor::PoolActor,
    placement::{Device, DevicePicture, Effect, Effects, End, InstanceId, JobId, ModelPicture, Placement, Wanted},
    watch::{LONGEST_STEP, Watch},
};

/// What a load does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The model's files are read.
    Reading,
    /// ONNX Runtime makes its session of them.
    Session,
}

impl Phase {
    /// The phase's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Session => "session",
        }
    }
}

/// How far a load is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What it does.
    pub phase: Phase,
    /// Bytes of the model's files that were read.
    pub read: u64,
    /// Bytes of all of them.
    pub of: u64,
}

/// What a pool is to do.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Carry {
    pub(super) errand: Errand,
    pub(super) posted: Posted,
}

/// An effect, with what is needed to carry it out.
#[derive(Debug)]
pub(super) enum Errand {
    Load { lease: Lease, model: Box<ModelFolder>, device: Device },
    Run { job: JobId, instance: InstanceId, has_waited: bool },
    Unload(InstanceId),
    End(JobId, End),
}

impl Errand {
    /// Its name.
    const fn name(&self) -> &'static str {
        match self {
            Self::Load { .. } => "Load",
            Self::Run { .. } => "Give",
            Self::Unload(_) => "Unload",
            Self::End(..) => "End",
        }
    }
}

/// The memory of one life of a model.
#[derive(Debug)]
pub(super) struct Lease {
    board: Board,
    pub(super) instance: InstanceId,
    has_panicked: bool,
}

impl Lease {
    /// Marks the coming end as a panic.
    pub(super) const fn panicked(&mut self) {
        self.has_panicked = true;
    }

    /// Notes how far the load is.
    pub(super) fn is_at(&self, progress: Progress) {
        self.board.lock().loads.insert(self.instance, progress);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (id, has_panicked) = (self.instance, self.has_panicked);
        self.board.act(|placement, now, effects| placement.freed(id, has_panicked, now, effects));
    }
}

/// An engine, as it is watched.
struct Watched {
    model: Arc<str>,
    observer: Observer,
    watch: Watch,
}

struct State {
    placement: Placement,
    /// The folders of models that are known to the placement.
    folders: HashMap<Arc<str>, ModelFolder>,
    engines: HashMap<InstanceId, Watched>,
    loads: HashMap<InstanceId, Progress>,
    /// For how long engines with work make no progress, by their model.
    stalled: BTreeMap<Arc<str>, Duration>,
    /// When each pool last gave a sign of life.
    pools_seen: HashMap<SizeClass, Duration>,
}

struct Inner {
    began: Instant,
    health: Health,
    state: Mutex<State>,
    pools: OnceLock<HashMap<SizeClass, Handle<PoolActor>>>,
}

/// The board. Clones share it.
#[derive(Clone)]
pub struct Board(Arc<Inner>);

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").finish_non_exhaustive()
    }
}

/// What is seen of a model: how it stands, and what its engine does.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSeen {
    /// The placement's picture.
    pub model: ModelPicture,
    /// Requests that the engine has begun.
    pub begun: usize,
    /// Requests that wait in the engine.
    pub queued: usize,
    /// How far its load is.
    pub progress: Option<Progress>,
    /// For how long it makes no progress, where that is too long.
    pub stalled: Option<Duration>,
}

impl Board {
    /// A board with nothing on it.
    pub fn new(placement: Placement, health: &Health) -> Self {
        let state = State {
            placement,
            folders: HashMap::new(),
            engines: HashMap::new(),
            loads: HashMap::new(),
            stalled: BTreeMap::new(),
            pools_seen: HashMap::new(),
        };
        let (began, health) = (Instant::now(), health.clone());
        Self(Arc::new(Inner { began, health, state: Mutex::new(state), pools: OnceLock::new() }))
    }

    /// Notes the pools, once.
    pub(super) fn serve_by(&self, pools: HashMap<SizeClass, Handle<PoolActor>>) {
        let is_first = self.0.pools.set(pools).is_ok();
        debug_assert!(is_first, "the pools of a board are noted once");
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.0.began.elapsed()
    }

    /// Gives the placement a command, and posts what comes of it.
    pub(super) fn act<R>(&self, command: impl FnOnce(&mut Placement, Duration, &mut Effects) -> R) -> R {
        self.act_with(None, command)
    }

    /// The same, where the command may be the first that names this model.
    pub(super) fn act_with<R>(
        &self,
        folder: Option<ModelFolder>,
        command: impl FnOnce(&mut Placement, Duration, &mut Effects) -> R,
    ) -> R {
        let mut effects = Effects::new();
        // The lock is gone before anything is posted: what can't be posted gives its memory back here.
        let (answer, (errands, orphans)) = {
            let mut state = self.lock();
            if let Some(folder) = folder {
                state.folders.insert(Arc::clone(&folder.id), folder);
            }
            let answer = command(&mut state.placement, self.now(), &mut effects);
            (answer, self.prepared(&mut state, effects))
        };
        drop(orphans);
        for (class, errand) in errands {
            if let Some(pool) = self.0.pools.get().and_then(|pools| pools.get(&class)) {
                let posted = pool.posted().named(errand.name());
                // Their number is bounded by the requests that are admitted and the models that there are.
                mailbox::tell(&pool.address(), Carry { errand, posted });
            }
        }
        answer
    }

    /// The errands, and leases of models whose folder or device nobody named, which can't be loaded.
    fn prepared(&self, state: &mut State, effects: Effects) -> (Vec<(SizeClass, Errand)>, Vec<Lease>) {
        let (mut errands, mut orphans) = (Vec::with_capacity(effects.len()), Vec::new());
        for (class, effect) in effects {
            let errand = match effect {
                Effect::Load { instance, model, device } => {
                    let lease = Lease { board: self.clone(), instance, has_panicked: false };
                    let device = state.placement.device(device).cloned();
                    let (Some(folder), Some(device)) = (state.folders.get(&model.id), device) else {
                        orphans.push(lease);
                        continue;
                    };
                    Errand::Load { lease, model: Box::new(folder.clone()), device }
                }
                Effect::Run { job, instance, has_waited } => Errand::Run { job, instance, has_waited },
                Effect::Unload(instance) => Errand::Unload(instance),
                Effect::End(job, end) => Errand::End(job, end),
            };
            errands.push((class, errand));
        }
        let State { placement, folders, engines, loads, .. } = state;
        folders.retain(|id, _| placement.knows(id));
        engines.retain(|id, _| placement.has(*id));
        loads.retain(|id, _| placement.has(*id));
        (errands, orphans)
    }

    /// A request for a model. It asks for nothing where its receiver is gone, and ends where its client has left.
    pub(super) fn request(
        &self,
        job: JobId,
        folder: ModelFolder,
        is_gone: impl FnOnce() -> bool,
        has_left: impl FnOnce() -> bool,
    ) {
        let wanted = folder.wanted();
        // Looked at under the lock: who goes later is heard by `ended` and `left`.
        self.act_with(Some(folder), |placement, now, effects| {
            if is_gone() {
                return;
            }
            if has_left() {
                effects.push((wanted.class, Effect::End(job, End::Left)));
                return;
            }
            placement.request(job, &wanted, now, effects);
        });
    }

    /// A model is loaded, and its engine may be looked at.
    pub(super) fn loaded(&self, id: InstanceId, model: &Arc<str>, observer: Observer) {
        let watched = Watched { model: Arc::clone(model), observer, watch: Watch::default() };
        {
            let mut state = self.lock();
            state.loads.remove(&id);
            state.engines.insert(id, watched);
        }
        self.act(|placement, now, effects| placement.loaded(id, now, effects));
    }

    /// A load failed.
    pub(super) fn load_failed(&self, id: InstanceId, failure: Failure) {
        self.act(|placement, now, effects| placement.load_failed(id, failure, now, effects));
    }

    /// A few times a second, by each pool.
    pub(super) fn tick(&self, class: SizeClass) {
        self.look_at_engines(class);
        self.act(Placement::tick);
    }

    /// Sees which engines make no progress, and which do again.
    fn look_at_engines(&self, class: SizeClass) {
        let now = self.now();
        let mut state = self.lock();
        state.pools_seen.insert(class, now);
        let mut stalled = BTreeMap::new();
        for watched in state.engines.values_mut() {
            let seen = watched.observer.observe();
            let has_work = seen.alive && seen.running + seen.queued > 0;
            if let Some(stands) = watched.watch.look(seen.beats, has_work, now) {
                stalled.insert(Arc::clone(&watched.model), stands);
            }
        }
        let before = std::mem::replace(&mut state.stalled, stalled.clone());
        drop(state);
        for (model, stands) in &stalled {
            let why = (Verdict::Down, stands_still(*stands));
            self.0.health.trouble(Kind::Engine, model, Some(why));
        }
        for (model, stands) in before.iter().filter(|(model, _)| !stalled.contains_key(*model)) {
            tracing::warn!(model = %model, ms = stands.as_millis(), "the engine makes progress again, or has ended");
            self.0.health.trouble(Kind::Engine, model, None);
        }
        for (model, _) in stalled.iter().filter(|(model, _)| !before.contains_key(*model)) {
            tracing::error!(model = %model, "the engine has work and makes no progress");
        }
    }

    /// Why open models make no progress, in words; `None` where all do that have work.
    pub(super) fn stalled(&self) -> Option<String> {
        let (state, now) = (self.lock(), self.now());
        if let Some((model, stands)) = state.stalled.iter().next() {
            return Some(format!("{model}: {}", stands_still(*stands)));
        }
        let silent = |class: &SizeClass| {
            let seen = state.pools_seen.get(class).copied().unwrap_or_default();
            state.placement.has_work(*class) && now.saturating_sub(seen) > LONGEST_STEP
        };
        let class = SizeClass::ALL.into_iter().find(silent)?;
        Some(format!("the pool of class {} has requests and gives no sign of life", class.name()))
    }

    /// A model, whether it was asked for or not.
    pub(super) fn seen(&self, wanted: &Wanted) -> ModelSeen {
        let (state, now) = (self.lock(), self.now());
        state.seen(state.placement.picture(wanted, now))
    }

    /// The room that a model finds now: free bytes, and whether it fits.
    pub(super) fn room(&self, wanted: &Wanted) -> (u64, bool) {
        self.lock().placement.room(wanted)
    }

    /// All devices.
    pub(super) fn devices(&self) -> Vec<DevicePicture> {
        self.lock().placement.devices()
    }

    /// The models of a class that are in memory, or load.
    pub(super) fn in_memory(&self, class: SizeClass) -> Vec<Arc<str>> {
        let pictures = self.lock().placement.pictures(self.now()).into_iter();
        pictures.filter(|model| model.class == class && model.instance.is_some()).map(|model| model.id).collect()
    }

    /// All devices, and all models that are known.
    pub(super) fn all(&self) -> (Vec<DevicePicture>, Vec<ModelSeen>) {
        let (state, now) = (self.lock(), self.now());
        let models = state.placement.pictures(now).into_iter().map(|model| state.seen(model));
        (state.placement.devices(), models.collect())
    }

    /// Whether a model can run at all.
    ///
    /// # Errors
    ///
    /// It is larger than any device of its class, or an operator took it out of service.
    pub(super) fn check(&self, wanted: &Wanted) -> Result<(), End> {
        self.lock().placement.check(wanted)
    }
}

fn stands_still(stands: Duration) -> String {
    format!("its engine has work and makes no progress for {} s", stands.as_secs())
}

impl State {
    fn seen(&self, model: ModelPicture) -> ModelSeen {
        let engine = model.instance.and_then(|id| self.engines.get(&id)).map(|watched| watched.observer.observe());
        ModelSeen {
            begun: engine.as_ref().map_or(0, |seen| seen.running),
            queued: engine.as_ref().map_or(0, |seen| seen.queued),
            progress: model.instance.and_then(|id| self.loads.get(&id)).copied(),
            stalled: self.stalled.get(&model.id).copied(),
            model,
        }
    }
}
