//! The memory that open models need, measured once for each import from its folder.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use actors::pool::{ModelFolder, WorkerSettings, placement::Wanted};
use engine::{footprint::Footprint, preparer::Preparer};

use super::tokenizer_cache::kind;
use crate::catalogue::{Import, OpenModel};

/// The most models that are remembered.
const MOST: usize = 1_000;

/// The sizes.
pub(super) struct Sizes {
    worker: WorkerSettings,
    known: Mutex<HashMap<Arc<str>, (Import, Footprint)>>,
}

impl Sizes {
    /// Sizes of models that are run by these settings.
    pub(super) fn new(worker: WorkerSettings) -> Self {
        Self { worker, known: Mutex::default() }
    }

    /// A model's size on disk. Of a folder that can't be read it is nothing: its load tells what is wrong.
    fn footprint(&self, model: &OpenModel) -> Footprint {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = known.get(&model.id).filter(|(import, _)| *import == model.import) {
            return *found;
        }
        // A handful of names is read, once for each import.
        match Footprint::measure(&model.folder) {
            Ok(found) => {
                if known.len() >= MOST {
                    known.clear();
                }
                known.insert(Arc::clone(&model.id), (model.import, found));
                found
            }
            Err(error) => {
                tracing::error!(model = %model.id, %error, "a model's folder can't be read");
                Footprint::default()
            }
        }
    }

    /// A model as pools place it.
    pub(super) fn wanted(&self, model: &OpenModel) -> Wanted {
        let bytes = self.footprint(model).bytes(kind(model.task), model.context, &self.worker);
        Wanted {
            id: Arc::clone(&model.id),
            import: model.import,
            class: model.class,
            bytes,
            needs_cpu: model.needs_cpu,
        }
    }

    /// A model as pools load it.
    pub(super) fn folder(&self, model: &OpenModel, preparer: Preparer) -> ModelFolder {
        let Wanted { id, import, class, bytes, needs_cpu } = self.wanted(model);
        let weights = self.footprint(model).weights;
        ModelFolder { id, folder: model.folder.clone(), import, class, weights, bytes, needs_cpu, preparer }
    }

    /// The most sequences that an engine runs at once.
    pub(super) const fn sequences(&self) -> usize {
        self.worker.sequences
    }
}

impl std::fmt::Debug for Sizes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sizes").finish_non_exhaustive()
    }
}
