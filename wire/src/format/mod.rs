//! API formats, one folder each: what clients and providers write, read to the neutral words of
//! [`inference`](crate::inference) and written from them.
//!
//! A [`ClientFormat`] reads a client's request and writes its answer. A [`ProviderFormat`] writes a request for a provider
//! and reads its answer. Where both sides speak the same format, bytes pass that nobody here needs to change: a request's
//! [`Source`](crate::inference::Source) and a piece's [`Raw`](crate::inference::Raw) carry them.

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
    /// What writes its answers.
    type Writer: AnswerWriter;

    /// Reads a request's body.
    ///
    /// # Errors
    ///
    /// The field that is not what it must be.
    fn read(body: &[u8]) -> Result<Request, BadRequest>;

    /// What writes the answer to a request with this id (32 hexadecimal digits), made at so many seconds since 1970.
    fn writer(request: &Request, id: &str, created: i64) -> Self::Writer;
}

/// How a format's clients read errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorShape {
    /// `error` is the status's phrase.
    Phrase,
    /// `error` is an object.
    Object,
}

/// Writes one answer, and knows what of it was written. Each text is what goes to the client as it is: events of a stream,
/// or a frame of a socket.
pub trait AnswerWriter: 'static {
    /// How its client reads errors.
    const ERRORS: ErrorShape;

    /// A piece of a streamed answer.
    fn delta(&mut self, delta: Delta) -> Option<String>;

    /// What it costs so far: dollars, and seconds where seconds are billed.
    fn cost(&mut self, cost: &str, billed_seconds: u64) -> Option<String>;

    /// A sign of life while nothing else is written; none where the transport has its own.
    fn silence(&self) -> Option<String>;

    /// The last words of a streamed answer.
    fn end(&mut self, end: &End) -> String;

    /// The last words of a streamed answer that failed, from its error in the shape of [`ERRORS`](Self::ERRORS).
    fn failed(&mut self, error: &Value) -> String;

    /// An answer that was not asked for as a stream.
    fn whole(&mut self, deltas: Vec<Delta>, end: &End) -> Vec<u8>;
}

/// How an answer ended.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// What was read and written.
    pub usage: Usage,
    /// What it cost.
    pub receipt: Receipt,
    /// Whether it ended before the model was done with it, and not by a limit.
    pub is_cut: bool,
}

/// A format in which providers are asked.
pub trait ProviderFormat: Send + Sync {
    /// Below a provider's address, the paths that calls go to.
    fn paths(&self) -> &'static [&'static str];

    /// The call of a request: `upstream` is the model as the provider calls it, `limit` the output limit to send where it
    /// is not the client's.
    ///
    /// # Errors
    ///
    /// What of the request this format can't say.
    fn call(&self, request: &Request, upstream: &str, limit: Option<u32>) -> Result<ProviderCall, Failure>;

    /// What reads the answer to a request, as it comes.
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

/// Reads a provider's answer as it comes, however it is cut. The last event is `Finished` or `Failed`.
pub trait AnswerReader: Send {
    /// Takes bytes, and appends the events they complete.
    fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>);

    /// The body ends here: appends the last events.
    fn end(&mut self, events: &mut Vec<Event>);

    /// The connection broke off here: what it brought last is read, and it failed.
    fn cut(&mut self, failure: Failure, events: &mut Vec<Event>);

    /// Whether its last event has been read.
    fn is_over(&self) -> bool;
}
