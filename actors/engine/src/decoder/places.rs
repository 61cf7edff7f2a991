//! The cache of a model whose past and present may be one buffer: for each layer one buffer of keys and one of values,
//! `[places, heads, positions, head size]`. A step binds a contiguous part of its places as a batch, so a token costs
//! no copy. Beside them are blocks: copies of some positions.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;

use ort::AsPointer;
use ort::session::{IoBinding, Session};
use ort::value::{PrimitiveTensorElementType, Tensor, TensorRefMut};

use crate::network::NetworkError;
use crate::onnx::present;
use crate::schedule::{BlockId, Change, Shape};

/// A part of the places, bound as past and present.
#[derive(Debug)]
pub(super) struct Bound {
    /// The binding. Inputs other than the past, and the scores, are its user's.
    pub(super) binding: IoBinding,
    /// The form of the scores that it is bound for: tokens of a place, and whether all rows are kept.
    pub(super) scores: Option<(usize, bool)>,
}

/// The first place and the number of places, and the tokens of a place whose attention is computed one by one.
pub(super) type Part = (usize, usize, usize);

/// The buffers, and the bindings of their parts.
#[derive(Debug)]
pub(super) struct Places {
    /// They point into the buffers, so they are dropped before these.
    bound: BTreeMap<Part, Bound>,
    buffers: Vec<Tensor<f32>>,
    /// Of each block its positions, buffer by buffer and head by head.
    blocks: HashMap<BlockId, Vec<f32>>,
    shape: Shape,
    layers: usize,
    heads: usize,
    width: usize,
}

impl Places {
    pub(super) fn new(layers: usize, heads: usize, width: usize) -> Self {
        let (bound, buffers, blocks) = (BTreeMap::new(), Vec::new(), HashMap::new());
        Self { bound, buffers, blocks, shape: Shape::default(), layers, heads, width }
    }

    pub(super) fn change(&mut self, change: Change) -> Result<(), NetworkError> {
        let done = match change {
            Change::Arrange(shape) => self.arrange(shape),
            Change::Move { from, to, positions } | Change::Copy { from, to, positions } => {
                self.for_each_head(from, to, positions, |data, from, to, count| {
                    data.copy_within(from..from + count, to);
                })
            }
            Change::Swap { one, other, positions } => {
                self.for_each_head(one.min(other), one.max(other), positions, |data, low, high, count| {
                    let (first, second) = data.split_at_mut(high);
                    first[low..low + count].swap_with_slice(&mut second[..count]);
                })
            }
            Change::Save { place, block, at, positions } => self.save(place, block, at, positions),
            Change::Load { block, place, at, positions } => self.load(block, place, at, positions),
            Change::Drop(block) => {
                self.blocks.remove(&block);
                Ok(())
            }
        };
        if done.is_err() {
            self.forget();
        }
        done
    }

    /// Fills a place with zeros: a NaN in it would stay a NaN in every product.
    pub(super) fn clear(&mut self, place: usize) -> Result<(), NetworkError> {
        let size = self.heads * self.shape.positions * self.width;
        if place >= self.shape.places {
            return Ok(());
        }
        for buffer in &mut self.buffers {
            buffer.try_extract_tensor_mut::<f32>()?.1[place * size..][..size].fill(0.0);
        }
        Ok(())
    }

    /// Gives all memory back.
    pub(super) fn forget(&mut self) {
        self.bound.clear();
        self.buffers.clear();
        self.blocks.clear();
        self.shape = Shape::default();
    }

    /// Makes a block of positions of a place.
    fn save(&mut self, place: usize, block: BlockId, at: usize, positions: usize) -> Result<(), NetworkError> {
        self.check(place, 1, at + positions)?;
        let (count, first) = (positions * self.width, at * self.width);
        let mut values = Vec::new();
        let all = self.buffers.len() * self.heads * count;
        values.try_reserve_exact(all).map_err(|_| no_memory(all))?;
        for buffer in &self.buffers {
            let (_, data) = buffer.try_extract_tensor::<f32>()?;
            for head in 0..self.heads {
                let start = (place * self.heads + head) * self.shape.positions * self.width + first;
                values.extend_from_slice(&data[start..start + count]);
            }
        }
        self.blocks.insert(block, values);
        Ok(())
    }

    /// Copies the first positions of a block to a place.
    fn load(&mut self, block: BlockId, place: usize, at: usize, positions: usize) -> Result<(), NetworkError> {
        self.check(place, 1, at + positions)?;
        let gone = || NetworkError::Form("a block that is not there".to_owned());
        let values = self.blocks.get(&block).ok_or_else(gone)?;
        let (count, first) = (positions * self.width, at * self.width);
        // A head's positions in the block.
        let each = values.len() / (self.buffers.len() * self.heads).max(1);
        if count > each {
            return Err(NetworkError::Form(format!("{positions} positions of a block with {}", each / self.width)));
        }
        let mut parts = values.chunks_exact(each.max(1));
        for buffer in &mut self.buffers {
            let (_, data) = buffer.try_extract_tensor_mut::<f32>()?;
            for head in 0..self.heads {
                let start = (place * self.heads + head) * self.shape.positions * self.width + first;
                let part = parts.next().ok_or_else(gone)?;
                data[start..start + count].copy_from_slice(&part[..count]);
            }
        }
        Ok(())
    }

