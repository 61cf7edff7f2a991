//! A loaded ONNX model, and the caches of the sequences that it runs. Models written by Farebox (or marked with its
//! note) keep keys and values of many sequences in preallocated buffers that are both past and present: a token costs
//! no copy, and sequences are run together. Any other export in Hugging Face's form has its present moved to its past,
//! and runs one sequence at a time. This file knows tokens, not texts.

mod exact;
mod form;
mod places;
mod weights;

use std::path::Path;

use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::SessionBuilder;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor, TensorElementType, ValueType};

use super::network::{Abilities, Network, NetworkError};
use super::onnx::SHARED_CACHE_NOTE;
use super::runtime::Runtime;
use super::schedule::{Change, Row};
use exact::Exact;
use places::Places;
pub(crate) use places::bind_view;

impl<R> From<ort::Error<R>> for NetworkError {
    fn from(error: ort::Error<R>) -> Self {
        Self::Runtime(error.message().to_owned())
    }
}

/// A loaded model.
#[derive(Debug)]
pub struct Decoder {
    /// Its bindings are of both sessions, and are dropped before these are.
    cache: Cache,
    session: Session,
    /// For several tokens to the bit, and what both sessions stand on.
    exact: Option<Exact>,
    layers: usize,
    heads: usize,
    head_size: usize,
    /// Whether the model takes `position_ids`.
    positions: bool,
    /// The shape of the number of positions whose scores are computed, of a model that can leave out the others.
    kept: Option<Vec<usize>>,
    /// The scores of the last step, row by row.
    scores: Vec<f32>,
    rows: usize,
}

#[derive(Debug)]
enum Cache {
    /// Past and present are one buffer.
    Shared(Box<Places>),
    /// The last outputs are the next inputs.
    Moved(Moved),
}

/// The values of one sequence: name of the input, value.
#[derive(Debug, Default)]
struct Moved {
    values: Vec<(String, DynValue)>,
    length: usize,
}

/// One batch of tokens behind what is read.
struct Batch<'a> {
    /// For each place: its tokens, as many of each, and the positions before them.
    rows: &'a [(&'a [u32], usize)],
}

impl Batch<'_> {
    fn count(&self) -> usize {
        self.rows.len()
    }

    fn tokens(&self) -> usize {
        self.rows.first().map_or(0, |(tokens, _)| tokens.len())
    }

    /// The positions of the longest.
    fn total(&self) -> usize {
        self.rows.iter().map(|(tokens, past)| tokens.len() + past).max().unwrap_or(0)
    }

    fn matrix(&self, width: usize, numbers: Vec<i64>) -> Result<Tensor<i64>, NetworkError> {
        Ok(Tensor::from_array(([self.count(), width], numbers))?)
    }

    fn ids(&self) -> Result<Tensor<i64>, NetworkError> {
        let ids = self.rows.iter().flat_map(|(tokens, _)| tokens.iter().map(|&token| i64::from(token)));
        self.matrix(self.tokens(), ids.collect())
    }

    /// One for each position that a place has.
    fn mask(&self) -> Result<Tensor<i64>, NetworkError> {
        let total = self.total();
        let row = |(tokens, past): &(&[u32], usize)| {
            let length = tokens.len() + past;
            (0..total).map(move |at| i64::from(at < length))
        };
        self.matrix(total, self.rows.iter().flat_map(row).collect())
    }

    fn position_ids(&self) -> Result<Tensor<i64>, NetworkError> {
        let row = |(tokens, past): &(&[u32], usize)| {
            (*past..past + tokens.len()).map(|at| i64::try_from(at).unwrap_or(i64::MAX))
        };
        self.matrix(self.tokens(), self.rows.iter().flat_map(row).collect())
    }
}

impl Decoder {
    /// Loads a model file.
    ///
    /// # Errors
    ///
    /// ONNX Runtime can't load the file ([`Runtime`](NetworkError::Runtime)), or the model is not a language model with
    /// a cache ([`Form`](NetworkError::Form)). The file must be imported or exported again.
    pub fn load(runtime: &Runtime, file: &Path, threads: usize) -> Result<Self, NetworkError> {
        Self::new(builder(runtime, threads)?.commit_from_file(file)?)
    }

