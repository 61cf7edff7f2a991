//! Runs of several tokens of one sequence that are computed to the bit as in runs of one: a second session over the same
//! weights and the same caches, whose attention goes token by token ([`crate::onnx::unrolled`]). Whether it is equal to
//! the bit depends on the kernels that this machine has for this model; so that is tried once, when the model is loaded.

use std::path::Path;

use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::session::builder::SessionBuilder;

use super::weights::Weights;
use super::{Batch, Cache, Decoder, keep};
use crate::network::{Network, NetworkError};
use crate::onnx::unrolled;
use crate::runtime::DATA_FOLDER;
use crate::schedule::{Change, Row, SequenceId, Shape};

/// Tokens of a run. A run of 4 costs less than twice one of 1.
pub(super) const TOKENS: usize = 4;
/// Tokens that are read before the trial.
const BEFORE: usize = 8;

/// The second session.
#[derive(Debug)]
pub(super) struct Exact {
    pub(super) session: Session,
    /// Dropped last: both sessions use them.
    _weights: Weights,
}

impl Exact {
    /// Loads a model's two sessions over the same weights. `None` where the model's form does not allow it.
    ///
    /// # Errors
    ///
    /// The model's files can't be read, or ONNX Runtime can't load them.
    pub(super) fn load(
        file: &Path,
        builder: impl Fn() -> Result<SessionBuilder, NetworkError>,
    ) -> Result<Option<(Session, Self)>, NetworkError> {
        let unreadable = |error: std::io::Error| NetworkError::Form(error.to_string());
        let Some(unrolled) = unrolled(&std::fs::read(file).map_err(unreadable)?, TOKENS) else { return Ok(None) };
        let folder = file.parent().unwrap_or(Path::new("."));
        let weights = Weights::map(&folder.join(&unrolled.data_file), &unrolled.weights)?;
        let first = weights.give(builder()?)?.commit_from_file(file)?;
        // A session's threads wait busily for its next run. These would do so while the other session runs.
        let builder = builder()?
            .with_config_entry("session.force_spinning_stop", "1")?
            .with_config_entry(DATA_FOLDER, folder.to_string_lossy())?;
        let session = weights.give(builder)?.commit_from_memory(&unrolled.model)?;
        weights.forget_pages();
        Ok(Some((first, Self { session, _weights: weights })))
    }
}

impl Decoder {
    /// A model with both sessions. `None` where its form does not allow it, or a bit would differ.
    ///
    /// # Errors
    ///
    /// As for [`Exact::load`], or a run of the trial fails.
    pub(super) fn try_exact(
        file: &Path,
        builder: impl Fn() -> Result<SessionBuilder, NetworkError>,
    ) -> Result<Option<Self>, NetworkError> {
        let Some((session, exact)) = Exact::load(file, builder)? else { return Ok(None) };
        let mut decoder = Self::new(session)?;
        if decoder.positions {
            return Ok(None);
        }
        decoder.exact = Some(exact);
        Ok(decoder.is_exact()?.then_some(decoder))
    }

    /// Runs tokens of one place, with the scores after each.
    pub(super) fn run_exact(&mut self, place: usize, past: usize, tokens: &[u32]) -> Result<(), NetworkError> {
        let (Cache::Shared(places), Some(exact)) = (&mut self.cache, &mut self.exact) else {
            return Err(NetworkError::Form("several tokens to the bit".to_owned()));
        };
        if tokens.len() > TOKENS {
            return Err(NetworkError::Form(format!("{} tokens at once, of {TOKENS}", tokens.len())));
        }
        let mut padded = [0; TOKENS];
        padded[..tokens.len()].copy_from_slice(tokens);
        let batch = Batch { rows: &[(&padded, past)] };
        let bound = places.bound(&exact.session, (place, 1, TOKENS), batch.total())?;
        let binding = &mut bound.binding;
        binding.bind_input("input_ids", &batch.ids()?)?;
        binding.bind_input("attention_mask", &batch.mask()?)?;
        if bound.scores.is_none() {
            let memory = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::CPUOutput)?;
            binding.bind_output_to_device("logits", &memory)?;
            bound.scores = Some((TOKENS, true));
        }
        let outputs = exact.session.run_binding(binding)?;
        let logits = outputs.get("logits").ok_or_else(|| NetworkError::Form("no logits".to_owned()))?;
        self.rows = TOKENS;
        keep(logits, TOKENS, None, &mut self.scores)
    }

    /// Whether a run of several tokens gives the bits of runs of one, here and now: the scores after each token, and after
    /// one more that reads what they left in the cache.
    fn is_exact(&mut self) -> Result<bool, NetworkError> {
        self.change(Change::Arrange(Shape { places: 1, positions: BEFORE + TOKENS + 1 }))?;
        self.read(0, 0, &[0, 1], None)?;
        let vocabulary = self.scores(0).len().max(1);
        let token = |at: usize| u32::try_from(at * 7_919 % vocabulary).unwrap_or(0);
        let before: Vec<u32> = (0..BEFORE).map(token).collect();
        let tokens: Vec<u32> = (BEFORE..BEFORE + TOKENS).map(token).collect();
        let last = token(BEFORE + TOKENS);
        let bits = |scores: &[f32]| scores.iter().map(|score| score.to_bits()).collect::<Vec<_>>();
        let mut found = [Vec::new(), Vec::new()];
        for (together, found) in [true, false].into_iter().zip(&mut found) {
            self.read(0, 0, &before, None)?;
            if together {
                self.verify(0, BEFORE, &tokens)?;
                found.extend((0..TOKENS).map(|row| bits(self.scores(row))));
            } else {
                for (at, &token) in tokens.iter().enumerate() {
                    self.write(&[Row { id: SequenceId(0), token, past: BEFORE + at }])?;
                    found.push(bits(self.scores(0)));
                }
            }
            self.write(&[Row { id: SequenceId(0), token: last, past: BEFORE + TOKENS }])?;
            found.push(bits(self.scores(0)));
        }
        if let Cache::Shared(places) = &mut self.cache {
            places.forget();
        }
        Ok(found[0] == found[1])
    }
}
