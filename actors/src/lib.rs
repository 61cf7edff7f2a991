//! The actors of Farebox and what they run.

pub mod engine;
