//! A loaded encoder: it reads batches of texts in one run each, and gives a vector for each text.

use std::path::Path;

use ort::{
    session::{Session, SessionInputValue},
    value::{Tensor, TensorElementType, ValueType},
};

use super::{
    folder::Form,
    pooling::{Pooling, normalize},
};
use crate::{network::NetworkError, runtime::Runtime};

/// The most texts of one run.
const MOST_TEXTS: usize = 32;
/// The most tokens of one run, padding included, unless one text alone has more.
const MOST_TOKENS: usize = 4_096;
/// The output that has a state of each token, as exporters name it.
const STATES: [&str; 2] = ["last_hidden_state", "token_embeddings"];

/// The input that tells the parts of a pair apart; here a text has one part.
const TYPES: &str = "token_type_ids";

/// Checks the names of a model's inputs and outputs.
///
/// # Errors
///
/// The model is not an encoder of texts, in words.
pub(super) fn check_names(inputs: &[String], outputs: &[String]) -> Result<(), String> {
    let needed = ["input_ids", "attention_mask"];
    if let Some(missing) = needed.iter().find(|name| !inputs.iter().any(|input| input == *name)) {
        return Err(format!("not an encoder of texts: there is no input {missing}"));
    }
    if let Some(other) = inputs.iter().find(|input| !needed.contains(&&***input) && *input != TYPES) {
        return Err(format!("not an encoder of texts: unknown input {other}"));
    }
    if outputs.iter().any(|output| STATES.contains(&&**output)) {
        return Ok(());
    }
    Err(format!("not an encoder of texts: there is no output {}", STATES.join(" or ")))
}

/// Makes vectors of texts: an encoder, or a test's stand-in.
pub trait Encode: Send + 'static {
    /// The vectors of texts that fit one run, in their order. Of `dimensions`, only so many numbers of each.
    ///
    /// # Errors
    ///
    /// The run failed, or computed numbers that are not finite.
    fn encode(&mut self, texts: &[&[u32]], dimensions: Option<usize>) -> Result<Vec<Vec<f32>>, NetworkError>;
}

/// A loaded encoder.
#[derive(Debug)]
pub struct Encoder {
    session: Session,
    pooling: Pooling,
    is_normalized: bool,
    /// The name of the output with a state of each token.
    states: String,
    /// Whether the model takes `token_type_ids`.
    types: bool,
    /// The length of a vector.
    width: usize,
}

impl Encoder {
    /// Loads a model file, to run on `threads` threads.
    ///
    /// # Errors
    ///
    /// ONNX Runtime can't load the file ([`Runtime`](NetworkError::Runtime)), or the model is not an encoder of texts
    /// ([`Form`](NetworkError::Form)).
    pub fn load(runtime: &Runtime, file: &Path, threads: usize, form: &Form) -> Result<Self, NetworkError> {
        let builder = Session::builder(runtime.environment())?;
        let mut builder = builder.with_intra_threads(threads.max(1))?.with_inter_threads(1)?;
        let session = builder.commit_from_file(file)?;
        let form_error = |reason: String| NetworkError::Form(reason);
        for input in session.inputs() {
            let ValueType::Tensor { ty: TensorElementType::Int64, .. } = input.dtype() else {
                return Err(form_error(format!("the input {} is {}", input.name(), input.dtype())));
            };
        }
        let names =
            |outlets: &[ort::value::Outlet]| outlets.iter().map(|one| one.name().to_owned()).collect::<Vec<_>>();
        let (inputs, outputs) = (names(session.inputs()), names(session.outputs()));
        check_names(&inputs, &outputs).map_err(NetworkError::Form)?;
        let states = session.outputs().iter().find(|output| STATES.contains(&output.name()));
        let states = states.ok_or_else(|| form_error(format!("there is no output {}", STATES.join(" or "))))?;
        let ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } = states.dtype() else {
            return Err(form_error(format!("the output {} is {}", states.name(), states.dtype())));
        };
        let width = shape.last().and_then(|&width| usize::try_from(width).ok()).filter(|&width| width > 0);
        let width = width.filter(|_| shape.len() == 3);
        let width = width.ok_or_else(|| form_error(format!("the output {} has shape {shape:?}", states.name())))?;
        let types = inputs.iter().any(|name| name == TYPES);
        let states = states.name().to_owned();
        Ok(Self { session, pooling: form.pooling, is_normalized: form.is_normalized, states, types, width })
    }

    /// The length of a vector.
    pub const fn width(&self) -> usize {
        self.width
    }
}

