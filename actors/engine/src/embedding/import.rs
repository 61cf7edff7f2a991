//! Takes a folder of Sentence Transformers with an ONNX encoder over as a model's folder. As with any import, the folder
//! appears whole or not at all, and all that is understood of it is proved first: the rule that makes vectors, the
//! tokenizer, and the graph's inputs and outputs.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use prost::Message;

use super::{encoder, tokenizer::TextTokenizer};
use crate::{
    import::{ImportError, MODEL_FILE, draft::Draft},
    tokenizer::FolderError,
};

/// The places of the encoder in a folder.
const MODELS: [&str; 2] = [MODEL_FILE, "onnx/model.onnx"];
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

/// The parts of an ONNX model that an import reads: the shapes of its weights, and the names of its inputs and outputs.
/// The weights themselves are skipped. The numbers of the fields are those of `onnx.proto`.
#[derive(Clone, PartialEq, Message)]
struct ModelShape {
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphShape>,
}

#[derive(Clone, PartialEq, Message)]
struct GraphShape {
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorShape>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<Named>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<Named>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorShape {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(message, repeated, tag = "13")]
    external_data: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

impl TensorShape {
    /// The number of weights. Single numbers and lists (scales, biases, shapes) count as much as they have.
    fn count(&self) -> u64 {
        self.dims.iter().fold(1, |count: u64, &size| count.saturating_mul(u64::try_from(size).unwrap_or(0)))
    }

    /// The file of its weights, where it is not the model's own.
    fn file(&self) -> Option<&str> {
        self.external_data.iter().find(|entry| entry.key == "location").map(|entry| &*entry.value)
    }
}

/// Imports a folder. `out_dir` must not exist; its parent is created where it is missing. `finish` adds further files to
/// the folder before it appears.
///
/// # Errors
///
/// A file of the folder is missing, malformed or asks for what is not supported (the error names the file), `out_dir`
/// exists, or it can't be written. Nothing is left at `out_dir`.
pub fn import_with(
    folder: &Path,
    out_dir: &Path,
    finish: impl FnOnce(&Path, &ImportedEncoder) -> io::Result<()>,
) -> Result<ImportedEncoder, ImportError> {
    let refused = |FolderError { path, reason }| ImportError::Proof(format!("{}: {reason}", path.display()));
    let tokenizer = TextTokenizer::load(folder).map_err(refused)?;
    let model = MODELS.map(|place| folder.join(place)).into_iter().find(|file| file.is_file());
    let model = model.ok_or_else(|| ImportError::Proof(format!("{} has no {MODEL_FILE}", folder.display())))?;
    let graph = read_graph(&model)?;
    let names = |named: &[Named]| named.iter().map(|named| named.name.clone()).collect::<Vec<_>>();
    // Older exporters list weights among the inputs.
    let is_weight = |name: &String| graph.initializer.iter().any(|weight| weight.name == *name);
    let inputs: Vec<String> = names(&graph.input).into_iter().filter(|name| !is_weight(name)).collect();
    encoder::check_names(&inputs, &names(&graph.output)).map_err(ImportError::Proof)?;
    if out_dir.exists() {
        return Err(ImportError::Exists(out_dir.to_owned()));
    }
    let draft = Draft::new(out_dir)?;
    let weights = graph.initializer.iter().filter_map(TensorShape::file).collect::<std::collections::BTreeSet<_>>();
    copy(&model, &draft.path().join(MODEL_FILE))?;
    for weights in weights {
        let parts: Vec<_> = Path::new(weights).components().collect();
        if !matches!(parts.as_slice(), [Component::Normal(_)]) {
            return Err(ImportError::Proof(format!("the model's weights are in {weights:?}, outside its folder")));
        }
        copy(&model.with_file_name(weights), &draft.path().join(weights))?;
    }
    let pooling = tokenizer.form().files.iter().map(PathBuf::as_path);
    for file in FILES.map(Path::new).into_iter().chain(pooling).filter(|file| folder.join(file).is_file()) {
        copy(&folder.join(file), &draft.path().join(file))?;
    }
    let parameters = graph.initializer.iter().map(TensorShape::count).fold(0, u64::saturating_add);
    let imported = ImportedEncoder { parameters, context: tokenizer.form().context };
    TextTokenizer::load(draft.path()).map_err(refused)?;
    let written = finish(draft.path(), &imported);
    written.map_err(|source| ImportError::Write { path: draft.path().to_owned(), source })?;
    draft.publish(out_dir)?;
    Ok(imported)
}

fn read_graph(model: &Path) -> Result<GraphShape, ImportError> {
    let failed = |reason: String| ImportError::Proof(format!("{}: {reason}", model.display()));
    let bytes = fs::read(model).map_err(|error| failed(error.to_string()))?;
    let read = ModelShape::decode(&*bytes).map_err(|error| failed(error.to_string()))?;
    read.graph.ok_or_else(|| failed("it is no ONNX model".to_owned()))
}

fn copy(from: &Path, to: &Path) -> Result<(), ImportError> {
    let failed = |source| ImportError::Write { path: to.to_owned(), source };
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    fs::copy(from, to).map(drop).map_err(failed)
}
