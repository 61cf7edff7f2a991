//! A loaded model, on a thread of the kind that its work needs.

use std::sync::Arc;

use ::engine::{
    embedding::{encoder::Encoder, worker::EncoderHandle},
    import::MODEL_FILE,
    model::Model,
    preparer::{Asked, Preparer},
    runtime::Runtime,
    worker::{EngineHandle, Exit, ExitReason, Handle, Job, Observed, Refused},
};
use runtime::{
    exit::ExitGuard,
    health::{Health, Kind, Name},
};
use tokio::sync::mpsc;
use wire::inference::{Event, Failure};

use super::{EngineSettings, ModelFolder};

/// A loaded model.
pub(super) enum Engine {
    Generation(EngineHandle),
    Embedding(EncoderHandle),
}

impl Engine {
    /// Loads a model and starts its thread. Blocks while it loads.
    pub(super) fn load(model: &ModelFolder, settings: &EngineSettings, health: &Health) -> Result<Self, Failure> {
        let runtime = Runtime::load(&settings.library).map_err(|error| {
            tracing::error!(%error, "open models can't run");
            // Where the library should be concerns the operator only.
            let what = if settings.library.is_file() { "can't be loaded" } else { "is not installed" };
            Failure::Unavailable(format!("Open models can't run here just now: ONNX Runtime {what}."))
        })?;
        let broken = |error: &dyn std::fmt::Display| {
            tracing::error!(model = %model.id, %error, "model could not be loaded");
            Failure::Engine("the model could not be loaded".into())
        };
        match &model.preparer {
            Preparer::Generation(tokenizer) => {
                let (tokenizer, threads) = (Arc::clone(tokenizer), settings.threads);
                let loaded = Model::speaking(tokenizer, &runtime, &model.id, &model.folder, threads, settings.lookup)
                    .map_err(|error| broken(&error))?;
                let spawned = EngineHandle::spawn(loaded, settings.worker, ended(health, &model.id));
                spawned.map(Self::Generation).map_err(|error| broken(&error))
            }
            Preparer::Embedding(tokenizer) => {
                let file = model.folder.join(MODEL_FILE);
                let loaded = Encoder::load(&runtime, &file, settings.threads, tokenizer.form())
                    .map_err(|error| broken(&error))?;
                let queue = settings.worker.queue;
                let spawned = EncoderHandle::spawn(&model.id, loaded, queue, ended(health, &model.id));
                spawned.map(Self::Embedding).map_err(|error| broken(&error))
            }
        }
    }

    /// The engine's current picture.
    pub(super) fn observe(&self) -> Observed {
        match self {
            Self::Generation(handle) => handle.observe(),
            Self::Embedding(handle) => handle.observe(),
        }
    }

    /// Queues a request, or fails it at once.
    pub(super) fn submit(&self, job: Job<Asked>) {
        let Job { asked, share, events, stop } = job;
        match (self, asked) {
            (Self::Generation(handle), Asked::Generation(asked)) => queue(handle, Job { asked, share, events, stop }),
            (Self::Embedding(handle), Asked::Embedding(asked)) => queue(handle, Job { asked, share, events, stop }),
            // A request is prepared by its model's own preparer; one of another import has another engine.
            (Self::Generation(_), Asked::Embedding(_)) | (Self::Embedding(_), Asked::Generation(_)) => {
                fail(&events, ended_before());
            }
        }
    }
}

/// Queues a job, or fails it at once.
fn queue<A>(handle: &Handle<A>, job: Job<A>) {
    match handle.submit(job) {
        Ok(()) => {}
        Err(Refused::Full(job)) => {
            fail(&job.events, Failure::Overloaded("too many requests wait for this model".into()));
        }
        Err(Refused::Ended(job)) => fail(&job.events, ended_before()),
    }
}

/// The failure of a request that came too late.
fn ended_before() -> Failure {
    Failure::Engine("its engine has ended".into())
}

/// Ends a request. Its task may be gone already; then nobody needs the failure.
pub(super) fn fail(events: &mpsc::Sender<Event>, failure: Failure) {
    drop(events.try_send(Event::Failed(failure)));
}

/// What is done when an engine has ended: its health is told, and what it never began has failed.
fn ended<A>(health: &Health, model: &str) -> impl FnOnce(Exit<A>) + Send + use<A> {
    let mut guard = ExitGuard::new(health, Kind::Engine, Name::Text(model.to_owned()), |_| {});
    move |exit| {
        match exit.reason {
            ExitReason::Stopped => {}
            ExitReason::Panicked(_) => guard.panicked(),
            ExitReason::Lost(_) => guard.failed(),
        }
        drop(guard);
        for job in exit.jobs {
            fail(&job.events, Failure::Engine("its engine ended before it began".into()));
        }
    }
}
