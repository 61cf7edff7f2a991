//! `tokenizer.json` for the `tokenizers` crate, from a GGUF file's vocabulary: byte-level BPE (`gpt2`) with the
//! pre-tokenizers of [`pre_tokenizer`], or sentencepiece's BPE (`llama`, see [`sentencepiece`]). Any other model or
//! pre-tokenizer is refused by name, because a wrong split gives wrong tokens without any error.

use std::io::{Read, Seek};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::ImportError;
use super::pre_tokenizer::{self, Split};
use super::sentencepiece;
use super::vocabulary::{Kind, Model, Vocabulary, flag};
use crate::gguf::{Gguf, Value as Metadata};
use crate::onnx::Architecture;

/// Builds the file's content.
pub(super) fn tokenizer<R: Read + Seek>(
    file: &Gguf<R>,
    known: &Vocabulary<'_>,
    architecture: Architecture,
) -> Result<Value, ImportError> {
    let pre = match file.value("tokenizer.ggml.pre") {
        None => "default",
        Some(Metadata::Text(pre)) => pre,
        Some(_) => return Err(ImportError::Tokenizer("tokenizer.ggml.pre must be a text".to_owned())),
    };
    let vocabulary: Map<String, Value> =
        known.tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let Parts { normalizer, pre_tokenizer, decoder, model } = match known.model {
        Model::Bytes => {
            if flag(file, "tokenizer.ggml.add_space_prefix")?.unwrap_or(false) {
                let message = "tokenizer.ggml.add_space_prefix is true, with byte-level BPE";
                return Err(ImportError::Tokenizer(message.to_owned()));
            }
            byte_level(file, pre, &vocabulary)?
        }
        Model::Pieces if pre == "default" => sentencepiece::parts(file, known, &vocabulary)?,
        Model::Pieces => {
            return Err(ImportError::Tokenizer(format!("pre-tokenizer {pre} with sentencepiece, which has none")));
        }
    };
    // Of Phi 3's sentencepiece models, the marks of turns take the spaces behind them.
    let is_greedy = architecture == Architecture::Phi3 && known.model == Model::Pieces;
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens(known, is_greedy),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor(known),
        "decoder": decoder,
        "model": model,
    }))
}

/// The parts of the file in which the models differ.
pub(super) struct Parts {
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    pub(super) decoder: Value,
    pub(super) model: Value,
}

/// A model that merges pairs (byte pair encoding), as `tokenizers` writes it.
pub(super) struct Merging {
    /// Whether characters that are no tokens become the tokens of their bytes.
    pub(super) falls_back_to_bytes: bool,
    /// Whether a word that is a token is one, whatever the merges say.
    pub(super) ignores_merges: bool,
}

impl Merging {
    /// The model, with its merges in the order in which they are preferred.
    pub(super) fn model(self, vocabulary: &Map<String, Value>, merges: &[[impl Serialize; 2]]) -> Value {
        json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": self.falls_back_to_bytes,
            "ignore_merges": self.ignores_merges,
            "vocab": vocabulary,
            "merges": merges,
        })
    }
}

fn byte_level<R: Read + Seek>(
    file: &Gguf<R>,
    pre: &str,
    vocabulary: &Map<String, Value>,
) -> Result<Parts, ImportError> {
    let Split { normalizer, pre_tokenizer, ignore_merges } = pre_tokenizer::split(pre)?;
    let key = "tokenizer.ggml.merges";
    let merges = file.texts(key).ok_or_else(|| ImportError::Tokenizer(format!("{key} is missing")))?;
    let pairs = merges.iter().enumerate().map(|(at, merge)| {
        let wrong = |why: &str| ImportError::Tokenizer(format!("merge {at}, {merge:?}, {why} ({key})"));
        let (left, right) = split_merge(merge).ok_or_else(|| wrong("is not two tokens"))?;
        let is_known = |part: &str| vocabulary.contains_key(part);
        if is_known(left) && is_known(right) && is_known(&format!("{left}{right}")) {
            Ok([left, right])
        } else {
            Err(wrong("names a token that is not in the vocabulary"))
        }
    });
    let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
    let decoder = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let model = Merging { falls_back_to_bytes: false, ignores_merges: ignore_merges }.model(vocabulary, &pairs);
    Ok(Parts { normalizer, pre_tokenizer, decoder, model })
}

/// A merge's two parts. In a byte-level vocabulary no part begins with a space, so the first space after the first
/// character separates them.
fn split_merge(merge: &str) -> Option<(&str, &str)> {
    let after_first = merge.chars().next()?.len_utf8();
    let at = merge.get(after_first..)?.find(' ')? + after_first;
    let (left, right) = (merge.get(..at)?, merge.get(at + 1..)?);
    (!right.is_empty()).then_some((left, right))
}

/// The tokens that are matched as a whole; where these are greedy, most take the spaces behind them.
fn added_tokens(known: &Vocabulary<'_>, is_greedy: bool) -> Vec<Value> {
    let all = known.tokens.iter().zip(&known.kinds).enumerate();
    let takes_spaces = |token: &str| is_greedy && !["<unk>", "<s>", "<|endoftext|>"].contains(&token);
    all.filter(|(_, (_, kind))| matches!(kind, Kind::Special | Kind::Whole))
        .map(|(id, (token, kind))| {
            json!({
                "id": id,
                "content": token,
                "single_word": false,
                "lstrip": false,
                "rstrip": takes_spaces(token),
                "normalized": false,
                "special": *kind == Kind::Special,
            })
        })
        .collect()
}

/// Puts the beginning token before a raw prompt, and the ending token after it, where the model has them.
fn post_processor(known: &Vocabulary<'_>) -> Value {
    let token = |id: Option<usize>| id.and_then(|id| known.tokens.get(id).map(|token| (id, token)));
    let (before, behind) = (token(known.before), token(known.behind));
    if before.is_none() && behind.is_none() {
        return Value::Null;
    }
    let special = |token: &Option<(usize, &String)>| {
        token.map(|(_, name)| json!({ "SpecialToken": { "id": name, "type_id": 0 } }))
    };
    let sequence = |name: &str, kind: u8| json!({ "Sequence": { "id": name, "type_id": kind } });
    let single: Vec<Value> = special(&before).into_iter().chain([sequence("A", 0)]).chain(special(&behind)).collect();
    let tokens: Map<String, Value> = [before, behind]
        .into_iter()
        .flatten()
        .map(|(id, name)| (name.clone(), json!({ "id": name, "ids": [id], "tokens": [name] })))
        .collect();
    json!({
        "type": "TemplateProcessing",
        "single": single,
        "pair": [sequence("A", 0), sequence("B", 1)],
        "special_tokens": tokens,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_part_at_their_space() {
        assert_eq!(split_merge("Ġ t"), Some(("Ġ", "t")));
        assert_eq!(split_merge("in g"), Some(("in", "g")));
        assert_eq!(split_merge("lonely"), None);
        assert_eq!(split_merge("half "), None);
        assert_eq!(split_merge(""), None);
    }
}
