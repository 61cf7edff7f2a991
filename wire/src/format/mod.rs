//! API formats, one folder each: what clients and providers write, read to the neutral words of
//! [`inference`](crate::inference) and written from them.
//!
//! A [`ClientFormat`] reads a client's request and writes its answer. A [`ProviderFormat`] writes a request for a
//! provider and reads its answer. Where both sides speak the same format, bytes that need no change pass unchanged: a
//! request's [`Source`](crate::inference::Source) and a piece's [`Raw`](crate::inference::Raw) carry them.

pub mod anthropic;
#[cfg(test)]
mod bounds;
pub mod cohere;
mod count;
pub mod feature;
mod gathered;
pub mod gemini;
mod hosted;
mod in_turn;
mod incoming;
mod kin;
mod known;
mod leftover;
pub mod live;
mod made;
mod marks;
mod media;
pub mod mistral;
pub mod openai;
mod original;
mod own;
mod pairing;
mod prepare;
mod proof;
mod receipt;
mod refused;
pub mod rerank;
mod terms;
mod translation;
mod vectors;

use std::borrow::Cow;

use serde_json::Value;

use crate::{
    fields::{BadRequest, Fields},
    inference::{Delta, Event, Failure, Format, Header, ProviderError, Request, Source, Upload, Usage, Work},
    multipart,
    usage::Tier,
};
use count::count;
pub use hosted::page as hosted_page;
pub use receipt::{Particulars, Receipt};
pub use terms::{Terms, bound, terms};
pub use translation::page as translation_page;
pub use vectors::{OwnTexts, TextFields, own_texts};

/// The most bytes of a whole answer.
const LARGEST_ANSWER: usize = 32 << 20;
/// The last event of an answer that ended well.
const FINISHED: Event = Event::Finished { compute_ms: 0 };

/// A format in which clients ask.
pub trait ClientFormat: 'static {
    /// The writer of answers in this format.
    type Writer: WholeWriter;
    /// The shape in which its clients read errors.
    const ERRORS: ErrorShape = ErrorShape::Object;

    /// Reads a request's body.
    ///
    /// # Errors
    ///
    /// The first field with a wrong value, in words for the client.
    fn read(body: &[u8]) -> Result<Request, BadRequest>;

    /// A writer for the answer to a request. `id` has 32 hexadecimal digits; `created` is in seconds since 1970.
    fn writer(request: &Request, id: &str, created: i64) -> Self::Writer;

    /// How the answer to a request is sent.
    fn form(request: &Request) -> AnswerForm {
        if request.stream { AnswerForm::Events } else { AnswerForm::Whole }
    }
}

/// How an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerForm {
    /// At once.
    Whole,
    /// As server-sent events.
    Events,
    /// The bytes of a sound as they come, of this media type where the provider names none.
    Sound(&'static str),
}

/// The shape in which a format's clients read errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorShape {
    /// `error` is the status's phrase.
    Phrase,
    /// `error` is an object.
    Object,
    /// The object has the type `error`, and `error` is an object ("Errors", Anthropic API).
    Anthropic,
    /// The object has an `id` and a `message` ("Errors", Cohere API).
    Cohere,
    /// `error` is an object with a code, a status in words and details (`google.rpc.Status`), and nothing else has those
    /// names.
    Google,
}

/// Writes one answer, and remembers what it wrote. Each returned text goes to the client as it is: events of a stream,
/// or a frame of a socket.
pub trait AnswerWriter: 'static {
    /// The shape in which the client reads errors.
    fn errors(&self) -> ErrorShape {
        ErrorShape::Object
    }

    /// The media type of a streamed answer.
    fn stream_type(&self) -> &'static str {
        "text/event-stream"
    }

    /// Writes a piece of a streamed answer.
    fn delta(&mut self, delta: Delta) -> Option<String>;

    /// Writes the cost so far: dollars, and seconds where seconds are billed.
    fn cost(&mut self, cost: &str, billed_seconds: u64) -> Option<String>;

    /// Writes a keep-alive, sent while nothing else is; `None` where the transport has its own.
    fn silence(&self) -> Option<String>;

    /// Writes the end of a streamed answer.
    fn end(&mut self, end: &End) -> String;

    /// The whole answer as it is kept, once its end is written; `None` where such answers are not kept.
    fn kept(&mut self) -> Option<String> {
        None
    }

    /// The name under which its provider tells an answer that is to be kept, in this piece; `None` where it tells none.
    fn named(&self, _: &Delta) -> Option<String> {
        None
    }

    /// Has the answer under our name: its provider's is another's.
    fn rename(&mut self) {}

    /// Takes what an answer that failed is charged, before its end is written. Most formats tell no usage of a failure.
    fn charged(&mut self, _: &End) {}

    /// Writes the end of a streamed answer that failed. The error has the shape of [`errors`](Self::errors).
    fn failed(&mut self, error: &Value) -> String;

    /// The end of a stream of events whose writer is gone, and that no other writer can go on with: the error alone.
    fn cut(error: &Value) -> String
    where
        Self: Sized,
    {
        crate::sse::encode(&error.to_string())
    }
}

