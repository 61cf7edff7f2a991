//! The hyperparameters of a llama model, read from a GGUF file's metadata and checked against each other and against what
//! the graph can express. What can't be expressed is refused by name, never approximated.

use std::io::{Read, Seek};

use crate::engine::gguf::{Gguf, GgufError};

/// Why a model can't be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file is wrong or lacks something.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// Something the graph has no form for.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// The model could not be written.
    #[error("writing: {0}")]
    Io(#[from] std::io::Error),
}

/// A llama model's sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// Layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the gated MLP.
    pub inner: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_size: usize,
    /// Positions the model was trained for.
    pub context: usize,
    /// Tokens.
    pub vocabulary: usize,
    /// Epsilon of the norms.
    pub epsilon: f32,
    /// Base of the rotary frequencies.
    pub theta: f64,
    /// What positions are divided by (linear scaling); 1 without.
    pub position_divisor: f64,
    /// What each rotary frequency is divided by (`rope_freqs.weight`); empty without.
    pub frequency_divisors: Vec<f32>,
    /// Whether the head is the embedding.
    pub tied: bool,
}

impl Shape {
    /// Reads and checks it.
    pub fn read<R: Read + Seek>(file: &mut Gguf<R>) -> Result<Self, ExportError> {
        let architecture = file.text("general.architecture").ok_or_else(|| missing("general.architecture"))?;
        if architecture != "llama" {
            return Err(ExportError::Unsupported(format!("architecture {architecture}; llama is")));
        }
        let embedding = file.tensor("token_embd.weight").ok_or_else(|| missing("token_embd.weight"))?;
        let vocabulary = embedding.rows();
        let hidden = number(file, "llama.embedding_length")?;
        let heads = number(file, "llama.attention.head_count")?;
        let kv_heads = number(file, "llama.attention.head_count_kv").unwrap_or(heads);
        if heads == 0 || kv_heads == 0 || heads % kv_heads != 0 {
            return Err(ExportError::Unsupported(format!("{heads} heads over {kv_heads} key heads")));
        }
        let head_size = number(file, "llama.attention.key_length").unwrap_or(hidden / heads);
        let rotary = number(file, "llama.rope.dimension_count").unwrap_or(head_size);
        if rotary != head_size || head_size == 0 || !head_size.is_multiple_of(16) {
            return Err(ExportError::Unsupported(format!("rotation of {rotary} of {head_size} dimensions")));
        }
        if number(file, "llama.expert_count").unwrap_or(0) != 0 {
            return Err(ExportError::Unsupported("mixture of experts".to_owned()));
        }
        let position_divisor = match file.text("llama.rope.scaling.type") {
            None | Some("none") => 1.0,
            Some("linear") => file.float("llama.rope.scaling.factor").unwrap_or(1.0),
            Some(other) => return Err(ExportError::Unsupported(format!("rope scaling {other}"))),
        };
        let context = number(file, "llama.context_length")?;
        let layers = number(file, "llama.block_count")?;
        if layers == 0 || layers > 1024 || context == 0 || context > 1 << 21 {
            return Err(ExportError::Unsupported(format!("{layers} layers, context {context}")));
        }
        // What is made from numbers of the metadata alone stays of a size that any file may ask for.
        let width = heads.saturating_mul(head_size).max(hidden);
        if width > 1 << 20 || context.saturating_mul(head_size) > 1 << 28 {
            return Err(ExportError::Unsupported(format!("{heads} heads of {head_size}, context {context}")));
        }
        let frequency_divisors =
            if file.tensor("rope_freqs.weight").is_some() { file.floats("rope_freqs.weight")? } else { Vec::new() };
        if !frequency_divisors.is_empty() && frequency_divisors.len() != head_size / 2 {
            return Err(ExportError::Unsupported(format!("{} rope frequencies", frequency_divisors.len())));
        }
        #[expect(clippy::cast_possible_truncation, reason = "an f32 in every file")]
        let epsilon = file
            .float("llama.attention.layer_norm_rms_epsilon")
            .ok_or_else(|| missing("llama.attention.layer_norm_rms_epsilon"))? as f32;
        Ok(Self {
            layers,
            hidden,
            inner: number(file, "llama.feed_forward_length")?,
            heads,
            kv_heads,
            head_size,
            context,
            vocabulary,
            epsilon,
            theta: file.float("llama.rope.freq_base").unwrap_or(10_000.0),
            position_divisor,
            frequency_divisors,
            tied: file.tensor("output.weight").is_none(),
        })
    }

    /// Cosines and sines of every position, each `context` x half a head.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "positions are small; tables are f32"
    )]
    pub(super) fn rotary_tables(&self) -> (Vec<f32>, Vec<f32>) {
        let half = self.head_size / 2;
        let frequencies: Vec<f64> = (0..half)
            .map(|index| {
                let divisor = self.frequency_divisors.get(index).copied().map_or(1.0, f64::from);
                self.theta.powf(-2.0 * index as f64 / self.head_size as f64) / divisor / self.position_divisor
            })
            .collect();
        let angles = (0..self.context).flat_map(|at| frequencies.iter().map(move |frequency| at as f64 * frequency));
        angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip()
    }
}

fn missing(key: &str) -> ExportError {
    ExportError::Gguf(GgufError::Missing(key.to_owned()))
}

fn number<R: Read + Seek>(file: &Gguf<R>, key: &str) -> Result<usize, ExportError> {
    file.number(key).and_then(|number| usize::try_from(number).ok()).ok_or_else(|| missing(key))
}
