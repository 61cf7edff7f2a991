//! Why a request failed below the gateway: what a provider, a connection or an engine did.

use std::fmt;

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

impl fmt::Display for Unserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
