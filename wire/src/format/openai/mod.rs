//! What OpenAI's chat completions and legacy completions share ("API reference", OpenAI): request fields, usage,
//! errors, the body for a provider, and the chunks and answers for a client. Chat and completions differ only where
//! [`Format`](crate::inference::Format) is matched.

mod answer;
mod formats;
pub mod known;
mod messages;
mod names;
mod provider;
mod request;
mod tools;
mod usage;
mod writer;
mod written;

pub use answer::{Head, finish_word};
pub use formats::{Chat, Completions, OpenAi};
use names::Names;
pub use provider::{Reader, provider_body, read_answer, read_refusal};
pub use request::{read_chat, read_completion};
pub use writer::Writer;
