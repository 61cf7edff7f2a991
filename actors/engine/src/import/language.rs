//! Takes over a folder with a language model as ONNX, as exporters write it for a hub: a graph with `input_ids`,
//! `attention_mask`, perhaps `position_ids`, and the caches of its layers (`past_key_values.N.key`, `present.N.key`). As
//! with any import the folder appears whole or not at all, and all that is understood of it is proved first, here by runs.
//! The graph's arithmetic stays as its exporter chose it.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::{ImportError, MODEL_FILE, draft::Draft, folder::Folder, prove, vocabulary::END_NAMES};
use crate::{
    preparer::Kind,
    runtime::Runtime,
    tokenizer::{FolderError, Tokenizer, read_json},
};

/// The files that are taken as they are.
const FILES: [&str; 3] = ["tokenizer.json", "config.json", "chat_template.jinja"];
const TOKENS: &str = "tokenizer_config.json";
const GENERATION: &str = "generation_config.json";
/// The special tokens by which a template names them.
const NAMED: [&str; 4] = ["bos_token", "eos_token", "unk_token", "pad_token"];
/// Keys of the generation's configuration that are read, or that say nothing of an answer.
const KNOWN: [&str; 12] = [
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "do_sample",
    "temperature",
    "top_p",
    "top_k",
    "transformers_version",
    "_from_model_config",
    "use_cache",
    "max_length",
    "max_new_tokens",
];
/// Values of other keys that change nothing.
const NEUTRAL: [(&str, f64); 8] = [
    ("repetition_penalty", 1.0),
    ("min_p", 0.0),
    ("typical_p", 1.0),
    ("num_beams", 1.0),
    ("no_repeat_ngram_size", 0.0),
    ("length_penalty", 1.0),
    ("num_return_sequences", 1.0),
    ("epsilon_cutoff", 0.0),
];

/// An imported language model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedLanguage {
    /// The number of parameters.
    pub parameters: u64,
    /// The number of positions.
    pub context: usize,
    /// Whether sequences share the buffers of its caches, and so run together; else one runs after the other.
    pub is_shared: bool,
    /// Defaults of the folder's generation that requests do not get, each with its value.
    pub left_out: Vec<String>,
}

/// What the model of a folder, or of an ONNX file, does.
///
/// # Errors
///
/// There is no model, or it can't be read. The error names the file.
pub fn kind(path: &Path) -> Result<Kind, ImportError> {
    let graph = Folder::find(path)?.graph;
    let is_language = graph.outputs.iter().any(|name| name == "logits");
    Ok(if is_language { Kind::Generation } else { Kind::Embedding })
}

/// Imports a folder, or the model of one whose file is named, and tries it on so many threads. `out_dir` must not exist; its
/// parent is created where it is missing. `finish` adds further files to the folder before it appears.
///
/// # Errors
///
/// A file of the folder is missing, malformed or asks for what is not supported (the error names it), the model does not
/// compute what such a model does, `out_dir` exists, or it can't be written. Nothing is left at `out_dir`.
pub fn import_with(
    path: &Path,
    out_dir: &Path,
    tried: (&Runtime, usize),
    finish: impl FnOnce(&Path, &ImportedLanguage) -> io::Result<()>,
) -> Result<ImportedLanguage, ImportError> {
    let of_folder = |FolderError { path, reason }| ImportError::Refused(format!("{}: {reason}", path.display()));
    let folder = Folder::find(path)?;
    if out_dir.exists() {
        return Err(ImportError::Exists(out_dir.to_owned()));
    }
    let tokens = tokens(&folder.root).map_err(of_folder)?;
    let (generation, left_out) = generation(&folder.root, &tokens)?;
    let draft = Draft::new(out_dir)?;
    folder.copy(&draft, FILES.iter().map(Path::new))?;
    draft.write(TOKENS, tokens.to_string().as_bytes())?;
    draft.write(GENERATION, generation.to_string().as_bytes())?;
    // Loaded as it will be to serve: the tokenizer is read, the template compiled and tried.
    let tokenizer = Tokenizer::load(draft.path()).map_err(|error| of_folder(moved(error, &folder.root)))?;
    tokenizer.prove().map_err(ImportError::Template)?;
    let model = draft.path().join(MODEL_FILE);
    let is_shared = prove::prove(tried, &model, &tokenizer, folder.graph.sharing_layers)?;
    let parameters = folder.graph.parameters;
    let imported = ImportedLanguage { parameters, context: tokenizer.context(), is_shared, left_out };
    let written = finish(draft.path(), &imported);
    written.map_err(|source| ImportError::Write { path: draft.path().to_owned(), source })?;
    draft.publish(out_dir)?;
    Ok(imported)
}

/// An error of the draft, told of the folder that it was copied from.
fn moved(error: FolderError, root: &Path) -> FolderError {
    let name = error.path.file_name().map(PathBuf::from).unwrap_or_default();
    FolderError { path: root.join(name), reason: error.reason }
}

