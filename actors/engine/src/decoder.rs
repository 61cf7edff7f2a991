//! A loaded ONNX model, and the cache of the sequence that it reads. Models written by Farebox (or marked with its
//! note) keep keys and values in one preallocated buffer that is both past and present: a token costs no copy, and
//! rewinding is free. Any other export in Hugging Face's form has its present moved to its past. This file knows
//! tokens, not texts.

use std::path::Path;

use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::SessionBuilder;
use ort::session::{IoBinding, Session, SessionInputValue};
use ort::value::{DynValue, Tensor, TensorElementType, ValueType};

use super::onnx::SHARED_CACHE_NOTE;
use super::runtime::Runtime;

/// The first size of a buffer in positions; the size doubles from there.
const SMALLEST_BUFFER: usize = 256;

/// Why a model can't be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// ONNX Runtime reports an error.
    #[error("ONNX Runtime: {0}")]
    Runtime(String),
    /// The model's inputs or outputs are not those of a language model with a cache.
    #[error("not a language model with a cache: {0}")]
    Form(String),
    /// The model computed scores that are not numbers, or are infinite.
    #[error("scores that are not finite numbers")]
    NotFinite,
}

impl<R> From<ort::Error<R>> for NetworkError {
    fn from(error: ort::Error<R>) -> Self {
        Self::Runtime(error.message().to_owned())
    }
}

/// A loaded model.
#[derive(Debug)]
pub struct Decoder {
    session: Session,
    cache: Cache,
    layers: usize,
    heads: usize,
    head_size: usize,
    /// The positions held in the cache.
    length: usize,
    /// Whether the model takes `position_ids`.
    positions: bool,
    /// Whether the model can leave out the scores of all positions except the last.
    last_only: bool,
    logits: Vec<f32>,
}

#[derive(Debug)]
enum Cache {
    /// Past and present are one buffer of this many positions.
    Shared { binding: Box<IoBinding>, buffers: Vec<Tensor<f32>>, capacity: usize, input: Tensor<i64>, single: bool },
    /// The last outputs are the next inputs: name of the input, value.
    Moved(Vec<(String, DynValue)>),
}

impl Decoder {
    /// Loads a model file.
    ///
    /// # Errors
    ///
    /// ONNX Runtime can't load the file ([`Runtime`](NetworkError::Runtime)), or the model is not a language model with
    /// a cache ([`Form`](NetworkError::Form)). The file must be imported or exported again.
    pub fn load(runtime: &Runtime, file: &Path, threads: usize) -> Result<Self, NetworkError> {
        let builder = Session::builder(runtime.environment())?;
        let mut builder: SessionBuilder = builder.with_intra_threads(threads.max(1))?.with_inter_threads(1)?;
        Self::new(builder.commit_from_file(file)?)
    }

