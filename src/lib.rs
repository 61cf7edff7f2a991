//! The gateway: configuration, telemetry, HTTP, and the composition of everything else.

pub mod config;
pub mod fetch;
pub mod telemetry;
