//! A loaded model, on a thread of the kind that its work needs.

use std::{path::Path, sync::Arc};

use ::engine::{
    device::{Fallback, explained},
    embedding::{encoder::Encoder, worker::EncoderHandle},
    footprint,
    half_decoder::{self, HalfDecoder},
    import::MODEL_FILE,
    model::Model,
    network::Network,
    preparer::{Asked, Preparer},
    runtime::Runtime,
    worker::{EngineHandle, Exit, ExitReason, Handle, Job, Observer, Refused},
};
use runtime::{
    exit::ExitGuard,
    health::{self, Health, Name},
};
use tokio::sync::mpsc;
use wire::inference::{Event, Failure};

use super::{
    EngineSettings, ModelFolder,
    board::{Lease, Phase, Progress},
    placement::{Device, Kind},
};

/// A loaded model.
pub(super) enum Engine {
    Generation(EngineHandle),
    Embedding(EncoderHandle),
}

impl Engine {
    /// Loads a model and starts its thread, which gives the memory back at its end. Blocks while it loads.
    ///
    /// # Errors
    ///
    /// The reason, and the memory, where no thread has it.
    pub(super) fn load(
        model: &ModelFolder,
        device: &Device,
        settings: &EngineSettings,
        health: &Health,
        lease: Lease,
    ) -> Result<Self, (Failure, Option<Lease>)> {
        let broken = |error: &dyn std::fmt::Display| {
            tracing::error!(model = %model.id, %error, "model could not be loaded");
            Failure::Engine("the model could not be loaded".into())
        };
        let progress = |phase, read| Progress { phase, read, of: model.weights };
        lease.is_at(progress(Phase::Reading, 0));
        let runtime = match runtime(settings).and_then(|runtime| unchanged(model).map(|()| runtime)) {
            Ok(runtime) => runtime,
            Err(failure) => return Err((failure, Some(lease))),
        };
        let read = footprint::read_ahead(&model.folder, |read| lease.is_at(progress(Phase::Reading, read)));
        if let Err(error) = read {
            return Err((broken(&error), Some(lease)));
        }
        lease.is_at(progress(Phase::Session, model.weights));
        match &model.preparer {
            Preparer::Generation(tokenizer) if device.kind != Kind::Cpu => {
                let form = half_decoder::Settings {
                    device: device.kind,
                    threads: settings.threads,
                    fallback: Fallback::Cpu,
                    records: true,
                    memory: usize::try_from(device.memory).ok(),
                };
                let loaded = match HalfDecoder::load(&runtime, &model.folder.join(MODEL_FILE), form) {
                    Ok(network) => Model::new(&model.id, Arc::clone(tokenizer), network),
                    Err(error) => return Err((broken(&explained(&error.to_string())), Some(lease))),
                };
                let spawned = spawn(loaded, settings, ended(health, &model.id, lease));
                spawned.map(Self::Generation).map_err(|error| (broken(&error), None))
            }
            Preparer::Generation(tokenizer) => {
                let (tokenizer, threads) = (Arc::clone(tokenizer), settings.threads);
                let loaded = Model::speaking(tokenizer, &runtime, &model.id, &model.folder, threads, settings.lookup);
                let loaded = match loaded {
                    Ok(loaded) => loaded,
                    Err(error) => return Err((broken(&error), Some(lease))),
                };
                let spawned = spawn(loaded, settings, ended(health, &model.id, lease));
                spawned.map(Self::Generation).map_err(|error| (broken(&error), None))
            }
            Preparer::Embedding(tokenizer) => {
                let file = model.folder.join(MODEL_FILE);
                let loaded = match Encoder::load(&runtime, &file, settings.threads, tokenizer.form()) {
                    Ok(loaded) => loaded,
                    Err(error) => return Err((broken(&error), Some(lease))),
                };
                let queue = settings.worker.queue;
                let spawned = EncoderHandle::spawn(&model.id, loaded, queue, ended(health, &model.id, lease));
                spawned.map(Self::Embedding).map_err(|error| (broken(&error), None))
            }
        }
    }

    /// Looks at the engine from elsewhere.
    pub(super) fn observer(&self) -> Observer {
        match self {
            Self::Generation(handle) => handle.observer(),
            Self::Embedding(handle) => handle.observer(),
        }
    }

