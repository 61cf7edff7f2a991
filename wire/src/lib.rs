//! API formats: one file per format, each read and written in both directions, because Farebox's clients and the
//! providers it calls speak the same formats. Pure: no I/O, no clock, no async. What every format is translated to and
//! from is [`inference`].

pub mod fields;
pub mod format;
pub mod inference;
pub mod sse;
pub mod tokens;
pub mod usage;
