//! The metadata keys of a file: keys that are read, keys that do not affect an answer, and keys accepted only with the one
//! value that changes nothing. Any other key or value is refused by name: what a file says about its model is either
//! computed with or refused. Keys of an architecture other than the file's own are not known.

use std::io::{Read, Seek};

use super::ImportError;
use crate::gguf::{Gguf, Value};
use crate::onnx::Architecture;

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

/// Keys of some architectures alone; any other has them refused, or taken as the table below says.
const OWN_KEYS: &[(Architecture, &str, Use)] = &[
    (Architecture::Llama, "attention.sliding_window", IsRead),
    (Architecture::Phi3, "attention.sliding_window", IsRead),
    (Architecture::Gemma3, "attention.sliding_window", IsRead),
    (Architecture::Gemma3, "attention.sliding_window_pattern", IsRead),
    (Architecture::Gemma3, "rope.freq_base_swa", IsRead),
    (Architecture::Gemma3, "attn_logit_softcapping", IsRead),
    (Architecture::Gemma3, "final_logit_softcapping", IsRead),
];

/// Keys by name. A name that ends with a dot covers all keys that begin with it; one that begins with `*.` stands for the
/// file's architecture. The first match counts.
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
    ("*.context_length", IsRead),
    ("*.embedding_length", IsRead),
    ("*.block_count", IsRead),
    ("*.feed_forward_length", IsRead),
    ("*.vocab_size", IsRead),
    ("*.tensor_data_layout", OneOf(&["Meta AI original pth", "reference"])),
    ("*.expert_count", Only(0.0)),
    ("*.expert_used_count", Only(0.0)),
    ("*.use_parallel_residual", Only(0.0)),
    ("*.logit_scale", Only(1.0)),
    ("*.embedding_scale", Only(1.0)),
    ("*.residual_scale", Only(1.0)),
    ("*.attn_logit_softcapping", Only(0.0)),
    ("*.final_logit_softcapping", Only(0.0)),
    ("*.pooling_type", Only(0.0)),
    ("*.attention.head_count", IsRead),
    ("*.attention.head_count_kv", IsRead),
    ("*.attention.key_length", IsRead),
    ("*.attention.value_length", IsRead),
    ("*.attention.layer_norm_rms_epsilon", IsRead),
    ("*.attention.scale", IsRead),
    ("*.attention.causal", Only(1.0)),
    ("*.attention.clamp_kqv", Only(0.0)),
    ("*.attention.max_alibi_bias", Only(0.0)),
    ("*.attention.sliding_window", Only(0.0)),
    ("*.rope.dimension_count", IsRead),
    ("*.rope.freq_base", IsRead),
    ("*.rope.scale_linear", IsRead),
    ("*.rope.scaling.type", IsRead),
    ("*.rope.scaling.factor", IsRead),
    ("*.rope.scaling.original_context_length", IsRead),
    // Whether the model was trained on the stretched context; the graph is the same either way.
    ("*.rope.scaling.finetuned", Says),
    ("*.rope.scaling.attn_factor", IsRead),
    ("*.rope.scaling.low_freq_factor", IsRead),
    ("*.rope.scaling.high_freq_factor", IsRead),
    ("*.rope.scaling.yarn_ext_factor", IsRead),
    ("*.rope.scaling.yarn_beta_fast", IsRead),
    ("*.rope.scaling.yarn_beta_slow", IsRead),
    ("*.rope.scaling.yarn_attn_factor", Only(1.0)),
    ("*.rope.scaling.yarn_log_multiplier", Only(0.0)),
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
    // Byte-level BPE uses the order of the merges, and sentencepiece's the scores.
    ("tokenizer.ggml.scores", IsRead),
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
    ("tokenizer.ggml.add_space_prefix", IsRead),
    ("tokenizer.ggml.remove_extra_whitespaces", Only(0.0)),
    ("tokenizer.ggml.added_tokens", Only(0.0)),
];

/// Refuses a file with an unknown key, or with an unread value that would change an answer.
pub(super) fn check<R: Read + Seek>(file: &Gguf<R>, architecture: Architecture) -> Result<(), ImportError> {
    let mut keys: Vec<&str> = file.keys().collect();
    keys.sort_unstable();
    keys.into_iter().try_for_each(|key| check_one(architecture, key, file.value(key)))
}

fn check_one(architecture: Architecture, key: &str, value: Option<&Value>) -> Result<(), ImportError> {
    let own = key.strip_prefix(architecture.name()).and_then(|rest| rest.strip_prefix('.'));
    let fits = |name: &str| match name.strip_prefix("*.") {
        Some(name) => own == Some(name),
        None if name.ends_with('.') => key.starts_with(name),
        None => key == name,
    };
    let of_own =
        OWN_KEYS.iter().find(|(of, name, _)| *of == architecture && own == Some(*name)).map(|(_, _, known)| known);
    let known = of_own.or_else(|| KEYS.iter().find(|(name, _)| fits(name)).map(|(_, known)| known));
    let Some(known) = known else {
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
        let of = |architecture, key: &str, value: &Value| {
            check_one(architecture, key, Some(value)).map_err(|error| error.to_string())
        };
        let taken = |key: &str, value: Value| of(Architecture::Llama, key, &value);
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
            ("llama.attention.sliding_window_pattern", Value::Unsigned(6)),
            ("llama.final_logit_softcapping", Value::Float(30.0)),
            ("llama.attention.clamp_kqv", Value::Float(8.0)),
            ("llama.logit_scale", Value::Float(0.5)),
            ("llama.rope.scaling.yarn_attn_factor", Value::Float(1.2)),
            ("llama.rope.scaling.Factor", Value::Float(4.0)),
            ("rope.scaling.factor", Value::Float(4.0)),
            ("qwen2.context_length", Value::Unsigned(1)),
            ("tokenizer.ggml.add_sep_token", Value::Bool(true)),
            ("adapter.type", Value::Text("lora".into())),
        ] {
            let message = taken(key, value).unwrap_err();
            assert!(message.contains(key), "{message}");
        }
        let capped = Value::Float(30.0);
        assert_eq!(of(Architecture::Gemma3, "gemma3.final_logit_softcapping", &capped), Ok(()));
        assert!(of(Architecture::Qwen2, "qwen2.final_logit_softcapping", &capped).is_err());
        assert!(of(Architecture::Qwen2, "qwen2.attention.sliding_window", &Value::Unsigned(512)).is_err());
        assert!(of(Architecture::Qwen2, "llama.context_length", &Value::Unsigned(512)).is_err());
    }
}
