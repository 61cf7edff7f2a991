//! `tokenizer.json` for the `tokenizers` crate from a GGUF file's vocabulary. Byte-level BPE ("gpt2") with the
//! pre-tokenizers listed in [`pre_tokenizer`]; any other model or pre-tokenizer is refused by name, because a wrong split
//! gives wrong tokens without any error.

use std::io::{Read, Seek};

use serde_json::{Map, Value, json};

use super::ImportError;
use crate::engine::gguf::{Gguf, Value as Metadata};

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Builds the file's content.
pub(super) fn tokenizer<R: Read + Seek>(file: &Gguf<R>) -> Result<Value, ImportError> {
    match file.text("tokenizer.ggml.model") {
        Some("gpt2") => {}
        Some(other) => return Err(ImportError::Tokenizer(format!("model {other}; gpt2 (byte-level BPE) is"))),
        None => return Err(ImportError::Tokenizer("tokenizer.ggml.model is missing".to_owned())),
    }
    let pre = file.text("tokenizer.ggml.pre").unwrap_or("default");
    let (normalizer, pre_tokenizer, ignore_merges) = pre_tokenizer(pre)?;
    let missing = |key: &str| ImportError::Tokenizer(format!("{key} is missing"));
    let tokens = file.texts("tokenizer.ggml.tokens").ok_or_else(|| missing("tokenizer.ggml.tokens"))?;
    let merges = file.texts("tokenizer.ggml.merges").ok_or_else(|| missing("tokenizer.ggml.merges"))?;
    let vocabulary: Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let pairs = merges
        .iter()
        .map(|merge| {
            let (left, right) = split_merge(merge)?;
            let known = |part: &str| vocabulary.contains_key(part);
            (known(left) && known(right) && known(&format!("{left}{right}"))).then(|| json!([left, right]))
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| ImportError::Tokenizer("a merge names tokens that are not in the vocabulary".to_owned()))?;
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens(file, tokens),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor(file, tokens),
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

/// A merge's two parts; a part may itself begin with a space in no byte-level vocabulary, so the first space after the first
/// character parts them.
fn split_merge(merge: &str) -> Option<(&str, &str)> {
    let after_first = merge.chars().next()?.len_utf8();
    let at = merge.get(after_first..)?.find(' ')? + after_first;
    Some((&merge[..at], &merge[at + 1..]))
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

/// Control tokens (type 3) are special; user-defined ones (type 4) are matched whole but are text.
fn added_tokens<R: Read + Seek>(file: &Gguf<R>, tokens: &[String]) -> Vec<Value> {
    let Some(Metadata::Integers(types)) = file.value("tokenizer.ggml.token_type") else { return Vec::new() };
    let kinds = tokens.iter().zip(types).enumerate();
    kinds
        .filter(|(_, (token, kind))| matches!(kind, 3 | 4) && !token.is_empty())
        .map(|(id, (token, kind))| {
            json!({
                "id": id,
                "content": token,
                "single_word": false,
                "lstrip": false,
                "rstrip": false,
                "normalized": false,
                "special": *kind == 3,
            })
        })
        .collect()
}

/// Puts the beginning token before a raw prompt where the file says so.
fn post_processor<R: Read + Seek>(file: &Gguf<R>, tokens: &[String]) -> Value {
    let id = file.number("tokenizer.ggml.bos_token_id").and_then(|id| usize::try_from(id).ok());
    let begins = file.flag("tokenizer.ggml.add_bos_token").unwrap_or(false);
    match id.and_then(|id| tokens.get(id).map(|token| (id, token))) {
        Some((id, token)) if begins => json!({
            "type": "TemplateProcessing",
            "single": [
                { "SpecialToken": { "id": token, "type_id": 0 } },
                { "Sequence": { "id": "A", "type_id": 0 } },
            ],
            "pair": [
                { "Sequence": { "id": "A", "type_id": 0 } },
                { "Sequence": { "id": "B", "type_id": 1 } },
            ],
            "special_tokens": { (token.clone()): { "id": token, "ids": [id], "tokens": [token] } },
        }),
        Some(_) | None => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_part_at_their_space() {
        assert_eq!(split_merge("Ġ t"), Some(("Ġ", "t")));
        assert_eq!(split_merge("in g"), Some(("in", "g")));
        assert_eq!(split_merge("lonely"), None);
        assert_eq!(split_merge(""), None);
    }

    #[test]
    fn unknown_pre_tokenizers_are_refused_by_name() {
        let error = pre_tokenizer("tekken").unwrap_err().to_string();
        assert!(error.contains("tekken") && error.contains("smollm"), "{error}");
    }
}
