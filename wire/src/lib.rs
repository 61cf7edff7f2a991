//! API formats, one folder each. Each is read and written in both directions, because Farebox's clients and its
//! providers speak the same formats. Pure: no I/O, no clock, no async. Every format is translated to and from
//! [`inference`].

// Callers of this crate learn from its rustdoc when a function fails; crates whose rustdoc lacks that do not warn yet.
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub mod fields;
pub mod format;
pub mod inference;
pub mod multipart;
pub mod object;
pub mod recording;
pub mod sse;
pub mod tokens;
pub mod usage;
