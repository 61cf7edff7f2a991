//! Writes language models as ONNX files: the messages, a graph builder, and one graph for all architectures on top. It
//! reads GGUF tensors and writes files; it never runs a model.

mod architecture;
mod export;
mod graph;
mod keys;
mod linear;
mod projection;
mod proto;
mod rope;
mod shape;
mod unrolled;

pub use architecture::Architecture;
pub use export::{SHARED_CACHE_NOTE, export};
pub(crate) use graph::in_floats;
pub use linear::Precision;
pub use shape::{ExportError, Shape};
pub(crate) use unrolled::{Weight, WeightElement, present, unrolled};