    /// Queues a request. Where the queue is full it has failed.
    pub(super) fn submit(&self, job: Job<Asked>) -> Given {
        let Job { asked, share, events, stop } = job;
        match (self, asked) {
            (Self::Generation(handle), Asked::Generation(asked)) => {
                queue(handle, Job { asked, share, events, stop }, Asked::Generation)
            }
            (Self::Embedding(handle), Asked::Embedding(asked)) => {
                queue(handle, Job { asked, share, events, stop }, Asked::Embedding)
            }
            // A request is prepared by its model's own preparer; one of another import has another engine.
            (Self::Generation(_), Asked::Embedding(_)) | (Self::Embedding(_), Asked::Generation(_)) => {
                fail(&events, Failure::Engine("its model was imported anew".into()));
                Given::Taken
            }
        }
    }
}

/// Whether models can run on a device with this library of ONNX Runtime.
///
/// # Errors
///
/// The reason why not, as a sentence for operators.
pub fn probe(device: Kind, library: &Path) -> Result<(), String> {
    if device == Kind::Cpu {
        return Ok(());
    }
    let runtime = Runtime::load(library).map_err(|error| error.to_string())?;
    device.probe(&runtime, library)
}

/// What became of a request that was given to an engine.
pub(super) enum Given {
    /// It is queued, or has failed.
    Taken,
    /// The engine had ended.
    Ended(Box<Job<Asked>>),
}

/// ONNX Runtime.
fn runtime(settings: &EngineSettings) -> Result<Runtime, Failure> {
    Runtime::load(&settings.library).map_err(|error| {
        tracing::error!(%error, "open models can't run");
        // Where the library should be concerns the operator only.
        let what = if settings.library.is_file() { "can't be loaded" } else { "is not installed" };
        Failure::Unavailable(format!("Open models can't run here just now: ONNX Runtime {what}."))
    })
}

/// Checks that a model's files are as large as they were when memory was found for them: more would not fit, and less is
/// no whole model.
fn unchanged(model: &ModelFolder) -> Result<(), Failure> {
    let found = footprint::weights(&model.folder);
    if found.as_ref().is_ok_and(|found| *found == model.weights) {
        return Ok(());
    }
    let error = found.err().map(|error| error.to_string());
    tracing::error!(model = %model.id, error, "the model's files are gone or have changed: import it anew");
    Err(Failure::Engine("the model's files are gone or have changed since it was imported".into()))
}

/// Starts the thread of a model that writes text.
fn spawn<N: Network>(
    model: Model<N>,
    settings: &EngineSettings,
    on_exit: impl FnOnce(Exit) + Send + 'static,
) -> std::io::Result<EngineHandle> {
    #[cfg(feature = "faults")]
    let model = super::faults::hanging(model);
    EngineHandle::spawn(model, settings.worker, on_exit)
}

/// Queues a job, or fails it at once.
fn queue<A>(handle: &Handle<A>, job: Job<A>, asked: impl FnOnce(A) -> Asked) -> Given {
    match handle.submit(job) {
        Ok(()) => Given::Taken,
        Err(Refused::Full(job)) => {
            fail(&job.events, Failure::Overloaded("too many requests wait for this model".into()));
            Given::Taken
        }
        Err(Refused::Ended(job)) => {
            let Job { asked: of, share, events, stop } = *job;
            Given::Ended(Box::new(Job { asked: asked(of), share, events, stop }))
        }
    }
}

/// Ends a request. Its task may be gone already; then nobody needs the failure.
pub(super) fn fail(events: &mpsc::Sender<Event>, failure: Failure) {
    drop(events.try_send(Event::Failed(failure)));
}

/// What is done when an engine has ended: its health is told, what it never began has failed, and its memory is free.
fn ended<A>(health: &Health, model: &str, mut lease: Lease) -> impl FnOnce(Exit<A>) + Send + use<A> {
    let mut guard = ExitGuard::new(health, health::Kind::Engine, Name::Text(model.to_owned()), |_| {});
    move |exit| {
        match exit.reason {
            ExitReason::Stopped => {}
            ExitReason::Panicked(_) => {
                guard.panicked();
                lease.panicked();
            }
            ExitReason::Lost(_) => {
                guard.failed();
                lease.panicked();
            }
        }
        drop(guard);
        for job in exit.jobs {
            fail(&job.events, Failure::Engine("its engine ended before it began".into()));
        }
        drop(lease);
    }
}
