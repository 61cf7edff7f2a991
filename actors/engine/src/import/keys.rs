//! The metadata keys of a llama file: keys that are read, keys that do not affect an answer, and keys accepted only
//! with the one value that changes nothing. Any other key or value is refused by name: what a file says about its model
//! is either computed with or refused.

use std::io::{Read, Seek};

use super::ImportError;
use crate::gguf::{Gguf, Value};

/// The treatment of a key.
enum Use {
    /// The key is read, here or with the model's shape and tokenizer.
    Read,
    /// The key describes the file or its making.
    Says,
    /// The key is accepted only with this number, flag (0 or 1) or empty list, which changes nothing.
    Only(f64),
    /// The key is accepted only with one of these texts.
    OneOf(&'static [&'static str]),
}

use Use::{OneOf, Only, Read as IsRead, Says};

/// Keys by name. A name that ends with a dot covers all keys that begin with it. The first match counts.
const KEYS: &[(&str, Use)] = &[
    ("general.architecture", IsRead),
    ("general.alignment", IsRead),
    ("general.name", IsRead),
    ("general.type", OneOf(&["model"])),
    ("general.quantization_version", Only(2.0)),
    ("general.sampling.temp", IsRead),
    ("general.sampling.top_k", IsRead),
    ("general.sampling.top_p", IsRead),
    ("general.sampling.min_p", Only(0.0)),
    ("general.sampling.penalty_repeat", Only(1.0)),
    ("general.sampling.penalty_last_n", Says),
    ("general.sampling.xtc_probability", Only(0.0)),
    ("general.sampling.xtc_threshold", Says),
    ("general.sampling.mirostat", Only(0.0)),
    ("general.sampling.mirostat_tau", Says),
    ("general.sampling.mirostat_eta", Says),
    // A sampling default that is not read.
    ("general.sampling.", OneOf(&[])),
    ("general.", Says),
    ("quantize.", Says),
    ("split.no", IsRead),
    ("split.count", IsRead),
    ("split.tensors.count", Says),
    ("llama.context_length", IsRead),
    ("llama.embedding_length", IsRead),
    ("llama.block_count", IsRead),
    ("llama.feed_forward_length", IsRead),
    ("llama.vocab_size", IsRead),
    ("llama.tensor_data_layout", OneOf(&["Meta AI original pth", "reference"])),
    ("llama.expert_count", Only(0.0)),
    ("llama.expert_used_count", Only(0.0)),
    ("llama.use_parallel_residual", Only(0.0)),
    ("llama.logit_scale", Only(1.0)),
    ("llama.embedding_scale", Only(1.0)),
    ("llama.residual_scale", Only(1.0)),
    ("llama.attn_logit_softcapping", Only(0.0)),
    ("llama.final_logit_softcapping", Only(0.0)),
    ("llama.pooling_type", Only(0.0)),
    ("llama.attention.head_count", IsRead),
    ("llama.attention.head_count_kv", IsRead),
    ("llama.attention.key_length", IsRead),
    ("llama.attention.value_length", IsRead),
    ("llama.attention.layer_norm_rms_epsilon", IsRead),
    ("llama.attention.scale", IsRead),
    ("llama.attention.causal", Only(1.0)),
    ("llama.attention.clamp_kqv", Only(0.0)),
    ("llama.attention.max_alibi_bias", Only(0.0)),
    ("llama.attention.sliding_window", Only(0.0)),
    ("llama.rope.dimension_count", IsRead),
    ("llama.rope.freq_base", IsRead),
    ("llama.rope.scale_linear", IsRead),
    ("llama.rope.scaling.type", IsRead),
    ("llama.rope.scaling.factor", IsRead),
    // The context before the stretching, and whether the model was trained on it; the graph is the same either way.
    ("llama.rope.scaling.original_context_length", Says),
    ("llama.rope.scaling.finetuned", Says),
    ("llama.rope.scaling.attn_factor", Only(1.0)),
    ("llama.rope.scaling.yarn_log_multiplier", Only(0.0)),
    ("tokenizer.chat_template", IsRead),
    // Templates other than the one for conversations.
    ("tokenizer.chat_template.", Says),
    ("tokenizer.chat_templates", Says),
    ("tokenizer.huggingface.json", Says),
    ("tokenizer.ggml.model", IsRead),
    ("tokenizer.ggml.pre", IsRead),
    ("tokenizer.ggml.tokens", IsRead),
    ("tokenizer.ggml.token_type", IsRead),
    ("tokenizer.ggml.merges", IsRead),
    // Byte-level BPE uses the order of the merges.
    ("tokenizer.ggml.scores", Says),
    ("tokenizer.ggml.token_type_count", Only(0.0)),
    ("tokenizer.ggml.bos_token_id", IsRead),
    ("tokenizer.ggml.eos_token_id", IsRead),
    ("tokenizer.ggml.eot_token_id", IsRead),
    ("tokenizer.ggml.eom_token_id", IsRead),
    ("tokenizer.ggml.unknown_token_id", IsRead),
    ("tokenizer.ggml.padding_token_id", IsRead),
    ("tokenizer.ggml.separator_token_id", Says),
    ("tokenizer.ggml.seperator_token_id", Says),
    ("tokenizer.ggml.cls_token_id", Says),
    ("tokenizer.ggml.mask_token_id", Says),
    ("tokenizer.ggml.prefix_token_id", Says),
    ("tokenizer.ggml.suffix_token_id", Says),
    ("tokenizer.ggml.middle_token_id", Says),
    ("tokenizer.ggml.fim_pre_token_id", Says),
    ("tokenizer.ggml.fim_suf_token_id", Says),
    ("tokenizer.ggml.fim_mid_token_id", Says),
    ("tokenizer.ggml.fim_pad_token_id", IsRead),
    ("tokenizer.ggml.fim_rep_token_id", IsRead),
    ("tokenizer.ggml.fim_sep_token_id", IsRead),
    ("tokenizer.ggml.add_bos_token", IsRead),
    ("tokenizer.ggml.add_eos_token", IsRead),
    ("tokenizer.ggml.add_sep_token", Only(0.0)),
    ("tokenizer.ggml.add_space_prefix", Only(0.0)),
    ("tokenizer.ggml.remove_extra_whitespaces", Only(0.0)),
    ("tokenizer.ggml.added_tokens", Only(0.0)),
];

