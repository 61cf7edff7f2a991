//! How byte-level BPE splits a text before it merges: by the name that a file gives (`tokenizer.ggml.pre`). Each split is
//! the regular expression of the models' own tokenizers.

use serde_json::{Value, json};

use super::ImportError;

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The names that are known.
pub(super) const NAMES: [&str; 15] = [
    "default",
    "gpt-2",
    "phi-2",
    "smollm",
    "starcoder",
    "refact",
    "llama-bpe",
    "llama3",
    "llama-v3",
    "falcon3",
    "dbrx",
    "qwen2",
    "deepseek-r1-qwen",
    "tekken",
    "gpt-4o",
];

/// Names of models that begin a raw prompt with their beginning token unless the file says otherwise.
pub(super) const BEGINNING: [&str; 5] = ["llama-bpe", "llama3", "llama-v3", "falcon3", "tekken"];

/// What happens to a text before it is merged.
pub(super) struct Split {
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    /// Whether whole words of the vocabulary skip merging.
    pub(super) ignore_merges: bool,
}

/// The split of a name.
pub(super) fn split(name: &str) -> Result<Split, ImportError> {
    let bytes = |use_regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex });
    let split = |regex: &str| json!({ "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false });
    let sequence = |parts: Vec<Value>| json!({ "type": "Sequence", "pretokenizers": parts });
    let by = |regex: &str| sequence(vec![split(regex), bytes(false)]);
    let (pre_tokenizer, ignore_merges) = match name {
        "gpt-2" | "phi-2" => (bytes(true), false),
        "smollm" | "starcoder" | "refact" => {
            let digits = json!({ "type": "Digits", "individual_digits": true });
            (sequence(vec![digits, bytes(true)]), false)
        }
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" => (by(LLAMA3), true),
        "dbrx" => (by(LLAMA3), false),
        "qwen2" | "deepseek-r1-qwen" => (by(QWEN2), false),
        "tekken" => (by(TEKKEN), true),
        "gpt-4o" => (by(GPT4O), false),
        "default" => {
            let parts = [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"];
            (sequence(parts.into_iter().map(split).chain([bytes(false)]).collect()), false)
        }
        other => {
            return Err(ImportError::Tokenizer(format!("pre-tokenizer {other}; {} are", NAMES.join(", "))));
        }
    };
    let normalizer = if name == "qwen2" { json!({ "type": "NFC" }) } else { Value::Null };
    Ok(Split { normalizer, pre_tokenizer, ignore_merges })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_are_known_and_unknown_ones_are_refused() {
        for name in NAMES {
            assert!(split(name).is_ok(), "{name}");
        }
        assert!(BEGINNING.iter().all(|name| NAMES.contains(name)));
        let error = split("wholly-new").map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("wholly-new") && error.contains("smollm"), "{error}");
    }

    #[test]
    fn the_page_has_every_name() {
        let page = include_str!("../../../../docs/open-models.md");
        let list = NAMES.map(|name| format!("`{name}`")).join(", ");
        let line = page.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        assert!(line.contains(&list), "docs/open-models.md must have:\n{list}");
    }
}
