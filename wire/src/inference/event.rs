//! What comes of a request while it runs: pieces of the answer, what was used, and its one end. Engines and provider formats
//! make these; the request's task reads them. Nothing here knows a price.

use super::Failure;
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

/// A piece of an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Delta {
    /// Which choice it belongs to, from 0.
    pub choice: u32,
    /// Text, whole UTF-8 characters only.
    pub text: String,
    /// What else the model wrote, of all choices: calls of tools, with their arguments, and refusals.
    pub beside: String,
    /// Log probabilities of the tokens in `text`, where they were asked for.
    pub logprobs: Vec<TokenLogprob>,
    /// Set on a choice's last delta.
    pub finish: Option<FinishReason>,
    /// Set on a choice's last delta where a rule of Farebox's ended it: `credits`, `max_cost`.
    pub farebox_stop: Option<String>,
    /// Where the provider speaks OpenAI's format: its chunk (streams) or whole answer (not streams), as it came, so that
    /// a client of the same format loses nothing.
    pub raw: Option<Fields>,
}

impl Delta {
    /// Roughly how many bytes of memory it takes.
    pub fn weight(&self) -> usize {
        let tops = |logprob: &TokenLogprob| {
            let top = logprob.top.iter().map(|(text, bytes, _)| text.capacity() + bytes.capacity());
            size_of::<TokenLogprob>() + top.map(|top| top + size_of::<(String, Vec<u8>, f32)>()).sum::<usize>()
        };
        let raw = self.raw.as_ref().map_or(0, Fields::weight);
        let logprobs: usize = self.logprobs.iter().map(tops).sum();
        size_of::<Self>() + self.text.capacity() + self.beside.capacity() + raw + logprobs
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
    Unknown(Option<Fields>),
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
