//! OpenAI's formats as [`ClientFormat`]s and as a [`ProviderFormat`].

use super::{Reader, Writer, provider_body, read_answer, read_chat, read_completion, read_refusal};
use crate::{
    fields::BadRequest,
    format::{AnswerReader, ClientFormat, ProviderCall, ProviderFormat},
    inference::{Event, Failure, Format, ProviderError, Request},
};

const CHAT: &str = "/chat/completions";
const COMPLETIONS: &str = "/completions";

/// Chat completions, as clients ask for them.
#[derive(Debug)]
pub enum Chat {}

impl ClientFormat for Chat {
    type Writer = Writer;

    fn read(body: &[u8]) -> Result<Request, BadRequest> {
        read_chat(body)
    }

    fn writer(request: &Request, id: &str, created: i64) -> Writer {
        Writer::new(request, id, created)
    }
}

/// Legacy completions, as clients ask for them.
#[derive(Debug)]
pub enum Completions {}

impl ClientFormat for Completions {
    type Writer = Writer;

    fn read(body: &[u8]) -> Result<Request, BadRequest> {
        read_completion(body)
    }

    fn writer(request: &Request, id: &str, created: i64) -> Writer {
        Writer::new(request, id, created)
    }
}

/// A provider that speaks both formats.
#[derive(Debug)]
pub struct OpenAi;

impl ProviderFormat for OpenAi {
    fn paths(&self) -> &'static [&'static str] {
        &[CHAT, COMPLETIONS]
    }

    fn call(&self, request: &Request, upstream: &str, limit: Option<u32>) -> Result<ProviderCall, Failure> {
        let path = match request.source.format {
            Format::OpenAiChat => CHAT,
            Format::OpenAiCompletions => COMPLETIONS,
        };
        Ok(ProviderCall { path, body: provider_body(request, upstream, limit) })
    }

    fn reader(&self, request: &Request) -> Box<dyn AnswerReader> {
        Box::new(Reader::new(request.source.format))
    }

    fn read_whole(&self, request: &Request, body: &[u8]) -> Vec<Event> {
        read_answer(request.source.format, body)
    }

    fn read_refusal(&self, status: u16, body: &[u8]) -> ProviderError {
        read_refusal(status, body)
    }
}
