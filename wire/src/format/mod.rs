//! API formats, one folder each: what clients and providers write, read to the neutral words of
//! [`inference`](crate::inference) and written from them.
//!
//! A [`ClientFormat`] reads a client's request and writes its answer. A [`ProviderFormat`] writes a request for a
//! provider and reads its answer. Where both sides speak the same format, bytes that need no change pass unchanged: a
//! request's [`Source`](crate::inference::Source) and a piece's [`Raw`](crate::inference::Raw) carry them.

pub mod live;
pub mod openai;
mod receipt;

use serde_json::Value;

use crate::{
    fields::BadRequest,
    inference::{Delta, Event, Failure, ProviderError, Request, Usage},
};
pub use receipt::{Particulars, Receipt};

/// A format in which clients ask.
pub trait ClientFormat: 'static {
    /// The writer of answers in this format.
    type Writer: WholeWriter;

    /// Reads a request's body.
    ///
    /// # Errors
    ///
    /// The first field with a wrong value, in words for the client.
    fn read(body: &[u8]) -> Result<Request, BadRequest>;

    /// A writer for the answer to a request. `id` has 32 hexadecimal digits; `created` is in seconds since 1970.
    fn writer(request: &Request, id: &str, created: i64) -> Self::Writer;
}

/// The shape in which a format's clients read errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorShape {
    /// `error` is the status's phrase.
    Phrase,
    /// `error` is an object.
    Object,
}

/// Writes one answer, and remembers what it wrote. Each returned text goes to the client as it is: events of a stream,
/// or a frame of a socket.
pub trait AnswerWriter: 'static {
    /// The shape in which the client reads errors.
    const ERRORS: ErrorShape;

    /// Writes a piece of a streamed answer.
    fn delta(&mut self, delta: Delta) -> Option<String>;

    /// Writes the cost so far: dollars, and seconds where seconds are billed.
    fn cost(&mut self, cost: &str, billed_seconds: u64) -> Option<String>;

    /// Writes a keep-alive, sent while nothing else is; `None` where the transport has its own.
    fn silence(&self) -> Option<String>;

    /// Writes the end of a streamed answer.
    fn end(&mut self, end: &End) -> String;

    /// Writes the end of a streamed answer that failed. The error has the shape of [`ERRORS`](Self::ERRORS).
    fn failed(&mut self, error: &Value) -> String;
}

/// Writes an answer that may also be asked for whole.
pub trait WholeWriter: AnswerWriter {
    /// Writes an answer that is not a stream.
    fn whole(&mut self, deltas: Vec<Delta>, end: &End) -> Vec<u8>;
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
    /// The paths of calls, below a provider's address.
    fn paths(&self) -> &'static [&'static str];

    /// The call that carries a request. `upstream` is the model's name at the provider. `limit` is the output limit to
    /// send, where it differs from the client's.
    ///
    /// # Errors
    ///
    /// A part of the request that this format can't express.
    fn call(&self, request: &Request, upstream: &str, limit: Option<u32>) -> Result<ProviderCall, Failure>;

    /// A reader for the answer to a request.
    fn reader(&self, request: &Request) -> Box<dyn AnswerReader>;

    /// Reads an answer that came whole. The last event is `Finished` or `Failed`.
    fn read_whole(&self, request: &Request, body: &[u8]) -> Vec<Event>;

    /// Reads a refusal by its HTTP status and its body.
    fn read_refusal(&self, status: u16, body: &[u8]) -> ProviderError;
}

/// A call to a provider: `POST`, JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderCall {
    /// One of the format's [paths](ProviderFormat::paths).
    pub path: &'static str,
    /// The body.
    pub body: Vec<u8>,
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
