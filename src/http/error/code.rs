//! All error codes, with their statuses and meanings: one table, from which errors and the OpenAPI document are made.

/// The code of an error, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each says itself what it is, in the table below")]
pub enum Code {
    InvalidRequest,
    ContextLengthExceeded,
    UnpricedModel,
    Unauthorized,
    InsufficientCredits,
    Forbidden,
    AccountFrozen,
    ModelLocked,
    KeyLimit,
    NotFound,
    ModelNotFound,
    MethodNotAllowed,
    UpgradeRequired,
    Conflict,
    IdempotencyKeyReused,
    IdempotencyInProgress,
    AnswerLost,
    FramesForgotten,
    PayloadTooLarge,
    UnsupportedEncoding,
    PaymentDeclined,
    CardRefused,
    RateLimit,
    ConcurrencyLimit,
    SocketLimit,
    Internal,
    ModelError,
    ProviderError,
    Overloaded,
    NotReady,
    Timeout,
}

/// A code, its statuses, and its meaning.
type Entry = (&'static str, &'static [u16], &'static str);

impl Code {
    /// All codes.
    pub const ALL: [Self; 31] = [
        Self::InvalidRequest,
        Self::ContextLengthExceeded,
        Self::UnpricedModel,
        Self::Unauthorized,
        Self::InsufficientCredits,
        Self::Forbidden,
        Self::AccountFrozen,
        Self::ModelLocked,
        Self::KeyLimit,
        Self::NotFound,
        Self::ModelNotFound,
        Self::MethodNotAllowed,
        Self::UpgradeRequired,
        Self::Conflict,
        Self::IdempotencyKeyReused,
        Self::IdempotencyInProgress,
        Self::AnswerLost,
        Self::FramesForgotten,
        Self::PayloadTooLarge,
        Self::UnsupportedEncoding,
        Self::PaymentDeclined,
        Self::CardRefused,
        Self::RateLimit,
        Self::ConcurrencyLimit,
        Self::SocketLimit,
        Self::Internal,
        Self::ModelError,
        Self::ProviderError,
        Self::Overloaded,
        Self::NotReady,
        Self::Timeout,
    ];

    const fn entry(self) -> Entry {
        match self {
            Self::InvalidRequest => ("invalid_request", &[400, 409, 422, 451], "which field is wrong, and why"),
            Self::ContextLengthExceeded => {
                ("context_length_exceeded", &[400], "the prompt is longer than the model's context")
            }
            Self::UnpricedModel => ("unpriced_model", &[400], "the model has no price here"),
            Self::Unauthorized => ("unauthorized", &[401], "no key, or one that is not known"),
            Self::InsufficientCredits => ("insufficient_credits", &[402], "what is available, held, owed and needed"),
            Self::Forbidden => ("forbidden", &[403], "not allowed to this caller; `scope` names what the key lacks"),
            Self::AccountFrozen => (
                "account_frozen",
                &[403],
                "an operator froze the account, which admits no requests; `since` says since when",
            ),
            Self::ModelLocked => ("model_locked", &[403], "the model's class, and the dollars that unlock it"),
            Self::KeyLimit => ("key_limit", &[403], "which limit of the key, and when it resets"),
            Self::NotFound => ("not_found", &[404], "there is no such thing"),
            Self::ModelNotFound => ("model_not_found", &[404], "there is no such model; `nearest` names some"),
            Self::MethodNotAllowed => ("method_not_allowed", &[405], "the path does not take that method"),
            Self::UpgradeRequired => ("upgrade_required", &[426], "the path is served over HTTP alone"),
            Self::Conflict => ("conflict", &[409], "something is there already, or in the way"),
            Self::IdempotencyKeyReused => {
                ("idempotency_key_reused", &[409], "the Idempotency-Key was used for another request")
            }
            Self::IdempotencyInProgress => {
                ("idempotency_in_progress", &[409], "the first request with this Idempotency-Key has not ended")
            }
            Self::AnswerLost => ("answer_lost", &[409], "the first request was carried out, and its answer is lost"),
            Self::FramesForgotten => (
                "frames_forgotten",
                &[410],
                "the frames after that one are not remembered; `first` is the first that is",
            ),
            Self::PayloadTooLarge => ("payload_too_large", &[413], "the body is larger than the limit"),
            Self::UnsupportedEncoding => {
                ("unsupported_encoding", &[415], "the body is compressed; it is to be sent as it is")
            }
            Self::PaymentDeclined => ("payment_declined", &[422], "the card was declined, and why"),
            Self::CardRefused => ("card_refused", &[422], "the card processor refused"),
            Self::RateLimit => ("rate_limit", &[429], "too often; `retry-after` says when to come back"),
            Self::ConcurrencyLimit => ("concurrency_limit", &[429], "permits allowed, used and needed"),
            Self::SocketLimit => ("socket_limit", &[429], "as many live sockets are open as may be"),
            Self::Internal => ("internal", &[500], "a fault here, which was logged"),
            Self::ModelError => ("model_error", &[500], "the model is broken"),
            Self::ProviderError => (
                "provider_error",
                &[401, 402, 403, 429, 502, 503, 529],
                "what the provider said; of 401 to 403, to the caller's own key",
            ),
            Self::Overloaded => ("overloaded", &[503], "too much at once; come back soon"),
            Self::NotReady => ("not_ready", &[503], "not now: stopping, or the ledger is away"),
            Self::Timeout => ("timeout", &[408, 504], "no answer, or no body, in time; `stage` says of what"),
        }
    }

    /// The code's name.
    pub const fn name(self) -> &'static str {
        self.entry().0
    }

    /// The code's statuses.
    pub const fn statuses(self) -> &'static [u16] {
        self.entry().1
    }

    /// The code's meaning.
    pub const fn says(self) -> &'static str {
        self.entry().2
    }
}
