//! The pool of one size class: its engines, a thread for each, which runs many requests at once. What is loaded where is
//! the [`Board`]'s to decide; the pool carries it out. It loads models outside of the actor, and keeps each request that
//! waits until it is told what becomes of it. Events go straight to the request's task.

use std::{
    collections::HashMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use ::engine::{
    model::Lookup,
    preparer::Asked,
    worker::{Job, Settings as WorkerSettings, Stop},
};
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use billing::class::SizeClass;
use runtime::exit::ExitGuard;
use runtime::health::{Kind, OfKind, Verdict};
use wire::inference::{Event, Failure};

use super::{
    ModelFolder,
    board::{Board, Carry, Errand, Lease},
    engine::{Engine, Given, fail},
    placement::{Device, End, InstanceId, JobId},
    run::{Handed, Run},
};

/// The most messages in the mailbox.
const MAILBOX: usize = 1_024;
/// How often the board is reminded of the time.
const TICK: Duration = Duration::from_millis(250);

/// What a pool is made of.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// ONNX Runtime's library.
    pub library: PathBuf,
    /// Threads of one engine.
    pub threads: usize,
    /// Whether what models write is drafted.
    pub lookup: Lookup,
    /// What one engine takes.
    pub worker: WorkerSettings,
}

/// A request that is not given to an engine yet.
struct Waiting {
    model: ModelFolder,
    job: Job<Asked>,
    handed: Handed,
}

/// The actor.
pub struct PoolActor {
    class: SizeClass,
    settings: EngineSettings,
    board: Board,
    engines: HashMap<InstanceId, Engine>,
    waiting: HashMap<JobId, Waiting>,
    exit: ExitGuard,
}

impl std::fmt::Debug for PoolActor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolActor").field("class", &self.class).finish_non_exhaustive()
    }
}

impl PoolActor {
    /// A new life, with nothing loaded.
    pub fn new(class: SizeClass, settings: EngineSettings, board: Board, exit: ExitGuard) -> Self {
        Self { class, settings, board, engines: HashMap::new(), waiting: HashMap::new(), exit }
    }

    fn load(&self, lease: Lease, model: ModelFolder, device: Device, ctx: &mut Context<Self>) {
        let (settings, health) = (self.settings.clone(), self.exit.health().clone());
        let (id, instance) = (model.id.clone(), lease.instance);
        tracing::info!(model = %id, device = %device.kind, bytes = model.bytes, "model loads");
        let work = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let loaded = Engine::load(&model, &device, &settings, &health, lease);
            if loaded.is_ok() {
                tracing::info!(model = %model.id, device = %device.kind, ms = began.elapsed().as_millis(), "model loaded");
            }
            loaded
        });
        ctx.spawn(work.into_actor(self).map(move |loaded, actor, _| {
            let noted = actor.exit.health();
            match loaded {
                Ok(Ok(engine)) => {
                    noted.trouble(Kind::Engine, &id, None);
                    let observer = engine.observer();
                    actor.engines.insert(instance, engine);
                    actor.board.loaded(instance, &id, observer);
                }
                Ok(Err((failure, lease))) => {
                    let why = format!("it could not be loaded: {failure}");
                    noted.trouble(Kind::Engine, &id, Some((Verdict::Down, why)));
                    actor.board.load_failed(instance, failure);
                    drop(lease);
                }
                Err(_) => actor.board.load_failed(instance, Failure::Engine("loading the model died".into())),
            }
        }));
    }

    /// Gives a request to its engine. Where that has ended, the request asks again.
    fn give(&mut self, id: JobId, instance: InstanceId, has_waited: bool) {
        let Some(Waiting { model, job, handed }) = self.waiting.remove(&id) else { return };
        let given = match self.engines.get(&instance) {
            Some(engine) => {
                if has_waited {
                    drop(job.events.try_send(Event::Loaded));
                }
                // A request that asks again is given twice.
                let _ = handed.set(tokio::time::Instant::now());
                engine.submit(job)
            }
            None => Given::Ended(Box::new(job)),
        };
        if let Given::Ended(job) = given {
            self.waiting.insert(id, Waiting { model, job: *job, handed });
            self.board.act(|placement, now, effects| placement.lost(id, instance, now, effects));
        }
    }

    fn end(&mut self, id: JobId, end: &End) {
        let Some(Waiting { model, job, .. }) = self.waiting.remove(&id) else { return };
        match end.failure(&model.id) {
            Some(failure) => fail(&job.events, failure),
            // Its task may be gone already; then nobody needs the end.
            None => drop(job.events.try_send(Event::Finished { compute_ms: 0 })),
        }
    }
}

impl OfKind for PoolActor {
    const KIND: Kind = Kind::Pool;
}

impl Actor for PoolActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        let class = self.class;
        self.board.act(|placement, now, effects| placement.pool_began(class, now, effects));
        ctx.run_interval(TICK, move |actor, _| actor.board.tick(class));
    }
}

impl Handler<Run> for PoolActor {
    type Result = ();

    fn handle(&mut self, run: Run, _: &mut Self::Context) {
        let Run { id, model, job, handed, mut posted } = run;
        let began = posted.begins();
        let (events, stop) = (job.events.clone(), job.stop.clone());
        if !events.is_closed() {
            self.waiting.insert(id, Waiting { model: model.clone(), job, handed });
            let has_left = || stop.get() == Stop::Cancelled;
            let is_gone = || events.is_closed();
            self.board.request(id, model, is_gone, has_left);
            // Of one that has gone meanwhile the board has heard nothing.
            if events.is_closed() {
                self.waiting.remove(&id);
            }
        }
        posted.handled(began);
    }
}

impl Handler<Carry> for PoolActor {
    type Result = ();

    fn handle(&mut self, Carry { errand, mut posted }: Carry, ctx: &mut Self::Context) {
        let began = posted.begins();
        match errand {
            Errand::Load { lease, model, device } => self.load(lease, *model, device, ctx),
            Errand::Run { job, instance, has_waited } => self.give(job, instance, has_waited),
            Errand::Unload(instance) => drop(self.engines.remove(&instance)),
            Errand::End(job, end) => self.end(job, &end),
        }
        posted.handled(began);
    }
}
