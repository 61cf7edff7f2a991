//! Runs language models on ONNX Runtime: the only home of the `ort` crate. It imports GGUF files as ONNX folders, loads
//! the folders, and answers many requests at once on a thread of its own, while it measures compute. It knows nothing
//! of money or HTTP, and of accounts only that they differ.
//!
//! A request's way: [`prepare`] (its prompt as tokens and the [`form`] of its answers, before it is queued) -> [`worker`]
//! (queue and thread) -> [`schedule`] (which sequences run next) -> [`decoder`], or [`half_decoder`] on a [`device`] with memory of
//! its own (the ONNX session and its caches, a [`network`]) -> `answer` and `choice` ([`sampler`], held to a [`grammar`]; [`tokenizer`], [`detokenizer`] and `transcript`:
//! scores to text, and to [`calls`]) -> [`sink`] (events, stop signal, [`parking`]). A model's way in: [`gguf`] -> [`onnx`] ->
//! [`accuracy`] (is the fast form good enough?) -> [`import`].

// Callers of this crate learn from its rustdoc when a function fails; crates whose rustdoc lacks that do not warn yet.
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub mod accuracy;
mod answer;
pub mod calls;
mod choice;
pub mod decoder;
pub mod detokenizer;
pub mod device;
pub mod embedding;
pub mod footprint;
pub mod form;
pub mod gguf;
pub mod grammar;
pub mod half_decoder;
pub mod import;
pub mod model;
pub mod network;
pub mod onnx;
pub mod parking;
pub mod prepare;
pub mod preparer;
pub mod runtime;
pub mod sampler;
pub mod schedule;
pub mod sink;
pub mod telemetry;
pub mod template;
pub mod tokenizer;
mod transcript;
pub mod worker;
