//! The events of a running request: pieces of the answer, usage, and exactly one end. Engines and provider formats make
//! them; the request's task reads them. No price is known here.

use bytes::Bytes;

use super::{Failure, Format, Header, Media};
use crate::{fields::Fields, usage::Report};

/// Tokens a request read and wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens, including cached ones.
    pub input: u64,
    /// The part of `input` that was read from a cache.
    pub cached_input: u64,
    /// The part of `input` that was written to a provider's cache.
    pub cache_write: u64,
    /// Output tokens, reasoning included.
    pub output: u64,
    /// The part of `output` spent on reasoning.
    pub reasoning: u64,
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended it, or a stop text came of which nothing is told.
    Stop,
    /// A stop text came: the text, where it is told.
    StopText(Option<Box<str>>),
    /// The output limit, the context, the credits or the maximal cost ended it.
    Length,
    /// The model calls tools.
    ToolCalls,
    /// A provider's filter ended it.
    ContentFilter,
    /// The provider's own word for the reason.
    Other(String),
}

impl FinishReason {
    /// The reason of an answer with calls, or without. Some providers end an answer that calls tools in the word of any other, and
    /// clients run the calls only where the reason says so.
    #[must_use]
    pub fn with_calls(self, has_calls: bool) -> Self {
        match self {
            Self::Stop if has_calls => Self::ToolCalls,
            Self::Stop | Self::StopText(_) | Self::Length | Self::ToolCalls | Self::ContentFilter | Self::Other(_) => {
                self
            }
        }
    }
}

/// One token's log probability.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// The token's text, lossy where the token is a part of a character; a special token's name.
    pub token: String,
    /// The token's bytes; empty for a special token, which writes nothing.
    pub bytes: Vec<u8>,
    /// Natural logarithm of the token's probability; `None` for a prompt's first token, which has no predecessor.
    pub logprob: Option<f32>,
    /// Where the token begins in its choice's text, in characters.
    pub offset: usize,
    /// The likeliest alternatives, best first, each with its text, bytes and logarithm.
    pub top: Vec<(String, Vec<u8>, f32)>,
}

/// A piece of an answer: an addition to one choice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Delta {
    /// The choice's index, from 0.
    pub choice: u32,
    /// Text, whole UTF-8 characters only.
    pub text: String,
    /// The model's reasoning before its answer.
    pub reasoning: String,
    /// The provider's proof that the reasoning before it is the model's own and complete. A provider may give it with a
    /// text or a tool call in place of a reasoning.
    pub signature: Option<Box<str>>,
    /// The model's refusal in place of an answer.
    pub refusal: String,
    /// Pieces of tool calls.
    pub calls: Vec<CallDelta>,
    /// Log probabilities of the tokens in `text`, where they were requested.
    pub logprobs: Vec<TokenLogprob>,
    /// What the model made that is no text.
    pub made: Option<Box<Made>>,
    /// Set on a choice's last delta.
    pub finish: Option<FinishReason>,
    /// Set on a choice's last delta where a rule of Farebox ended it: `credits`, `max_cost`.
    pub farebox_stop: Option<String>,
    /// The provider's original.
    pub raw: Raw,
}

/// What a model makes that is no text.
#[derive(Debug, Clone, PartialEq)]
pub enum Made {
    /// Vectors of an embedding, in the order of their inputs.
    Vectors(Vec<Vec<f32>>),
    /// Images within an answer, each whole.
    Images(Vec<Media>),
    /// A piece of a sound, in its encoding.
    Sound(Bytes),
}

/// A piece of a tool call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallDelta {
    /// The call's index in its choice, from 0.
    pub index: u32,
    /// The call's id, in its first piece.
    pub id: Option<String>,
    /// The tool's name, in its first piece.
    pub name: Option<String>,
    /// The addition to the arguments.
    pub arguments: String,
}

/// The provider's original of a piece, so that a client of the same format loses nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Raw {
    /// No provider wrote it.
    #[default]
    None,
    /// The original: an event of a stream, or a whole answer.
    Own(Format, Fields),
    /// The original, of this format, is in the delta before this one: a provider may write several pieces at once.
    Before(Format),
}

impl Raw {
    /// The provider's original, where it has this format.
    pub fn of(&self, format: Format) -> Option<&Fields> {
        match self {
            Self::Own(own, fields) if *own == format => Some(fields),
            Self::Own(..) | Self::None | Self::Before(_) => None,
        }
    }

    /// Whether a provider wrote the piece.
    pub const fn is_some(&self) -> bool {
        !matches!(self, Self::None)
    }
}

impl Delta {
    /// The delta that marks a choice of a cut answer as not whole.
    pub fn cut(choice: u32) -> Self {
        Self { choice, finish: Some(FinishReason::Length), ..Self::default() }
    }

