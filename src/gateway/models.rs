//! The current models: those of the price book, and those in the models folder, which is read again whenever it has
//! changed. An imported model is served from the next request that names it or lists the models; nothing is restarted.
//! A price that is announced is in force from its second on. The folder of prices is looked at every few seconds, apart
//! from all requests; a changed book has a version in the ledger before a request is priced by it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use runtime::clock::Clock;
use tokio::sync::Mutex;

use super::serve::ServeError;
use crate::catalogue::{Book, BookError, Catalogue, Missing, Model, aliases::Aliases, book, folder};

/// A folder changed less than this before it was read may change again within the same tick of its clock.
const TICK: Duration = Duration::from_millis(100);
/// How often the folder of prices should be looked at.
pub const LOOK: Duration = Duration::from_secs(2);

/// Models and prices.
pub struct Models {
    aliases: Aliases,
    now: RwLock<Arc<Catalogue>>,
    clock: Clock,
    folder: PathBuf,
    /// The folder's change time when it was last read; `None` where that time is not reliable.
    read: Mutex<Option<Look>>,
    /// The folder of prices, as it was seen.
    prices: Mutex<Seen>,
}

/// A look at the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    /// The folder's change time; `None` where there is no folder.
    changed: Option<SystemTime>,
}

impl Models {
    /// The models of a catalogue, and of a folder of imported models.
    pub fn new(catalogue: Catalogue, folder: PathBuf, clock: Clock) -> Self {
        let (aliases, now) = (Aliases::default(), RwLock::new(Arc::new(catalogue)));
        Self { aliases, now, clock, folder, read: Mutex::default(), prices: Mutex::default() }
    }

    /// The same models under other names too.
    #[must_use]
    pub fn with_aliases(mut self, aliases: Aliases) -> Self {
        self.aliases = aliases;
        self
    }

    /// The operator's own names for models.
    pub const fn aliases(&self) -> &Aliases {
        &self.aliases
    }

    /// The models known since the last look at the folder, at the prices of now.
    pub fn known(&self) -> Arc<Catalogue> {
        let known = Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner));
        let Some(now) = known.until().map(|_| self.clock.now()).filter(|now| !known.is_in_force(*now)) else {
            return known;
        };
        self.change(|known| if known.is_in_force(now) { known.clone() } else { known.at(now) })
    }

    /// Puts another catalogue in the place of the one that there is. All changes are made here, so none is lost.
    fn change(&self, change: impl FnOnce(&Catalogue) -> Catalogue) -> Arc<Catalogue> {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        *now = Arc::new(change(&now));
        Arc::clone(&now)
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
                self.change(|known| known.replacing_open(models));
                self.known()
            }
            Ok(None) => self.known(),
            Err(error) => {
                tracing::error!(%error, "the models folder could not be read");
                self.known()
            }
        }
    }

    /// Whether a name means a model here: its own, also one that several providers have, or an alias.
    ///
    /// # Errors
    ///
    /// It means none. The error has the nearest names.
    pub async fn knows(&self, name: &str) -> Result<(), Vec<String>> {
        if self.aliases.way(name).is_some() || self.known().find(name).is_ok() {
            return Ok(());
        }
        match self.fresh().await.find(name) {
            Ok(_) | Err(Missing::Several(_)) => Ok(()),
            Err(Missing::Unknown(nearest)) => Err(nearest),
        }
    }

    /// A model by its name, and the version of its price. A provider's model needs no look at the folder.
    ///
    /// # Errors
    ///
    /// No such model is known, also after another look at the folder, or several are ([`NoModel`](ServeError::NoModel)). The
    /// error has the names that were probably meant.
    pub async fn find(&self, name: &str) -> Result<(Model, i64), ServeError> {
        let known = self.known();
        let name = self.aliases.model(name);
        if let Ok(model @ Model::Closed(_)) = known.find(name) {
            return Ok((model, known.price_version));
        }
        let fresh = self.fresh().await;
        let found = fresh.find(name).map_err(|why| ServeError::NoModel { name: name.to_owned(), why })?;
        Ok((found, fresh.price_version))
    }
}

/// The folder of prices, as it was seen.
#[derive(Debug, Default)]
struct Seen {
    /// The last look whose files are in use, or can't be used.
    look: Option<book::Look>,
    /// The trouble that was logged.
    trouble: Option<String>,
}

impl Models {
    /// Takes over a folder's price files if they have changed. `version_of` has a book's hash and text, and gives its
    /// version once that is durable. A book that can't be read or written is logged once, and the book before stays.
    pub async fn look_at_prices<F: Future<Output = Result<i64, String>>>(
        &self,
        folder: &Path,
        version_of: impl Fn(String, String) -> F,
    ) {
        let mut seen = self.prices.lock().await;
        match self.changed_prices(folder, &mut seen, version_of).await {
            Ok(()) => seen.trouble = None,
            Err(trouble) if seen.trouble.as_ref() == Some(&trouble) => {}
            Err(trouble) => {
                tracing::error!(%trouble, "the price book stays as it was: the folder of prices can't be used");
                seen.trouble = Some(trouble);
            }
        }
    }

