//! Cohere's API, version 2 ("Chat", "Embed", "Rerank", Cohere API reference), for clients and for the provider: a request is
//! read and written, and an answer is one object or events with types.

mod abroad;
mod answer;
pub(super) mod embed;
mod formats;
pub mod known;
mod messages;
mod names;
mod request;
mod stop;
mod tools;
mod translate;
mod writer;

pub(super) use abroad::leftover;
pub use embed::{Embed, read_embed};
pub use formats::{Chat, Cohere};
pub(super) use names::field;
pub use request::read_chat;
pub use translate::takes;
pub use writer::Writer;

#[cfg(test)]
mod tests;
