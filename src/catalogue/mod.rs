//! Models and prices in memory: one immutable snapshot, read by every request. Closed models come from the price book
//! ([`book`]: `config/prices/`, built in, and an operator's folder over it), open models from the models folder. `lists`
//! reads other projects' price lists, and [`write`] writes price files. No account is known here.

pub mod aliases;
pub mod book;
mod entry;
pub mod folder;
pub mod lists;
pub(crate) mod nearest;
pub mod provenance;
mod snapshot;
pub mod write;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use billing::{Timestamp, class::SizeClass, price::Price};
use serde::{Deserialize, Serialize};
use wire::inference::Task;

pub use book::{Book, BookError};
pub use entry::{About, Change};

/// A model that a closed provider runs.
#[derive(Debug, Clone, PartialEq)]
pub struct ClosedModel {
    /// The model's name, here and at the provider.
    pub id: Arc<str>,
    /// The provider's name.
    pub provider: Arc<str>,
    /// Its price; without one it is refused, never free.
    pub price: Option<Arc<Price>>,
    /// Tokens it reads and writes, at most.
    pub context: u32,
    /// The most tokens that the model writes.
    pub max_output: u32,
    /// The model's kind of work.
    pub task: Task,
    /// What the price book says of it beside.
    pub about: Arc<About>,
}

/// What a model that runs here does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenTask {
    /// Writes text: chats and completions.
    #[default]
    Generation,
    /// Makes vectors of texts.
    Embedding,
}

impl OpenTask {
    /// Whether this is the default, which cards leave out.
    pub fn is_generation(&self) -> bool {
        *self == Self::Generation
    }

    /// The task's name, as cards and people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generation => "generation",
            Self::Embedding => "embedding",
        }
    }

    /// The task of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Generation, Self::Embedding].into_iter().find(|task| task.name() == name)
    }

    /// The kind of work under which a list of models has it.
    pub const fn listed(self) -> Task {
        match self {
            Self::Generation => Task::Chat,
            Self::Embedding => Task::Embedding,
        }
    }

    /// Whether a model of this kind does that work.
    pub fn does(self, task: Task) -> bool {
        match self {
            Self::Generation => matches!(task, Task::Chat | Task::Completion),
            Self::Embedding => task == Task::Embedding,
        }
    }
}

/// A model that runs here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenModel {
    /// The model's name.
    pub id: Arc<str>,
    /// What it does.
    pub task: OpenTask,
    /// The model's folder, in Hugging Face's layout.
    pub folder: PathBuf,
    /// The size class that sets the model's price.
    pub class: SizeClass,
    /// The number of parameters.
    pub parameters: u64,
    /// The most tokens that the model reads and writes.
    pub context: u32,
    /// Whether it has a form for processors only ([`folder::Card::needs_cpu`]).
    pub needs_cpu: bool,
    /// The import of the name: another import is another model.
    pub import: Import,
}

/// One import of a name: the inode of its card, and the card's write time in nanoseconds since 1970.
pub type Import = (u64, u128);

/// A model.
#[derive(Debug, Clone, PartialEq)]
pub enum Model {
    /// A model that runs here.
    Open(Arc<OpenModel>),
    /// A model that runs at a provider.
    Closed(Arc<ClosedModel>),
}

/// Why a name means no model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// There is none; these names are the nearest.
    Unknown(Vec<String>),
    /// Several endpoints of the operator's own have one; these names tell them apart. An alias of the name decides.
    Several(Vec<String>),
}

/// The snapshot of models and prices.
#[derive(Debug, Clone)]
pub struct Catalogue {
    models: BTreeMap<Arc<str>, Model>,
    /// Names that models of several endpoints of the operator's own have, with the providers.
    shared: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    book: Arc<Book>,
    /// The time whose prices these are.
    at: Timestamp,
    /// From when on others are in force.
    until: Option<Timestamp>,
    /// The price book's version in the ledger.
    pub price_version: i64,
}

impl Catalogue {
    /// The built-in price book's models, at the prices before any that are announced. For tests and tools.
    ///
    /// # Errors
    ///
    /// The built-in price book contradicts itself. A test reads it, so a released build doesn't fail here.
    pub fn built_in() -> Result<Self, BookError> {
        Ok(Self::of(Arc::new(Book::built_in()?), 0, Timestamp(0)))
    }

    /// The models of a price book, which has this version in the ledger, at the prices of a time.
    pub fn of(book: Arc<Book>, price_version: i64, now: Timestamp) -> Self {
        let (models, until) = (book.models_at(now), book.next_change(now));
        Self { models, shared: book.shared_names(), book, at: now, until, price_version }
    }

