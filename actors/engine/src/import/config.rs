//! The configuration files of a Hugging Face-style folder, from a GGUF file's metadata.

use std::io::{Read, Seek};

use serde_json::{Map, Value, json};

use super::ImportError;
use super::vocabulary::Vocabulary;
use crate::gguf::Gguf;
use crate::onnx::Shape;

/// `config.json`.
pub(super) fn config<R: Read + Seek>(file: &Gguf<R>, shape: &Shape) -> Value {
    let (class, kind) = shape.architecture.hugging_face();
    let window = shape.windows.iter().flatten().next();
    let is_capped = |cap: f32| (cap > 0.0).then_some(cap);
    let layers =
        shape.windows.iter().map(|window| if window.is_some() { "sliding_attention" } else { "full_attention" });
    json!({
        "architectures": [class],
        "model_type": kind,
        "hidden_act": shape.architecture.activation_name(),
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_size,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.epsilon,
        "rope_theta": shape.rope.theta,
        "rope_local_base_freq": shape.window_rope.as_ref().map(|rope| rope.theta),
        "rope_scaling": shape.rope.scaling,
        "sliding_window": window,
        "layer_types": window.is_some().then(|| layers.collect::<Vec<_>>()),
        "attn_logit_softcapping": is_capped(shape.attention_cap),
        "final_logit_softcapping": is_capped(shape.logit_cap),
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied,
        "bos_token_id": file.number("tokenizer.ggml.bos_token_id"),
        "eos_token_id": file.number("tokenizer.ggml.eos_token_id"),
        "pad_token_id": file.number("tokenizer.ggml.padding_token_id"),
    })
}

/// `generation_config.json`: the tokens that end an answer, and the model's default sampling where the file has it.
pub(super) fn generation_config<R: Read + Seek>(file: &Gguf<R>, known: &Vocabulary<'_>) -> Result<Value, ImportError> {
    let mut config = Map::new();
    config.insert("bos_token_id".to_owned(), json!(file.number("tokenizer.ggml.bos_token_id")));
    config.insert("eos_token_id".to_owned(), json!(known.ends));
    config.insert("pad_token_id".to_owned(), json!(file.number("tokenizer.ggml.padding_token_id")));
    for (name, key, most) in [
        ("temperature", "general.sampling.temp", 100.0),
        ("top_p", "general.sampling.top_p", 1.0),
        ("top_k", "general.sampling.top_k", 1e6),
    ] {
        if file.value(key).is_none() {
            continue;
        }
        let number = file.float(key).filter(|number| (0.0..=most).contains(number));
        let why = || format!("must be a number from 0 to {most}");
        let number = number.ok_or_else(|| ImportError::Key { key: key.to_owned(), why: why() })?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to a million")]
        let value = if name == "top_k" { json!(number.round() as u64) } else { json!(number) };
        config.insert(name.to_owned(), value);
    }
    Ok(Value::Object(config))
}

/// `tokenizer_config.json`, with the chat template.
pub(super) fn tokenizer_config<R: Read + Seek>(file: &Gguf<R>, shape: &Shape) -> Value {
    let mut config = Map::new();
    config.insert("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast"));
    config.insert("clean_up_tokenization_spaces".to_owned(), json!(false));
    config.insert("model_max_length".to_owned(), json!(shape.context));
    let tokens = file.texts("tokenizer.ggml.tokens").unwrap_or_default();
    for (name, key) in [
        ("bos_token", "tokenizer.ggml.bos_token_id"),
        ("eos_token", "tokenizer.ggml.eos_token_id"),
        ("unk_token", "tokenizer.ggml.unknown_token_id"),
        ("pad_token", "tokenizer.ggml.padding_token_id"),
    ] {
        let token = file.number(key).and_then(|id| tokens.get(usize::try_from(id).ok()?));
        if let Some(token) = token {
            config.insert(name.to_owned(), json!(token));
        }
    }
    if let Some(template) = file.text("tokenizer.chat_template") {
        config.insert("chat_template".to_owned(), json!(template));
    }
    Value::Object(config)
}