    fn new(session: Session) -> Result<Self, NetworkError> {
        let key = session.inputs().iter().find(|input| input.name() == "past_key_values.0.key");
        let key = key.ok_or_else(|| NetworkError::Form("no input past_key_values.0.key".to_owned()))?;
        let ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } = key.dtype() else {
            return Err(NetworkError::Form(format!("past_key_values.0.key is {}", key.dtype())));
        };
        let size = |axis: usize| shape.get(axis).and_then(|&size| usize::try_from(size).ok()).filter(|&size| size > 0);
        let (Some(heads), Some(head_size), 4) = (size(1), size(3), shape.len()) else {
            return Err(NetworkError::Form(format!("past_key_values.0.key has shape {shape:?}")));
        };
        let layers = session.inputs().iter().filter(|input| input.name().rsplit('.').next() == Some("key")).count();
        let has = |name: &str| session.inputs().iter().any(|input| input.name() == name);
        let expected = ["input_ids", "attention_mask", "position_ids"];
        let known = |name: &str| expected.contains(&name) || name.starts_with("past_key_values.");
        if let Some(other) = session.inputs().iter().find(|input| !known(input.name())) {
            return Err(NetworkError::Form(format!("unknown input {}", other.name())));
        }
        if !has("input_ids") || !has("attention_mask") || !session.outputs().iter().any(|out| out.name() == "logits") {
            return Err(NetworkError::Form("input_ids, attention_mask or logits is missing".to_owned()));
        }
        let positions = has("position_ids");
        let last_only = session.overridable_initializers().iter().any(|input| input.name() == "num_logits_to_keep");
        let shared = session.metadata()?.custom(SHARED_CACHE_NOTE.0).as_deref() == Some(SHARED_CACHE_NOTE.1);
        let cache = if shared {
            let mut binding = session.create_binding()?;
            if last_only {
                binding.bind_input("num_logits_to_keep", &Tensor::from_array(([1_usize], vec![1_i64]))?)?;
            }
            let input = Tensor::new(&Allocator::default(), [1_i64, 1])?;
            Cache::Shared { binding: Box::new(binding), buffers: Vec::new(), capacity: 0, input, single: false }
        } else {
            Cache::Moved(Vec::new())
        };
        let logits = Vec::new();
        Ok(Self { session, cache, layers, heads, head_size, length: 0, positions, last_only, logits })
    }

    /// Positions read so far.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Scores of the token after the last position read.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Bytes the cache takes.
    pub fn cache_bytes(&self) -> usize {
        let positions = match &self.cache {
            Cache::Shared { capacity, .. } => *capacity,
            Cache::Moved(_) => self.length,
        };
        positions * self.layers * self.heads * self.head_size * 2 * size_of::<f32>()
    }

    /// Rewinds the cache to the first `length` positions. Returns `false` where the cache can't rewind and was emptied
    /// instead.
    pub fn rewind(&mut self, length: usize) -> bool {
        let length = length.min(self.length);
        match &mut self.cache {
            Cache::Shared { .. } => self.length = length,
            Cache::Moved(_) if length == self.length => {}
            Cache::Moved(values) => {
                values.clear();
                self.length = 0;
            }
        }
        self.length == length
    }

    /// Reads tokens. [`Self::logits`] then holds the scores after the last token. After an error the cache is empty.
    ///
    /// # Errors
    ///
    /// The step failed in ONNX Runtime, or computed scores that are not finite numbers. The sequence must be read again
    /// from its beginning.
    pub fn read(&mut self, tokens: &[u32]) -> Result<(), NetworkError> {
        if tokens.is_empty() {
            return Ok(());
        }
        let outcome = match self.cache {
            Cache::Shared { .. } => self.read_shared(tokens, None),
            Cache::Moved(_) => self.read_moved(tokens, None),
        };
        self.concluded(tokens.len(), outcome)
    }

    /// Reads tokens as [`Self::read`] does, and returns the scores after each of them, row by row.
    ///
    /// # Errors
    ///
    /// As for [`Self::read`].
    pub fn read_rows(&mut self, tokens: &[u32]) -> Result<Vec<Vec<f32>>, NetworkError> {
        let mut rows = Vec::with_capacity(tokens.len());
        if tokens.is_empty() {
            return Ok(rows);
        }
        let outcome = match self.cache {
            Cache::Shared { .. } => self.read_shared(tokens, Some(&mut rows)),
            Cache::Moved(_) => self.read_moved(tokens, Some(&mut rows)),
        };
        let outcome = outcome.and_then(|()| rows.iter().try_for_each(|row| finite(row)));
        self.concluded(tokens.len(), outcome).map(|()| rows)
    }

    /// Ends a step: accepts finite scores, or empties the cache and returns the error.
    fn concluded(&mut self, tokens: usize, outcome: Result<(), NetworkError>) -> Result<(), NetworkError> {
        let outcome = outcome.and_then(|()| finite(&self.logits));
        match outcome {
            Ok(()) => self.length += tokens,
            Err(_) => self.forget(),
        }
        outcome
    }

    /// The scores after each of `tokens`, read from an empty cache, row by row. Used to measure accuracy.
    ///
    /// # Errors
    ///
    /// The step failed in ONNX Runtime. The cache is empty afterwards, with or without an error.
    pub fn all_logits(&mut self, tokens: &[u32]) -> Result<Vec<Vec<f32>>, NetworkError> {
        self.forget();
        let mut rows = Vec::new();
        let outcome = self.read_moved(tokens, Some(&mut rows));
        self.forget();
        outcome.map(|()| rows)
    }

    fn forget(&mut self) {
        self.length = 0;
        match &mut self.cache {
            Cache::Moved(values) => values.clear(),
            // A new buffer at the next step: a NaN in the old one would stay a NaN in every product.
            Cache::Shared { capacity, .. } => *capacity = 0,
        }
    }

    /// Reads into the shared buffer. `rows` collects the scores of all positions.
    fn read_shared(&mut self, tokens: &[u32], rows: Option<&mut Vec<Vec<f32>>>) -> Result<(), NetworkError> {
        let total = self.length + tokens.len();
        self.reserve(total)?;
        let Cache::Shared { binding, input, single, .. } = &mut self.cache else { return Ok(()) };
        if let [token] = tokens {
            input.try_extract_tensor_mut::<i64>()?.1[0] = i64::from(*token);
            if !*single {
                binding.bind_input("input_ids", &*input)?;
            }
        } else {
            binding.bind_input("input_ids", &row(tokens.iter().map(|&token| i64::from(token)))?)?;
        }
        let keeps_all = self.last_only && rows.is_some();
        if keeps_all {
            binding.bind_input("num_logits_to_keep", &Tensor::from_array(([1_usize], vec![0_i64]))?)?;
        }
        if !*single || tokens.len() > 1 || rows.is_some() {
            // A bound output keeps its first shape until the next binding.
            let place = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::CPUOutput)?;
            binding.bind_output_to_device("logits", &place)?;
        }
        *single = tokens.len() == 1 && rows.is_none();
        binding.bind_input("attention_mask", &row(std::iter::repeat_n(1, total))?)?;
        if self.positions {
            binding.bind_input("position_ids", &row(numbers(self.length, total))?)?;
        }
        let outputs = self.session.run_binding(binding)?;
        let logits = outputs.get("logits").ok_or_else(|| NetworkError::Form("no logits".to_owned()))?;
        if let Some(rows) = rows {
            keep_rows(logits, rows)?;
        }
        keep_last(logits, &mut self.logits)?;
        drop(outputs);
        if keeps_all {
            binding.bind_input("num_logits_to_keep", &Tensor::from_array(([1_usize], vec![1_i64]))?)?;
        }
        Ok(())
    }

    /// Makes the buffers hold `positions`, and keeps their content.
    fn reserve(&mut self, positions: usize) -> Result<(), NetworkError> {
        let Cache::Shared { binding, buffers, capacity, .. } = &mut self.cache else { return Ok(()) };
        if positions <= *capacity {
            return Ok(());
        }
        let grown = positions.max(*capacity * 2).next_multiple_of(SMALLEST_BUFFER);
        let (heads, width) = (self.heads, self.head_size);
        let shape = [1, heads, grown, width].map(|size| i64::try_from(size).unwrap_or(i64::MAX));
        let mut next = Vec::with_capacity(self.layers * 2);
        for index in 0..self.layers * 2 {
            let mut buffer = Tensor::<f32>::new(&Allocator::default(), shape)?;
            let (_, to) = buffer.try_extract_tensor_mut::<f32>()?;
            to.fill(0.0);
            if let Some(old) = buffers.get(index) {
                let (_, from) = old.try_extract_tensor::<f32>()?;
                let kept = self.length * width;
                for head in 0..heads {
                    let (to_start, from_start) = (head * grown * width, head * *capacity * width);
                    to[to_start..to_start + kept].copy_from_slice(&from[from_start..from_start + kept]);
                }
            }
            let (layer, part) = (index / 2, if index % 2 == 0 { "key" } else { "value" });
            binding.bind_input(format!("past_key_values.{layer}.{part}"), &buffer)?;
            binding.bind_output(format!("present.{layer}.{part}"), &mut buffer)?;
            next.push(buffer);
        }
        *buffers = next;
        *capacity = grown;
        Ok(())
    }

    /// Reads with the moved cache. `rows` collects the scores of all positions.
    fn read_moved(&mut self, tokens: &[u32], rows: Option<&mut Vec<Vec<f32>>>) -> Result<(), NetworkError> {
        let mut empty = Vec::new();
        let values = match &mut self.cache {
            Cache::Moved(values) => values,
            Cache::Shared { .. } => &mut empty,
        };
        if values.is_empty() {
            for layer in 0..self.layers {
                for part in ["key", "value"] {
                    let shape = [1, self.heads, 0, self.head_size];
                    let shape = shape.map(|size| i64::try_from(size).unwrap_or(i64::MAX));
                    let past = Tensor::<f32>::new(&Allocator::default(), shape)?.into_dyn();
                    values.push((format!("past_key_values.{layer}.{part}"), past));
                }
            }
        }
        let total = self.length + tokens.len();
        let mut inputs: Vec<(String, SessionInputValue<'_>)> =
            values.drain(..).map(|(name, value)| (name, value.into())).collect();
        inputs.push(("input_ids".to_owned(), row(tokens.iter().map(|&token| i64::from(token)))?.into()));
        inputs.push(("attention_mask".to_owned(), row(std::iter::repeat_n(1, total))?.into()));
        if self.positions {
            inputs.push(("position_ids".to_owned(), row(numbers(self.length, total))?.into()));
        }
        if self.last_only && rows.is_none() {
            inputs.push(("num_logits_to_keep".to_owned(), Tensor::from_array(([1_usize], vec![1_i64]))?.into()));
        }
        let mut outputs = self.session.run(inputs)?;
        let logits = outputs.get("logits").ok_or_else(|| NetworkError::Form("no logits".to_owned()))?;
        if let Some(rows) = rows {
            keep_rows(logits, rows)?;
        }
        keep_last(logits, &mut self.logits)?;
        for layer in 0..self.layers {
            for part in ["key", "value"] {
                let name = format!("present.{layer}.{part}");
                let value = outputs.remove(&name).ok_or_else(|| NetworkError::Form(format!("no output {name}")))?;
                values.push((format!("past_key_values.{layer}.{part}"), value));
            }
        }
        Ok(())
    }
}