    /// The price book.
    pub const fn book(&self) -> &Arc<Book> {
        &self.book
    }

    /// Until when these prices are in force; `None` where no change is announced.
    pub const fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// Whether these prices are still in force at a time.
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// The same models at the prices of a later time.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Self {
        self.with_book(Arc::clone(&self.book), self.price_version, now)
    }

    /// The same open models, with the models of another price book.
    #[must_use]
    pub fn with_book(&self, book: Arc<Book>, price_version: i64, now: Timestamp) -> Self {
        let mut other = Self::of(book, price_version, now);
        let open = self.models.iter().filter(|(_, model)| matches!(model, Model::Open(_)));
        other.models.extend(open.map(|(id, model)| (Arc::clone(id), model.clone())));
        other
    }

    /// Adds models that run here. One of a provider's name takes its place.
    #[must_use]
    pub fn with_open(mut self, models: impl IntoIterator<Item = OpenModel>) -> Self {
        self.models.extend(models.into_iter().map(|model| (model.id.clone(), Model::Open(Arc::new(model)))));
        self
    }

    /// The same catalogue with other open models.
    #[must_use]
    pub fn replacing_open(&self, models: impl IntoIterator<Item = OpenModel>) -> Self {
        Self::of(Arc::clone(&self.book), self.price_version, self.at).with_open(models)
    }

    /// A model by its name, with or without its provider's name and a slash, or by the name of one of its snapshots.
    ///
    /// # Errors
    ///
    /// The name means no model, or several. The error has names for a message to the caller.
    pub fn find(&self, name: &str) -> Result<Model, Missing> {
        if let Some(model) = self.models.get(name) {
            return Ok(model.clone());
        }
        let (provider, id) = name.split_once('/').map_or((None, name), |(provider, id)| (Some(provider), id));
        let is_of_provider = |model: &Arc<ClosedModel>| provider.is_none_or(|provider| *model.provider == *provider);
        match self.closed(id).filter(is_of_provider).or_else(|| self.behind_provider(name)) {
            Some(model) => Ok(Model::Closed(model)),
            None => Err(self.missing(name)),
        }
    }

    fn missing(&self, name: &str) -> Missing {
        let of = |name: &str| self.shared.get(name);
        match of(name).or_else(|| of(snapshot::undated(name)?)) {
            Some(providers) => {
                Missing::Several(providers.iter().map(|provider| format!("{provider}/{name}")).collect())
            }
            None => Missing::Unknown(nearest::nearest(name, self.models.keys().map(|name| &**name))),
        }
    }

    /// A closed model by its name or by a snapshot's.
    fn closed(&self, id: &str) -> Option<Arc<ClosedModel>> {
        if let Some(Model::Closed(model)) = self.models.get(id) {
            return Some(Arc::clone(model));
        }
        self.snapshot(id, snapshot::undated(id)?)
    }

    /// A snapshot of a model that another provider has too: its name stands behind its provider's.
    fn behind_provider(&self, name: &str) -> Option<Arc<ClosedModel>> {
        let (provider, id) = name.split_once('/')?;
        self.snapshot(id, &format!("{provider}/{}", snapshot::undated(id)?))
    }

    /// A snapshot keeps its own name, and has the price of the undated one.
    fn snapshot(&self, id: &str, undated: &str) -> Option<Arc<ClosedModel>> {
        match self.models.get(undated)? {
            Model::Closed(model) => Some(Arc::new(ClosedModel { id: id.into(), ..ClosedModel::clone(model) })),
            Model::Open(_) => None,
        }
    }

    /// All models, each with the name by which it is asked for.
    pub fn models(&self) -> impl Iterator<Item = (&str, &Model)> {
        self.models.iter().map(|(name, model)| (&**name, model))
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
        for name in ["gpt-4o-mini-2024-07-19", "openai/gpt-4o-mini-2024-07-19"] {
            let snapshot = closed(name).unwrap();
            assert_eq!(&*snapshot.id, "gpt-4o-mini-2024-07-19");
            assert_eq!(*snapshot, ClosedModel { id: snapshot.id.clone(), ..ClosedModel::clone(&mini) });
        }
        // The first snapshot costs twice as much as later ones.
        let (first, now) = (closed("gpt-4o-2024-05-13").unwrap(), closed("gpt-4o").unwrap());
        assert!(first.price != now.price && closed("gpt-4o-2024-08-07").unwrap().price == now.price);
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
        let Err(Missing::Unknown(nearest)) = catalogue.find("gpt-4o-mimi") else { panic!() };
        assert_eq!(nearest.first().map(String::as_str), Some("gpt-4o-mini"));
    }
}
