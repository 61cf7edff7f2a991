//! The price book: the built-in files, and over them the files of a folder, each of whose entries replaces the entry of
//! the same provider and name. A book is its text: what is stored in the ledger as a version is read again as the same
//! book. Prices that are announced are a part of it, so the price of a model is a function of the book and the time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use billing::{Timestamp, price::Price};

use super::{ClosedModel, Model, entry, snapshot};

/// The files built into the program.
const BUILT_IN: [(&str, &str); 5] = [
    ("built-in/anthropic.toml", include_str!("../../config/prices/anthropic.toml")),
    ("built-in/cohere.toml", include_str!("../../config/prices/cohere.toml")),
    ("built-in/google.toml", include_str!("../../config/prices/google.toml")),
    ("built-in/mistral.toml", include_str!("../../config/prices/mistral.toml")),
    ("built-in/openai.toml", include_str!("../../config/prices/openai.toml")),
];

/// The line before each file of a book's text, with the file's name.
const FILE: &str = "#: file ";
/// The most files in a folder, and the most bytes of all of them together.
const MOST_FILES: usize = 256;
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// A price book that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// A file does not have the format, or contradicts itself.
    #[error("{file}{}: {what}", .entry.as_ref().map(|entry| format!(": {entry}")).unwrap_or_default())]
    Format {
        /// The file.
        file: String,
        /// The entry.
        entry: Option<String>,
        /// The fault.
        what: String,
    },
    /// The folder or a file can't be read.
    #[error("{file}: {error}")]
    Unreadable {
        /// The folder or the file.
        file: String,
        /// The reason.
        error: io::Error,
    },
    /// The folder has more than a price book has.
    #[error("{folder}: more than {MOST_FILES} files, or {MOST_BYTES} bytes")]
    TooLarge {
        /// The folder.
        folder: String,
    },
}

/// A price book.
#[derive(Debug, Default)]
pub struct Book {
    text: String,
    /// The entries as they are written, by name, then provider.
    entries: Vec<Arc<ClosedModel>>,
    /// The times at which a price changes.
    changes: BTreeSet<Timestamp>,
}

/// What a folder's files looked like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look(Vec<(String, Option<SystemTime>, u64)>);

impl Book {
    /// The built-in book.
    ///
    /// # Errors
    ///
    /// It contradicts itself. A test reads it, so a released build doesn't fail here.
    pub fn built_in() -> Result<Self, BookError> {
        Self::of(BUILT_IN)
    }

    /// The built-in book, with the files of a folder over it, in the order of their names.
    ///
    /// # Errors
    ///
    /// The folder or a file of it can't be read, or a file is no price file. The error names the file, the entry and the
    /// fault.
    pub fn with_folder(folder: &Path) -> Result<Self, BookError> {
        let own = read_folder(folder)?;
        Self::of(BUILT_IN.into_iter().chain(own.iter().map(|(name, text)| (&**name, &**text))))
    }

    /// The book of a folder alone.
    ///
    /// # Errors
    ///
    /// As for [`Self::with_folder`].
    pub fn of_folder(folder: &Path) -> Result<Self, BookError> {
        Self::of(read_folder(folder)?.iter().map(|(name, text)| (&**name, &**text)))
    }

    /// The book of one file alone.
    ///
    /// # Errors
    ///
    /// As for [`Self::with_folder`].
    pub fn of_file(file: &Path) -> Result<Self, BookError> {
        let name = file.display().to_string();
        match fs::read_to_string(file) {
            Ok(text) => Self::of([(&*name, &*text)]),
            Err(error) => Err(BookError::Unreadable { file: name, error }),
        }
    }

