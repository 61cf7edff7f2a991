//! A loaded model: its name, its tokenizer and its network. It is loaded from a folder, and run by a worker.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::decoder::Decoder;
use super::import::MODEL_FILE;
use super::network::NetworkError;
use super::runtime::Runtime;
use super::tokenizer::{FolderError, Tokenizer};

/// Why a model can't be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file of the model's folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The model's decoder.
    #[error("{path}: {source}")]
    Decoder {
        /// The model's file.
        path: PathBuf,
        /// The reason.
        source: NetworkError,
    },
}

/// Whether what a model writes is drafted from what it has read and written, and verified several tokens at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lookup {
    /// Where that is faster, and every token stays the same to the bit.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// A loaded model.
#[derive(Debug)]
pub struct Model<N = Decoder> {
    pub(super) name: String,
    pub(super) tokenizer: Arc<Tokenizer>,
    pub(super) network: N,
}

impl Model {
    /// Loads a folder, to run on `threads` threads, with nothing drafted. The caller chooses the model's name.
    ///
    /// # Errors
    ///
    /// The folder's tokenizer or configuration can't be read, or its model can't be loaded. The error names the file.
    pub fn load(runtime: &Runtime, name: &str, folder: &Path, threads: usize) -> Result<Self, LoadError> {
        Self::speaking(Arc::new(Tokenizer::load(folder)?), runtime, name, folder, threads, Lookup::Off)
    }

    /// Loads a folder whose tokenizer is loaded already.
    ///
    /// # Errors
    ///
    /// The folder's model can't be loaded. The error names the file.
    pub fn speaking(
        tokenizer: Arc<Tokenizer>,
        runtime: &Runtime,
        name: &str,
        folder: &Path,
        threads: usize,
        lookup: Lookup,
    ) -> Result<Self, LoadError> {
        let path = folder.join(MODEL_FILE);
        let loaded = match lookup {
            Lookup::Auto => Decoder::load_exact(runtime, &path, threads),
            Lookup::Off => Decoder::load(runtime, &path, threads),
        };
        let network = loaded.map_err(|source| LoadError::Decoder { path, source })?;
        Ok(Self { name: name.to_owned(), tokenizer, network })
    }
}

impl<N> Model<N> {
    /// A model of these parts.
    pub fn new(name: &str, tokenizer: Arc<Tokenizer>, network: N) -> Self {
        Self { name: name.to_owned(), tokenizer, network }
    }

    /// The model's decoder, for measurements.
    pub fn decoder(&mut self) -> &mut N {
        &mut self.network
    }

    /// The same model with its network changed, for tests that need one that fails.
    pub fn with_network<M>(self, change: impl FnOnce(N) -> M) -> Model<M> {
        Model { name: self.name, tokenizer: self.tokenizer, network: change(self.network) }
    }

    /// The model's tokenizer, which any thread may use to size a request.
    pub fn tokenizer(&self) -> Arc<Tokenizer> {
        Arc::clone(&self.tokenizer)
    }
}