    /// All texts that the model wrote, in the order in which they are counted.
    pub fn written(&self) -> impl Iterator<Item = &str> {
        let calls = self.calls.iter().flat_map(|call| [call.name.as_deref().unwrap_or_default(), &call.arguments]);
        [&*self.text, &*self.reasoning].into_iter().chain(calls).chain([&*self.refusal])
    }

    /// The images that the model made.
    pub fn images(&self) -> &[Media] {
        match self.made.as_deref() {
            Some(Made::Images(images)) => images,
            Some(Made::Vectors(_) | Made::Sound(_)) | None => &[],
        }
    }

    /// The vectors of an embedding; `None` where the delta has none.
    pub fn vectors(&self) -> Option<&[Vec<f32>]> {
        match self.made.as_deref() {
            Some(Made::Vectors(vectors)) => Some(vectors),
            Some(Made::Images(_) | Made::Sound(_)) | None => None,
        }
    }

    /// The piece of a sound.
    pub fn sound(&self) -> Option<&Bytes> {
        match self.made.as_deref() {
            Some(Made::Sound(bytes)) => Some(bytes),
            Some(Made::Images(_) | Made::Vectors(_)) | None => None,
        }
    }

    /// Whether the delta adds nothing to the answer, in neutral words.
    pub fn is_silent(&self) -> bool {
        let is_written = self.written().any(|text| !text.is_empty()) || self.calls.iter().any(|call| call.id.is_some());
        let is_written = is_written || !self.images().is_empty() || self.sound().is_some();
        let is_marked = self.signature.is_some() || self.finish.is_some() || self.farebox_stop.is_some();
        !is_written && !is_marked && self.logprobs.is_empty()
    }

    /// Whether the delta holds only text, from a model that runs here.
    pub fn is_plain(&self) -> bool {
        let is_marked = self.made.is_some() || self.farebox_stop.is_some();
        !self.is_beyond_text() && !is_marked && !self.raw.is_some()
    }

    /// Whether the delta says more than a text, and what was made that is no text: reasoning, a refusal, calls,
    /// probabilities, the end of its choice.
    pub fn is_beyond_text(&self) -> bool {
        let Self {
            choice: _,
            text: _,
            reasoning,
            signature,
            refusal,
            calls,
            logprobs,
            made: _,
            finish,
            farebox_stop: _,
            raw: _,
        } = self;
        let is_silent = reasoning.is_empty() && refusal.is_empty() && calls.is_empty() && logprobs.is_empty();
        !is_silent || signature.is_some() || finish.is_some()
    }

    /// Roughly the delta's size in memory, in bytes.
    pub fn weight(&self) -> usize {
        let tops = |logprob: &TokenLogprob| {
            let top = logprob.top.iter().map(|(text, bytes, _)| text.capacity() + bytes.capacity());
            size_of::<TokenLogprob>() + top.map(|top| top + size_of::<(String, Vec<u8>, f32)>()).sum::<usize>()
        };
        let raw = match &self.raw {
            Raw::Own(_, fields) => fields.weight(),
            Raw::None | Raw::Before(_) => 0,
        };
        let logprobs: usize = self.logprobs.iter().map(tops).sum();
        let call = |call: &CallDelta| size_of::<CallDelta>() + call.arguments.capacity();
        let calls: usize = self.calls.iter().map(call).sum();
        let signature = self.signature.as_ref().map_or(0, |signature| signature.len());
        let texts = signature + self.text.capacity() + self.reasoning.capacity() + self.refusal.capacity();
        let image = |image: &Media| match image {
            Media::Url(text) | Media::Id(text) | Media::Data { base64: text, .. } => {
                size_of::<Media>() + text.capacity()
            }
        };
        let made: usize = match self.made.as_deref() {
            None => 0,
            Some(Made::Vectors(vectors)) => vectors.iter().map(|vector| size_of_val(vector.as_slice())).sum(),
            Some(Made::Images(images)) => images.iter().map(image).sum(),
            Some(Made::Sound(bytes)) => bytes.len(),
        };
        size_of::<Self>() + texts + calls + raw + logprobs + made
    }
}

/// An event of a running request, sent straight to its task.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Open only: the model that the request waited for is loaded.
    Loaded,
    /// Closed only: headers of the provider's answer that a client of its format may read. Before all pieces.
    Headers(Vec<Header>),
    /// Open: the first engine step began (compute starts). Closed: the provider answered 2xx.
    Started,
    /// Open only: this many seconds of compute have been started (1 with the first step).
    Second(u32),
    /// A piece of the answer.
    Delta(Delta),
    /// The provider sent something unknown at this place of a stream: the original, where it can be passed on.
    Unknown(Raw),
    /// Open only: the tokens read and written. Once, at the end.
    Usage(Usage),
    /// Closed only: usage that the provider reports, each time that it does.
    Reported(Box<Report>),
    /// The answer ended well. The last event.
    Finished {
        /// Open: milliseconds of compute, from the first step to the last token.
        compute_ms: u64,
    },
    /// The request failed. The last event.
    Failed(Failure),
}