    /// The book of a text that the ledger has as a version.
    ///
    /// # Errors
    ///
    /// It is no book's text.
    pub fn of_text(text: &str) -> Result<Self, BookError> {
        if !text.starts_with(FILE) {
            // A version from before there were several files.
            return Self::of([("openai.toml", text)]);
        }
        let mut files = Vec::new();
        let mut rest = text.strip_prefix(FILE);
        while let Some(file) = rest {
            let (file, more) =
                file.split_once(&format!("\n{FILE}")).map_or((file, None), |(file, more)| (file, Some(more)));
            files.extend(file.split_once('\n'));
            rest = more;
        }
        Self::of(files)
    }

    /// The book of these files; later entries replace earlier ones of the same provider and name.
    fn of<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, BookError> {
        let (mut text, mut entries) = (String::new(), BTreeMap::new());
        for (name, file) in files {
            let models = entry::read(file).map_err(|wrong| BookError::Format {
                file: name.to_owned(),
                entry: wrong.entry,
                what: wrong.what,
            })?;
            if file.starts_with(FILE) || file.contains(&format!("\n{FILE}")) || name.contains('\n') {
                let what = format!("a line begins with `{FILE}`, which separates files in the ledger");
                return Err(BookError::Format { file: name.to_owned(), entry: None, what });
            }
            text.push_str(FILE);
            text.push_str(name);
            text.push('\n');
            text.push_str(file);
            if !file.ends_with('\n') {
                text.push('\n');
            }
            for model in models {
                entries.insert((Arc::clone(&model.id), Arc::clone(&model.provider)), Arc::new(model));
            }
        }
        let entries: Vec<Arc<ClosedModel>> = entries.into_values().collect();
        let changes = entries.iter().flat_map(|model| model.about.changes.iter().map(|change| change.valid_from));
        Ok(Self { text, changes: changes.collect(), entries })
    }

    /// The text that the ledger keeps as a version.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text's hash, which is the version's.
    pub fn hash(&self) -> String {
        blake3::hash(self.text.as_bytes()).to_hex().to_string()
    }

    /// The entries as they are written: with the first price of each, also where it is disputed.
    pub fn entries(&self) -> &[Arc<ClosedModel>] {
        &self.entries
    }

    /// The price of a provider's model at a time, also by the name of a snapshot; `None` where there is none.
    pub fn price_of(&self, provider: &str, id: &str, now: Timestamp) -> Option<&Arc<Price>> {
        let find = |id: &str| {
            let place = self.entries.binary_search_by(|model| (&*model.id, &*model.provider).cmp(&(id, provider)));
            self.entries.get(place.ok()?)
        };
        find(id).or_else(|| find(snapshot::undated(id)?))?.price_at(now)
    }

    /// When prices change next, after a time.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        self.changes.range(now.plus_ms(1)..).next().copied()
    }

    /// The models at a time. A name that a provider of the built-in book has is that provider's; the others' models of the name,
    /// and all of a name that several endpoints of the operator's own have, are found behind their provider's name and a slash.
    pub(super) fn models_at(&self, now: Timestamp) -> BTreeMap<Arc<str>, Model> {
        let mut models = BTreeMap::new();
        let (known, others): (Vec<_>, Vec<_>) = self.entries.iter().partition(|model| has_file(&model.provider));
        let shared = self.shared_names();
        for written in known.into_iter().chain(others) {
            let price = written.price_at(now);
            let model = if price == written.price.as_ref() {
                Arc::clone(written)
            } else {
                Arc::new(ClosedModel { price: price.cloned(), ..ClosedModel::clone(written) })
            };
            let taken = models.contains_key(&model.id) || shared.contains_key(&model.id);
            let name = if taken { format!("{}/{}", model.provider, model.id).into() } else { Arc::clone(&model.id) };
            models.insert(name, Model::Closed(model));
        }
        models
    }

    /// Names that models of several endpoints of the operator's own have and none of the built-in book's providers, with the
    /// endpoints.
    pub(super) fn shared_names(&self) -> BTreeMap<Arc<str>, Vec<Arc<str>>> {
        // The entries of one name stand together.
        let of_one_name = self.entries.chunk_by(|one, other| one.id == other.id);
        let shared = of_one_name.filter(|all| all.len() > 1 && all.iter().all(|model| !has_file(&model.provider)));
        let providers = |all: &[Arc<ClosedModel>]| all.iter().map(|model| Arc::clone(&model.provider)).collect();
        shared.filter_map(|all| Some((Arc::clone(&all.first()?.id), providers(all)))).collect()
    }
}

