//! The pool of one size class: its loaded models, with one engine thread for each, which runs many requests at once. It
//! loads a model on the first request for it, outside the actor, while requests wait in a bounded queue. An engine that
//! panicked is replaced on the next request. Running a request takes an admission as proof; events go straight to the
//! request's task.

mod engine;

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use ::engine::{
    preparer::{Asked, Preparer},
    worker::{Job, Share, StopSignal},
};
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use runtime::exit::ExitGuard;
use runtime::health::{Kind, OfKind, Posted, Verdict};
use tokio::sync::mpsc;
use wire::inference::{Event, Failure};

use self::engine::{Engine, fail};
use crate::admission::Admission;

pub use ::engine::{model::Lookup, worker::Settings as WorkerSettings};

/// The most messages in the mailbox.
const MAILBOX: usize = 1_024;

/// A model to run: its name, its folder, and its import.
#[derive(Debug, Clone)]
pub struct ModelFolder {
    /// The model's name.
    pub id: String,
    /// The model's folder.
    pub folder: PathBuf,
    /// The import: inode and write time of the model's card. A name imported anew is loaded anew.
    pub import: (u64, u128),
    /// What prepared the request. A model loaded for the request uses it too.
    pub preparer: Preparer,
}

/// Run this request.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Run {
    model: ModelFolder,
    job: Job<Asked>,
    posted: Posted,
}

impl Run {
    /// A run of an admitted request. It requires an [`Admission`].
    pub fn new(
        admission: &Admission,
        model: ModelFolder,
        asked: Asked,
        events: mpsc::Sender<Event>,
        stop: Arc<StopSignal>,
        posted: Posted,
    ) -> Self {
        let share = Share { of: admission.account_id().0.as_u128(), weight: admission.weight() };
        Self { model, job: Job { asked, share, events, stop }, posted }
    }
}

/// What a pool is made of.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// ONNX Runtime's library.
    pub library: PathBuf,
    /// Threads of one engine.
    pub threads: usize,
    /// Whether what models write is drafted.
    pub lookup: Lookup,
    /// What one engine takes. As many requests may wait for a model that is loading.
    pub worker: WorkerSettings,
}

enum State {
    Loading(VecDeque<Job<Asked>>),
    Ready(Engine),
}

struct Slot {
    import: (u64, u128),
    state: State,
}

/// The actor.
pub struct PoolActor {
    settings: EngineSettings,
    models: HashMap<String, Slot>,
    /// Engines of models that were imported anew, kept until their work has ended.
    retired: Vec<Engine>,
    exit: ExitGuard,
}

impl PoolActor {
    /// A new life, with nothing loaded.
    pub fn new(settings: EngineSettings, exit: ExitGuard) -> Self {
        Self { settings, models: HashMap::new(), retired: Vec::new(), exit }
    }

    fn load(&mut self, model: ModelFolder, first: Job<Asked>, ctx: &mut Context<Self>) {
        let import = model.import;
        let slot = Slot { import, state: State::Loading(VecDeque::from([first])) };
        match self.models.insert(model.id.clone(), slot).map(|slot| slot.state) {
            Some(State::Ready(engine)) => self.retired.push(engine),
            Some(State::Loading(waiting)) => {
                for job in waiting {
                    fail(&job.events, Failure::Engine("its model was imported anew".into()));
                }
            }
            None => {}
        }
        self.retired.retain(|engine| {
            let seen = engine.observe();
            seen.alive && (seen.running > 0 || seen.queued > 0)
        });
        let (settings, id, health) = (self.settings.clone(), model.id.clone(), self.exit.health().clone());
        let noted = health.clone();
        let work = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let engine = Engine::load(&model, &settings, &health)?;
            tracing::info!(model = %model.id, ms = began.elapsed().as_millis(), "model loaded");
            Ok(engine)
        });
        ctx.spawn(work.into_actor(self).map(move |loaded, actor, _| {
            let is_own = actor.models.get(&id).is_some_and(|slot| slot.import == import);
            let Some(Slot { state: State::Loading(waiting), .. }) = is_own.then(|| actor.models.remove(&id)).flatten()
            else {
                return;
            };
            match loaded.unwrap_or_else(|_| Err(Failure::Engine("loading the model died".into()))) {
                Ok(engine) => {
                    noted.trouble(Kind::Engine, &id, None);
                    for job in waiting {
                        drop(job.events.try_send(Event::Loaded));
                        engine.submit(job);
                    }
                    actor.models.insert(id, Slot { import, state: State::Ready(engine) });
                }
                Err(failure) => {
                    noted.trouble(
                        Kind::Engine,
                        &id,
                        Some((Verdict::Down, format!("it could not be loaded: {failure}"))),
                    );
                    for job in waiting {
                        fail(&job.events, failure.clone());
                    }
                }
            }
        }));
    }
}

impl OfKind for PoolActor {
    const KIND: Kind = Kind::Pool;
}

impl Actor for PoolActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<Run> for PoolActor {
    type Result = ();

    fn handle(&mut self, run: Run, ctx: &mut Self::Context) {
        let began = Instant::now();
        let Run { model, job, posted } = run;
        let limit = self.settings.worker.queue;
        let same = |slot: &&mut Slot| slot.import == model.import;
        match self.models.get_mut(&model.id).filter(same).map(|slot| &mut slot.state) {
            Some(State::Ready(engine)) if engine.observe().alive => engine.submit(job),
            Some(State::Loading(waiting)) if waiting.len() < limit => waiting.push_back(job),
            Some(State::Loading(_)) => {
                let failure = Failure::Overloaded("the model is loading and too many wait for it".into());
                fail(&job.events, failure);
            }
            Some(State::Ready(_)) | None => self.load(model, job, ctx),
        }
        posted.handled(began);
    }
}
