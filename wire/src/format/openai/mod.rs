//! What OpenAI's chat completions and legacy completions have in common ("API reference", OpenAI): request fields, usage,
//! errors, the body a provider is sent, and the chunks and answers a client reads. Chat's and completions' own shapes
//! differ only where [`Task`](crate::inference::Task) is matched.

mod answer;
pub mod known;
mod names;
mod provider;
mod request;
mod usage;
mod written;

pub use answer::{Head, Particulars, Receipt, finish_word};
pub use names::Names;
pub use provider::{Reader, read_answer, read_refusal};
pub use request::{parse_request, provider_body};