/// Whether a file of this provider is built in.
fn has_file(provider: &str) -> bool {
    let of_file = |file: &'static str| file.strip_prefix("built-in/")?.strip_suffix(".toml");
    BUILT_IN.iter().any(|(file, _)| of_file(file) == Some(provider))
}

/// A look at a folder's price files: their names, times and sizes.
///
/// # Errors
///
/// The folder can't be read.
pub fn look(folder: &Path) -> Result<Look, BookError> {
    let unreadable = |error| BookError::Unreadable { file: folder.display().to_string(), error };
    let mut files = Vec::new();
    for file in fs::read_dir(folder).map_err(unreadable)? {
        let file = file.map_err(unreadable)?;
        let name = file.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && Path::new(&name).extension().is_some_and(|end| end == "toml") {
            // Followed where it is a link, as ConfigMaps are mounted.
            let data = fs::metadata(file.path()).map_err(unreadable)?;
            files.push((name, data.modified().ok(), data.len()));
        }
    }
    files.sort_unstable();
    if files.len() > MOST_FILES || files.iter().map(|(_, _, bytes)| bytes).sum::<u64>() > MOST_BYTES {
        return Err(BookError::TooLarge { folder: folder.display().to_string() });
    }
    Ok(Look(files))
}

impl Look {
    /// The last change of a file.
    pub fn changed(&self) -> Option<SystemTime> {
        self.0.iter().filter_map(|(_, changed, _)| *changed).max()
    }
}

