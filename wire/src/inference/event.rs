//! What comes of a request while it runs: pieces of the answer, what was used, and its one end. Engines and provider formats
//! make these; the request's task reads them. Nothing here knows a price.

use super::{Failure, Format};
use crate::{fields::Fields, usage::Report};

/// Tokens a request read and wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens, cached ones included.
    pub input: u64,
    /// The part of `input` that was read from a provider's cache.
    pub cached_input: u64,
    /// Output tokens, reasoning included.
    pub output: u64,
    /// The part of `output` spent on reasoning.
    pub reasoning: u64,
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended it, or a stop text came.
    Stop,
    /// The output limit, the context, the credits or the maximal cost ended it.
    Length,
    /// The model calls tools.
    ToolCalls,
    /// A provider's filter ended it.
    ContentFilter,
    /// A word of the provider's own.
    Other(String),
}

/// One token's log probability.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// The token's text, lossy where it is a part of a character; a special one's name.
    pub token: String,
    /// The token's bytes; none of a special one, which writes nothing.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability; none of a prompt's first token, which nothing comes before.
    pub logprob: Option<f32>,
    /// Where it begins in its choice's text, in characters.
    pub offset: usize,
    /// The likeliest alternatives, best first, each with its text, bytes and logarithm.
    pub top: Vec<(String, Vec<u8>, f32)>,
}

/// A piece of an answer: what one choice gains by it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Delta {
    /// Which choice it belongs to, from 0.
    pub choice: u32,
    /// Text, whole UTF-8 characters only.
    pub text: String,
    /// What the model thinks before it speaks.
    pub reasoning: String,
    /// What it says instead of an answer.
    pub refusal: String,
    /// Pieces of calls of tools.
    pub calls: Vec<CallDelta>,
    /// Log probabilities of the tokens in `text`, where they were asked for.
    pub logprobs: Vec<TokenLogprob>,
    /// Set on a choice's last delta.
    pub finish: Option<FinishReason>,
    /// Set on a choice's last delta where a rule of Farebox's ended it: `credits`, `max_cost`.
    pub farebox_stop: Option<String>,
    /// As its provider wrote it.
    pub raw: Raw,
}

/// A piece of a call of a tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallDelta {
    /// Which of the choice's calls it belongs to, from 0.
    pub index: u32,
    /// The call's id, in its first piece.
    pub id: Option<String>,
    /// The tool's name, in its first piece.
    pub name: Option<String>,
    /// What its arguments gain.
    pub arguments: String,
}

/// A piece of an answer as its provider wrote it, so that a client of the same format loses nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Raw {
    /// No provider wrote it.
    #[default]
    None,
    /// This: an event of a stream, or a whole answer.
    Own(Format, Fields),
    /// It stands in what the delta before it has: a provider may write of several choices at once.
    Before,
}

impl Raw {
    /// What its provider wrote in this format.
    pub fn of(&self, format: Format) -> Option<&Fields> {
        match self {
            Self::Own(own, fields) if *own == format => Some(fields),
            Self::Own(..) | Self::None | Self::Before => None,
        }
    }

    /// Whether a provider wrote it.
    pub const fn is_some(&self) -> bool {
        !matches!(self, Self::None)
    }
}

impl Delta {
    /// What an answer gains that was cut: its choice says that it is not whole.
    pub fn cut(choice: u32) -> Self {
        Self { choice, finish: Some(FinishReason::Length), ..Self::default() }
    }

    /// All that the model wrote in it, in the order in which it is counted.
    pub fn written(&self) -> impl Iterator<Item = &str> {
        let calls = self.calls.iter().flat_map(|call| [call.name.as_deref().unwrap_or_default(), &call.arguments]);
        [&*self.text, &*self.reasoning].into_iter().chain(calls).chain([&*self.refusal])
    }

    /// Whether it is a text of a model of ours and nothing else.
    pub fn is_plain(&self) -> bool {
        let Self { choice: _, text: _, reasoning, refusal, calls, logprobs, finish, farebox_stop, raw } = self;
        let is_silent = reasoning.is_empty() && refusal.is_empty() && calls.is_empty() && logprobs.is_empty();
        is_silent && finish.is_none() && farebox_stop.is_none() && !raw.is_some()
    }

    /// Roughly how many bytes of memory it takes.
    pub fn weight(&self) -> usize {
        let tops = |logprob: &TokenLogprob| {
            let top = logprob.top.iter().map(|(text, bytes, _)| text.capacity() + bytes.capacity());
            size_of::<TokenLogprob>() + top.map(|top| top + size_of::<(String, Vec<u8>, f32)>()).sum::<usize>()
        };
        let raw = match &self.raw {
            Raw::Own(_, fields) => fields.weight(),
            Raw::None | Raw::Before => 0,
        };
        let logprobs: usize = self.logprobs.iter().map(tops).sum();
        let call = |call: &CallDelta| size_of::<CallDelta>() + call.arguments.capacity();
        let calls: usize = self.calls.iter().map(call).sum();
        let texts = self.text.capacity() + self.reasoning.capacity() + self.refusal.capacity();
        size_of::<Self>() + texts + calls + raw + logprobs
    }
}

/// What happens while a request runs, sent straight to its task.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Open only: the model it waited for is loaded.
    Loaded,
    /// Open: the first engine step began (compute starts). Closed: the provider answered 2xx.
    Started,
    /// Open only: this many seconds of compute have been started (1 with the first step).
    Second(u32),
    /// A piece of the answer.
    Delta(Delta),
    /// The provider said what is not known here, at the place where it stood in a stream: what it said, where it can be
    /// passed on.
    Unknown(Raw),
    /// Open only: what it read and wrote. Once, at the end.
    Usage(Usage),
    /// Closed only: what the provider reports as used, as often as it does.
    Reported(Box<Report>),
    /// It ended well. The last event.
    Finished {
        /// Open: milliseconds of compute, from the first step to the last token.
        compute_ms: u64,
    },
    /// It failed. The last event.
    Failed(Failure),
}
