//! Writes language models as ONNX files: the messages, a graph builder, and the llama architecture on top. It reads
//! GGUF tensors and writes files; it never runs a model.

mod graph;
mod linear;
mod llama;
mod proto;
mod shape;

pub use linear::Precision;
pub use llama::{SHARED_CACHE_NOTE, export};
pub use shape::{ExportError, Shape};
