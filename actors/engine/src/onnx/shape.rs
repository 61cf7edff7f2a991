//! The hyperparameters of a llama model, read from a GGUF file's metadata, and checked against each other and against
//! what the graph can express. Anything else is refused by name, never approximated.

use std::collections::HashSet;
use std::io::{Read, Seek};

use crate::gguf::{Gguf, GgufError, Value};

/// Why a model can't be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file is wrong or incomplete.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The graph can't express a part of the model.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// The model could not be written.
    #[error("writing: {0}")]
    Io(#[from] std::io::Error),
}

/// A llama model's sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// The number of layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the gated MLP.
    pub inner: usize,
    /// The number of query heads.
    pub heads: usize,
    /// The number of key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_size: usize,
    /// Positions the model was trained for.
    pub context: usize,
    /// The number of tokens.
    pub vocabulary: usize,
    /// Epsilon of the norms.
    pub epsilon: f32,
    /// Base of the rotary frequencies.
    pub theta: f64,
    /// The divisor of positions (linear scaling); 1 without scaling.
    pub position_divisor: f64,
    /// The divisor of each rotary frequency (`rope_freqs.weight`); empty without divisors.
    pub frequency_divisors: Vec<f32>,
    /// Whether the head is the embedding.
    pub tied: bool,
}

impl Shape {
    /// Reads the hyperparameters of a file, and checks them.
    ///
    /// # Errors
    ///
    /// A needed key or tensor is missing or has another type, or the graph can't express a value. The error names it:
    /// the model can't be imported.
    pub fn read<R: Read + Seek>(file: &mut Gguf<R>) -> Result<Self, ExportError> {
        let architecture = file.text("general.architecture").ok_or_else(|| missing("general.architecture"))?;
        if architecture != "llama" {
            return Err(ExportError::Unsupported(format!("architecture {architecture}; llama is")));
        }
        let embedding = file.tensor("token_embd.weight").ok_or_else(|| missing("token_embd.weight"))?;
        let vocabulary = embedding.rows();
        if let Some(size) = number(file, "llama.vocab_size")?.filter(|size| *size != vocabulary) {
            let rows = format!("llama.vocab_size is {size}, and the embedding has {vocabulary} rows");
            return Err(ExportError::Unsupported(rows));
        }
        let hidden = needed(file, "llama.embedding_length")?;
        let heads = needed(file, "llama.attention.head_count")?;
        let kv_heads = number(file, "llama.attention.head_count_kv")?.unwrap_or(heads);
        if heads == 0 || kv_heads == 0 || heads % kv_heads != 0 {
            return Err(ExportError::Unsupported(format!("{heads} heads over {kv_heads} key heads")));
        }
        let head_size = number(file, "llama.attention.key_length")?.unwrap_or(hidden / heads);
        let value_size = number(file, "llama.attention.value_length")?.unwrap_or(head_size);
        if value_size != head_size {
            return Err(ExportError::Unsupported(format!("keys of {head_size} with values of {value_size} numbers")));
        }
        let rotary = number(file, "llama.rope.dimension_count")?.unwrap_or(head_size);
        if rotary != head_size || head_size == 0 || !head_size.is_multiple_of(16) {
            return Err(ExportError::Unsupported(format!("rotation of {rotary} of {head_size} dimensions")));
        }
        let context = needed(file, "llama.context_length")?;
        let layers = needed(file, "llama.block_count")?;
        if layers == 0 || layers > 1024 || context == 0 || context > 1 << 21 {
            return Err(ExportError::Unsupported(format!("{layers} layers, context {context}")));
        }
        // Tables built from metadata alone stay of a size that any file may ask for.
        let width = heads.saturating_mul(head_size).max(hidden);
        if width > 1 << 20 || context.saturating_mul(head_size) > 1 << 28 {
            return Err(ExportError::Unsupported(format!("{heads} heads of {head_size}, context {context}")));
        }
        attention_scale(file, head_size)?;
        let epsilon = float(file, "llama.attention.layer_norm_rms_epsilon")?
            .ok_or_else(|| missing("llama.attention.layer_norm_rms_epsilon"))?;
        #[expect(clippy::cast_possible_truncation, reason = "an f32 in every file")]
        let epsilon = epsilon as f32;
        Ok(Self {
            layers,
            hidden,
            inner: needed(file, "llama.feed_forward_length")?,
            heads,
            kv_heads,
            head_size,
            context,
            vocabulary,
            epsilon,
            theta: positive(file, "llama.rope.freq_base")?.unwrap_or(10_000.0),
            position_divisor: position_divisor(file)?,
            frequency_divisors: frequency_divisors(file, head_size)?,
            tied: file.tensor("output.weight").is_none(),
        })
    }

    /// The names of all tensors in the graph. `rope_freqs.weight` is computed into its tables.
    pub fn tensors(&self) -> Vec<String> {
        let layer = |at: usize| {
            let parts = [
                "attn_norm",
                "attn_q",
                "attn_k",
                "attn_v",
                "attn_output",
                "ffn_norm",
                "ffn_gate",
                "ffn_up",
                "ffn_down",
            ];
            parts.map(|part| format!("blk.{at}.{part}.weight"))
        };
        let mut names: Vec<String> = (0..self.layers).flat_map(layer).collect();
        names.extend(["token_embd.weight", "output_norm.weight"].map(str::to_owned));
        names.extend((!self.tied).then(|| "output.weight".to_owned()));
        names.extend((!self.frequency_divisors.is_empty()).then(|| ROPE_FREQUENCIES.to_owned()));
        names
    }