/// `tokenizer_config.json`, with the special tokens that stand in a file of their own.
fn tokens(root: &Path) -> Result<Value, FolderError> {
    let mut tokens = read_json(root, TOKENS)?.unwrap_or_else(|| json!({}));
    let apart = read_json(root, "special_tokens_map.json")?.unwrap_or_default();
    let Some(config) = tokens.as_object_mut() else {
        return Err(FolderError { path: root.join(TOKENS), reason: "it is no object".to_owned() });
    };
    for name in NAMED {
        if config.get(name).is_none_or(Value::is_null) && !apart[name].is_null() {
            config.insert(name.to_owned(), apart[name].clone());
        }
    }
    Ok(tokens)
}

/// `generation_config.json` with all tokens that end an answer; and what of the folder's own is left out of it.
fn generation(root: &Path, tokens: &Value) -> Result<(Value, Vec<String>), ImportError> {
    let read = |name: &str| {
        let refused = |FolderError { path, reason }| ImportError::Refused(format!("{}: {reason}", path.display()));
        read_json(root, name).map_err(refused)
    };
    let (config, own) = (read("config.json")?.unwrap_or_default(), read(GENERATION)?.unwrap_or_default());
    let vocabulary = read("tokenizer.json")?.unwrap_or_default();
    let added = || vocabulary["added_tokens"].as_array().into_iter().flatten();
    let mut ends = ids(&own["eos_token_id"]);
    ends.extend(ids(&config["eos_token_id"]));
    let named = tokens["eos_token"].as_str().or_else(|| tokens["eos_token"]["content"].as_str());
    let is_end = |token: &str| named == Some(token) || END_NAMES.contains(&token);
    ends.extend(
        added().filter(|token| token["content"].as_str().is_some_and(is_end)).filter_map(|one| one["id"].as_u64()),
    );
    if ends.is_empty() {
        let path = root.join(GENERATION);
        return Err(ImportError::Refused(format!("{}: no eos_token_id: nothing would end an answer", path.display())));
    }
    let mut kept = Map::new();
    for key in KNOWN.iter().filter(|key| !own[**key].is_null()) {
        kept.insert((*key).to_owned(), own[*key].clone());
    }
    kept.insert("eos_token_id".to_owned(), json!(ends));
    let others =
        own.as_object().into_iter().flatten().filter(|(key, value)| !KNOWN.contains(&&***key) && changes(key, value));
    Ok((Value::Object(kept), others.map(|(key, value)| format!("{key} {value}")).collect()))
}

/// Whether a value of the generation's configuration would change an answer.
fn changes(key: &str, value: &Value) -> bool {
    let is_nothing = match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => false,
    };
    let neutral = NEUTRAL.iter().find(|(name, _)| *name == key).map(|(_, neutral)| *neutral);
    let is_neutral = neutral.zip(value.as_f64()).is_some_and(|(neutral, value)| (neutral - value).abs() < 1e-9);
    !is_nothing && !is_neutral
}

/// One id or several.
fn ids(value: &Value) -> BTreeSet<u64> {
    match value {
        Value::Array(ids) => ids.iter().filter_map(Value::as_u64).collect(),
        other => other.as_u64().into_iter().collect(),
    }
}

/// Appends a note to a model's file. Protocol buffers that are written one behind the other are one.
pub(super) fn note(model: &Path, note: (&str, &str)) -> io::Result<()> {
    use prost::Message as _;
    let entry = crate::onnx::proto::Entry { key: note.0.to_owned(), value: note.1.to_owned() };
    let noted = crate::onnx::proto::Model { metadata: vec![entry], ..Default::default() };
    let mut bytes = fs::read(model)?;
    bytes.extend(noted.encode_to_vec());
    fs::write(model, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn all_tokens_that_end_an_answer_are_found() {
        let vocabulary = r#"{"added_tokens":[{"id":7,"content":"<|im_end|>"},{"id":8,"content":"</s>"},{"id":9,"content":"<pad>"}]}"#;
        let of = |files: &[(&str, &str)]| {
            let folder = folder(files);
            let tokens = tokens(folder.path()).unwrap();
            generation(folder.path(), &tokens).map(|(kept, _)| kept["eos_token_id"].clone())
        };
        let own = ("generation_config.json", r#"{"eos_token_id":[2,3]}"#);
        let named = ("special_tokens_map.json", r#"{"eos_token":{"content":"</s>"}}"#);
        assert_eq!(of(&[own, ("config.json", r#"{"eos_token_id":1}"#)]).unwrap(), json!([1, 2, 3]));
        assert_eq!(of(&[named, ("tokenizer.json", vocabulary)]).unwrap(), json!([7, 8]));
        assert_eq!(of(&[own, ("tokenizer.json", vocabulary)]).unwrap(), json!([2, 3, 7]));
        assert!(of(&[("config.json", "{}")]).unwrap_err().to_string().contains("eos_token_id"));
    }

    #[test]
    fn defaults_that_requests_do_not_get_are_told() {
        let own = r#"{"eos_token_id":1,"temperature":0.7,"top_k":20,"repetition_penalty":1.1,"min_p":0,"num_beams":1,
            "suppress_tokens":[1],"bad_words_ids":[],"forced_bos_token_id":null,"transformers_version":"4"}"#;
        let folder = folder(&[("generation_config.json", own)]);
        let (kept, left_out) = generation(folder.path(), &json!({})).unwrap();
        assert_eq!(kept["top_k"], 20);
        assert!(kept["repetition_penalty"].is_null());
        assert_eq!(left_out, ["repetition_penalty 1.1", "suppress_tokens [1]"]);
    }
}
