//! What OpenAI's chat completions and legacy completions share ("API reference", OpenAI): request fields, usage,
//! errors, the body for a provider, and the chunks and answers for a client. Chat and completions differ only where
//! [`Format`](crate::inference::Format) is matched.

mod abroad;
mod answer;
pub(super) mod compatible;
mod details;
mod embeddings;
mod formats;
pub mod known;
pub mod media;
mod messages;
mod names;
mod provider;
mod request;
pub mod responses;
mod tools;
mod translate;
mod usage;
mod whole_calls;
mod writer;
mod written;

pub(super) use abroad::leftover;
use answer::usage_object;
pub use answer::{Head, finish_word};
pub use compatible::OpenAiCompatible;
pub(super) use embeddings::terms as terms_of_embeddings;
pub use embeddings::{Embeddings, read_embedding};
#[cfg(test)]
pub(super) use formats::translated;
pub use formats::{Chat, Completions, OpenAi};
pub(super) use media::{LARGEST_IMAGES, SoundReader, read_text_answer, terms as terms_of_media};
use names::Names;
pub use provider::{Reader, read_answer, read_refusal};
pub(super) use provider::{Shape, fault, shape_of};
pub use request::{read_chat, read_completion};
pub use responses::{Responses, read_response};
pub(super) use translate::{address, effort, parsed, response_format, takes};
pub use writer::Writer;

use crate::inference::Format;

/// How members of an object are read, in formats like this one.
pub(super) mod reading {
    pub(in crate::format) use super::{
        messages::{
            Member, Members, all_of, member, members, members_of, no_content, note, note_others, read_as, read_calls,
            read_mark, read_part, read_text,
        },
        tools::read_list,
        usage::count,
    };
}

/// How a provider's errors are read, in formats like this one.
pub(super) mod faults {
    pub(in crate::format) use super::provider::fault::{in_answer, in_words, read_named_refusal, text_words};
}

/// One of the two APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// Chat completions.
    Chat,
    /// Legacy completions.
    Completions,
}

impl Api {
    /// The API with a format; a chat where it is another format's.
    const fn of(format: Format) -> Self {
        match format {
            Format::OpenAiCompletions => Self::Completions,
            Format::OpenAiChat
            | Format::OpenAiResponses
            | Format::AnthropicMessages
            | Format::Gemini
            | Format::GeminiEmbeddings
            | Format::Mistral
            | Format::OpenAiEmbeddings
            | Format::OpenAiSpeech
            | Format::OpenAiTranscriptions
            | Format::OpenAiImages
            | Format::Cohere
            | Format::CohereEmbed
            | Format::Rerank => Self::Chat,
        }
    }

    /// The format.
    const fn format(self) -> Format {
        match self {
            Self::Chat => Format::OpenAiChat,
            Self::Completions => Format::OpenAiCompletions,
        }
    }
}
