//! OpenAI's formats as [`ClientFormat`]s and as a [`ProviderFormat`].

use super::{
    Reader, Writer, embeddings,
    faults::read_named_refusal,
    media,
    provider::{limit_fields, own_body},
    read_answer, read_chat, read_completion, responses, translate,
};
use crate::{
    fields::{BadRequest, Fields},
    format::{
        AnswerReader, ClientFormat, ProviderCall, ProviderFormat, Upstream, feature,
        gathered::Gathered,
        prepare::{check_messages, check_stops, loosen, prepare},
        proof, vectors,
    },
    inference::{Event, Failure, Format, ProviderError, Request},
    usage::Tier,
};

pub(super) const CHAT: &str = "/chat/completions";
pub(super) const COMPLETIONS: &str = "/completions";
const RESPONSES: &str = "/responses";
/// The most texts that end an answer.
const MOST_STOPS: usize = 4;
pub(super) const EMBEDDINGS: &str = "/embeddings";

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

/// The body of a chat completion for a request of any other format.
///
/// # Errors
///
/// A part of the request that chat completions can't express.
pub(in crate::format) fn translated(request: &Request, upstream: &Upstream<'_>) -> Result<Fields, Failure> {
    feature::check(request, "OpenAI", translate::takes)?;
    translate::check_reasoning(request, upstream.model)?;
    check_stops(request, MOST_STOPS, "OpenAI")?;
    let body = translate::body(request, upstream);
    check_messages(request, &body)?;
    Ok(body)
}

/// Asks for a service tier. Completions and embeddings know none.
fn set_tier(body: &mut Fields, format: Format, upstream: &Upstream<'_>) {
    let is_known = match format {
        Format::OpenAiCompletions => body.present("service_tier").is_some(),
        Format::OpenAiEmbeddings => false,
        _ => true,
    };
    let word = match upstream.tier {
        Some(_) if !is_known => return,
        Some(Tier::Standard | Tier::Us) => "default",
        Some(Tier::Batch) => "batch",
        Some(Tier::Flex) => "flex",
        Some(Tier::Priority | Tier::PriorityUs) => "priority",
        None => return,
    };
    body.set("service_tier", word);
}

/// A provider that speaks all of these formats.
#[derive(Debug)]
pub struct OpenAi;

impl ProviderFormat for OpenAi {
    fn paths(&self) -> &'static [&'static str] {
        &[
            CHAT,
            COMPLETIONS,
            RESPONSES,
            EMBEDDINGS,
            media::SPEECH,
            media::TRANSCRIPTIONS,
            media::TRANSLATIONS,
            media::IMAGES,
            media::EDITS,
        ]
    }

    fn call(&self, mut request: Request, upstream: &Upstream<'_>) -> Result<ProviderCall, Failure> {
        let (format, is_streamed) = (request.source.format, request.stream);
        let path = match format {
            Format::OpenAiChat => CHAT,
            Format::OpenAiCompletions => COMPLETIONS,
            Format::OpenAiResponses => RESPONSES,
            Format::OpenAiEmbeddings => EMBEDDINGS,
            Format::CohereEmbed | Format::GeminiEmbeddings => return vectors::openai(EMBEDDINGS, &request, upstream),
            Format::OpenAiSpeech | Format::OpenAiTranscriptions | Format::OpenAiImages => {
                return Ok(media::call(request, upstream));
            }
            Format::AnthropicMessages | Format::Gemini | Format::Mistral | Format::Cohere | Format::Rerank => {
                prepare(&mut request, upstream)?;
                loosen(&mut request);
                let mut body = translated(&request, upstream)?;
                set_tier(&mut body, format, upstream);
                return Ok(ProviderCall::translated(Format::OpenAiChat, is_streamed, CHAT.into(), body));
            }
        };
        proof::leave_foreign(&mut request);
        let mut call = ProviderCall::forwarded(path, own_body(request, upstream.model));
        set_tier(&mut call.body, format, upstream);
        Ok(call)
    }

    fn limit(&self, call: &mut ProviderCall, tokens: u32) {
        for field in limit_fields(call.format, &call.body) {
            call.body.set(field, &tokens);
        }
    }

    fn reader(&self, format: Format) -> Box<dyn AnswerReader> {
        match format {
            Format::OpenAiResponses => Box::new(responses::Reader::default()),
            Format::OpenAiEmbeddings => Box::new(Gathered::new(embeddings::read_answer)),
            Format::OpenAiSpeech | Format::OpenAiTranscriptions | Format::OpenAiImages => media::reader(format),
            _ => Box::new(Reader::new(format)),
        }
    }

    fn read_whole(&self, format: Format, body: &[u8]) -> Vec<Event> {
        match format {
            Format::OpenAiResponses => responses::read_answer(body),
            Format::OpenAiEmbeddings => embeddings::read_answer(body),
            Format::OpenAiSpeech | Format::OpenAiTranscriptions | Format::OpenAiImages => {
                media::read_whole(format, body)
            }
            _ => read_answer(format, body),
        }
    }

    fn read_refusal(&self, status: u16, body: &[u8]) -> ProviderError {
        read_named_refusal(status, body)
    }
}
