//! The gateway: configuration, telemetry, HTTP, the life of requests, and the composition of everything else.

// Readers of this package learn from its rustdoc when a function fails.
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub mod app;
pub mod catalogue;
pub mod cli;
pub mod config;
pub mod email;
pub mod fetch;
pub mod gateway;
pub mod http;
pub mod idempotency;
pub mod kept;
pub mod mail;
pub mod sealing;
pub mod secret_file;
pub mod service;
pub mod signing;
pub mod single_flight;
pub mod telemetry;
pub mod words;
