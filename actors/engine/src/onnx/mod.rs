//! Writes language models as ONNX files: the messages, a graph builder, and one graph for all architectures on top. It
//! reads GGUF tensors and writes files; it never runs a model.

mod architecture;
mod export;
mod graph;
mod half;
mod keys;
mod linear;
mod projection;
pub(crate) mod proto;
mod rope;
mod shape;
mod unrolled;

pub use architecture::Architecture;
pub use export::{SHARED_CACHE_NOTE, export};
pub(crate) use graph::{copying, in_floats, smallest};
pub(crate) use half::{Halved, KEPT_ROWS, LAST_POSITIONS, TOTAL_LENGTH, in_halves};
pub use linear::Precision;
pub use shape::{ExportError, Shape};
pub(crate) use unrolled::{Weight, WeightElement, present, unrolled};
