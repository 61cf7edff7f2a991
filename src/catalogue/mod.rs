//! Models and prices in memory: one immutable snapshot, read by every request. Closed models come from the price book in
//! `config/prices/` (built in), open models from the models folder. Knows no account.

mod book;
pub mod folder;
pub(crate) mod nearest;
mod snapshot;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use billing::{class::SizeClass, price::Price};
use wire::inference::Task;

pub use book::BookError;

/// A model that a closed provider runs.
#[derive(Debug, Clone, PartialEq)]
pub struct ClosedModel {
    /// Its name here and there.
    pub id: Arc<str>,
    /// Whose it is.
    pub provider: Arc<str>,
    /// Its price; without one it is refused, never free.
    pub price: Option<Arc<Price>>,
    /// Tokens it reads and writes, at most.
    pub context: u32,
    /// Tokens it writes, at most.
    pub max_output: u32,
    /// What it does.
    pub task: Task,
}

/// A model that runs here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenModel {
    /// Its name.
    pub id: Arc<str>,
    /// Its folder, in Hugging Face's layout.
    pub folder: PathBuf,
    /// What it is billed as.
    pub class: SizeClass,
    /// How many parameters it has.
    pub parameters: u64,
    /// Tokens it reads and writes, at most.
    pub context: u32,
    /// Which import of its name it is: another one is another model.
    pub import: Import,
}

/// One import of a name: the inode of its card, and when that was written, in nanoseconds since 1970.
pub type Import = (u64, u128);

/// A model.
#[derive(Debug, Clone, PartialEq)]
pub enum Model {
    /// Runs here.
    Open(Arc<OpenModel>),
    /// Runs at a provider.
    Closed(Arc<ClosedModel>),
}

/// The snapshot.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    models: BTreeMap<Arc<str>, Model>,
    /// The price book as text: what its version is the version of.
    pub prices: String,
    /// Its version in the ledger.
    pub price_version: i64,
}

impl Catalogue {
    /// The built-in price book's models.
    pub fn built_in() -> Result<Self, BookError> {
        let prices = book::BUILT_IN.join("\n");
        let mut models = BTreeMap::new();
        for text in book::BUILT_IN {
            for model in book::parse(text)? {
                models.insert(model.id.clone(), Model::Closed(Arc::new(model)));
            }
        }
        Ok(Self { models, prices, price_version: 0 })
    }

    /// Adds models that run here.
    #[must_use]
    pub fn with_open(mut self, models: impl IntoIterator<Item = OpenModel>) -> Self {
        self.models.extend(models.into_iter().map(|model| (model.id.clone(), Model::Open(Arc::new(model)))));
        self
    }

    /// The same with other models that run here.
    #[must_use]
    pub fn replacing_open(&self, models: impl IntoIterator<Item = OpenModel>) -> Self {
        let mut other = self.clone();
        other.models.retain(|_, model| matches!(model, Model::Closed(_)));
        // One that had a provider's model's name stood in its place.
        let built_in = Self::built_in().map(|book| book.models).unwrap_or_default();
        for (id, model) in built_in {
            other.models.entry(id).or_insert(model);
        }
        other.with_open(models)
    }

    /// A model by its name, with or without its provider's before a slash, or by the name of one of its snapshots; else the
    /// nearest names.
    pub fn find(&self, name: &str) -> Result<Model, Vec<String>> {
        if let Some(model) = self.models.get(name) {
            return Ok(model.clone());
        }
        let (provider, id) = name.split_once('/').map_or((None, name), |(provider, id)| (Some(provider), id));
        match self.closed(id) {
            Some(model) if provider.is_none_or(|provider| *model.provider == *provider) => Ok(Model::Closed(model)),
            _ => Err(nearest::nearest(name, self.models.keys().map(|name| &**name))),
        }
    }

    /// A closed model by its name, or a snapshot of one: under its own name, with the price of the other.
    fn closed(&self, id: &str) -> Option<Arc<ClosedModel>> {
        if let Some(Model::Closed(model)) = self.models.get(id) {
            return Some(Arc::clone(model));
        }
        match self.models.get(snapshot::undated(id)?)? {
            Model::Closed(model) => Some(Arc::new(ClosedModel { id: id.into(), ..ClosedModel::clone(model) })),
            Model::Open(_) => None,
        }
    }

    /// All models, by name.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        self.models.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_has_its_own_name_and_its_models_price() {
        let catalogue = Catalogue::built_in().unwrap();
        let closed = |name: &str| match catalogue.find(name) {
            Ok(Model::Closed(model)) => Some(model),
            Ok(Model::Open(_)) | Err(_) => None,
        };
        let mini = closed("gpt-4o-mini").unwrap();
        for name in ["gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini-2024-07-18"] {
            let snapshot = closed(name).unwrap();
            assert_eq!(&*snapshot.id, "gpt-4o-mini-2024-07-18");
            assert_eq!(*snapshot, ClosedModel { id: snapshot.id.clone(), ..ClosedModel::clone(&mini) });
        }
        // The first state of this one costs twice as much as those after it.
        let (first, now) = (closed("gpt-4o-2024-05-13").unwrap(), closed("gpt-4o").unwrap());
        assert!(first.price != now.price && closed("gpt-4o-2024-08-06").unwrap().price == now.price);
        for name in ["gpt-9-2024-07-18", "anthropic/gpt-4o-mini-2024-07-18", "gpt-4o-mini-2024-07-18-2024-07-18"] {
            assert!(closed(name).is_none(), "{name}");
        }
    }

    #[test]
    fn the_built_in_book_is_sound_and_found_by_both_names() {
        let catalogue = Catalogue::built_in().unwrap();
        assert!(catalogue.models().count() > 10);
        let plain = catalogue.find("gpt-4o-mini").unwrap();
        assert_eq!(catalogue.find("openai/gpt-4o-mini").unwrap(), plain);
        assert!(catalogue.find("anthropic/gpt-4o-mini").is_err());
        assert!(catalogue.find("openai/openai/gpt-4o-mini").is_err() && catalogue.find("/gpt-4o-mini").is_err());
        assert_eq!(catalogue.find("gpt-4o-mimi").unwrap_err().first().map(String::as_str), Some("gpt-4o-mini"));
    }
}
