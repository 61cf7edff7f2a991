//! Why a request failed below the gateway: at a provider, on a connection or in an engine.

use std::fmt;

/// A provider's refusal. Its texts are bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
#[error("provider answered {status}: {message}")]
pub struct ProviderError {
    /// The HTTP status, or the status that the error names; 200 where the error stands in a successful answer and names
    /// none.
    pub status: u16,
    /// The provider's message.
    pub message: String,
    /// The provider's code, such as `context_length_exceeded`.
    pub code: Option<String>,
    /// The provider's type of the error, such as `rate_limit_error`.
    pub kind: Option<String>,
    /// The request's field that the error is about.
    pub param: Option<String>,
    /// After how many seconds the provider accepts another attempt.
    pub retry_after: Option<u64>,
    /// Whether the answer has not the form of the provider's errors: what stands before it wrote that, such as a load
    /// balancer.
    pub is_foreign: bool,
}

/// Why a provider does not serve this gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unserved {
    /// The gateway's key, or the key's permissions.
    Credentials,
    /// The gateway's account at the provider: its quota or credit is used up.
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
    /// The field that is too long: `messages`, `prompt`, or the output limit's.
    pub field: &'static str,
    /// Tokens of the prompt.
    pub prompt: u64,
    /// Whether the prompt has more tokens than `prompt`: a text that can't fit is not counted to its end.
    pub at_least: bool,
    /// Tokens requested for the answer, where they are the excess; 0 where no answer is written.
    pub answer: Option<u64>,
    /// The most tokens that the model reads and writes.
    pub context: u64,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, prompt, at_least, answer, context } = self;
        let least = if *at_least { "at least " } else { "" };
        write!(f, "This model's maximum context length is {context} tokens. ")?;
        match answer {
            Some(0) => write!(f, "The text ({field}) has {least}{prompt} tokens."),
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
    /// The prompt, or prompt and requested answer together, are longer than the model's context.
    #[error("{0}")]
    ContextLength(TooLong),
    /// The model's scores are no numbers: its weights or their arithmetic are broken. The account pays nothing.
    #[error("the model's scores are not finite numbers")]
    NotFinite,
    /// The provider refused, or reported an error in an answer that had begun.
    #[error("{0}")]
    Provider(Box<ProviderError>),
    /// The provider does not serve this gateway. The provider's message is for the operator only.
    #[error("the provider refused this gateway's {0}")]
    Unserved(Unserved),
    /// The provider was not reached, or took nothing of the request: it may be asked again.
    #[error("upstream: {0}")]
    Unreached(String),
    /// The connection failed, was cut, or sent bytes that are not the format.
    #[error("upstream: {0}")]
    Transport(String),
    /// The answer is longer than this limit in bytes. The provider made it, and it is charged.
    #[error("upstream: the provider's answer is larger than {0} bytes")]
    TooLarge(usize),
    /// A time limit passed; names the stage (`connect`, `first byte`, `idle`).
    #[error("timeout: {0}")]
    Timeout(&'static str),
    /// The engine failed.
    #[error("engine: {0}")]
    Engine(String),
    /// The provider, or its model, keeps failing, and is not called for a while.
    #[error("{whom} keeps failing, and is not called for {seconds} s")]
    LeftAlone {
        /// The provider's name, or the model's at it.
        whom: String,
        /// The seconds until the next attempt.
        seconds: u64,
    },
    /// The engine or provider is not available, for a reason that clients may read.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// No room: a queue is full.
    #[error("overloaded: {0}")]
    Overloaded(String),
}
