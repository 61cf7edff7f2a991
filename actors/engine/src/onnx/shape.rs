//! The hyperparameters of a model, read from a GGUF file's metadata, and checked against each other and against what the
//! graph can express. Anything else is refused by name, never approximated.

use std::collections::HashSet;
use std::io::{Read, Seek};

use super::architecture::Architecture;
use super::keys::{Keys, missing, unsupported};
use super::rope::{self, Rope};
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

/// A model's sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// The architecture.
    pub architecture: Architecture,
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
    /// The factor of attention's scores.
    pub attention_scale: f32,
    /// The bound that attention's scores approach and never reach; 0 without one.
    pub attention_cap: f32,
    /// The bound of the logits; 0 without one.
    pub logit_cap: f32,
    /// The number of numbers of a head that are rotated.
    pub rotary: usize,
    /// The rotation.
    pub rope: Rope,
    /// The rotation in layers with a window, where it is another one.
    pub window_rope: Option<Rope>,
    /// The number of last positions that each layer sees, itself included; `None` where it sees all.
    pub windows: Vec<Option<usize>>,
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
        let name = file.text("general.architecture").ok_or_else(|| missing("general.architecture"))?;
        let Some(architecture) = Architecture::from_name(name) else {
            let known = Architecture::ALL.map(Architecture::name).join(", ");
            return Err(unsupported(format!("architecture {name}; {known} are")));
        };
        let embedding = file.tensor("token_embd.weight").ok_or_else(|| missing("token_embd.weight"))?;
        let vocabulary = embedding.rows();
        let keys = Keys { file, architecture };
        if let Some(size) = keys.number("vocab_size")?.filter(|size| *size != vocabulary) {
            let key = keys.name("vocab_size");
            return Err(unsupported(format!("{key} is {size}, and the embedding has {vocabulary} rows")));
        }
        let (context, layers) = (keys.needed("context_length")?, keys.needed("block_count")?);
        if layers == 0 || layers > 1024 || context == 0 || context > 1 << 21 {
            return Err(unsupported(format!("{layers} layers, context {context}")));
        }
        let hidden = keys.needed("embedding_length")?;
        let heads = Heads::read(&keys, hidden)?;
        // Tables built from metadata alone stay of a size that any file may ask for.
        let width = heads.count.saturating_mul(heads.size).max(hidden);
        if width > 1 << 20 || context.saturating_mul(heads.size) > 1 << 28 {
            return Err(unsupported(format!("{} heads of {}, context {context}", heads.count, heads.size)));
        }
        let inner = keys.needed("feed_forward_length")?;
        if inner == 0 || inner > 1 << 24 {
            return Err(unsupported(format!("{} is {inner}", keys.name("feed_forward_length"))));
        }
        let epsilon = "attention.layer_norm_rms_epsilon";
        let epsilon = keys.float(epsilon)?.ok_or_else(|| missing(&keys.name(epsilon)))?;
        let windows = windows(&keys, layers)?;
        #[expect(clippy::cast_possible_truncation, reason = "an f32 in every file")]
        let single = |number: f64| number as f32;
        let shape = Self {
            architecture,
            layers,
            hidden,
            inner,
            heads: heads.count,
            kv_heads: heads.of_keys,
            head_size: heads.size,
            context,
            vocabulary,
            epsilon: single(epsilon),
            attention_scale: single(attention_scale(&keys, layers, hidden, &heads)?),
            attention_cap: single(keys.float("attn_logit_softcapping")?.unwrap_or(0.0)),
            logit_cap: single(keys.float("final_logit_softcapping")?.unwrap_or(0.0)),
            rotary: heads.rotary,
            rope: Rope::plain(1.0, 0),
            window_rope: window_rope(&keys, heads.rotary, &windows)?,
            windows,
            tied: file.tensor("output.weight").is_none(),
        };
        Ok(Self { rope: rope::read(file, architecture, shape.rotary, context)?, ..shape })
    }

    /// Whether a block's gate and the product that it gates are one tensor.
    pub(super) fn fuses_gate<R: Read + Seek>(&self, file: &Gguf<R>, layer: usize) -> bool {
        self.architecture == Architecture::Phi3 && file.tensor(&format!("blk.{layer}.ffn_gate.weight")).is_none()
    }

    /// The names of all tensors in the graph. Divisors of the rotation are computed into its tables.
    fn tensors<R: Read + Seek>(&self, file: &Gguf<R>) -> HashSet<String> {
        let mut names: HashSet<String> = rope::tensors(file).collect();
        names.extend(["token_embd.weight", "output_norm.weight"].map(str::to_owned));
        names.extend((!self.tied).then(|| "output.weight".to_owned()));
        for layer in 0..self.layers {
            let mut products = vec!["attn_output", "ffn_up", "ffn_down"];
            let is_fused = file.tensor(&format!("blk.{layer}.attn_qkv.weight")).is_some();
            products.extend(if is_fused { &["attn_qkv"][..] } else { &["attn_q", "attn_k", "attn_v"] });
            products.extend((!self.fuses_gate(file, layer)).then_some("ffn_gate"));
            names.extend(products.iter().map(|part| format!("blk.{layer}.{part}.weight")));
            // Biases are added wherever a file has them.
            let biases = products.iter().map(|part| format!("blk.{layer}.{part}.bias"));
            names.extend(biases.filter(|name| file.tensor(name).is_some()));
            let mut norms = vec!["attn_norm", "ffn_norm"];
            norms.extend(if self.architecture.norms_queries() { &["attn_q_norm", "attn_k_norm"][..] } else { &[] });
            norms.extend(if self.architecture.norms_outputs() {
                &["post_attention_norm", "post_ffw_norm"][..]
            } else {
                &[]
            });
            names.extend(norms.iter().map(|part| format!("blk.{layer}.{part}.weight")));
        }
        names
    }

    /// Refuses a file with a tensor that the graph would leave out: its model computes something else.
    ///
    /// # Errors
    ///
    /// Names the first tensor, in alphabetical order, that the graph has no place for.
    pub fn check_tensors<R: Read + Seek>(&self, file: &Gguf<R>) -> Result<(), ExportError> {
        let known = self.tensors(file);
        let unknown = file.tensors().map(|tensor| tensor.name.as_str()).filter(|name| !known.contains(*name)).min();
        unknown.map_or(Ok(()), |name| Err(left_out(self.architecture, name)))
    }
}

