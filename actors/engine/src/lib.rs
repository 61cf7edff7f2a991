//! Runs language models on ONNX Runtime: the only home of the `ort` crate. It imports GGUF files as ONNX folders, loads
//! the folders, and answers one request at a time on a thread of its own, while it measures compute. It knows nothing
//! of accounts, money or HTTP.
//!
//! A request's way: [`prepare`] (its prompt as tokens, before it is queued) -> [`worker`] (queue and thread) ->
//! [`model`] (the loop of one request) -> [`tokenizer`] (tokens to texts), [`decoder`] (the ONNX session and its
//! cache), [`sampler`], [`detokenizer`] -> [`sink`] (events, clock, stop signal). A model's way in: [`gguf`] ->
//! [`onnx`] -> [`accuracy`] (is the fast form good enough?) -> [`import`].

// Callers of this crate learn from its rustdoc when a function fails; crates whose rustdoc lacks that do not warn yet.
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub mod accuracy;
pub mod decoder;
pub mod detokenizer;
pub mod embedding;
pub mod gguf;
pub mod import;
pub mod model;
pub mod onnx;
pub mod prepare;
pub mod runtime;
pub mod sampler;
pub mod sink;
pub mod telemetry;
pub mod template;
pub mod tokenizer;
pub mod worker;
