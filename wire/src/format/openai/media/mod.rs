//! OpenAI's media routes ("Audio" and "Images", OpenAI API reference): speech from text, text from speech, and images.
//! They pass from a client to a provider of the same format, and no other provider has them here.

pub mod drawn;
pub mod edits;
mod events;
mod form;
pub mod images;
pub mod speech;
pub mod transcriptions;

use crate::{
    fields::BadRequest,
    format::{
        AnswerReader, Answers, ProviderCall, Terms, Upstream,
        incoming::{Incoming, read_all},
        refused::unknown,
    },
    inference::{Event, Format, Request, Work},
};
use events::Listening;
pub use images::LARGEST as LARGEST_IMAGES;
pub(in crate::format) use speech::SoundReader;
pub(in crate::format) use transcriptions::read_text_answer;

pub(super) const SPEECH: &str = "/audio/speech";
pub(super) const TRANSCRIPTIONS: &str = "/audio/transcriptions";
pub(super) const TRANSLATIONS: &str = "/audio/translations";
pub(super) const IMAGES: &str = "/images/generations";
pub(super) const EDITS: &str = "/images/edits";

/// The call of a request to one of these routes.
pub(super) fn call(mut request: Request, upstream: &Upstream<'_>) -> ProviderCall {
    if upstream.model != request.model {
        request.source.body.set("model", upstream.model);
    }
    match &request.work {
        Work::Speech(_) => speech::call(request, upstream),
        Work::Transcription(_) => transcriptions::call(request, upstream),
        _ => images::call(request, upstream),
    }
}

/// The terms that a request's price depends on: none beside its counts.
pub(in crate::format) fn terms(request: &Request) -> Result<Terms, BadRequest> {
    let known = match request.source.format {
        Format::OpenAiSpeech => speech::known(request)?.to_vec(),
        Format::OpenAiTranscriptions => transcriptions::known(request).to_vec(),
        _ => images::known(request)?,
    };
    let body = &request.source.body;
    match body.names().find(|name| !known.contains(name) && body.present(name).is_some()) {
        None => Ok(Terms::default()),
        Some(name) => Err(unknown(name)),
    }
}

/// A reader of an answer that comes as events.
pub(super) fn reader(format: Format) -> Box<dyn AnswerReader> {
    Box::new(Incoming::new(listening(format)))
}

fn listening(format: Format) -> Listening {
    Listening::to(match format {
        Format::OpenAiSpeech => speech::event,
        Format::OpenAiTranscriptions => transcriptions::event,
        _ => images::event,
    })
}

/// Reads an answer that came whole.
pub(super) fn read_whole(format: Format, body: &[u8]) -> Vec<Event> {
    match format {
        Format::OpenAiTranscriptions => transcriptions::read_answer(body),
        Format::OpenAiImages => images::read_answer(body),
        // Speech never comes whole.
        _ => read_all(listening(format), body),
    }
}

/// A call that is answered so.
fn answered(call: ProviderCall, answers: Answers, is_streamed: bool) -> ProviderCall {
    ProviderCall { is_streamed, answers, ..call }
}
