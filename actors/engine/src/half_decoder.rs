//! A language model in half precision on a device of its own memory: the form that CUDA runs. Caches lie on the device
//! ([`slots`]), and only tokens and scores are copied. A step that writes has all its inputs bound once, so that CUDA
//! records it as a graph at its first run and launches it as one piece afterwards. This file knows tokens, not texts.
//!
//! Every part of it runs on the processor as well, which computes the same form slowly: that is how it is tested where
//! there is no card.

mod copier;
mod slots;

use std::path::Path;

use half::f16;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::SessionBuilder;
use ort::session::{RunOptions, Session};
use ort::value::{Tensor, TensorElementType, ValueType};

use super::accuracy::Forced;
use super::device::{Device, Fallback};
use super::network::{Abilities, Network, NetworkError};
use super::onnx::{self, Halved, KEPT_ROWS, LAST_POSITIONS, TOTAL_LENGTH};
use super::runtime::{DATA_FOLDER, Runtime};
use super::schedule::{Change, Row, Shape};
use slots::{Layout, Slots};

/// The run option that names the graph to record or to launch.
const GRAPH: &str = "gpu_graph_id";
/// The graph of runs that are not recorded.
const NONE: &str = "-1";

/// A loaded model.
pub struct HalfDecoder {
    /// Dropped before the session, whose allocator it uses.
    slots: Slots,
    /// For steps that read: they differ in length, so none is recorded.
    unrecorded: RunOptions,
    session: Session,
    vocabulary: usize,
    /// The scores of the last step, row by row.
    scores: Vec<f32>,
}

/// How a model is loaded.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Where.
    pub device: Device,
    /// The processor's threads: many where it is the device.
    pub threads: usize,
    /// What becomes of a model with an operator that does not run on the device.
    pub fallback: Fallback,
    /// Whether steps that write are recorded as CUDA graphs where every operator runs on the card.
    pub records: bool,
    /// The most bytes that its sessions take on a card; `None` for as many as there are.
    pub memory: Option<usize>,
}

impl std::fmt::Debug for HalfDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HalfDecoder").field("layout", &self.slots.layout()).finish_non_exhaustive()
    }
}

impl HalfDecoder {
    /// Loads an imported model file in half precision.
    ///
    /// # Errors
    ///
    /// The file can't be read or was not written by an import of a GGUF file ([`Form`](NetworkError::Form)), or ONNX
    /// Runtime can't load it on this device ([`Runtime`](NetworkError::Runtime)).
    pub fn load(runtime: &Runtime, file: &Path, settings: Settings) -> Result<Self, NetworkError> {
        let Settings { device, threads, fallback, records, memory } = settings;
        let model = std::fs::read(file).map_err(|error| NetworkError::Runtime(error.to_string()))?;
        let Halved { model, context } = onnx::in_halves(&model).map_err(NetworkError::Form)?;
        let folder = file.parent().unwrap_or(Path::new(".")).to_string_lossy().into_owned();
        let open = |fallback, records| -> Result<Session, NetworkError> {
            let builder = device.builder(runtime, threads, fallback, records, memory)?;
            let mut builder: SessionBuilder = builder.with_config_entry(DATA_FOLDER, &folder)?;
            Ok(builder.commit_from_memory(&model)?)
        };
        let records = records && device != Device::Cpu;
        let (session, records) = match open(Fallback::Refused, records) {
            Ok(session) => (session, records),
            Err(error) if fallback == Fallback::Cpu => {
                tracing::warn!(%error, %device, "not every operator runs on the device: this model is slower there");
                (open(Fallback::Cpu, false)?, false)
            }
            Err(error) => return Err(error),
        };
        Self::new(runtime, session, device, context, records)
    }

    fn new(
        runtime: &Runtime,
        session: Session,
        device: Device,
        context: usize,
        records: bool,
    ) -> Result<Self, NetworkError> {
        let form = |reason: String| NetworkError::Form(reason);
        let dims = |outlets: &[ort::value::Outlet], name: &str| {
            let outlet = outlets.iter().find(|outlet| outlet.name() == name);
            let outlet = outlet.ok_or_else(|| form(format!("no {name}")))?;
            let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
                return Err(form(format!("{name} is {}", outlet.dtype())));
            };
            Ok((*ty, shape.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect::<Vec<_>>()))
        };
        let (element, key) = dims(session.inputs(), "past_key_values.0.key")?;
        let [_, heads, _, width] = key[..] else { return Err(form(format!("keys of shape {key:?}"))) };
        let (_, logits) = dims(session.outputs(), "logits")?;
        let vocabulary = logits.last().copied().unwrap_or(0);
        if element != TensorElementType::Float16 || heads == 0 || width == 0 || vocabulary == 0 {
            return Err(form(format!("keys of shape {key:?} in {element}, scores of shape {logits:?}")));
        }
        let layers = session.inputs().iter().filter(|input| input.name().rsplit('.').next() == Some("key")).count();
        let layout = Layout { layers, heads, width, vocabulary, context };
        let slots = Slots::new(runtime, &session, device, layout, records)?;
        let mut unrecorded = RunOptions::new()?;
        unrecorded.set(GRAPH, NONE)?;
        Ok(Self { slots, unrecorded, session, vocabulary, scores: Vec::new() })
    }
}

