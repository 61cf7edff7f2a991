//! The caches of a model in half precision, in its device's memory: for each layer one buffer of keys and one of values,
//! `[places, heads, positions, head size]`, that is both past and present. The device's memory can't be read here, so
//! values are moved by copies there ([`super::copier`]): of whole places, which lie in one piece.

use std::collections::BTreeMap;
use std::ffi::c_void;

use half::f16;
use ort::memory::{Allocator, MemoryInfo};
use ort::session::{IoBinding, RunOptions, Session};
use ort::value::{Shape as Dimensions, Tensor, TensorRefMut};

use super::copier::Copier;
use super::{KEPT_ROWS, LAST_POSITIONS, TOTAL_LENGTH, int, recorded};
use crate::decoder::bind_view;
use crate::device::Device;
use crate::network::NetworkError;
use crate::runtime::Runtime;
use crate::schedule::{Change, Shape};

/// The most graphs that a session records. They hold memory, and a session does not forget them.
const MOST_GRAPHS: u32 = 512;

/// A model's sizes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) layers: usize,
    pub(super) heads: usize,
    /// Numbers of a head.
    pub(super) width: usize,
    pub(super) vocabulary: usize,
    /// The positions that the model has rotations for.
    pub(super) context: usize,
}

/// A step that writes: all that it reads and writes stays where it is.
pub(super) struct Writing {
    pub(super) binding: IoBinding,
    pub(super) options: RunOptions,
    /// Tokens, `[places, 1]`, on the device.
    pub(super) ids: Tensor<i64>,
    /// The last position of each place, on the device.
    pub(super) last: Tensor<i32>,
    /// Scores, `[places, 1, vocabulary]`, on the device.
    pub(super) logits: Tensor<f32>,
    /// The same in this process' memory.
    pub(super) scores: Tensor<f32>,
}

/// The buffers, and what is bound to them.
pub(super) struct Slots {
    /// By the place. They point into the buffers, so they are dropped before these.
    readings: BTreeMap<usize, IoBinding>,
    /// By the number of places.
    writings: BTreeMap<usize, Writing>,
    buffers: Vec<Tensor<f16>>,
    copier: Copier,
    /// Zeros of one place in this process' memory.
    zeros: Option<Tensor<f16>>,
    shape: Shape,
    layout: Layout,
    allocator: Allocator,
    memory: MemoryInfo<'static>,
    /// Whether steps are recorded, and how many were.
    records: bool,
    graphs: u32,
}

