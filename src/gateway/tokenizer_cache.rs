//! The tokenizers of open models, loaded without their networks. They prepare requests (templates, tokens, length
//! checks) before anything is held or queued, on threads of their own. The most recently used ones are kept.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use engine::preparer::{Asked, Kind, Preparer};
use tokio::sync::{OnceCell, Semaphore};
use wire::inference::{Failure, Request};

use crate::catalogue::{Import, OpenModel, OpenTask};

/// The most tokenizers kept. Each takes tens of megabytes.
const MOST: usize = 16;
/// The most requests that are prepared or wait for it.
const MOST_WAITING: usize = 1_024;

type Cell = Arc<OnceCell<Preparer>>;

struct Kept {
    import: Import,
    cell: Cell,
    used: u64,
}

/// The tokenizers.
pub(super) struct TokenizerCache {
    kept: Mutex<(u64, HashMap<Arc<str>, Kept>)>,
    /// One permit for each core: preparing a request is work, not waiting.
    turns: Semaphore,
    waiting: AtomicUsize,
}

impl Default for TokenizerCache {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        Self { kept: Mutex::default(), turns: Semaphore::new(cores), waiting: AtomicUsize::new(0) }
    }
}

/// A model's kind, in the engine's words.
pub(super) const fn kind(task: OpenTask) -> Kind {
    match task {
        OpenTask::Generation => Kind::Generation,
        OpenTask::Embedding => Kind::Embedding,
    }
}

/// A request that is being prepared or waits for it.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl TokenizerCache {
    /// Prepares a request for its model. Returns what it was prepared with, too.
    pub(super) async fn prepare(&self, model: &OpenModel, request: Request) -> Result<(Asked, Preparer), Failure> {
        let gone = || Failure::Engine("a request could not be made ready".into());
        let waiting = Waiting(&self.waiting);
        if waiting.0.fetch_add(1, Ordering::Relaxed) >= MOST_WAITING {
            return Err(Failure::Overloaded("too many requests are being read".into()));
        }
        let preparer = self.preparer(model).await?;
        let _turn = self.turns.acquire().await.map_err(|_| gone())?;
        let work = tokio::task::spawn_blocking(move || preparer.prepare(&request).map(|asked| (asked, preparer)));
        work.await.map_err(|error| {
            tracing::error!(model = %model.id, %error, "making a request ready panicked");
            gone()
        })?
    }

    /// Loads the tokenizers of models before the first requests, one after the other, up to the number kept.
    pub(super) async fn warm(&self, models: impl Iterator<Item = Arc<OpenModel>>) {
        for model in models.take(MOST) {
            // A failed load was logged, and is tried again at the next request.
            let _ = self.preparer(&model).await;
        }
    }

    /// A model's tokenizer, loaded once for all simultaneous requests.
    pub(super) async fn preparer(&self, model: &OpenModel) -> Result<Preparer, Failure> {
        let cell = self.cell(model);
        let load = || async {
            let (folder, kind) = (model.folder.clone(), kind(model.task));
            let loaded =
                tokio::task::spawn_blocking(move || Preparer::load(&folder, kind).map_err(|error| error.to_string()));
            let loaded = loaded.await.unwrap_or_else(|error| Err(error.to_string()));
            loaded.map_err(|error| {
                tracing::error!(model = %model.id, %error, "a model's tokenizer or template could not be loaded");
                Failure::Engine("the model could not be loaded".into())
            })
        };
        cell.get_or_try_init(load).await.cloned()
    }

    fn cell(&self, model: &OpenModel) -> Cell {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (clock, tokenizers) = &mut *kept;
        *clock += 1;
        let fresh = || Kept { import: model.import, cell: Cell::default(), used: 0 };
        let entry = tokenizers.entry(Arc::clone(&model.id)).or_insert_with(fresh);
        if entry.import != model.import {
            *entry = fresh();
        }
        entry.used = *clock;
        let cell = Arc::clone(&entry.cell);
        if tokenizers.len() > MOST
            && let Some(oldest) = tokenizers.iter().min_by_key(|(_, kept)| kept.used).map(|(id, _)| Arc::clone(id))
        {
            tokenizers.remove(&oldest);
        }
        cell
    }
}

#[cfg(test)]
mod tests {
    use billing::class::SizeClass;

    use super::*;

    fn model(id: &str, inode: u64) -> OpenModel {
        let folder = "nowhere".into();
        let (id, task) = (id.into(), OpenTask::Generation);
        OpenModel {
            id,
            task,
            folder,
            class: SizeClass::B7,
            parameters: 1,
            context: 8,
            needs_cpu: false,
            import: (inode, 0),
        }
    }

    #[test]
    fn those_used_last_are_kept_and_an_import_anew_is_another() {
        let tokenizers = TokenizerCache::default();
        let first = tokenizers.cell(&model("m", 1));
        assert!(Arc::ptr_eq(&first, &tokenizers.cell(&model("m", 1))));
        let second = tokenizers.cell(&model("m", 2));
        assert!(!Arc::ptr_eq(&first, &second));
        for other in 0..MOST - 1 {
            tokenizers.cell(&model(&format!("other-{other}"), 1));
        }
        assert!(Arc::ptr_eq(&second, &tokenizers.cell(&model("m", 2))));
        for other in 0..MOST {
            tokenizers.cell(&model(&format!("more-{other}"), 1));
        }
        assert_eq!(tokenizers.kept.lock().unwrap().1.len(), MOST);
        assert!(!Arc::ptr_eq(&second, &tokenizers.cell(&model("m", 2))));
    }
}