/// A run that is recorded under this number, once, and launched from then on.
fn recorded(graph: u32) -> Result<RunOptions, NetworkError> {
    let mut options = RunOptions::new()?;
    options.set(GRAPH, graph.to_string())?;
    Ok(options)
}

/// A whole number as the model's inputs have it.
fn int(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

impl Network for HalfDecoder {
    fn abilities(&self) -> Abilities {
        let Layout { layers, heads, width, .. } = self.slots.layout();
        let position_bytes = layers * heads * width * 2 * size_of::<f16>();
        // Nothing is drafted: rows together are not shown to be equal to rows alone.
        // Its copies are of whole places.
        Abilities { most_places: usize::MAX, position_bytes, reuses: true, keeps_blocks: false, verified: 0 }
    }

    fn change(&mut self, change: Change) -> Result<(), NetworkError> {
        self.slots.change(change)
    }

    fn read(
        &mut self,
        place: usize,
        past: usize,
        tokens: &[u32],
        rows: Option<&mut Vec<Vec<f32>>>,
    ) -> Result<(), NetworkError> {
        let (count, total) = (tokens.len(), past + tokens.len());
        let binding = self.slots.reading(&self.session, place, total)?;
        let ids: Vec<i64> = tokens.iter().map(|&token| i64::from(token)).collect();
        binding.bind_input("input_ids", &Tensor::from_array(([1, count], ids))?)?;
        binding.bind_input(LAST_POSITIONS, &Tensor::from_array(([1_usize], vec![int(total) - 1]))?)?;
        binding.bind_input(TOTAL_LENGTH, &Tensor::from_array(([0_usize; 0], vec![int(total)]))?)?;
        let first = if rows.is_some() { 0 } else { count.saturating_sub(1) };
        let kept: Vec<i64> = (first..count).map(|at| i64::from(int(at))).collect();
        binding.bind_input(KEPT_ROWS, &Tensor::from_array(([kept.len()], kept))?)?;
        let host = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::CPUOutput)?;
        binding.bind_output_to_device("logits", &host)?;
        let outputs = self.session.run_binding_with_options(binding, &self.unrecorded)?;
        let logits = outputs.get("logits").ok_or_else(|| NetworkError::Form("no logits".to_owned()))?;
        let (shape, all) = logits.try_extract_tensor::<f32>()?;
        let last = all.len().checked_sub(self.vocabulary).and_then(|at| all.get(at..));
        let last = last.ok_or_else(|| NetworkError::Form(format!("logits of shape {shape:?}")))?;
        self.scores.clear();
        self.scores.extend_from_slice(last);
        if let Some(rows) = rows {
            rows.extend(all.chunks_exact(self.vocabulary).map(<[f32]>::to_vec));
        }
        Ok(())
    }

    fn write(&mut self, rows: &[Row]) -> Result<(), NetworkError> {
        let longest = rows.iter().map(|row| row.past + 1).max().unwrap_or(0);
        let step = self.slots.writing(&self.session, rows.len(), longest)?;
        let ids: Vec<i64> = rows.iter().map(|row| i64::from(row.token)).collect();
        let last: Vec<i32> = rows.iter().map(|row| int(row.past)).collect();
        Tensor::from_array(([rows.len(), 1], ids))?.copy_into(&mut step.ids)?;
        Tensor::from_array(([rows.len()], last))?.copy_into(&mut step.last)?;
        self.session.run_binding_with_options(&step.binding, &step.options)?;
        step.binding.synchronize_outputs()?;
        step.logits.copy_into(&mut step.scores)?;
        self.scores.clear();
        self.scores.extend_from_slice(step.scores.try_extract_tensor::<f32>()?.1);
        Ok(())
    }

    fn verify(&mut self, _place: usize, _past: usize, _tokens: &[u32]) -> Result<(), NetworkError> {
        Err(NetworkError::Form("several tokens to the bit".to_owned()))
    }

    fn scores(&self, row: usize) -> &[f32] {
        self.scores.get(row * self.vocabulary..(row + 1) * self.vocabulary).unwrap_or_default()
    }

    fn clear(&mut self, place: usize) -> Result<(), NetworkError> {
        self.slots.clear(place)
    }
}

impl Forced for HalfDecoder {
    fn all_logits(&mut self, tokens: &[u32]) -> Result<Vec<Vec<f32>>, NetworkError> {
        self.change(Change::Arrange(Shape { places: 1, positions: tokens.len() }))?;
        let mut rows = Vec::with_capacity(tokens.len());
        self.read(0, 0, tokens, Some(&mut rows))?;
        Ok(rows)
    }
}