    /// Loads a model file, for [`Network::verify`] too where that can be done to the bit.
    ///
    /// # Errors
    ///
    /// As for [`Self::load`].
    pub fn load_exact(runtime: &Runtime, file: &Path, threads: usize) -> Result<Self, NetworkError> {
        match Self::try_exact(file, || builder(runtime, threads)) {
            Ok(Some(decoder)) => return Ok(decoder),
            Ok(None) => {
                tracing::info!(file = %file.display(), "nothing is drafted: tokens together would not be equal");
            }
            Err(error) => tracing::warn!(file = %file.display(), %error, "nothing is drafted"),
        }
        Self::load(runtime, file, threads)
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
        let expected = ["input_ids", "attention_mask", "position_ids", form::KEPT];
        let known = |name: &str| expected.contains(&name) || name.starts_with("past_key_values.");
        if let Some(other) = session.inputs().iter().find(|input| !known(input.name())) {
            return Err(NetworkError::Form(format!("unknown input {}", other.name())));
        }
        if !has("input_ids") || !has("attention_mask") || !session.outputs().iter().any(|out| out.name() == "logits") {
            return Err(NetworkError::Form("input_ids, attention_mask or logits is missing".to_owned()));
        }
        let positions = has("position_ids");
        let kept = form::kept(&session)?;
        form::check_caches(&session, layers, heads, head_size)?;
        let shared = session.metadata()?.custom(SHARED_CACHE_NOTE.0).as_deref() == Some(SHARED_CACHE_NOTE.1);
        let cache = if shared {
            Cache::Shared(Box::new(Places::new(layers, heads, head_size)))
        } else {
            Cache::Moved(Moved::default())
        };
        Ok(Self { cache, session, exact: None, layers, heads, head_size, positions, kept, scores: Vec::new(), rows: 0 })
    }

    /// The scores after each of `tokens`, read from an empty cache, row by row. Used to measure accuracy.
    ///
    /// # Errors
    ///
    /// The step failed in ONNX Runtime.
    pub fn all_logits(&mut self, tokens: &[u32]) -> Result<Vec<Vec<f32>>, NetworkError> {
        let mut rows = Vec::new();
        self.run_moved(&mut Moved::default(), tokens, Some(&mut rows)).map(|()| rows)
    }

    /// Runs a batch in the places from `first`. `rows` collects the scores of all positions.
    fn run_shared(
        &mut self,
        first: usize,
        batch: &Batch<'_>,
        rows: Option<&mut Vec<Vec<f32>>>,
    ) -> Result<(), NetworkError> {
        let Cache::Shared(places) = &mut self.cache else { return Ok(()) };
        let bound = places.bound(&self.session, (first, batch.count(), 1), batch.total())?;
        let binding = &mut bound.binding;
        binding.bind_input("input_ids", &batch.ids()?)?;
        binding.bind_input("attention_mask", &batch.mask()?)?;
        if self.positions {
            binding.bind_input("position_ids", &batch.position_ids()?)?;
        }
        let form = (batch.tokens(), rows.is_some());
        if bound.scores != Some(form) {
            if let Some(shape) = &self.kept {
                binding.bind_input(form::KEPT, &form::number_kept(shape, rows.is_none())?)?;
            }
            // A bound output keeps its first shape until the next binding.
            let place = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::CPUOutput)?;
            binding.bind_output_to_device("logits", &place)?;
            bound.scores = Some(form);
        }
        let outputs = self.session.run_binding(binding)?;
        let logits = outputs.get("logits").ok_or_else(|| NetworkError::Form("no logits".to_owned()))?;
        self.rows = batch.count();
        keep(logits, self.rows, rows, &mut self.scores)
    }

    /// Runs one sequence whose present moves to its past. `rows` collects the scores of all positions.
    fn run_moved(
        &mut self,
        cache: &mut Moved,
        tokens: &[u32],
        rows: Option<&mut Vec<Vec<f32>>>,
    ) -> Result<(), NetworkError> {
        let values = &mut cache.values;
        if values.is_empty() {
            *values = form::caches(self.layers, self.heads, self.head_size, cache.length)?;
        }
        let batch = Batch { rows: &[(tokens, cache.length)] };
        let mut inputs: Vec<(String, SessionInputValue<'_>)> =
            values.drain(..).map(|(name, value)| (name, value.into())).collect();
        inputs.push(("input_ids".to_owned(), batch.ids()?.into()));
        inputs.push(("attention_mask".to_owned(), batch.mask()?.into()));
        if self.positions {
            inputs.push(("position_ids".to_owned(), batch.position_ids()?.into()));
        }
        if let Some(shape) = &self.kept {
            inputs.push((form::KEPT.to_owned(), form::number_kept(shape, rows.is_none())?.into()));
        }
        let mut outputs = self.session.run(inputs)?;
        let logits = outputs.get("logits").ok_or_else(|| NetworkError::Form("no logits".to_owned()))?;
        self.rows = 1;
        keep(logits, 1, rows, &mut self.scores)?;
        for layer in 0..self.layers {
            for part in ["key", "value"] {
                let name = format!("present.{layer}.{part}");
                let value = outputs.remove(&name).ok_or_else(|| NetworkError::Form(format!("no output {name}")))?;
                form::check_grown(&name, &value, cache.length + tokens.len())?;
                values.push((format!("past_key_values.{layer}.{part}"), value));
            }
        }
        cache.length += tokens.len();
        Ok(())
    }
}

