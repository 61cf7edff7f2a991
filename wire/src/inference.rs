//! The neutral words of inference: what is asked of a model and what comes back, whatever API format a client or a
//! provider speaks. Engines and transports produce [`Event`]s; the request task consumes them. Nothing here knows money,
//! HTTP or a format's spelling.

use std::fmt;

use serde_json::{Map, Value};

use crate::{fields::Fields, usage::Report};

/// What kind of work a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// A conversation, rendered with the model's chat template.
    Chat,
    /// A raw prompt to continue.
    Completion,
}

/// What the model is asked to continue.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// Messages of a conversation, oldest first.
    Messages(Vec<Message>),
    /// A raw text.
    Text(String),
}

/// One message of a conversation. `content` keeps the JSON it came with (a string or an array of parts), so that a
/// provider sees exactly what its client wrote; [`Message::text`] is what a text model reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    pub role: String,
    /// A string, an array of parts, or null.
    pub content: Value,
    /// Everything else the message carried (`name`, `tool_calls`, `tool_call_id`, ...).
    pub rest: Map<String, Value>,
}

impl Message {
    /// The message's text: the string itself, or the text parts joined. What an assistant refused with is what it said.
    pub fn text(&self) -> String {
        let said = |part: &Value| {
            let said = part.get("text").and_then(Value::as_str).or_else(|| part.get("refusal").and_then(Value::as_str));
            said.map(str::to_owned)
        };
        match &self.content {
            Value::String(text) => text.clone(),
            Value::Array(parts) => parts.iter().filter_map(said).collect(),
            _ => self.rest.get("refusal").and_then(Value::as_str).unwrap_or_default().to_owned(),
        }
    }
}

/// How tokens are chosen. `None` means the model's own default (its `generation_config.json`, or the provider's).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sampling {
    /// 0 to 2; 0 is greedy.
    pub temperature: Option<f32>,
    /// 0 to 1, nucleus sampling.
    pub top_p: Option<f32>,
    /// Keep only the k most likely tokens; 0 keeps all.
    pub top_k: Option<u32>,
    /// Same seed, same request, same model: same tokens.
    pub seed: Option<u64>,
    /// -2 to 2.
    pub frequency_penalty: Option<f32>,
    /// -2 to 2.
    pub presence_penalty: Option<f32>,
    /// Additive bias by token id, -100 to 100.
    pub logit_bias: Vec<(u32, f32)>,
    /// Texts that end the answer; they are not part of it. At most 4.
    pub stop: Vec<String>,
}

/// A request for text, neutral of format.
#[derive(Debug, Clone, PartialEq)]
pub struct TextRequest {
    /// Chat or completion.
    pub task: Task,
    /// The model as the client named it.
    pub model: String,
    /// What to continue.
    pub prompt: Prompt,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The caller's output limit in tokens, per choice (`max_tokens`, `max_completion_tokens`).
    pub max_tokens: Option<u32>,
    /// How many choices are wanted, at least 1.
    pub n: u32,
    /// `Some(k)`: log probabilities of the chosen tokens, with the k likeliest alternatives (0 to 20).
    pub logprobs: Option<u32>,
    /// Completions only: repeat the prompt before the answer.
    pub echo: bool,
    /// Whether the client wants a stream.
    pub stream: bool,
    /// Whether the client asked for a usage chunk (`stream_options.include_usage`).
    pub include_usage: bool,
    /// `max_cost`, dollars, as written.
    pub max_cost: Option<String>,
    /// `autoScale`.
    pub auto_scale: Option<bool>,
    /// The whole body as it came, without Farebox's own fields: what a provider of the same format is sent.
    pub body: Fields,
}

impl TextRequest {
    /// How many answers are generated, and paid for: with `best_of`, which completions have, more than are returned.
    pub fn answers(&self) -> u32 {
        let best_of = match self.task {
            Task::Chat => None,
            Task::Completion => self.body.read("best_of", "a whole number").ok().flatten(),
        };
        best_of.unwrap_or(1).max(self.n)
    }
}

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

/// What a provider says when it refuses. Its words are bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
#[error("provider answered {status}: {message}")]
pub struct ProviderError {
    /// Its HTTP status, or the one that its error names; 200 where the error stands in an answer that had begun well and
    /// names none.
    pub status: u16,
    /// Its message, in words.
    pub message: String,
    /// Its own code, such as `context_length_exceeded`.
    pub code: Option<String>,
    /// Its own type, such as `rate_limit_error`.
    pub kind: Option<String>,
    /// The field of the request that it complains of.
    pub param: Option<String>,
    /// In how many seconds it wants to be asked again.
    pub retry_after: Option<u64>,
}

/// What of this gateway a provider refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unserved {
    /// Its key, or what the key may do.
    Credentials,
    /// Its account: nothing is left of its quota or of its credit there.
    Quota,
}

impl std::fmt::Display for Unserved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Credentials => "credentials",
            Self::Quota => "account: its quota or its credit there is used up",
        })
    }
}

/// How a request is too long for a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooLong {
    /// The field that is: `messages`, `prompt`, or the one that asks for an answer's length.
    pub field: &'static str,
    /// Tokens of the prompt.
    pub prompt: u64,
    /// Whether they are more than that: a text that can't fit is not counted to its end.
    pub at_least: bool,
    /// Tokens of the answer that were asked for, where they are what is too much.
    pub answer: Option<u64>,
    /// Tokens that the model reads and writes, at most.
    pub context: u64,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, prompt, at_least, answer, context } = self;
        let least = if *at_least { "at least " } else { "" };
        write!(f, "This model's maximum context length is {context} tokens. ")?;
        match answer {
            Some(answer) => write!(f, "The prompt has {prompt} tokens, and {field} asks for {answer} more."),
            None => {
                write!(f, "The prompt ({field}) has {least}{prompt} tokens, and the answer needs at least one more.")
            }
        }
    }
}

/// Why a request failed below the gateway.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The request's content can't be run: too long for the context, a bad template role.
    #[error("{field}: {message}")]
    Invalid {
        /// The offending field.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// The prompt, or the prompt and the answer that is asked for, are longer than the model's context.
    #[error("{0}")]
    ContextLength(TooLong),
    /// The model's scores are no numbers: its weights or their arithmetic are broken. The account pays nothing.
    #[error("the model's scores are not finite numbers")]
    NotFinite,
    /// The provider refused, or reported an error in an answer that had begun.
    #[error("{0}")]
    Provider(Box<ProviderError>),
    /// The provider does not serve this gateway: what it said is the operator's to read, and nobody else's.
    #[error("the provider refused this gateway's {0}")]
    Unserved(Unserved),
    /// The connection failed, was cut, or spoke something that is not the format.
    #[error("upstream: {0}")]
    Transport(String),
    /// The answer came, longer than what is read of one: so many bytes. It was made, and costs what it costs.
    #[error("upstream: the provider's answer is larger than {0} bytes")]
    TooLarge(usize),
    /// A time limit passed; names the stage (`connect`, `first byte`, `idle`).
    #[error("timeout: {0}")]
    Timeout(&'static str),
    /// The engine failed.
    #[error("engine: {0}")]
    Engine(String),
    /// The provider keeps failing, and is not called for a moment.
    #[error("{provider} keeps failing, and is not called for {seconds} s")]
    LeftAlone {
        /// Its name.
        provider: String,
        /// The seconds until it is tried again.
        seconds: u64,
    },
    /// What would run it is not there just now, for a reason that may be told.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// No room: a queue is full.
    #[error("overloaded: {0}")]
    Overloaded(String),
}
