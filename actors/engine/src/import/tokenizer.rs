//! `tokenizer.json` for the `tokenizers` crate, from a GGUF file's vocabulary. Byte-level BPE ("gpt2") with the
//! pre-tokenizers in [`pre_tokenizer`]. Any other model or pre-tokenizer is refused by name, because a wrong split
//! gives wrong tokens without any error.

use std::io::{Read, Seek};

use serde_json::{Map, Value, json};

use super::ImportError;
use super::vocabulary::{Kind, Vocabulary};
use crate::gguf::{Gguf, Value as Metadata};

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Builds the file's content.
pub(super) fn tokenizer<R: Read + Seek>(file: &Gguf<R>, known: &Vocabulary<'_>) -> Result<Value, ImportError> {
    match file.text("tokenizer.ggml.model") {
        Some("gpt2") => {}
        Some(other) => return Err(ImportError::Tokenizer(format!("model {other}; gpt2 (byte-level BPE) is"))),
        None => return Err(ImportError::Tokenizer("tokenizer.ggml.model is missing".to_owned())),
    }
    let pre = match file.value("tokenizer.ggml.pre") {
        None => "default",
        Some(Metadata::Text(pre)) => pre,
        Some(_) => return Err(ImportError::Tokenizer("tokenizer.ggml.pre must be a text".to_owned())),
    };
    let (normalizer, pre_tokenizer, ignore_merges) = pre_tokenizer(pre)?;
    let key = "tokenizer.ggml.merges";
    let merges = file.texts(key).ok_or_else(|| ImportError::Tokenizer(format!("{key} is missing")))?;
    let vocabulary: Map<String, Value> =
        known.tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let pair = |(at, merge): (usize, &String)| {
        let wrong = |why: &str| ImportError::Tokenizer(format!("merge {at}, {merge:?}, {why} ({key})"));
        let (left, right) = split_merge(merge).ok_or_else(|| wrong("is not two tokens"))?;
        let is_known = |part: &str| vocabulary.contains_key(part);
        if is_known(left) && is_known(right) && is_known(&format!("{left}{right}")) {
            Ok(json!([left, right]))
        } else {
            Err(wrong("names a token that is not in the vocabulary"))
        }
    };
    let pairs = merges.iter().enumerate().map(pair).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens(known),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor(known),
        "decoder": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": ignore_merges,
            "vocab": vocabulary,
            "merges": pairs,
        },
    }))
}

/// A merge's two parts. In a byte-level vocabulary no part begins with a space, so the first space after the first
/// character separates them.
fn split_merge(merge: &str) -> Option<(&str, &str)> {
    let after_first = merge.chars().next()?.len_utf8();
    let at = merge.get(after_first..)?.find(' ')? + after_first;
    let (left, right) = (merge.get(..at)?, merge.get(at + 1..)?);
    (!right.is_empty()).then_some((left, right))
}

/// Normalizer, pre-tokenizer, and whether whole words of the vocabulary skip merging.
fn pre_tokenizer(name: &str) -> Result<(Value, Value, bool), ImportError> {
    let bytes = |use_regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex });
    let split = |regex: &str| json!({ "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false });
    let sequence = |parts: Vec<Value>| json!({ "type": "Sequence", "pretokenizers": parts });
    Ok(match name {
        "gpt-2" => (Value::Null, bytes(true), false),
        "smollm" => {
            let digits = json!({ "type": "Digits", "individual_digits": true });
            (Value::Null, sequence(vec![digits, bytes(true)]), false)
        }
        "llama-bpe" | "llama3" | "llama-v3" => (Value::Null, sequence(vec![split(LLAMA3), bytes(false)]), true),
        "qwen2" => (json!({ "type": "NFC" }), sequence(vec![split(QWEN2), bytes(false)]), false),
        "default" => {
            let parts = [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"];
            let parts = parts.into_iter().map(split).chain([bytes(false)]).collect();
            (Value::Null, sequence(parts), false)
        }
        other => {
            let known = "gpt-2, smollm, llama-bpe, qwen2, default";
            return Err(ImportError::Tokenizer(format!("pre-tokenizer {other}; {known} are")));
        }
    })
}

/// The tokens that are matched as a whole.
fn added_tokens(known: &Vocabulary<'_>) -> Vec<Value> {
    let all = known.tokens.iter().zip(&known.kinds).enumerate();
    all.filter(|(_, (_, kind))| **kind != Kind::Plain)
        .map(|(id, (token, kind))| {
            json!({
                "id": id,
                "content": token,
                "single_word": false,
                "lstrip": false,
                "rstrip": false,
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

    #[test]
    fn unknown_pre_tokenizers_are_refused_by_name() {
        let error = pre_tokenizer("tekken").unwrap_err().to_string();
        assert!(error.contains("tekken") && error.contains("smollm"), "{error}");
    }
}