impl Slots {
    pub(super) fn new(
        runtime: &Runtime,
        session: &Session,
        device: Device,
        layout: Layout,
        records: bool,
    ) -> Result<Self, NetworkError> {
        Ok(Self {
            copier: Copier::new(runtime, device)?,
            readings: BTreeMap::new(),
            writings: BTreeMap::new(),
            buffers: Vec::new(),
            zeros: None,
            shape: Shape::default(),
            layout,
            allocator: match device {
                Device::Cpu => Allocator::default(),
                Device::Cuda(_) => Allocator::new(session, device.memory_info()?)?,
            },
            memory: device.memory_info()?,
            records,
            graphs: 0,
        })
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn change(&mut self, change: Change) -> Result<(), NetworkError> {
        let done = match change {
            Change::Arrange(shape) => self.arrange(shape),
            Change::Move { from, to, positions } | Change::Copy { from, to, positions } => self
                .check(from.max(to), positions)
                .and_then(|()| (0..self.buffers.len()).try_for_each(|at| self.copy(at, from, to))),
            Change::Swap { one, other, positions } => {
                self.check(one.max(other), positions).and_then(|()| self.swap(one, other))
            }
            Change::Save { .. } | Change::Load { .. } | Change::Drop(_) => {
                Err(NetworkError::Form("a cache without blocks".to_owned()))
            }
        };
        if done.is_err() {
            self.forget();
        }
        done
    }

    /// Fills a place with zeros: a NaN in it would stay a NaN in every product.
    pub(super) fn clear(&mut self, place: usize) -> Result<(), NetworkError> {
        if place >= self.shape.places {
            return Ok(());
        }
        let Some(zeros) = &self.zeros else { return Ok(()) };
        let cleared = (0..self.buffers.len()).try_for_each(|at| Ok(zeros.copy_into(self.view(at, place, 1)?)?));
        if cleared.is_err() {
            self.forget();
        }
        cleared
    }

    /// The binding of one place for steps that read, with room for so many positions.
    pub(super) fn reading(
        &mut self,
        session: &Session,
        place: usize,
        positions: usize,
    ) -> Result<&mut IoBinding, NetworkError> {
        self.check(place, positions)?;
        if !self.readings.contains_key(&place) {
            let binding = self.bind(session, place, 1)?;
            self.readings.insert(place, binding);
        }
        self.readings.get_mut(&place).ok_or_else(gone)
    }

    /// The step that writes a token in each of the first `count` places, the longest of which then has so many positions.
    pub(super) fn writing(
        &mut self,
        session: &Session,
        count: usize,
        longest: usize,
    ) -> Result<&mut Writing, NetworkError> {
        self.check(count.saturating_sub(1), longest)?;
        if !self.writings.contains_key(&count) {
            let writing = self.write(session, count)?;
            self.writings.insert(count, writing);
        }
        self.writings.get_mut(&count).ok_or_else(gone)
    }

    fn write(&mut self, session: &Session, count: usize) -> Result<Writing, NetworkError> {
        let mut binding = self.bind(session, 0, count)?;
        let ids = Tensor::<i64>::new(&self.allocator, [count, 1])?;
        let last = Tensor::<i32>::new(&self.allocator, [count])?;
        let mut kept = Tensor::<i64>::new(&self.allocator, [1_usize])?;
        Tensor::from_array(([1_usize], vec![0_i64]))?.copy_into(&mut kept)?;
        let form = [count, 1, self.layout.vocabulary];
        let mut logits = Tensor::<f32>::new(&self.allocator, form)?;
        // Read from this process' memory when a graph is recorded, so it is the most that there can be; the true
        // lengths are on the device.
        let most = self.shape.positions.min(self.layout.context);
        let total = Tensor::from_array(([0_usize; 0], vec![int(most)]))?;
        binding.bind_input("input_ids", &ids)?;
        binding.bind_input(LAST_POSITIONS, &last)?;
        binding.bind_input(TOTAL_LENGTH, &total)?;
        binding.bind_input(KEPT_ROWS, &kept)?;
        binding.bind_output("logits", &mut logits)?;
        let options = if self.records && self.graphs < MOST_GRAPHS {
            self.graphs += 1;
            recorded(self.graphs)?
        } else {
            let mut options = RunOptions::new()?;
            options.set(super::GRAPH, super::NONE)?;
            options
        };
        let scores = Tensor::<f32>::new(&Allocator::default(), form)?;
        Ok(Writing { binding, options, ids, last, logits, scores })
    }

    /// Gives all memory back.
    fn forget(&mut self) {
        self.readings.clear();
        self.writings.clear();
        self.buffers.clear();
        self.zeros = None;
        self.shape = Shape::default();
    }

    /// Refuses a place, or positions, that are not there.
    fn check(&self, last: usize, positions: usize) -> Result<(), NetworkError> {
        let Shape { places, positions: most } = self.shape;
        if last < places && positions <= most {
            return Ok(());
        }
        Err(NetworkError::Form(format!(
            "{positions} positions of place {last} of a cache with {places} places of {most}"
        )))
    }

    fn form(&self, places: usize) -> [usize; 4] {
        [places, self.layout.heads, self.shape.positions, self.layout.width]
    }

    /// One buffer after the other gets the new form, so that there is never more than one of them twice. A form without
    /// places gives all memory back.
    fn arrange(&mut self, shape: Shape) -> Result<(), NetworkError> {
        if shape.places == 0 {
            self.forget();
            return Ok(());
        }
        self.readings.clear();
        self.writings.clear();
        let before = std::mem::replace(&mut self.shape, shape);
        let [_, heads, _, width] = self.form(1);
        let size = heads * shape.positions * width;
        let zeros = Tensor::from_array((self.form(1), vec![f16::ZERO; size]))?;
        for at in 0..self.layout.layers * 2 {
            let buffer = Tensor::<f16>::new(&self.allocator, self.form(shape.places))?;
            for place in 0..shape.places {
                zeros.copy_into(self.piece(&buffer, place * size, self.form(1))?)?;
            }
            let Some(old) = self.buffers.get(at) else {
                self.buffers.push(buffer);
                continue;
            };
            let rows = before.places.min(shape.places) * heads;
            let mut parts = Vec::new();
            if before.positions == shape.positions {
                let form = [rows, 1, shape.positions, width];
                parts.push((self.piece(old, 0, form)?, self.piece(&buffer, 0, form)?));
            } else {
                let form = [1, 1, before.positions.min(shape.positions), width];
                for row in 0..rows {
                    let from = self.piece(old, row * before.positions * width, form)?;
                    parts.push((from, self.piece(&buffer, row * shape.positions * width, form)?));
                }
            }
            for (from, to) in parts {
                self.copier.copy(&from, to)?;
            }
            self.buffers[at] = buffer;
        }
        self.zeros = Some(zeros);
        Ok(())
    }

    /// Copies one place of a buffer to another.
    fn copy(&mut self, at: usize, from: usize, to: usize) -> Result<(), NetworkError> {
        let (from, to) = (self.view(at, from, 1)?, self.view(at, to, 1)?);
        self.copier.copy(&from, to)
    }

    fn swap(&mut self, one: usize, other: usize) -> Result<(), NetworkError> {
        let kept = Tensor::<f16>::new(&self.allocator, self.form(1))?;
        for at in 0..self.buffers.len() {
            let (from, to) = (self.view(at, one, 1)?, self.whole(&kept)?);
            self.copier.copy(&from, to)?;
            self.copy(at, other, one)?;
            let (from, to) = (self.whole(&kept)?, self.view(at, other, 1)?);
            self.copier.copy(&from, to)?;
        }
        Ok(())
    }

    fn bind(&self, session: &Session, first: usize, count: usize) -> Result<IoBinding, NetworkError> {
        let mut binding = session.create_binding()?;
        for at in 0..self.buffers.len() {
            let (layer, part) = (at / 2, if at % 2 == 0 { "key" } else { "value" });
            let view = self.view(at, first, count)?;
            bind_view(&mut binding, &format!("past_key_values.{layer}.{part}"), &view)?;
            binding.bind_output(format!("present.{layer}.{part}"), view)?;
        }
        Ok(binding)
    }

    /// Some places of a buffer.
    fn view(&self, at: usize, first: usize, count: usize) -> Result<TensorRefMut<'static, f16>, NetworkError> {
        let size = self.form(1).iter().product::<usize>();
        let buffer = self.buffers.get(at).ok_or_else(gone)?;
        self.piece(buffer, first * size, self.form(count))
    }