/// A batch of one row.
fn row(numbers: impl Iterator<Item = i64>) -> Result<Tensor<i64>, NetworkError> {
    let numbers: Vec<i64> = numbers.collect();
    Ok(Tensor::from_array(([1, numbers.len()], numbers))?)
}

fn numbers(from: usize, to: usize) -> impl Iterator<Item = i64> {
    (from..to).map(|at| i64::try_from(at).unwrap_or(i64::MAX))
}

/// Refuses scores that are not finite numbers.
fn finite(scores: &[f32]) -> Result<(), NetworkError> {
    if scores.iter().all(|score| score.is_finite()) { Ok(()) } else { Err(NetworkError::NotFinite) }
}

/// Copies every position's scores.
fn keep_rows(logits: &DynValue, into: &mut Vec<Vec<f32>>) -> Result<(), NetworkError> {
    let (shape, all) = logits.try_extract_tensor::<f32>()?;
    let width = shape.last().and_then(|&width| usize::try_from(width).ok()).unwrap_or(1).max(1);
    into.extend(all.chunks_exact(width).map(<[f32]>::to_vec));
    Ok(())
}

/// Copies the last position's scores.
fn keep_last(logits: &DynValue, into: &mut Vec<f32>) -> Result<(), NetworkError> {
    let (shape, all) = logits.try_extract_tensor::<f32>()?;
    let width = shape.last().and_then(|&width| usize::try_from(width).ok()).unwrap_or(0);
    let last = all.len().checked_sub(width).filter(|_| width > 0);
    let last = last.ok_or_else(|| NetworkError::Form(format!("logits of shape {shape:?}")))?;
    into.clear();
    into.extend_from_slice(&all[last..]);
    Ok(())
}
