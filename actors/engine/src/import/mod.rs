//! Turns one GGUF file into a Hugging Face-style folder: the ONNX model with its data, configuration, tokenizer and
//! chat template, all from the file. The folder appears whole or not at all: it is a [`draft`] until it is renamed. No
//! weight is rounded again. An import is a proof: every key of the file is known, every tensor is computed with, every
//! weight is a finite number, the tokenizer loads, and the template renders a conversation. Anything else is refused by
//! name.

mod config;
pub(crate) mod draft;
pub(crate) mod folder;
pub(crate) mod graph;
mod keys;
pub mod language;
mod pre_tokenizer;
mod prove;
mod sentencepiece;
mod tokenizer;
mod vocabulary;
mod wire;

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use self::draft::Draft;
use self::vocabulary::Vocabulary;
pub use folder::{data_files, named_files};

use crate::accuracy::{self, Agreement};
use crate::gguf::{Gguf, GgufError, Value};
use crate::onnx::{self, ExportError, Precision, Shape};
use crate::runtime::Runtime;
use crate::tokenizer::Tokenizer;

/// The model's file in a folder.
pub const MODEL_FILE: &str = "model.onnx";
/// The file of the model's weights.
pub const DATA_FILE: &str = "model.onnx_data";

/// Why a file can't be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is not a GGUF file that is read.
    #[error("{0}")]
    Gguf(#[from] GgufError),
    /// The model can't be expressed as a graph.
    #[error("{0}")]
    Export(#[from] ExportError),
    /// A key of the metadata would be left out.
    #[error("not supported: {key} {why}")]
    Key {
        /// The key.
        key: String,
        /// Why the key is refused.
        why: String,
    },
    /// The chat template can't be used.
    #[error("chat template: {0}")]
    Template(String),
    /// The imported folder can't be loaded.
    #[error("what was imported does not load: {0}")]
    Proof(String),
    /// The tokenizer can't be expressed.
    #[error("tokenizer not supported: {0}")]
    Tokenizer(String),
    /// A folder, or an ONNX file in one, can't be taken over.
    #[error("{0}")]
    Refused(String),
    /// The folder could not be written.
    #[error("writing {path}: {source}")]
    Write {
        /// The path that could not be written.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The target folder exists already.
    #[error("{0} is already there")]
    Exists(PathBuf),
}

/// An imported model.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedModel {
    /// The folder.
    pub folder: PathBuf,
    /// The model's name in the file.
    pub name: Option<String>,
    /// The model's architecture.
    pub architecture: String,
    /// The number of parameters.
    pub parameters: u64,
    /// The number of positions.
    pub context: usize,
    /// The size of the folder's model and weights in bytes.
    pub bytes: u64,
    /// The form of its quantized products.
    pub precision: Precision,
    /// How far the fast form agrees with 32-bit floats; `None` where that was not measured, or all is in floats.
    pub agreement: Option<Agreement>,
}

/// The number of parameters of the model in a GGUF file, from the file's directory alone.
///
/// # Errors
///
/// The file can't be opened, or is not a GGUF file that is read.
pub fn parameters(gguf: &Path) -> Result<u64, ImportError> {
    Ok(Gguf::open(gguf)?.parameters())
}

/// Imports a file. `out_dir` must not exist; its parent is created where it is missing.
///
/// # Errors
///
/// As for [`import_with`].
pub fn import(gguf: &Path, out_dir: &Path) -> Result<ImportedModel, ImportError> {
    import_as(gguf, out_dir, Precision::Packed)
}

/// Imports a file at a chosen precision; [`Precision::Full`] is what accuracy is measured against.
///
/// # Errors
///
/// As for [`import_with`].
pub fn import_as(gguf: &Path, out_dir: &Path, precision: Precision) -> Result<ImportedModel, ImportError> {
    import_with(gguf, out_dir, precision, None, |_, _| Ok(()))
}

/// Imports a file. With a runtime, the fast form ([`Precision::Packed`]) is tried on so many threads, and a model that it
/// does not suffice for is written in the exact form. `finish` adds further files to the folder before it appears.
///
/// # Errors
///
/// The file can't be read or has anything that this importer does not know (the error names it), its model can't be tried
/// or computes no finite scores, `out_dir` exists, or the folder can't be written, by `finish` included. Nothing is left at
/// `out_dir`.
pub fn import_with(
    gguf: &Path,
    out_dir: &Path,
    precision: Precision,
    tried: Option<(&Runtime, usize)>,
    finish: impl FnOnce(&Path, &ImportedModel) -> io::Result<()>,
) -> Result<ImportedModel, ImportError> {
    let mut file = Gguf::open(gguf)?;
    // Quick checks that may refuse the file come before slow work.
    let shape = Shape::read(&mut file)?;
    keys::check(&file, shape.architecture)?;
    shape.check_tensors(&file)?;
    let vocabulary = Vocabulary::read(&file, shape.vocabulary)?;
    let tokenizer = tokenizer::tokenizer(&file, &vocabulary, shape.architecture)?;
    let template = match file.value("tokenizer.chat_template") {
        None => None,
        Some(Value::Text(template)) => Some(template.clone()),
        Some(_) => return Err(ImportError::Template("tokenizer.chat_template must be a text".to_owned())),
    };
    let texts = [
        ("tokenizer.json", Some(tokenizer.to_string())),
        ("tokenizer_config.json", Some(config::tokenizer_config(&file, &shape).to_string())),
        ("config.json", Some(config::config(&file, &shape).to_string())),
        ("generation_config.json", Some(config::generation_config(&file, &vocabulary)?.to_string())),
        ("chat_template.jinja", template),
    ];
    if out_dir.exists() {
        return Err(ImportError::Exists(out_dir.to_owned()));
    }
    let draft = Draft::new(out_dir)?;
    for (name, text) in texts {
        if let Some(text) = text {
            draft.write(name, text.as_bytes())?;
        }
    }
    // Loaded as it will be to serve: the tokenizer is read, the template compiled and tried.
    let tokenizer = Tokenizer::load(draft.path()).map_err(|error| ImportError::Proof(error.reason))?;
    tokenizer.prove().map_err(ImportError::Template)?;
    let mut write = |precision: Precision| -> Result<(), ImportError> {
        let data = draft.path().join(DATA_FILE);
        let weights = File::create(&data).map_err(|source| ImportError::Write { path: data, source })?;
        let model = onnx::export(&mut file, &shape, precision, BufWriter::new(weights), DATA_FILE)?;
        draft.write(MODEL_FILE, &model)
    };
    write(precision)?;
    let (mut precision, mut agreement) = (precision, None);
    if let Some((runtime, threads)) = tried.filter(|_| precision == Precision::Packed) {
        let measured = accuracy::measure(runtime, draft.path(), MODEL_FILE, threads);
        agreement = measured.map_err(|error| ImportError::Proof(error.to_string()))?;
        if agreement.is_some_and(|agreement| !agreement.suffices()) {
            precision = Precision::Exact;
            write(precision)?;
        }
    }
    let size = |name: &str| fs::metadata(draft.path().join(name)).map_or(0, |data| data.len());
    let bytes = size(MODEL_FILE) + size(DATA_FILE);
    let imported = ImportedModel {
        folder: out_dir.to_owned(),
        name: file.text("general.name").map(str::to_owned),
        architecture: shape.architecture.name().to_owned(),
        parameters: file.parameters(),
        context: shape.context,
        bytes,
        precision,
        agreement,
    };
    let written = finish(draft.path(), &imported);
    written.map_err(|source| ImportError::Write { path: draft.path().to_owned(), source })?;
    draft.publish(out_dir)?;
    Ok(imported)
}
