//! Takes a folder of Sentence Transformers with an ONNX encoder over as a model's folder. As with any import, the folder
//! appears whole or not at all, and all that is understood of it is proved first: the rule that makes vectors, the
//! tokenizer, and the graph's inputs and outputs.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{encoder, tokenizer::TextTokenizer};
use crate::{
    import::{ImportError, draft::Draft, folder::Folder},
    tokenizer::FolderError,
};

/// The files beside it that are read.
const FILES: [&str; 5] =
    ["tokenizer.json", "config.json", "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"];

/// An imported encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedEncoder {
    /// The number of parameters.
    pub parameters: u64,
    /// The most tokens of a text.
    pub context: usize,
}

/// Imports a folder, or the model of one whose file is named. `out_dir` must not exist; its parent is created where it is missing. `finish` adds further files to
/// the folder before it appears.
///
/// # Errors
///
/// A file of the folder is missing, malformed or asks for what is not supported (the error names the file), `out_dir`
/// exists, or it can't be written. Nothing is left at `out_dir`.
pub fn import_with(
    path: &Path,
    out_dir: &Path,
    finish: impl FnOnce(&Path, &ImportedEncoder) -> io::Result<()>,
) -> Result<ImportedEncoder, ImportError> {
    let refused = |FolderError { path, reason }| ImportError::Proof(format!("{}: {reason}", path.display()));
    let folder = Folder::find(path)?;
    let tokenizer = TextTokenizer::load(&folder.root).map_err(refused)?;
    let graph = &folder.graph;
    encoder::check_names(&graph.inputs, &graph.outputs).map_err(ImportError::Proof)?;
    if out_dir.exists() {
        return Err(ImportError::Exists(out_dir.to_owned()));
    }
    let draft = Draft::new(out_dir)?;
    let pooling = tokenizer.form().files.iter().map(PathBuf::as_path);
    folder.copy(&draft, FILES.map(Path::new).into_iter().chain(pooling))?;
    let imported = ImportedEncoder { parameters: graph.parameters, context: tokenizer.form().context };
    TextTokenizer::load(draft.path()).map_err(refused)?;
    let written = finish(draft.path(), &imported);
    written.map_err(|source| ImportError::Write { path: draft.path().to_owned(), source })?;
    draft.publish(out_dir)?;
    Ok(imported)
}
