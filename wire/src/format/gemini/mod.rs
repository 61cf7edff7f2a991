//! Google's Gemini API ("Generating content", Gemini API reference), for clients and for the provider: `generateContent`,
//! `streamGenerateContent`, `countTokens` and the calls that make vectors. A model stands in the path of its calls.

mod abroad;
mod answer;
mod config;
mod contents;
mod declarations;
mod embeddings;
mod finish;
mod formats;
pub mod known;
mod parts;
mod proofs;
mod reasoning;
mod refusal;
mod request;
mod schema;
mod spelling;
#[cfg(test)]
mod tests;
mod translate;
mod turns;
mod usage;
mod writer;

pub(super) use abroad::leftover;
pub use embeddings::{Embeddings, read_embedding, read_embeddings};
pub(super) use embeddings::{count_of as vectors_in, terms as terms_of_embeddings, unsaid};
pub use formats::{Gemini, Generate, GenerateList};
pub(super) use proofs::of_turn;
pub use request::{read_generate, read_to_count};
pub(crate) use spelling::field;
pub use translate::takes;
pub use writer::{Entries, Events, Writer};
