//! The neutral words of inference: requests to a model and their answers, independent of a client's or a provider's API
//! format. Engines and provider formats produce [`Event`]s; the request's task reads them. Money, HTTP and any format's
//! spelling are unknown here.

mod audio;
mod conversation;
mod decision;
mod embedding;
mod event;
mod failure;
mod generation;
mod image;
mod native;
mod request;
mod rerank;
mod upload;

pub use audio::{Speech, TranscriptForm, Transcription};
pub use conversation::{
    Audio, CacheMark, CacheTtl, Content, Conversation, File, Image, Media, Message, OutputFormat, Part, Reasoning,
    ReasoningWanted, Role, Tool, ToolCall, ToolChoice, ToolKind, ToolResult,
};
pub use decision::{AnswerKind, Decision, Question};
pub use embedding::{Embedding, EmbeddingInput, VectorEncoding};
pub use event::{CallDelta, Delta, Event, FinishReason, Made, Raw, TokenLogprob, Usage};
pub use failure::{Failure, ProviderError, TooLong, Unserved};
pub use generation::{Generation, OutputLimit, Sampling, TextPrompt};
pub use image::{ImageEdit, ImageGeneration};
pub use native::NativeTask;
pub use request::{Continues, Format, Header, Request, Source, Task, Unread, Work};
pub use rerank::Rerank;
pub use upload::Upload;