impl Network for Decoder {
    fn abilities(&self) -> Abilities {
        let position_bytes = self.layers * self.heads * self.head_size * 2 * size_of::<f32>();
        match self.cache {
            Cache::Shared(_) => {
                let verified = self.exact.as_ref().map_or(0, |_| exact::TOKENS);
                Abilities { most_places: usize::MAX, position_bytes, reuses: true, keeps_blocks: true, verified }
            }
            Cache::Moved(_) => {
                Abilities { most_places: 1, position_bytes, reuses: false, keeps_blocks: false, verified: 0 }
            }
        }
    }

    fn change(&mut self, change: Change) -> Result<(), NetworkError> {
        match &mut self.cache {
            Cache::Shared(places) => places.change(change),
            // It grows by itself.
            Cache::Moved(_) => Ok(()),
        }
    }

    fn read(
        &mut self,
        place: usize,
        past: usize,
        tokens: &[u32],
        rows: Option<&mut Vec<Vec<f32>>>,
    ) -> Result<(), NetworkError> {
        match &mut self.cache {
            Cache::Shared(_) => self.run_shared(place, &Batch { rows: &[(tokens, past)] }, rows),
            Cache::Moved(moved) => {
                let mut cache = if past == 0 { Moved::default() } else { std::mem::take(moved) };
                if cache.length != past {
                    return Err(NetworkError::Form(format!("{past} positions of a cache with {}", cache.length)));
                }
                self.run_moved(&mut cache, tokens, rows)?;
                self.cache = Cache::Moved(cache);
                Ok(())
            }
        }
    }

    fn write(&mut self, rows: &[Row]) -> Result<(), NetworkError> {
        match (&self.cache, rows) {
            (Cache::Moved(_), [row]) => self.read(0, row.past, &[row.token], None),
            (Cache::Moved(_), _) => Err(NetworkError::Form(format!("{} sequences at once", rows.len()))),
            (Cache::Shared(_), _) => {
                let tokens: Vec<([u32; 1], usize)> = rows.iter().map(|row| ([row.token], row.past)).collect();
                let rows: Vec<(&[u32], usize)> = tokens.iter().map(|(token, past)| (&token[..], *past)).collect();
                self.run_shared(0, &Batch { rows: &rows }, None)
            }
        }
    }

    fn verify(&mut self, place: usize, past: usize, tokens: &[u32]) -> Result<(), NetworkError> {
        self.run_exact(place, past, tokens)
    }

    fn scores(&self, row: usize) -> &[f32] {
        let width = self.scores.len() / self.rows.max(1);
        self.scores.get(row * width..(row + 1) * width).unwrap_or_default()
    }

    fn clear(&mut self, place: usize) -> Result<(), NetworkError> {
        match &mut self.cache {
            Cache::Shared(places) => {
                let cleared = places.clear(place);
                if cleared.is_err() {
                    places.forget();
                }
                cleared
            }
            Cache::Moved(moved) => {
                *moved = Moved::default();
                Ok(())
            }
        }
    }
}

fn builder(runtime: &Runtime, threads: usize) -> Result<SessionBuilder, NetworkError> {
    let builder = Session::builder(runtime.environment())?;
    Ok(builder.with_intra_threads(threads.max(1))?.with_inter_threads(1)?)
}

/// Copies the scores after the last token of each of `count` sequences, and all of them to `rows`.
fn keep(
    logits: &DynValue,
    count: usize,
    rows: Option<&mut Vec<Vec<f32>>>,
    scores: &mut Vec<f32>,
) -> Result<(), NetworkError> {
    let (shape, all) = logits.try_extract_tensor::<f32>()?;
    let width = shape.last().and_then(|&width| usize::try_from(width).ok()).unwrap_or(0);
    let each = all.len().checked_div(count).filter(|each| width > 0 && *each >= width && each % width == 0);
    let each = each.ok_or_else(|| NetworkError::Form(format!("logits of shape {shape:?}")))?;
    if let Some(rows) = rows {
        rows.extend(all.chunks_exact(width).map(<[f32]>::to_vec));
    }
    scores.clear();
    for sequence in all.chunks_exact(each) {
        scores.extend_from_slice(&sequence[each - width..]);
    }
    Ok(())
}
