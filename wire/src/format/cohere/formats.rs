//! Chats as a [`ClientFormat`], and Cohere as a [`ProviderFormat`].

use super::{
    Writer,
    answer::{Answer, Form},
    embed, read_chat, takes, translate,
};
use crate::{
    fields::BadRequest,
    format::{
        AnswerReader, ClientFormat, ErrorShape, ProviderCall, ProviderFormat, Upstream, feature,
        incoming::{Incoming, read_all},
        openai::read_refusal,
        prepare::{check_stops, prepare},
        proof, rerank, vectors,
    },
    inference::{Event, Failure, Format, ProviderError, Request},
};

const CHAT: &str = "/chat";
const EMBED: &str = "/embed";
const RERANK: &str = "/rerank";
/// The most texts that end an answer.
const MOST_STOPS: usize = 5;

/// Chats, as clients ask for them.
#[derive(Debug)]
pub enum Chat {}

impl ClientFormat for Chat {
    type Writer = Writer;
    const ERRORS: ErrorShape = ErrorShape::Cohere;

    fn read(body: &[u8]) -> Result<Request, BadRequest> {
        read_chat(body)
    }

    fn writer(_: &Request, id: &str, _: i64) -> Writer {
        Writer::new(id)
    }
}

/// Cohere.
#[derive(Debug)]
pub struct Cohere;

/// A client's own body, with the provider's name of the model, and its headers.
fn own(path: &'static str, mut request: Request, model: &str) -> ProviderCall {
    if model != request.model {
        request.source.body.set("model", model);
    }
    proof::leave_foreign(&mut request);
    ProviderCall::forwarded(path, request)
}

impl ProviderFormat for Cohere {
    fn paths(&self) -> &'static [&'static str] {
        &[CHAT, EMBED, RERANK]
    }

    fn version(&self) -> Option<&'static str> {
        Some("/v2")
    }

    fn call(&self, mut request: Request, upstream: &Upstream<'_>) -> Result<ProviderCall, Failure> {
        match request.source.format {
            Format::Cohere => return Ok(own(CHAT, request, upstream.model)),
            Format::CohereEmbed => return Ok(own(EMBED, request, upstream.model)),
            Format::OpenAiEmbeddings | Format::GeminiEmbeddings => return vectors::cohere(EMBED, &request, upstream),
            Format::Rerank => return Ok(rerank::cohere(RERANK, request, upstream)),
            Format::OpenAiChat
            | Format::OpenAiCompletions
            | Format::OpenAiResponses
            | Format::OpenAiSpeech
            | Format::OpenAiTranscriptions
            | Format::OpenAiImages
            | Format::AnthropicMessages
            | Format::Gemini
            | Format::Mistral => {}
        }
        feature::check(&request, "Cohere", takes)?;
        prepare(&mut request, upstream)?;
        check_stops(&request, MOST_STOPS, "Cohere")?;
        let body = translate::body(&request, upstream)?;
        Ok(ProviderCall::translated(Format::Cohere, request.stream, CHAT.into(), body))
    }

    fn limit(&self, call: &mut ProviderCall, tokens: u32) {
        // Of vectors and of ranked documents nothing is written.
        if call.format == Format::Cohere && call.vectors.is_none() {
            call.body.set("max_tokens", &tokens);
        }
    }

    fn reader(&self, _format: Format) -> Box<dyn AnswerReader> {
        Box::new(Incoming::new(Answer::foreign()))
    }

    fn own_reader(&self, _format: Format) -> Box<dyn AnswerReader> {
        Box::new(Incoming::new(Answer::own(Form::Stream)))
    }

    fn read_whole(&self, format: Format, body: &[u8]) -> Vec<Event> {
        match format {
            Format::Rerank => rerank::read_answer(body),
            Format::CohereEmbed => embed::read_answer(body),
            _ => vectors::answer(body).unwrap_or_else(|| read_all(Answer::foreign(), body)),
        }
    }

    fn read_own_whole(&self, format: Format, body: &[u8]) -> Vec<Event> {
        match format {
            Format::Cohere => read_all(Answer::own(Form::Whole), body),
            other => self.read_whole(other, body),
        }
    }

    fn read_refusal(&self, status: u16, body: &[u8]) -> ProviderError {
        read_refusal(status, body)
    }
}
