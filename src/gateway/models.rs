//! The current models: those of the price book, and those in the models folder, which is read again whenever it has
//! changed. An imported model is served from the next request that names it or lists the models; nothing is restarted.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use tokio::sync::Mutex;

use super::serve::ServeError;
use crate::catalogue::{Catalogue, Model, folder};

/// A folder changed less than this before it was read may change again within the same tick of its clock.
const TICK: Duration = Duration::from_millis(100);

/// Models and prices.
pub struct Models {
    now: RwLock<Arc<Catalogue>>,
    folder: PathBuf,
    /// The folder's change time when it was last read; `None` where that time is not reliable.
    read: Mutex<Option<Look>>,
}

/// A look at the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    /// The folder's change time; `None` where there is no folder.
    changed: Option<SystemTime>,
}

impl Models {
    /// The models of a catalogue, and of a folder of imported models.
    pub fn new(catalogue: Catalogue, folder: PathBuf) -> Self {
        Self { now: RwLock::new(Arc::new(catalogue)), folder, read: Mutex::default() }
    }

    /// The models known since the last look at the folder.
    pub fn known(&self) -> Arc<Catalogue> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The models after a look at the folder.
    pub async fn fresh(&self) -> Arc<Catalogue> {
        let mut read = self.read.lock().await;
        let (folder, before) = (self.folder.clone(), *read);
        let looked = tokio::task::spawn_blocking(move || {
            let look = Look { changed: std::fs::metadata(&folder).and_then(|data| data.modified()).ok() };
            if before == Some(look) {
                return None;
            }
            let is_settled = look.changed.is_none_or(|at| at.elapsed().is_ok_and(|since| since > TICK));
            Some((is_settled.then_some(look), folder::open_models(&folder)))
        });
        match looked.await {
            Ok(Some((look, models))) => {
                *read = look;
                let next = Arc::new(self.known().replacing_open(models));
                *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&next);
                next
            }
            Ok(None) => self.known(),
            Err(error) => {
                tracing::error!(%error, "the models folder could not be read");
                self.known()
            }
        }
    }

    /// A model by its name, and the version of its price. A provider's model needs no look at the folder.
    ///
    /// # Errors
    ///
    /// No such model is known, also after another look at the folder ([`NoModel`](ServeError::NoModel)). The error has
    /// the nearest names.
    pub async fn find(&self, name: &str) -> Result<(Model, i64), ServeError> {
        let known = self.known();
        if let Ok(model @ Model::Closed(_)) = known.find(name) {
            return Ok((model, known.price_version));
        }
        let fresh = self.fresh().await;
        let found = fresh.find(name).map_err(|nearest| ServeError::NoModel { name: name.to_owned(), nearest })?;
        Ok((found, fresh.price_version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::folder::{Card, write_card};

    fn add(root: &std::path::Path, id: &str) {
        std::fs::create_dir_all(root.join(id)).unwrap();
        write_card(&root.join(id), &Card { id: id.into(), parameters: 1, context: 8, class: None }).unwrap();
    }

    #[tokio::test]
    async fn a_model_is_found_once_it_is_there_and_no_more_once_it_is_gone() {
        let root = std::env::temp_dir().join(format!("farebox-shelf-{}", uuid::Uuid::new_v4()));
        let models = Models::new(Catalogue::built_in().unwrap(), root.clone());
        assert!(matches!(models.find("mine").await, Err(ServeError::NoModel { .. })), "there is no folder");
        add(&root, "mine");
        assert!(matches!(models.find("mine").await, Ok((Model::Open(_), _))));
        add(&root, "other");
        add(&root, "gpt-4o-mini");
        assert!(matches!(models.find("other").await, Ok((Model::Open(_), _))));
        assert!(matches!(models.fresh().await.find("gpt-4o-mini"), Ok(Model::Open(_))));
        std::fs::remove_dir_all(&root).unwrap();
        assert!(models.find("other").await.is_err());
        assert!(matches!(models.find("gpt-4o-mini").await, Ok((Model::Closed(_), _))));
    }
}
