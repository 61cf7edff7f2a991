//! Mistral's chat completions ("Chat", Mistral API documentation), as a [`ProviderFormat`]. Answers have the shape of
//! OpenAI's, and are read as those are; requests have fields of their own, and no others. No client asks in this format
//! here.

mod translate;

use super::{
    AnswerReader, ProviderCall, ProviderFormat, Upstream, feature,
    openai::{self, Reader, read_answer, read_refusal},
    prepare::{check_messages, loosen, prepare},
    vectors,
};
use crate::inference::{Event, Failure, Format, ProviderError, Request, Work};
pub use translate::takes;

const CHAT: &str = "/chat/completions";

/// A provider that speaks it.
#[derive(Debug)]
pub struct Mistral;

impl ProviderFormat for Mistral {
    fn paths(&self) -> &'static [&'static str] {
        &[CHAT]
    }

    fn version(&self) -> Option<&'static str> {
        Some("/v1")
    }

    fn call(&self, mut request: Request, upstream: &Upstream<'_>) -> Result<ProviderCall, Failure> {
        if let Work::Embedding(_) = request.work {
            return vectors::mistral(&request, upstream);
        }
        feature::check(&request, "Mistral", takes)?;
        prepare(&mut request, upstream)?;
        loosen(&mut request);
        let body = translate::body(&request, upstream);
        check_messages(&request, &body)?;
        Ok(ProviderCall::translated(Format::Mistral, request.stream, CHAT.into(), body))
    }

    fn limit(&self, call: &mut ProviderCall, tokens: u32) {
        call.body.set("max_tokens", &tokens);
    }

    fn reader(&self, _format: Format) -> Box<dyn AnswerReader> {
        Box::new(Reader::new(Format::Mistral))
    }

    fn read_whole(&self, format: Format, body: &[u8]) -> Vec<Event> {
        match format {
            Format::OpenAiEmbeddings => openai::OpenAi.read_whole(format, body),
            _ => read_answer(Format::Mistral, body),
        }
    }

    fn read_refusal(&self, status: u16, body: &[u8]) -> ProviderError {
        read_refusal(status, body)
    }
}

#[cfg(test)]
mod tests;
