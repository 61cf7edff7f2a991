//! Pools of open models: an actor for each size class, which has the engines, and one memory for all of them. Read
//! [`placement`] first: the pure rules of what is loaded where. [`board`] holds them for all pools, [`actor`] carries
//! their effects out, [`run`] is a request on its way. Running one takes an admission as proof.

mod actor;
mod board;
mod engine;
#[cfg(feature = "faults")]
pub mod faults;
pub mod placement;
mod run;
mod watch;

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use ::engine::preparer::{Asked, Preparer};
use billing::class::SizeClass;
use runtime::{health::Health, mailbox::Handle};
use wire::inference::Failure;

use crate::admission::Admission;
use placement::{Acted, DevicePicture, NotActed, Wanted};

pub use ::engine::{
    model::Lookup,
    worker::{CacheScope, Settings as WorkerSettings},
};
pub use actor::{EngineSettings, PoolActor};
pub use board::{Board, ModelSeen, Phase, Progress};
pub use engine::probe;
pub use run::{Control, Events};

/// A model to run: its name, its folder, its import and its size.
#[derive(Debug, Clone)]
pub struct ModelFolder {
    /// The model's name.
    pub id: Arc<str>,
    /// The model's folder.
    pub folder: PathBuf,
    /// The import: inode and write time of the model's card. A name imported anew is loaded anew.
    pub import: placement::Import,
    /// The size class.
    pub class: SizeClass,
    /// Bytes of its weights.
    pub weights: u64,
    /// Bytes of its weights and caches.
    pub bytes: u64,
    /// Whether it has a form for processors only.
    pub needs_cpu: bool,
    /// What prepared the request. A model loaded for the request uses it too.
    pub preparer: Preparer,
}

impl ModelFolder {
    fn wanted(&self) -> Wanted {
        let Self { id, import, class, bytes, needs_cpu, .. } = self;
        Wanted { id: Arc::clone(id), import: *import, class: *class, bytes: *bytes, needs_cpu: *needs_cpu }
    }
}

/// All pools.
#[derive(Debug)]
pub struct Pools {
    board: Board,
    handles: HashMap<SizeClass, Handle<PoolActor>>,
    /// How long a request may wait in its engine's queue.
    wait: Duration,
}

impl Pools {
    /// The pools, by the memory that they share. `start` starts the actor of a class.
    pub fn start(
        placement: placement::Placement,
        health: &Health,
        wait: Duration,
        start: impl Fn(SizeClass, Board) -> Handle<PoolActor>,
    ) -> Self {
        let board = Board::new(placement, health);
        let handles: HashMap<_, _> =
            SizeClass::ALL.into_iter().map(|class| (class, start(class, board.clone()))).collect();
        board.serve_by(handles.clone());
        Self { board, handles, wait }
    }

    /// The pool of a class.
    pub fn of(&self, class: SizeClass) -> Option<&Handle<PoolActor>> {
        self.handles.get(&class)
    }

    /// Checks that a model can run at all.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](Failure::Unavailable): it is larger than any device of its class, or an operator took it out of
    /// service.
    pub fn check(&self, model: &Wanted) -> Result<(), Failure> {
        match self.board.check(model) {
            Ok(()) => Ok(()),
            Err(end) => end.failure(&model.id).map_or(Ok(()), Err),
        }
    }

    /// Runs a request of an admitted account. It waits for its model where that is not loaded.
    ///
    /// # Errors
    ///
    /// The pool has too much to do.
    pub fn run(&self, admission: &Admission, model: ModelFolder, asked: Asked) -> Result<(Events, Control), Failure> {
        let full = || Failure::Overloaded("too many requests wait for this class".into());
        let pool = self.handles.get(&model.class).ok_or_else(full)?;
        let (run, events, control) =
            run::run(&self.board, admission, model, asked, self.wait, pool.posted().named("Run"));
        if runtime::mailbox::offer(&pool.address(), run) { Ok((events, control)) } else { Err(full()) }
    }

    /// Loads a model, and takes it back into service where it was drained.
    ///
    /// # Errors
    ///
    /// See [`NotActed`].
    pub fn load(&self, model: ModelFolder) -> Result<Acted, NotActed> {
        let wanted = model.wanted();
        self.board.act_with(Some(model), |placement, now, effects| placement.load(&wanted, now, effects))
    }

    /// Loads a model that stays.
    ///
    /// # Errors
    ///
    /// See [`NotActed`].
    pub fn pin(&self, model: ModelFolder) -> Result<Acted, NotActed> {
        let wanted = model.wanted();
        self.board.act_with(Some(model), |placement, now, effects| placement.pin(&wanted, now, effects))
    }

    /// Lets a model be taken out again. Returns whether it was pinned.
    pub fn unpin(&self, id: &str) -> bool {
        self.board.act(|placement, now, effects| placement.unpin(id, now, effects))
    }

    /// Takes a model out once what runs on it has ended.
    ///
    /// # Errors
    ///
    /// See [`NotActed`].
    pub fn unload(&self, id: &str) -> Result<Acted, NotActed> {
        self.board.act(|placement, now, effects| placement.unload(id, now, effects))
    }

    /// Loads a model that is in memory anew: what runs is finished on the life that there is.
    ///
    /// # Errors
    ///
    /// See [`NotActed`].
    pub fn reload(&self, id: &str) -> Result<Acted, NotActed> {
        self.board.act(|placement, now, effects| placement.reload(id, now, effects))
    }

    /// The models of a class that are in memory, or load.
    pub fn in_memory(&self, class: SizeClass) -> Vec<Arc<str>> {
        self.board.in_memory(class)
    }

    /// Takes a model out of service, once what runs on it has ended.
    ///
    /// # Errors
    ///
    /// See [`NotActed`].
    pub fn drain(&self, model: &Wanted) -> Result<Acted, NotActed> {
        self.board.act(|placement, now, effects| placement.drain(model, now, effects))
    }

    /// A model, whether it was asked for or not.
    pub fn seen(&self, model: &Wanted) -> ModelSeen {
        self.board.seen(model)
    }

    /// The room that a model finds now: bytes that are free on the devices that take it, and whether it fits one of them.
    pub fn room(&self, model: &Wanted) -> (u64, bool) {
        self.board.room(model)
    }

    /// All devices.
    pub fn devices(&self) -> Vec<DevicePicture> {
        self.board.devices()
    }

    /// All devices, and all models that are known.
    pub fn all(&self) -> (Vec<DevicePicture>, Vec<ModelSeen>) {
        self.board.all()
    }

    /// Why open models make no progress, in words; `None` where all do that have work.
    pub fn stalled(&self) -> Option<String> {
        self.board.stalled()
    }
}