/// The price files of a folder, by name.
fn read_folder(folder: &Path) -> Result<Vec<(String, String)>, BookError> {
    let Look(files) = look(folder)?;
    let read = |(name, ..): (String, _, _)| match fs::read_to_string(folder.join(&name)) {
        Ok(text) => Ok((name, text)),
        Err(error) => Err(BookError::Unreadable { file: name, error }),
    };
    files.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::About;
    use billing::quantity::Key;
    use wire::inference::Task;

    fn input(book: &Book, id: &str) -> Option<String> {
        Some(book.price_of("openai", id, Timestamp(0))?.rate(Key::INPUT)?.million_text())
    }

    #[test]
    fn a_books_text_is_read_as_the_same_book() {
        let book = Book::built_in().unwrap();
        let again = Book::of_text(book.text()).unwrap();
        assert_eq!((again.text(), again.hash()), (book.text(), book.hash()));
        assert_eq!(again.entries(), book.entries());
        // The first versions are one file without its name.
        let first = "provider = \"openai\"\n[[model]]\nid = \"m\"\ncontext = 1\nmax_output = 1\n\
                     price = { input = \"1\", output = \"2\" }\n";
        assert_eq!(input(&Book::of_text(first).unwrap(), "m").as_deref(), Some("1.00"));
        assert!(Book::of_text(&format!("{FILE}a.toml\nprovider = 1")).is_err());
    }

    #[test]
    fn a_folders_entries_go_over_those_of_the_program_and_a_broken_file_is_named() {
        let folder = std::env::temp_dir().join(format!("farebox-book-{}", uuid::Uuid::new_v4()));
        assert!(matches!(Book::with_folder(&folder), Err(BookError::Unreadable { .. })), "there is no folder");
        fs::create_dir_all(&folder).unwrap();
        let entry = |id: &str, price: &str| format!("[[model]]\nid = {id:?}\ncontext = 8\nmax_output = 8\n{price}\n");
        let price = "price = { input = \"7\", output = \"8\" }";
        let text = format!("provider = \"openai\"\n{}{}", entry("gpt-4o", price), entry("mine", price));
        fs::write(folder.join("b.toml"), &text).unwrap();
        fs::write(folder.join("a.toml"), text.replace("\"7\"", "\"5\"")).unwrap();
        for ignored in [".hidden.toml", "notes.txt"] {
            fs::write(folder.join(ignored), "no price file").unwrap();
        }
        let book = Book::with_folder(&folder).unwrap();
        let own = Book::built_in().unwrap();
        assert_eq!(input(&book, "gpt-4o").as_deref(), Some("7.00"), "the last file by its name");
        assert_eq!(input(&book, "mine").as_deref(), Some("7.00"));
        assert_eq!((input(&book, "gpt-4.1"), input(&own, "mine")), (input(&own, "gpt-4.1"), None));
        assert_eq!(book.entries().len(), own.entries().len() + 1);
        assert_eq!(Book::of_folder(&folder).unwrap().entries().len(), 2);
        fs::write(folder.join("a.toml"), text.replace("price", "prise")).unwrap();
        let told = Book::with_folder(&folder).unwrap_err().to_string();
        assert!(told.starts_with("a.toml: gpt-4o: unknown field `prise`"), "{told}");
        fs::write(folder.join("a.toml"), format!("{text}{FILE}b\n")).unwrap();
        assert!(matches!(Book::with_folder(&folder), Err(BookError::Format { .. })));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_built_in_book_has_the_models_of_five_providers_each_with_its_source_and_day() {
        let book = Book::built_in().unwrap();
        assert!(book.entries().len() >= 400, "{}", book.entries().len());
        for model in book.entries() {
            let About { source, date, .. } = &*model.about;
            assert!(!source.is_empty() && !date.is_empty(), "{}", model.id);
            let is_priced = model.about.disputed.is_none() && model.price.is_some();
            assert!(!is_priced || model.task != Task::Chat || model.context >= model.max_output, "{}", model.id);
        }
        let providers: BTreeSet<_> = book.entries().iter().map(|model| &*model.provider).collect();
        assert_eq!(Vec::from_iter(providers), ["anthropic", "cohere", "google", "mistral", "openai"]);
    }

    #[test]
    fn two_providers_may_have_models_of_one_name() {
        let file = |provider: &str| {
            let price = "price = { input = \"1\", output = \"2\" }";
            format!("provider = {provider:?}\n[[model]]\nid = \"m\"\ncontext = 1\nmax_output = 1\n{price}\n")
        };
        let (a, b) = (file("a"), file("b"));
        let [own, openai] = ["a", "openai"].map(|name| file(name).replace("\"m\"", "\"n\""));
        let book = Book::of([("b", &*b), ("a", &*a), ("c", &*own), ("d", &*openai)]).unwrap();
        let catalogue = super::super::Catalogue::of(Arc::new(book), 1, Timestamp(0));
        let provider = |name: &str| match catalogue.find(name) {
            Ok(Model::Closed(model)) => model.provider.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!([provider("a/m"), provider("b/m"), provider("b/m-2026-01-01")], ["a", "b", "b"]);
        for name in ["m", "m-2026-01-01"] {
            let several = super::super::Missing::Several(vec![format!("a/{name}"), format!("b/{name}")]);
            assert_eq!(catalogue.find(name), Err(several), "not the first by the alphabet");
        }
        let names: Vec<_> = catalogue.models().map(|(name, _)| name).collect();
        assert_eq!(names, ["a/m", "a/n", "b/m", "n"]);
        assert_eq!([provider("n"), provider("a/n"), provider("openai/n")], ["openai", "a", "openai"]);
        assert_eq!([provider("a/n-2026-01-01"), provider("n-2026-01-01")], ["a", "openai"], "snapshots");
    }
}