/// Writes an answer that may also be asked for whole.
pub trait WholeWriter: AnswerWriter {
    /// The media type of a whole answer.
    fn media_type(&self) -> &'static str {
        "application/json"
    }

    /// Writes an answer that is not a stream.
    fn whole(&mut self, deltas: Vec<Delta>, end: &End) -> Vec<u8>;
}

impl AnswerWriter for Box<dyn WholeWriter> {
    fn errors(&self) -> ErrorShape {
        (**self).errors()
    }

    fn stream_type(&self) -> &'static str {
        (**self).stream_type()
    }

    fn delta(&mut self, delta: Delta) -> Option<String> {
        (**self).delta(delta)
    }

    fn cost(&mut self, cost: &str, billed_seconds: u64) -> Option<String> {
        (**self).cost(cost, billed_seconds)
    }

    fn silence(&self) -> Option<String> {
        (**self).silence()
    }

    fn end(&mut self, end: &End) -> String {
        (**self).end(end)
    }

    fn kept(&mut self) -> Option<String> {
        (**self).kept()
    }

    fn named(&self, delta: &Delta) -> Option<String> {
        (**self).named(delta)
    }

    fn rename(&mut self) {
        (**self).rename();
    }

    fn charged(&mut self, end: &End) {
        (**self).charged(end);
    }

    fn failed(&mut self, error: &Value) -> String {
        (**self).failed(error)
    }
}

impl WholeWriter for Box<dyn WholeWriter> {
    fn media_type(&self) -> &'static str {
        (**self).media_type()
    }

    fn whole(&mut self, deltas: Vec<Delta>, end: &End) -> Vec<u8> {
        (**self).whole(deltas, end)
    }
}

/// A writer of answers that are never streams.
trait OnlyWhole: 'static {
    /// The shape in which the client reads errors.
    fn shape(&self) -> ErrorShape {
        ErrorShape::Object
    }
}

impl<W: OnlyWhole> AnswerWriter for W {
    fn errors(&self) -> ErrorShape {
        self.shape()
    }

    fn delta(&mut self, _: Delta) -> Option<String> {
        None
    }

    fn cost(&mut self, _: &str, _: u64) -> Option<String> {
        None
    }

    fn silence(&self) -> Option<String> {
        None
    }

    fn end(&mut self, _: &End) -> String {
        String::new()
    }

    fn failed(&mut self, error: &Value) -> String {
        error.to_string()
    }
}

/// How an answer ended.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// The tokens read and written.
    pub usage: Usage,
    /// The cost of the answer.
    pub receipt: Receipt,
    /// Whether the answer ended before the model was done, and not because of a limit.
    pub is_cut: bool,
}

/// A format in which providers are asked.
pub trait ProviderFormat: Send + Sync {
    /// The paths that most calls have, below a provider's address: their addresses are made once.
    fn paths(&self) -> &'static [&'static str];

    /// The version that stands before the paths, where providers' addresses are written without it: `/v1`. An address
    /// that ends in it is taken too.
    fn version(&self) -> Option<&'static str> {
        None
    }

    /// The header that carries a provider's key.
    fn key_header(&self) -> KeyHeader {
        KeyHeader::Bearer
    }

    /// The call that carries a request. A request of the same format passes as it came; any other is translated.
    ///
    /// # Errors
    ///
    /// A part of the request that this format can't express: [`Failure::Invalid`], with the field as the client named it.
    fn call(&self, request: Request, upstream: &Upstream<'_>) -> Result<ProviderCall, Failure>;

    /// The call that has a request's prompt counted, for nothing; `None` where the provider counts no such request.
    fn count(&self, _request: Request, _model: &str) -> Option<ProviderCall> {
        None
    }

    /// Sets the output limit of a call: tokens for each choice.
    fn limit(&self, call: &mut ProviderCall, tokens: u32);

    /// A reader for the answer to a call with this format, in which the answer is written.
    fn reader(&self, format: Format) -> Box<dyn AnswerReader>;

    /// Reads an answer of this format that came whole. The last event is `Finished` or `Failed`.
    fn read_whole(&self, format: Format, body: &[u8]) -> Vec<Event>;

    /// The same for a client of the same format, who gets what neutral words have no place for.
    fn own_reader(&self, format: Format) -> Box<dyn AnswerReader> {
        self.reader(format)
    }

    /// The same of an answer that came whole.
    fn read_own_whole(&self, format: Format, body: &[u8]) -> Vec<Event> {
        self.read_whole(format, body)
    }

    /// The service tier that served an answer, where a header of it tells. `header` finds a header's value by its name in small
    /// letters.
    fn served(&self, _header: &dyn Fn(&str) -> Option<String>) -> Option<Tier> {
        None
    }

    /// Reads a refusal by its HTTP status and its body.
    fn read_refusal(&self, status: u16, body: &[u8]) -> ProviderError;
}

/// The header that carries a provider's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyHeader {
    /// `Authorization: Bearer KEY` (RFC 6750).
    Bearer,
    /// A header of this name whose value is the key.
    Named(&'static str),
}

