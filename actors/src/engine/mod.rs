//! Runs language models on ONNX Runtime: the only home of the `ort` crate. It imports GGUF files as ONNX folders, loads
//! folders, and answers one request at a time on a thread of its own, measuring compute as it goes. It knows nothing of
//! accounts, money or HTTP.

pub mod gguf;
pub mod import;
pub mod onnx;
pub mod runtime;
pub mod sampler;
pub mod template;
pub mod text;
pub mod language;
pub mod network;