    /// A tensor of one place.
    fn whole(&self, tensor: &Tensor<f16>) -> Result<TensorRefMut<'static, f16>, NetworkError> {
        self.piece(tensor, 0, self.form(1))
    }

    /// A part of a buffer, from a number of it on.
    ///
    /// The buffer must outlive what is returned: [`Slots`] holds it, and drops bindings before buffers.
    #[expect(unsafe_code, reason = "ort has no safe view of a part of a device's memory")]
    fn piece(
        &self,
        buffer: &Tensor<f16>,
        from: usize,
        form: [usize; 4],
    ) -> Result<TensorRefMut<'static, f16>, NetworkError> {
        let room: usize = buffer.shape().iter().map(|&size| usize::try_from(size).unwrap_or(0)).product();
        if from + form.iter().product::<usize>() > room {
            return Err(NetworkError::Form(format!("{form:?} from {from} of a buffer of {room} numbers")));
        }
        let start = buffer.data_ptr().cast_mut().cast::<f16>();
        let dimensions = Dimensions::new(form.map(|size| i64::try_from(size).unwrap_or(i64::MAX)));
        // SAFETY: the part lies inside the buffer, as just checked, and the buffer in this memory. No Rust reference to
        // its numbers exists; only ONNX Runtime reads and writes them, on this thread.
        Ok(unsafe {
            TensorRefMut::from_raw(self.memory.clone(), start.wrapping_add(from).cast::<c_void>(), dimensions)?
        })
    }
}

fn gone() -> NetworkError {
    NetworkError::Form("a buffer of the cache is gone".to_owned())
}