/// A model at its provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upstream<'a> {
    /// The model's name there.
    pub model: &'a str,
    /// The most tokens that the model writes: some formats require a limit.
    pub max_output: u32,
    /// The service tier to ask for; `None` where the client's own key pays. A call that names none gets what a setting of
    /// the project at the provider says, which may be a dearer one.
    pub tier: Option<Tier>,
}

/// A call to a provider: `POST`, JSON or a form.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderCall {
    /// The format of the call and of its answer.
    pub format: Format,
    /// Whether the answer is a stream.
    pub is_streamed: bool,
    /// Whether the client asked in this format: then headers pass both ways.
    pub is_forwarded: bool,
    /// The path below the provider's address, with its query.
    pub path: Cow<'static, str>,
    /// Headers besides the key and those of every call.
    pub headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// The body.
    pub body: Fields,
    /// How many vectors the answer must have, where it has vectors: one for each input.
    pub vectors: Option<usize>,
    /// What the answer is.
    pub answers: Answers,
    /// The files that go with the body's fields, as a form; none where the body is an object.
    pub uploads: Vec<Upload>,
}

/// What the body of a provider's answer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Answers {
    /// JSON, whole or as events.
    #[default]
    Objects,
    /// The bytes of a sound.
    Sound,
    /// A text.
    Text,
}

impl ProviderCall {
    /// A call with the client's own body, headers and query, for a provider of the client's format.
    pub fn forwarded(path: impl Into<Cow<'static, str>>, request: Request) -> Self {
        let vectors = match &request.work {
            Work::Embedding(embedding) => Some(embedding.inputs.len()),
            _ => None,
        };
        let Source { format, body, headers, query, .. } = request.source;
        let path = path.into();
        let joint = if path.contains('?') { '&' } else { '?' };
        let path = match query {
            Some(query) => Cow::Owned(format!("{path}{joint}{query}")),
            None => path,
        };
        let header = |(name, value): Header| (Cow::Owned(name.into_string()), Cow::Owned(value.into_string()));
        let headers = headers.into_iter().map(header).collect();
        let (answers, uploads) = (Answers::default(), Vec::new());
        Self { format, is_streamed: request.stream, is_forwarded: true, path, headers, body, vectors, answers, uploads }
    }

    /// A call in this format, whose request was translated.
    pub const fn translated(format: Format, is_streamed: bool, path: Cow<'static, str>, body: Fields) -> Self {
        Self {
            format,
            is_streamed,
            is_forwarded: false,
            path,
            headers: Vec::new(),
            body,
            vectors: None,
            answers: Answers::Objects,
            uploads: Vec::new(),
        }
    }

    /// The media type of the body, and the body.
    pub fn body(&self) -> (Cow<'static, str>, Vec<u8>) {
        match &self.uploads[..] {
            [] => (Cow::Borrowed("application/json"), self.body.to_json().into_bytes()),
            uploads @ [first, ..] => {
                let form = multipart::write(&self.body, uploads, &first.boundary);
                (Cow::Owned(format!("multipart/form-data; boundary={}", first.boundary)), form)
            }
        }
    }

    /// The most bytes of an answer that comes whole.
    pub const fn largest_answer(&self) -> usize {
        match self.format {
            Format::OpenAiImages => openai::LARGEST_IMAGES,
            _ => LARGEST_ANSWER,
        }
    }

    /// A reader for the answer to this call, where it comes in pieces, in the words of its provider's format.
    pub fn reader(&self, provider: &dyn ProviderFormat) -> Box<dyn AnswerReader> {
        match self.answers {
            Answers::Sound => Box::new(openai::SoundReader::default()),
            Answers::Objects | Answers::Text if self.is_forwarded => provider.own_reader(self.format),
            Answers::Objects | Answers::Text => provider.reader(self.format),
        }
    }

    /// Reads the answer to this call, which came whole, in the words of its provider's format. The last event is `Finished`
    /// or `Failed`.
    pub fn read_whole(&self, provider: &dyn ProviderFormat, body: &[u8]) -> Vec<Event> {
        let events = match self.answers {
            Answers::Text => openai::read_text_answer(body),
            Answers::Objects | Answers::Sound if self.is_forwarded => provider.read_own_whole(self.format, body),
            Answers::Objects | Answers::Sound => provider.read_whole(self.format, body),
        };
        match self.vectors {
            Some(wanted) => vectors::checked(events, wanted),
            None => events,
        }
    }
}

/// Reads a provider's answer as it comes, in pieces of any size. The last event is `Finished` or `Failed`.
pub trait AnswerReader: Send {
    /// Takes bytes, and appends the events they complete.
    fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>);

    /// Ends the body, and appends the last events.
    fn end(&mut self, events: &mut Vec<Event>);

    /// Ends the body where the connection broke off: complete events are read, then the failure is appended.
    fn cut(&mut self, failure: Failure, events: &mut Vec<Event>);

    /// Whether the last event was appended.
    fn is_over(&self) -> bool;
}
