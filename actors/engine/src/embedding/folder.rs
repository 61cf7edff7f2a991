//! How a model's folder says that vectors are made: `modules.json` with the pooling's and the normalization's modules,
//! `sentence_bert_config.json`, `config_sentence_transformers.json` and `config.json`, as Sentence Transformers writes
//! them. What is not understood is refused: another rule makes other vectors.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use serde_json::Value;

use super::pooling::Pooling;
use crate::tokenizer::{FolderError, read_json};

/// The purposes of vectors that a request may name, each with the names of a model's prompts for it.
const PURPOSES: [(&str, &[&str]); 4] = [
    ("search_query", &["query", "search_query"]),
    ("search_document", &["document", "passage", "search_document"]),
    ("classification", &["classification"]),
    ("clustering", &["clustering"]),
];

/// How a model makes vectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// The rule that makes one vector of the tokens' states.
    pub pooling: Pooling,
    /// Whether vectors have length 1.
    pub is_normalized: bool,
    /// The most tokens of a text.
    pub context: usize,
    /// Whether the first numbers of a vector are a vector too (Matryoshka representation learning).
    pub shortens: bool,
    /// The text that is put before each text, by purpose.
    pub prompts: BTreeMap<&'static str, String>,
    /// The files of modules, in the folder.
    pub files: Vec<PathBuf>,
}

impl Form {
    /// Reads a folder.
    ///
    /// # Errors
    ///
    /// A file is missing or malformed, or names a rule that is not supported. The error names the file.
    pub fn read(folder: &Path) -> Result<Self, FolderError> {
        let failed = |file: &str, reason: &str| FolderError { path: folder.join(file), reason: reason.to_owned() };
        let modules = read_json(folder, "modules.json")?;
        let modules = modules.as_ref().and_then(Value::as_array);
        let modules = modules.ok_or_else(|| failed("modules.json", "it does not say how vectors are made"))?;
        let (mut pooling, mut is_normalized, mut files) = (None, false, Vec::new());
        for module in modules {
            let kind = module["type"].as_str().unwrap_or_default();
            match kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" => {}
                "Pooling" => {
                    let file = Path::new(module["path"].as_str().unwrap_or_default()).join("config.json");
                    pooling = Some(read_pooling(folder, &file)?);
                    files.push(file);
                }
                "Normalize" => is_normalized = true,
                _ => return Err(failed("modules.json", &format!("the module {kind:?} is not supported"))),
            }
        }
        let pooling = pooling.ok_or_else(|| failed("modules.json", "there is no pooling"))?;
        let config = read_json(folder, "config.json")?.unwrap_or_default();
        let bert = read_json(folder, "sentence_bert_config.json")?.unwrap_or_default();
        let positions = config["max_position_embeddings"].as_u64();
        let longest = bert["max_seq_length"].as_u64().into_iter().chain(positions).min();
        let context = longest.and_then(|context| usize::try_from(context).ok()).filter(|context| *context > 0);
        let context = context.ok_or_else(|| failed("config.json", "max_position_embeddings is missing"))?;
        let shortens = config["is_matryoshka"] == Value::Bool(true) || config["matryoshka_dimensions"].is_array();
        let said = read_json(folder, "config_sentence_transformers.json")?.unwrap_or_default();
        Ok(Self { pooling, is_normalized, context, shortens, prompts: prompts(&said["prompts"]), files })
    }
}

/// The pooling of a module's configuration: one of several flags.
fn read_pooling(folder: &Path, file: &Path) -> Result<Pooling, FolderError> {
    let failed = |reason: String| FolderError { path: folder.join(file), reason };
    // A module lies within the folder.
    let is_within = file.components().all(|part| matches!(part, Component::Normal(_)));
    let config = if is_within { read_json(folder, file)? } else { None };
    let config = config.ok_or_else(|| failed("it does not say how vectors are made".to_owned()))?;
    let flags = config.as_object().into_iter().flatten();
    let set: Vec<&str> = flags
        .filter(|(name, value)| name.starts_with("pooling_mode_") && **value == Value::Bool(true))
        .map(|(name, _)| name.trim_start_matches("pooling_mode_"))
        .collect();
    match set.as_slice() {
        ["mean_tokens"] => Ok(Pooling::Mean),
        ["cls_token"] => Ok(Pooling::Cls),
        ["max_tokens"] => Ok(Pooling::Max),
        ["lasttoken"] => Ok(Pooling::LastToken),
        other => Err(failed(format!("the pooling {other:?} is not supported"))),
    }
}

/// The prompts that have a purpose which requests can name.
fn prompts(named: &Value) -> BTreeMap<&'static str, String> {
    let prompt = |names: &[&str]| names.iter().find_map(|name| named[*name].as_str());
    PURPOSES.iter().filter_map(|(purpose, names)| Some((*purpose, prompt(names)?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("1_Pooling")).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    const MODULES: (&str, &str) = (
        "modules.json",
        r#"[{"path":"","type":"sentence_transformers.models.Transformer"},
        {"path":"1_Pooling","type":"sentence_transformers.models.Pooling"},
        {"path":"2_Normalize","type":"sentence_transformers.models.Normalize"}]"#,
    );
    const CONFIG: (&str, &str) = ("config.json", r#"{"max_position_embeddings":512,"matryoshka_dimensions":[64,128]}"#);
    const MEAN: (&str, &str) =
        ("1_Pooling/config.json", r#"{"word_embedding_dimension":4,"pooling_mode_mean_tokens":true}"#);

    #[test]
    fn a_folder_says_how_its_vectors_are_made() {
        let prompts = r#"{"prompts":{"query":"query: ","passage":"passage: ","other":"x"}}"#;
        let files = [
            MODULES,
            CONFIG,
            MEAN,
            ("sentence_bert_config.json", r#"{"max_seq_length":256}"#),
            ("config_sentence_transformers.json", prompts),
        ];
        let form = Form::read(folder(&files).path()).unwrap();
        let prompts = [("search_document", "passage: "), ("search_query", "query: ")];
        let prompts = prompts.map(|(purpose, text)| (purpose, text.to_owned())).into();
        let (pooling, files) = (Pooling::Mean, vec!["1_Pooling/config.json".into()]);
        let expected = Form { pooling, is_normalized: true, context: 256, shortens: true, prompts, files };
        assert_eq!(form, expected);
    }

    #[test]
    fn what_makes_other_vectors_is_refused_by_its_file() {
        let refused = |files: &[(&str, &str)]| Form::read(folder(files).path()).unwrap_err().to_string();
        assert!(refused(&[CONFIG, MEAN]).contains("modules.json"));
        assert!(refused(&[MODULES, MEAN]).contains("config.json"));
        assert!(refused(&[MODULES, CONFIG]).contains("1_Pooling"));
        let two = r#"{"pooling_mode_mean_tokens":true,"pooling_mode_cls_token":true}"#;
        assert!(refused(&[MODULES, CONFIG, ("1_Pooling/config.json", two)]).contains("cls_token"));
        let dense = r#"[{"path":"3_Dense","type":"sentence_transformers.models.Dense"}]"#;
        assert!(refused(&[("modules.json", dense), CONFIG]).contains("Dense"));
        let outside = r#"[{"path":"../1_Pooling","type":"sentence_transformers.models.Pooling"}]"#;
        assert!(refused(&[("modules.json", outside), CONFIG, MEAN]).contains("config.json"));
    }
}