/// The error of a tensor that has no place in the graph.
pub(super) fn left_out(architecture: Architecture, name: &str) -> ExportError {
    unsupported(format!("tensor {name}, which the {} graph does not compute with", architecture.name()))
}

/// The sizes of attention.
struct Heads {
    count: usize,
    of_keys: usize,
    size: usize,
    rotary: usize,
}

impl Heads {
    fn read<R: Read + Seek>(keys: &Keys<'_, R>, hidden: usize) -> Result<Self, ExportError> {
        let count = keys.needed("attention.head_count")?;
        let of_keys = keys.number("attention.head_count_kv")?.unwrap_or(count);
        if count == 0 || of_keys == 0 || count % of_keys != 0 {
            return Err(unsupported(format!("{count} heads over {of_keys} key heads")));
        }
        let size = keys.number("attention.key_length")?.unwrap_or(hidden / count);
        let value_size = keys.number("attention.value_length")?.unwrap_or(size);
        if value_size != size {
            return Err(unsupported(format!("keys of {size} with values of {value_size} numbers")));
        }
        let rotary = keys.number("rope.dimension_count")?.unwrap_or(size);
        if rotary == 0 || rotary > size || !rotary.is_multiple_of(16) || !size.is_multiple_of(16) {
            return Err(unsupported(format!("rotation of {rotary} of {size} dimensions")));
        }
        Ok(Self { count, of_keys, size, rotary })
    }
}

/// The factor of attention's scores: one over the root of the head size. A file that names another is refused: its usual
/// reader leaves the key unread, so what the file means is not known.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn attention_scale<R: Read + Seek>(
    keys: &Keys<'_, R>,
    layers: usize,
    hidden: usize,
    heads: &Heads,
) -> Result<f64, ExportError> {
    // Gemma 3 of 27B divides by the width of its stream for each head, and files don't say so: it is known by its depth.
    let is_largest = keys.architecture == Architecture::Gemma3 && layers == 62;
    let divisor = if is_largest { hidden as f64 / heads.count as f64 } else { heads.size as f64 };
    let usual = 1.0 / divisor.sqrt();
    let key = "attention.scale";
    match keys.float(key)? {
        Some(scale) if (scale - usual).abs() > usual * 1e-4 => {
            Err(unsupported(format!("{} is {scale}, not {usual}", keys.name(key))))
        }
        Some(_) | None => Ok(usual),
    }
}

/// The window of each layer.
fn windows<R: Read + Seek>(keys: &Keys<'_, R>, layers: usize) -> Result<Vec<Option<usize>>, ExportError> {
    let window = keys.number("attention.sliding_window")?.filter(|window| *window > 0);
    if window.is_some() && !keys.architecture.has_windows() {
        return Err(unsupported(format!("{} for {}", keys.name("attention.sliding_window"), keys.architecture.name())));
    }
    let seen = |is_windowed: bool| window.filter(|_| is_windowed);
    let key = "attention.sliding_window_pattern";
    match (keys.architecture, keys.value(key)) {
        (Architecture::Gemma3, Some(Value::Integers(each))) if each.len() == layers => {
            Ok(each.iter().map(|flag| seen(*flag != 0)).collect())
        }
        (Architecture::Gemma3, Some(Value::Integers(each))) => {
            Err(unsupported(format!("{} has {} layers of {layers}", keys.name(key), each.len())))
        }
        // Of so many layers, the last sees all.
        (Architecture::Gemma3, _) => {
            let every = keys.number(key)?.unwrap_or(6);
            Ok((0..layers).map(|layer| seen(every == 0 || layer % every < every - 1)).collect())
        }
        (Architecture::Llama | Architecture::Qwen2 | Architecture::Qwen3 | Architecture::Phi3, _) => {
            Ok(vec![window; layers])
        }
    }
}

/// The rotation in layers with a window. Gemma 3 has another one there, which is not stretched.
fn window_rope<R: Read + Seek>(
    keys: &Keys<'_, R>,
    rotary: usize,
    windows: &[Option<usize>],
) -> Result<Option<Rope>, ExportError> {
    if keys.architecture != Architecture::Gemma3 {
        return Ok(None);
    }
    let theta = keys.positive("rope.freq_base_swa")?.unwrap_or(10_000.0);
    Ok(windows.iter().any(Option::is_some).then(|| Rope::plain(theta, rotary)))
}