impl Encode for Encoder {
    fn encode(&mut self, texts: &[&[u32]], dimensions: Option<usize>) -> Result<Vec<Vec<f32>>, NetworkError> {
        let longest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        if longest == 0 {
            return Ok(vec![Vec::new(); texts.len()]);
        }
        let shape = [texts.len(), longest];
        let padded = |token: fn(u32) -> i64| -> Vec<i64> {
            let row = |text: &&[u32]| {
                let rest = longest - text.len();
                text.iter().map(move |&id| token(id)).chain(std::iter::repeat_n(0, rest)).collect::<Vec<_>>()
            };
            texts.iter().flat_map(row).collect()
        };
        let mut inputs: Vec<(&str, SessionInputValue<'_>)> = vec![
            ("input_ids", Tensor::from_array((shape, padded(i64::from)))?.into()),
            ("attention_mask", Tensor::from_array((shape, padded(|_| 1)))?.into()),
        ];
        if self.types {
            inputs.push((TYPES, Tensor::from_array((shape, padded(|_| 0)))?.into()));
        }
        let outputs = self.session.run(inputs)?;
        let states = outputs.get(&self.states).ok_or_else(|| NetworkError::Form(format!("no {}", self.states)))?;
        let (found, states) = states.try_extract_tensor::<f32>()?;
        let row = longest * self.width;
        if states.len() != row * texts.len() {
            return Err(NetworkError::Form(format!("{} has shape {found:?}", self.states)));
        }
        let vectors = texts.iter().zip(states.chunks_exact(row)).map(|(text, states)| {
            let mut vector = self.pooling.vector(&states[..text.len() * self.width], self.width);
            if let Some(dimensions) = dimensions {
                vector.truncate(dimensions);
            }
            if self.is_normalized {
                normalize(&mut vector);
            }
            vector
        });
        let vectors: Vec<Vec<f32>> = vectors.collect();
        let is_finite = vectors.iter().flatten().all(|number| number.is_finite());
        if is_finite { Ok(vectors) } else { Err(NetworkError::NotFinite) }
    }
}

/// Whether so many texts fit one run, the longest of which has this many tokens.
pub(super) const fn fits(texts: usize, longest: usize) -> bool {
    texts <= MOST_TEXTS && texts.saturating_mul(longest) <= MOST_TOKENS
}

/// The runs in which texts are read: places in `texts`, of similar lengths together, so that little is padded.
pub fn runs(texts: &[Vec<u32>]) -> Vec<Vec<usize>> {
    let mut places: Vec<usize> = (0..texts.len()).collect();
    places.sort_by_key(|&place| texts[place].len());
    let mut runs: Vec<Vec<usize>> = Vec::new();
    for place in places {
        // The text is the longest of its run so far.
        match runs.last_mut().filter(|run| fits(run.len() + 1, texts[place].len())) {
            Some(run) => run.push(place),
            None => runs.push(vec![place]),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_bounded_and_hold_every_text_once() {
        let lengths = [5, 4_000, 3, 900, 5_000, 1].into_iter().chain(std::iter::repeat_n(7, 70));
        let texts: Vec<Vec<u32>> = lengths.map(|length| vec![1; length]).collect();
        let runs = runs(&texts);
        let mut all: Vec<usize> = runs.iter().flatten().copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..texts.len()).collect::<Vec<_>>());
        for run in &runs {
            let longest = run.iter().map(|&place| texts[place].len()).max().unwrap();
            assert!(run.len() <= MOST_TEXTS && (run.len() == 1 || run.len() * longest <= MOST_TOKENS), "{run:?}");
        }
        assert_eq!(runs.len(), 6, "{runs:?}");
    }
}