    /// Calls `each` with every buffer, and with where each head of two places begins in it.
    fn for_each_head(
        &mut self,
        from: usize,
        to: usize,
        positions: usize,
        each: impl Fn(&mut [f32], usize, usize, usize),
    ) -> Result<(), NetworkError> {
        self.check(from.max(to), 1, positions)?;
        let head_size = self.shape.positions * self.width;
        for buffer in &mut self.buffers {
            let (_, data) = buffer.try_extract_tensor_mut::<f32>()?;
            for head in 0..self.heads {
                let start = |place: usize| (place * self.heads + head) * head_size;
                each(data, start(from), start(to), positions * self.width);
            }
        }
        Ok(())
    }

    /// Refuses places and positions that are not there.
    fn check(&self, first: usize, count: usize, positions: usize) -> Result<(), NetworkError> {
        let Shape { places, positions: most } = self.shape;
        if count > 0 && first + count <= places && positions <= most {
            return Ok(());
        }
        let wanted = format!("{positions} positions of places {first} to {}", first + count);
        Err(NetworkError::Form(format!("{wanted} of a cache with {places} places of {most}")))
    }

    /// One buffer after the other gets the new form, so that there is never more than one of them twice. A form without
    /// places gives all memory back.
    fn arrange(&mut self, shape: Shape) -> Result<(), NetworkError> {
        if shape.places == 0 {
            self.forget();
            return Ok(());
        }
        self.bound.clear();
        let (old, heads, width) = (self.shape, self.heads, self.width);
        let form = [shape.places, heads, shape.positions, width];
        let rows = old.places.min(shape.places) * heads;
        let kept = old.positions.min(shape.positions) * width;
        for index in 0..self.layers * 2 {
            let mut buffer = Tensor::from_array((form, zeros(form.iter().product())?))?;
            let (_, to) = buffer.try_extract_tensor_mut::<f32>()?;
            match self.buffers.get_mut(index) {
                Some(before) => {
                    let (_, from) = before.try_extract_tensor::<f32>()?;
                    for row in 0..rows {
                        let (from_start, to_start) = (row * old.positions * width, row * shape.positions * width);
                        to[to_start..to_start + kept].copy_from_slice(&from[from_start..from_start + kept]);
                    }
                    *before = buffer;
                }
                None => self.buffers.push(buffer),
            }
        }
        self.shape = shape;
        Ok(())
    }

    /// The binding of some places, with room for so many positions.
    pub(super) fn bound(
        &mut self,
        session: &Session,
        part: Part,
        positions: usize,
    ) -> Result<&mut Bound, NetworkError> {
        self.check(part.0, part.1, positions)?;
        if !self.bound.contains_key(&part) {
            let binding = self.bind(session, part)?;
            self.bound.insert(part, Bound { binding, scores: None });
        }
        let bound = self.bound.get_mut(&part);
        bound.ok_or_else(|| NetworkError::Form("a binding is gone".to_owned()))
    }

    fn bind(&mut self, session: &Session, (first, count, tokens): Part) -> Result<IoBinding, NetworkError> {
        let mut binding = session.create_binding()?;
        let size = self.heads * self.shape.positions * self.width;
        let form = [count, self.heads, self.shape.positions, self.width];
        for (index, buffer) in self.buffers.iter_mut().enumerate() {
            let (layer, part) = (index / 2, if index % 2 == 0 { "key" } else { "value" });
            let (_, data) = buffer.try_extract_tensor_mut::<f32>()?;
            let data = &mut data[first * size..][..count * size];
            let view = TensorRefMut::from_array_view_mut((form, &mut *data))?;
            bind_view(&mut binding, &format!("past_key_values.{layer}.{part}"), &view)?;
            let name = format!("present.{layer}.{part}");
            for at in 0..tokens {
                let view = TensorRefMut::from_array_view_mut((form, &mut *data))?;
                binding.bind_output(present(&name, at, tokens), view)?;
            }
        }
        Ok(binding)
    }
}

fn no_memory(count: usize) -> NetworkError {
    NetworkError::Runtime(format!("there is no memory for {count} numbers of a cache"))
}

/// Zeros, which take no memory before they are written over.
fn zeros(count: usize) -> Result<Vec<f32>, NetworkError> {
    // `vec!` would end the process where there is no memory. So it is asked for first, and given back.
    Vec::<f32>::new().try_reserve_exact(count).map_err(|_| no_memory(count))?;
    Ok(vec![0.0; count])
}

/// Binds memory as an input, as it is. `IoBinding::bind_input` would bind a copy of memory that is not the tensor's own.
///
/// The memory must stay where it is as long as the binding may run: its holder's bindings point into its own buffers, and
/// are dropped before these are.
#[expect(unsafe_code, reason = "ort has no safe function that binds a part of a tensor as an input")]
pub(crate) fn bind_view<T: PrimitiveTensorElementType + std::fmt::Debug>(
    binding: &mut IoBinding,
    name: &str,
    view: &TensorRefMut<'_, T>,
) -> Result<(), NetworkError> {
    let name = CString::new(name).map_err(|error| NetworkError::Form(error.to_string()))?;
    // SAFETY: binding, name and value are valid for the call. ONNX Runtime keeps its own reference to the value, whose
    // memory outlives the binding, as said above; and no Rust reference to that memory lives while a session runs.
    let bound =
        unsafe { ort::Error::result_from_status((ort::api().BindInput)(binding.ptr_mut(), name.as_ptr(), view.ptr())) };
    Ok(bound?)
}
