//! Text from speech ("Create transcription", OpenAI API reference): a form with a recording in; an object, a text, or
//! events out. A text tells no usage, so where the gateway pays, an object is asked for in its place, and its text is
//! written. Subtitles stay the provider's: they are billed by how long the recording is.

mod answer;
mod form;
mod writer;

use crate::{
    fields::BadRequest,
    format::{Answers, ClientFormat, ProviderCall, Upstream},
    inference::{Format, Request, TranscriptForm, Work},
};

use super::{TRANSCRIPTIONS, TRANSLATIONS, answered};
pub(in crate::format) use answer::read_text_answer;
pub(super) use answer::{event, read_answer};
pub use form::{LARGEST_FILE, read_form};
pub use writer::Writer;

/// The format.
const FORMAT: Format = Format::OpenAiTranscriptions;
/// Fields that cost nothing beside the recording and the prompt.
const KNOWN: [&str; 16] = [
    "model",
    "language",
    "languages",
    "languages[]",
    "keywords",
    "keywords[]",
    "prompt",
    "response_format",
    "temperature",
    "stream",
    "timestamp_granularities",
    "timestamp_granularities[]",
    "include",
    "include[]",
    "chunking_strategy",
    "chunking_strategy[type]",
];
const KNOWN_OF_TRANSLATIONS: [&str; 4] = ["model", "prompt", "response_format", "temperature"];

/// Transcriptions, as clients ask for them.
#[derive(Debug)]
pub enum Transcribing {}

impl ClientFormat for Transcribing {
    type Writer = Writer;

    /// A form is read by [`read_form`], which knows what separates its parts.
    fn read(_: &[u8]) -> Result<Request, BadRequest> {
        Err(BadRequest::new("body", "must be a form: content-type multipart/form-data"))
    }

    fn writer(request: &Request, _: &str, _: i64) -> Writer {
        Writer::new(request)
    }
}

/// The fields whose cost is known.
pub(super) fn known(request: &Request) -> &'static [&'static str] {
    match &request.work {
        Work::Transcription(transcription) if transcription.translate => &KNOWN_OF_TRANSLATIONS,
        _ => &KNOWN,
    }
}

/// The call of a request for a transcription.
pub(super) fn call(mut request: Request, upstream: &Upstream<'_>) -> ProviderCall {
    let Work::Transcription(transcription) = &request.work else {
        return ProviderCall::forwarded(TRANSCRIPTIONS, request);
    };
    let path = if transcription.translate { TRANSLATIONS } else { TRANSCRIPTIONS };
    let (uploads, pays) = (vec![transcription.recording.clone()], upstream.tier.is_some());
    let answers = match transcription.form {
        TranscriptForm::Object => Answers::Objects,
        TranscriptForm::Text if pays => {
            request.source.body.set("response_format", "json");
            Answers::Objects
        }
        TranscriptForm::Text | TranscriptForm::Subtitles => Answers::Text,
    };
    let is_streamed = request.stream;
    ProviderCall { uploads, ..answered(ProviderCall::forwarded(path, request), answers, is_streamed) }
}
