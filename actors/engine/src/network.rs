//! What a worker runs: a language model with places for the caches of sequences. It knows tokens and places, and
//! nothing of requests. [`Decoder`](super::decoder::Decoder) is the one of the product.

use wire::inference::Failure;

use super::schedule::{Change, Row};

/// Why a model can't be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// ONNX Runtime reports an error.
    #[error("ONNX Runtime: {0}")]
    Runtime(String),
    /// The model's inputs or outputs are not those of a model that is run here.
    #[error("the model's inputs and outputs: {0}")]
    Form(String),
    /// The model computed scores that are not numbers, or are infinite.
    #[error("scores that are not finite numbers")]
    NotFinite,
}

impl NetworkError {
    /// The failure of the requests whose step failed so, at a model of this name.
    pub(crate) fn failure(&self, model: &str) -> Failure {
        match self {
            Self::NotFinite => {
                tracing::error!(model, "the model computes numbers that are not finite: import it anew");
                metrics::counter!("farebox_engine_not_finite_total", "model" => model.to_owned()).increment(1);
                Failure::NotFinite
            }
            Self::Runtime(_) | Self::Form(_) => Failure::Engine(self.to_string()),
        }
    }
}

/// What a network can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// The most sequences at once.
    pub most_places: usize,
    /// Bytes that one position of one place takes.
    pub position_bytes: usize,
    /// Whether a place can be copied, and can go back to a shorter length.
    pub reuses: bool,
    /// Whether positions can be kept in blocks, without a place.
    pub keeps_blocks: bool,
    /// The most tokens of one [`Network::verify`]; 0 where it can't be done to the bit.
    pub verified: usize,
}

/// A language model with places.
pub trait Network: Send + 'static {
    /// What it can do.
    fn abilities(&self) -> Abilities;

    /// Changes the places and the blocks.
    ///
    /// # Errors
    ///
    /// There is no memory, or the change names places that are not there. All caches are lost then.
    fn change(&mut self, change: Change) -> Result<(), NetworkError>;

    /// Reads tokens behind the first `past` positions of a place. The scores after the last token are row 0's;
    /// `rows` collects those after each token.
    ///
    /// # Errors
    ///
    /// The step failed. The place must be cleared.
    fn read(
        &mut self,
        place: usize,
        past: usize,
        tokens: &[u32],
        rows: Option<&mut Vec<Vec<f32>>>,
    ) -> Result<(), NetworkError>;

    /// Reads one token in each of the first places: row n is of place n. The scores after it are row n's.
    ///
    /// # Errors
    ///
    /// The step failed. All its places must be cleared.
    fn write(&mut self, rows: &[Row]) -> Result<(), NetworkError>;

    /// Reads tokens behind the first `past` positions of a place, each to the bit as [`Self::write`] reads one. The scores
    /// after token n are row n's. As many positions as [`Abilities::verified`] may be written.
    ///
    /// # Errors
    ///
    /// The step failed, or the network can't do it. The place must be cleared.
    fn verify(&mut self, place: usize, past: usize, tokens: &[u32]) -> Result<(), NetworkError>;

    /// The scores that the last step computed for a row.
    fn scores(&self, row: usize) -> &[f32];

    /// Forgets what is in a place, so that nothing in it can spoil a later sequence.
    ///
    /// # Errors
    ///
    /// ONNX Runtime refuses to show its memory. All caches are lost then.
    fn clear(&mut self, place: usize) -> Result<(), NetworkError>;
}

/// Refuses scores that are not finite numbers.
///
/// # Errors
///
/// [`NotFinite`](NetworkError::NotFinite) where a score is none.
pub fn finite(scores: &[f32]) -> Result<(), NetworkError> {
    if scores.iter().all(|score| score.is_finite()) { Ok(()) } else { Err(NetworkError::NotFinite) }
}
