//! The configuration files of a Hugging Face-style folder, from a GGUF file's metadata.

use std::io::{Read, Seek};

use serde_json::{Map, Value, json};

use crate::engine::gguf::Gguf;
use crate::engine::onnx::Shape;

/// Texts of tokens that end an answer besides the declared one.
const ENDS: [&str; 5] = ["<|im_end|>", "<|eot_id|>", "<|end|>", "<|endoftext|>", "<end_of_turn>"];

/// `config.json`.
pub(super) fn config<R: Read + Seek>(file: &Gguf<R>, shape: &Shape) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_size,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.epsilon,
        "rope_theta": shape.theta,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied,
        "bos_token_id": file.number("tokenizer.ggml.bos_token_id"),
        "eos_token_id": file.number("tokenizer.ggml.eos_token_id"),
        "pad_token_id": file.number("tokenizer.ggml.padding_token_id"),
    })
}

/// `generation_config.json`: which tokens end an answer.
pub(super) fn generation_config<R: Read + Seek>(file: &Gguf<R>) -> Value {
    let mut ends: Vec<u64> =
        ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"]
            .iter()
            .filter_map(|key| file.number(key))
            .collect();
    let tokens = file.texts("tokenizer.ggml.tokens").unwrap_or_default();
    let control = |index: usize| match file.value("tokenizer.ggml.token_type") {
        Some(crate::engine::gguf::Value::Integers(types)) => types.get(index) == Some(&3),
        _ => false,
    };
    for (index, token) in tokens.iter().enumerate() {
        if ENDS.contains(&token.as_str()) && control(index) {
            ends.push(index as u64);
        }
    }
    ends.sort_unstable();
    ends.dedup();
    json!({
        "bos_token_id": file.number("tokenizer.ggml.bos_token_id"),
        "eos_token_id": ends,
        "pad_token_id": file.number("tokenizer.ggml.padding_token_id"),
    })
}

/// `tokenizer_config.json`, with the chat template.
pub(super) fn tokenizer_config<R: Read + Seek>(file: &Gguf<R>) -> Value {
    let mut config = Map::new();
    config.insert("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast"));
    config.insert("clean_up_tokenization_spaces".to_owned(), json!(false));
    if let Some(length) = file.number("llama.context_length") {
        config.insert("model_max_length".to_owned(), json!(length));
    }
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