/// Refuses a file with an unknown key, or with an unread value that would change an answer.
pub(super) fn check<R: Read + Seek>(file: &Gguf<R>) -> Result<(), ImportError> {
    let mut keys: Vec<&str> = file.keys().collect();
    keys.sort_unstable();
    keys.into_iter().try_for_each(|key| check_one(key, file.value(key)))
}

fn check_one(key: &str, value: Option<&Value>) -> Result<(), ImportError> {
    let fits = |name: &str| if name.ends_with('.') { key.starts_with(name) } else { key == name };
    let known = KEYS.iter().find(|(name, _)| fits(name));
    let Some((_, known)) = known else {
        return Err(ImportError::Key { key: key.to_owned(), why: "is not a key that is known".to_owned() });
    };
    let refused = |why: String| Err(ImportError::Key { key: key.to_owned(), why });
    match (known, value) {
        (IsRead | Says, _) | (_, None) => Ok(()),
        (Only(only), Some(value)) if number(value).is_some_and(|number| (number - only).abs() < 1e-6) => Ok(()),
        (Only(only), Some(value)) => refused(format!("is {}; only {only} is supported", shown(value))),
        (OneOf(texts), Some(Value::Text(text))) if texts.contains(&text.as_str()) => Ok(()),
        (OneOf([]), Some(value)) => refused(format!("is {}, which is not supported", shown(value))),
        (OneOf(texts), Some(value)) => refused(format!("is {}; supported: {}", shown(value), texts.join(", "))),
    }
}

/// A number, a flag as 0 or 1, or the length of a list.
fn number(value: &Value) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "compared with small numbers")]
    match value {
        Value::Unsigned(number) => Some(*number as f64),
        Value::Signed(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Value::Texts(list) => Some(list.len() as f64),
        Value::Text(_) | Value::Integers(_) | Value::Floats(_) => None,
    }
}

/// A value as shown in a message.
fn shown(value: &Value) -> String {
    match value {
        Value::Unsigned(number) => number.to_string(),
        Value::Signed(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Text(text) => format!("{:?}", text.chars().take(64).collect::<String>()),
        Value::Texts(_) | Value::Integers(_) | Value::Floats(_) => "a list".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_or_not_computed_is_refused_by_name() {
        let taken = |key: &str, value: Value| check_one(key, Some(&value)).map_err(|error| error.to_string());
        for (key, value) in [
            ("general.url", Value::Text("x".into())),
            ("general.file_type", Value::Unsigned(2)),
            ("quantize.imatrix.entries_count", Value::Signed(9)),
            ("llama.expert_count", Value::Unsigned(0)),
            ("llama.attention.causal", Value::Bool(true)),
            ("llama.logit_scale", Value::Float(1.0)),
            ("general.type", Value::Text("model".into())),
        ] {
            assert_eq!(taken(key, value), Ok(()), "{key}");
        }
        for (key, value) in [
            ("general.type", Value::Text("adapter".into())),
            ("general.quantization_version", Value::Unsigned(1)),
            ("general.sampling.penalty_repeat", Value::Float(1.1)),
            ("general.sampling.sequence", Value::Text("x".into())),
            ("llama.attention.sliding_window", Value::Unsigned(512)),
            ("llama.attention.clamp_kqv", Value::Float(8.0)),
            ("llama.logit_scale", Value::Float(0.5)),
            ("llama.rope.scaling.attn_factor", Value::Float(1.2)),
            ("llama.rope.scaling.yarn_beta_fast", Value::Float(32.0)),
            ("llama.rope.scaling.Factor", Value::Float(4.0)),
            ("rope.scaling.factor", Value::Float(4.0)),
            ("qwen2.context_length", Value::Unsigned(1)),
            ("tokenizer.ggml.add_sep_token", Value::Bool(true)),
            ("adapter.type", Value::Text("lora".into())),
        ] {
            let message = taken(key, value).unwrap_err();
            assert!(message.contains(key), "{message}");
        }
    }
}
