//! Turns one GGUF file into a Hugging Face-style folder: ONNX model with its data, configuration, tokenizer and chat
//! template, all from the file. The folder appears whole or not at all: it is a [`draft`] until it is renamed. A weight is
//! never rounded again. An import is a proof: every key of the file is known, every tensor is computed with, every weight is
//! a finite number, the tokenizer loads, and the template writes a conversation; anything else is refused by name.

mod config;
mod draft;
mod keys;
mod tokenizer;
mod vocabulary;

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use self::draft::Draft;
use self::vocabulary::Vocabulary;
use crate::gguf::{Gguf, GgufError, Value};
use crate::onnx::{self, ExportError, Precision, Shape};
use crate::tokenizer::Tokenizer;

/// The model's file in a folder.
pub const MODEL_FILE: &str = "model.onnx";
/// Its weights' file.
pub const DATA_FILE: &str = "model.onnx_data";

/// Why a file can't be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is not one we read.
    #[error("{0}")]
    Gguf(#[from] GgufError),
    /// Its model can't be expressed.
    #[error("{0}")]
    Export(#[from] ExportError),
    /// A key of its metadata says what would be left out.
    #[error("not supported: {key} {why}")]
    Key {
        /// The key.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// Its chat template can't be used.
    #[error("chat template: {0}")]
    Template(String),
    /// What was made of it can't be loaded.
    #[error("what was imported does not load: {0}")]
    Proof(String),
    /// Its tokenizer can't be expressed.
    #[error("tokenizer not supported: {0}")]
    Tokenizer(String),
    /// The folder could not be written.
    #[error("writing {path}: {source}")]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is something in the folder's place.
    #[error("{0} is already there")]
    Exists(PathBuf),
}

/// What was imported.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedModel {
    /// The folder.
    pub folder: PathBuf,
    /// The file's own name for the model.
    pub name: Option<String>,
    /// Its architecture.
    pub architecture: String,
    /// How many parameters it has.
    pub parameters: u64,
    /// How many positions it takes.
    pub context: usize,
    /// Bytes of the folder's model and weights.
    pub bytes: u64,
}

/// How many parameters the model in a GGUF file has, from its directory alone.
pub fn parameters(gguf: &Path) -> Result<u64, ImportError> {
    Ok(Gguf::open(gguf)?.parameters())
}

/// Imports a file. `out_dir` must not exist; its parent is made where it is missing.
pub fn import(gguf: &Path, out_dir: &Path) -> Result<ImportedModel, ImportError> {
    import_as(gguf, out_dir, Precision::Packed)
}

/// Imports a file at a chosen precision; [`Precision::Full`] is what accuracy is measured against.
pub fn import_as(gguf: &Path, out_dir: &Path, precision: Precision) -> Result<ImportedModel, ImportError> {
    import_with(gguf, out_dir, precision, |_, _| Ok(()))
}

/// Imports a file, and has `finish` write what else belongs into the folder before it appears.
pub fn import_with(
    gguf: &Path,
    out_dir: &Path,
    precision: Precision,
    finish: impl FnOnce(&Path, &ImportedModel) -> io::Result<()>,
) -> Result<ImportedModel, ImportError> {
    let mut file = Gguf::open(gguf)?;
    // What may be refused comes before what takes long.
    let shape = Shape::read(&mut file)?;
    keys::check(&file)?;
    shape.check_tensors(&file)?;
    let vocabulary = Vocabulary::read(&file, shape.vocabulary)?;
    let tokenizer = tokenizer::tokenizer(&file, &vocabulary)?;
    let template = match file.value("tokenizer.chat_template") {
        None => None,
        Some(Value::Text(template)) => Some(template.clone()),
        Some(_) => return Err(ImportError::Template("tokenizer.chat_template must be a text".to_owned())),
    };
    let texts = [
        ("tokenizer.json", Some(tokenizer.to_string())),
        ("tokenizer_config.json", Some(config::tokenizer_config(&file).to_string())),
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
    // As it will be loaded to serve: the tokenizer is read, the template compiled and tried.
    let tokenizer = Tokenizer::load(draft.path()).map_err(|error| ImportError::Proof(error.reason))?;
    tokenizer.prove().map_err(ImportError::Template)?;
    let data = draft.path().join(DATA_FILE);
    let weights = File::create(&data).map_err(|source| ImportError::Write { path: data, source })?;
    let model = onnx::export(&mut file, &shape, precision, BufWriter::new(weights), DATA_FILE)?;
    draft.write(MODEL_FILE, &model)?;
    let size = |name: &str| fs::metadata(draft.path().join(name)).map_or(0, |data| data.len());
    let bytes = size(MODEL_FILE) + size(DATA_FILE);
    let imported = ImportedModel {
        folder: out_dir.to_owned(),
        name: file.text("general.name").map(str::to_owned),
        architecture: file.text("general.architecture").unwrap_or_default().to_owned(),
        parameters: file.parameters(),
        context: shape.context,
        bytes,
    };
    let written = finish(draft.path(), &imported);
    written.map_err(|source| ImportError::Write { path: draft.path().to_owned(), source })?;
    draft.publish(out_dir)?;
    Ok(imported)
}
