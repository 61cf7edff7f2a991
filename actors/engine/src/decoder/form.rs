//! The form of a language model's inputs and outputs, beyond those that name it: the caches of its layers, which are all
//! alike and grow by what is read, and the number of positions whose scores are wanted.

use ort::memory::Allocator;
use ort::session::Session;
use ort::value::{DynValue, Tensor, TensorElementType, ValueType};

use super::{Decoder, Moved};
use crate::network::{NetworkError, finite};

/// The input, or the weight that an input may override, by which scores of most positions are left out. 0 leaves out none.
pub(super) const KEPT: &str = "num_logits_to_keep";

/// The shape of the number of positions whose scores are computed: a single number, or a list of one.
pub(super) fn kept(session: &Session) -> Result<Option<Vec<usize>>, NetworkError> {
    let input = session.inputs().iter().find(|input| input.name() == KEPT).map(|input| input.dtype().clone());
    let weight = || session.overridable_initializers().into_iter().find(|weight| weight.name() == KEPT);
    match input.or_else(|| weight().map(|weight| weight.dtype().clone())) {
        None => Ok(None),
        Some(ValueType::Tensor { ty: TensorElementType::Int64, shape, .. }) if shape.len() <= 1 => {
            Ok(Some(vec![1; shape.len()]))
        }
        Some(other) => Err(NetworkError::Form(format!("{KEPT} is {other}"))),
    }
}

/// The number of positions whose scores are computed: the last alone, or all.
pub(super) fn number_kept(shape: &[usize], last_only: bool) -> Result<Tensor<i64>, NetworkError> {
    Ok(Tensor::from_array((shape.to_vec(), vec![i64::from(last_only)]))?)
}

/// Refuses caches that are not those of so many layers, all alike.
pub(super) fn check_caches(
    session: &Session,
    layers: usize,
    heads: usize,
    head_size: usize,
) -> Result<(), NetworkError> {
    let own = |layer: usize, part: &str| format!("past_key_values.{layer}.{part}");
    let given = session.inputs().iter().filter(|input| input.name().starts_with("past_key_values."));
    let expected = |name: &str| (0..layers).any(|layer| ["key", "value"].iter().any(|part| own(layer, part) == name));
    let mut count = 0;
    for input in given {
        if !expected(input.name()) {
            return Err(NetworkError::Form(format!("unknown input {}", input.name())));
        }
        let ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } = input.dtype() else {
            return Err(NetworkError::Form(format!("{} is {}; 32-bit floats are run", input.name(), input.dtype())));
        };
        let sizes = [1, 3].map(|axis| shape.get(axis).and_then(|&size| usize::try_from(size).ok()));
        if shape.len() != 4 || sizes != [Some(heads), Some(head_size)] {
            let first = own(0, "key");
            return Err(NetworkError::Form(format!("{} has shape {shape:?}, another than {first}", input.name())));
        }
        count += 1;
    }
    if count == layers * 2 {
        return Ok(());
    }
    Err(NetworkError::Form(format!("{count} caches of {layers} layers")))
}

/// The caches of one sequence, by the names of their inputs: zeros in so many positions.
pub(super) fn caches(
    layers: usize,
    heads: usize,
    head_size: usize,
    positions: usize,
) -> Result<Vec<(String, DynValue)>, NetworkError> {
    let sizes = [1, heads, positions, head_size].map(|size| i64::try_from(size).unwrap_or(i64::MAX));
    let names = (0..layers).flat_map(|layer| ["key", "value"].map(|part| format!("past_key_values.{layer}.{part}")));
    let cache = |name| {
        let mut past = Tensor::<f32>::new(&Allocator::default(), sizes)?;
        past.try_extract_tensor_mut::<f32>()?.1.fill(0.0);
        Ok((name, past.into_dyn()))
    };
    names.map(cache).collect()
}

impl Decoder {
    /// The number of layers.
    pub(crate) const fn layers(&self) -> usize {
        self.layers
    }

    /// Reads a token at a position behind others that are not there: whether the model can read so far.
    ///
    /// # Errors
    ///
    /// It can't.
    pub(crate) fn reach(&mut self, position: usize, token: u32) -> Result<(), NetworkError> {
        let mut cache = Moved { values: Vec::new(), length: position };
        self.run_moved(&mut cache, &[token], None)?;
        finite(&self.scores)
    }
}

/// Refuses a cache that has not grown to so many positions.
pub(super) fn check_grown(name: &str, value: &DynValue, positions: usize) -> Result<(), NetworkError> {
    match value.dtype() {
        ValueType::Tensor { shape, .. }
            if shape.get(2).and_then(|&size| usize::try_from(size).ok()) == Some(positions) =>
        {
            Ok(())
        }
        other => Err(NetworkError::Form(format!("{name} is {other} after {positions} positions"))),
    }
}