    /// One look. The error is the trouble.
    async fn changed_prices<F: Future<Output = Result<i64, String>>>(
        &self,
        folder: &Path,
        seen: &mut Seen,
        version_of: impl Fn(String, String) -> F,
    ) -> Result<(), String> {
        let (path, before) = (folder.to_owned(), seen.look.clone());
        let looked = tokio::task::spawn_blocking(move || -> Result<_, BookError> {
            let look = book::look(&path)?;
            let age = look.changed().map(|at| at.elapsed());
            // What was changed just now may be half written.
            let is_new = age.as_ref().is_some_and(|age| age.as_ref().is_ok_and(|age| *age < TICK));
            if before.as_ref() == Some(&look) || is_new {
                return Ok(None);
            }
            // A time to come says nothing of the next change.
            let is_reliable = age.is_none_or(|age| age.is_ok());
            Ok(Some((is_reliable.then_some(look), Book::with_folder(&path))))
        });
        let looked = looked.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let Some((look, read)) = looked else { return seen.trouble.clone().map_or(Ok(()), Err) };
        let book = match read {
            Ok(book) => book,
            Err(error) => {
                // What is wrong in a file stays wrong until the file changes.
                seen.look = look.filter(|_| matches!(error, BookError::Format { .. }));
                return Err(error.to_string());
            }
        };
        if book.text() != self.known().book().text() {
            let version = version_of(book.hash(), book.text().to_owned()).await?;
            let (book, now) = (Arc::new(book), self.clock.now());
            let entries = book.entries().len();
            self.change(|known| known.with_book(book, version, now));
            tracing::info!(version, entries, "the price book has changed");
        }
        seen.look = look;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::folder::{Card, write_card};

    fn add(root: &Path, id: &str) {
        std::fs::create_dir_all(root.join(id)).unwrap();
        let card = Card { id: id.into(), parameters: 1, context: 8, ..Card::default() };
        write_card(&root.join(id), &card).unwrap();
    }

    #[tokio::test]
    async fn a_model_is_found_once_it_is_there_and_no_more_once_it_is_gone() {
        let root = std::env::temp_dir().join(format!("farebox-shelf-{}", uuid::Uuid::new_v4()));
        let models = Models::new(Catalogue::built_in().unwrap(), root.clone(), Clock::default());
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

    fn price_file(input: &str) -> String {
        let price = format!("price = {{ input = \"{input}\", output = \"2\" }}");
        format!("provider = \"openai\"\n[[model]]\nid = \"gpt-4o-mini\"\ncontext = 8\nmax_output = 8\n{price}\n")
    }

    #[tokio::test]
    async fn a_changed_price_file_is_in_use_once_it_has_a_version_and_a_broken_one_never_is() {
        let folder = std::env::temp_dir().join(format!("farebox-prices-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&folder).unwrap();
        let models = Models::new(Catalogue::built_in().unwrap(), folder.join("none"), Clock::default());
        let file = folder.join("mine.toml");
        let mut seen = Seen::default();
        let write = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let long_ago = SystemTime::now() - Duration::from_secs(u64::try_from(text.len()).unwrap());
            std::fs::File::options().write(true).open(&file).unwrap().set_modified(long_ago).unwrap();
        };
        let input = async || {
            let Ok((Model::Closed(model), version)) = models.find("gpt-4o-mini").await else { panic!() };
            (model.price.as_ref().unwrap().rate(billing::quantity::Key::INPUT).unwrap().million_text(), version)
        };
        let given = async |_: String, _: String| Ok(7);
        write(&price_file("1.25"));
        let refused = models.changed_prices(&folder, &mut seen, async |_, _| Err("no ledger".to_owned())).await;
        assert_eq!((refused, input().await), (Err("no ledger".to_owned()), ("0.15".to_owned(), 0)));
        models.changed_prices(&folder, &mut seen, given).await.unwrap();
        assert_eq!(input().await, ("1.25".to_owned(), 7));
        // What did not change has no version again.
        let none = async |_: String, _: String| -> Result<i64, String> { panic!("it did not change") };
        models.changed_prices(&folder, &mut seen, none).await.unwrap();
        write(&price_file("1.5").replace("price", "prise"));
        let broken = models.changed_prices(&folder, &mut seen, none).await.unwrap_err();
        assert!(broken.contains("mine.toml: gpt-4o-mini") && broken.contains("prise"), "{broken}");
        assert_eq!(input().await, ("1.25".to_owned(), 7));
        std::fs::remove_file(&file).unwrap();
        models.changed_prices(&folder, &mut seen, async |_, _| Ok(8)).await.unwrap();
        assert_eq!(input().await, ("0.15".to_owned(), 8));
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(models.changed_prices(&folder, &mut seen, none).await.is_err());
        assert_eq!(input().await.1, 8);
    }
}
