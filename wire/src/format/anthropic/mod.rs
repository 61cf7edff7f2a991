//! Anthropic's messages ("Messages", Anthropic API), for clients and for the provider: a request is read and written,
//! an answer is events with names, and usage counts the cache beside the input.

mod abroad;
mod blocks;
mod events;
mod formats;
pub mod known;
mod messages;
mod reader;
mod request;
mod stop;
mod tools;
mod translate;
mod usage;
mod whole;
mod writer;

pub(super) use abroad::leftover;
pub use formats::{Anthropic, Messages};
pub use request::{read_messages, read_to_count};
pub(super) use translate::takes;
pub use writer::Writer;
