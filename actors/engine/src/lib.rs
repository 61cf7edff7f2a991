//! Runs language models on ONNX Runtime: the only home of the `ort` crate. It imports GGUF files as ONNX folders, loads
//! folders, and answers one request at a time on a thread of its own, measuring compute as it goes. It knows nothing of
//! accounts, money or HTTP.
//!
//! A request's way through it: [`prepare`] (its prompt as tokens, before it is queued) -> [`worker`] (queue and thread) ->
//! [`model`] (the loop of one request) -> [`language`] (tokens to texts), [`network`] (the ONNX session and its cache), [`sampler`], [`text`] -> [`outlet`] (events, clock, stop
//! signal). A model's way in: [`gguf`] -> [`onnx`] -> [`import`].

pub mod gguf;
pub mod import;
pub mod language;
pub mod model;
pub mod network;
pub mod onnx;
pub mod outlet;
pub mod prepare;
pub mod runtime;
pub mod sampler;
pub mod telemetry;
pub mod template;
pub mod text;
pub mod worker;