    /// Refuses a file with a tensor that the graph would leave out: its model computes something else.
    ///
    /// # Errors
    ///
    /// Names the first tensor, in alphabetical order, that the graph has no place for.
    pub fn check_tensors<R: Read + Seek>(&self, file: &Gguf<R>) -> Result<(), ExportError> {
        let known: HashSet<String> = self.tensors().into_iter().collect();
        let unknown = file.tensors().map(|tensor| tensor.name.as_str()).filter(|name| !known.contains(*name)).min();
        unknown.map_or(Ok(()), |name| Err(left_out(name)))
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

/// Divisors of the rotary frequencies.
const ROPE_FREQUENCIES: &str = "rope_freqs.weight";

/// The error of a tensor that has no place in the graph.
pub(super) fn left_out(name: &str) -> ExportError {
    ExportError::Unsupported(format!("tensor {name}, which the llama graph does not compute with"))
}

fn missing(key: &str) -> ExportError {
    ExportError::Gguf(GgufError::Missing(key.to_owned()))
}

/// A whole number, or a list with one number for each layer, all the same.
fn number<R: Read + Seek>(file: &Gguf<R>, key: &str) -> Result<Option<usize>, ExportError> {
    let Some(value) = file.value(key) else { return Ok(None) };
    if let Value::Integers(each) = value {
        return match each.split_first() {
            Some((first, others)) if others.iter().all(|other| other == first) => {
                usize::try_from(*first).map(Some).map_err(|_| missing(key))
            }
            _ => Err(ExportError::Unsupported(format!("{key} differs between layers"))),
        };
    }
    file.number(key).and_then(|number| usize::try_from(number).ok()).map(Some).ok_or_else(|| missing(key))
}

fn needed<R: Read + Seek>(file: &Gguf<R>, key: &str) -> Result<usize, ExportError> {
    number(file, key)?.ok_or_else(|| missing(key))
}

/// A finite number that is not negative.
fn float<R: Read + Seek>(file: &Gguf<R>, key: &str) -> Result<Option<f64>, ExportError> {
    if file.value(key).is_none() {
        return Ok(None);
    }
    let number = file.float(key).ok_or_else(|| missing(key))?;
    if number.is_finite() && number >= 0.0 {
        Ok(Some(number))
    } else {
        Err(ExportError::Unsupported(format!("{key} is {number}")))
    }
}

fn positive<R: Read + Seek>(file: &Gguf<R>, key: &str) -> Result<Option<f64>, ExportError> {
    let number = float(file, key)?;
    if number == Some(0.0) { Err(ExportError::Unsupported(format!("{key} is 0"))) } else { Ok(number) }
}

/// Checks the factor of attention scores, where a file names it: only one over the root of the head size is computed.
fn attention_scale<R: Read + Seek>(file: &Gguf<R>, head_size: usize) -> Result<(), ExportError> {
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let usual = 1.0 / (head_size as f64).sqrt();
    match float(file, "llama.attention.scale")? {
        Some(scale) if (scale - usual).abs() > usual * 1e-4 => {
            Err(ExportError::Unsupported(format!("llama.attention.scale is {scale}, not {usual}")))
        }
        Some(_) | None => Ok(()),
    }
}

/// The divisor of positions. Files name it `rope.scaling.factor`, older files `rope.scale_linear`. Without a type the
/// scaling is linear, and a factor of 0 means none.
fn position_divisor<R: Read + Seek>(file: &Gguf<R>) -> Result<f64, ExportError> {
    const FACTOR: &str = "llama.rope.scaling.factor";
    const OLD: &str = "llama.rope.scale_linear";
    let (factor, old) = (float(file, FACTOR)?, float(file, OLD)?);
    if let (Some(factor), Some(old)) = (factor, old)
        && (factor - old).abs() > 1e-6
    {
        return Err(ExportError::Unsupported(format!("{FACTOR} is {factor} and {OLD} is {old}")));
    }
    let factor = factor.or(old).filter(|factor| *factor > 0.0);
    let kind = match file.value("llama.rope.scaling.type") {
        None => "linear",
        Some(Value::Text(kind)) => kind.as_str(),
        Some(_) => return Err(missing("llama.rope.scaling.type")),
    };
    match (kind, factor) {
        ("linear", factor) => Ok(factor.unwrap_or(1.0)),
        ("none", None) => Ok(1.0),
        ("none", Some(factor)) if (factor - 1.0).abs() < 1e-6 => Ok(1.0),
        ("none", Some(factor)) => {
            Err(ExportError::Unsupported(format!("{FACTOR} is {factor} and llama.rope.scaling.type is none")))
        }
        (other, _) => Err(ExportError::Unsupported(format!("rope scaling {other} (llama.rope.scaling.type)"))),
    }
}

fn frequency_divisors<R: Read + Seek>(file: &mut Gguf<R>, head_size: usize) -> Result<Vec<f32>, ExportError> {
    if file.tensor(ROPE_FREQUENCIES).is_none() {
        return Ok(Vec::new());
    }
    let divisors = file.floats(ROPE_FREQUENCIES)?;
    if divisors.len() != head_size / 2 || divisors.iter().any(|divisor| *divisor <= 0.0) {
        let count = divisors.len();
        return Err(ExportError::Unsupported(format!("{ROPE_FREQUENCIES} has {count} divisors, all must be above 0")));
    }
    Ok(divisors)
}
