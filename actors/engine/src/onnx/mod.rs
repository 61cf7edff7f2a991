//! Writes language models as ONNX files: the messages, a graph builder, and one graph for all architectures on top. It
//! reads GGUF tensors and writes files; it never runs a model.

mod architecture;
mod export;
mod graph;
mod keys;
mod linear;
mod projection;
pub(crate) mod proto;
mod rope;
mod shape;

pub use architecture::Architecture;
pub use export::{SHARED_CACHE_NOTE, export};
pub(crate) use graph::in_floats;
pub use linear::Precision;
pub use shape::{ExportError, Shape};
