//! A loaded model, on a thread of the kind that its work needs.

use std::sync::Arc;

use ::engine::{
    embedding::{
        encoder::Encoder,
        worker::{EncoderHandle, RefusedTexts, TextJob},
    },
    import::MODEL_FILE,
    model::Model,
    preparer::{Asked, Preparer},
    runtime::Runtime,
    worker::{EngineHandle, ExitReason, Job, Observed, Refused, Share, StopSignal},
};
use runtime::{
    exit::ExitGuard,
    health::{Health, Kind, Name},
};
use tokio::sync::mpsc;
use wire::inference::{Event, Failure};

use super::{EngineSettings, ModelFolder};

/// A request for a model.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) asked: Asked,
    pub(super) share: Share,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) stop: Arc<StopSignal>,
}

impl Work {
    /// Ends it. Its task may be gone already; then nobody needs the failure.
    pub(super) fn fail(&self, failure: Failure) {
        drop(self.events.try_send(Event::Failed(failure)));
    }

    /// Ends it because its engine can't run it.
    pub(super) fn fail_as(&self, why: &str) {
        self.fail(Failure::Engine(why.to_owned()));
    }
}

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
        let mut guard = ExitGuard::new(health, Kind::Engine, Name::Text(model.id.clone()), |_| {});
        let ended = move |reason: &ExitReason| {
            if matches!(reason, ExitReason::Panicked(_)) {
                guard.panicked();
            }
            drop(guard);
        };
        match &model.preparer {
            Preparer::Generation(tokenizer) => {
                let loaded =
                    Model::speaking(Arc::clone(tokenizer), &runtime, &model.id, &model.folder, settings.threads)
                        .map_err(|error| broken(&error))?;
                let spawned = EngineHandle::spawn(loaded, settings.worker, move |exit| {
                    ended(&exit.reason);
                    exit.jobs.into_iter().for_each(|job| never_began(&job.events));
                });
                spawned.map(Self::Generation).map_err(|error| broken(&error))
            }
            Preparer::Embedding(tokenizer) => {
                let file = model.folder.join(MODEL_FILE);
                let loaded = Encoder::load(&runtime, &file, settings.threads, tokenizer.form())
                    .map_err(|error| broken(&error))?;
                let spawned = EncoderHandle::spawn(&model.id, loaded, settings.worker.queue, move |exit| {
                    ended(&exit.reason);
                    exit.jobs.into_iter().for_each(|job| never_began(&job.events));
                });
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
    pub(super) fn submit(&self, work: Work) {
        let Work { asked, share, events, stop } = work;
        let refused = match (self, asked) {
            (Self::Generation(handle), Asked::Generation(asked)) => {
                handle.submit(Job { asked, share, events, stop }).map_err(|refused| match refused {
                    Refused::Full(job) => (job.events, true),
                    Refused::Ended(job) => (job.events, false),
                })
            }
            (Self::Embedding(handle), Asked::Embedding(asked)) => {
                handle.submit(TextJob { asked, events, stop }).map_err(|refused| match refused {
                    RefusedTexts::Full(job) => (job.events, true),
                    RefusedTexts::Ended(job) => (job.events, false),
                })
            }
            // A request is prepared by its model's own preparer; one of another import has another engine.
            (Self::Generation(_), Asked::Embedding(_)) | (Self::Embedding(_), Asked::Generation(_)) => {
                Err((events, false))
            }
        };
        if let Err((events, is_full)) = refused {
            let failure = if is_full {
                Failure::Overloaded("too many requests wait for this model".into())
            } else {
                Failure::Engine("its engine has ended".into())
            };
            drop(events.try_send(Event::Failed(failure)));
        }
    }
}

fn never_began(events: &mpsc::Sender<Event>) {
    drop(events.try_send(Event::Failed(Failure::Engine("its engine ended before it began".into()))));
}
