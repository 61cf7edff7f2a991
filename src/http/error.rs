//! Errors, as clients see them: the only module that knows status codes (design, chapter 5). Bodies have `status`,
//! `error`, `message`, `code` and `request_id`, then fields that help the reader act. Headers tell clients that retry
//! by themselves whether and when to retry.

pub mod code;
pub mod form;
mod google;
mod provider;

use actix_web::{
    HttpResponse,
    http::{StatusCode, header::WWW_AUTHENTICATE},
};
use actors::account::AccountError;
use billing::{
    command::{Refusal, Scale},
    key::{KeyRefusal, Scope},
};
use serde_json::{Map, Value, json};
use wire::fields::BadRequest;

use code::Code;

use crate::{
    catalogue::Missing,
    idempotency::store::{Lost, Refused},
    service::ServiceError,
};

/// The form of a route's errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `error` is the status's phrase.
    Native,
    /// `error` is the object that OpenAI's SDKs read, except for 402, which has one form everywhere.
    OpenAi,
    /// `error` is always that object.
    Object,
    /// The object that Anthropic's SDKs read, except for 402.
    Anthropic,
    /// Always that object.
    AnthropicObject,
    /// The object that Cohere's SDKs read.
    Cohere,
    /// The object that Google's SDKs read, except for 402.
    Google,
    /// Always that object.
    GoogleObject,
}

/// The longest wait before a retry: SDKs give up at longer ones.
const LONGEST_WAIT_S: u64 = 120;
/// The wait before a retry where nothing else is known.
const USUAL_WAIT_S: u64 = 2;

/// An error to answer with.
#[derive(Debug, Clone)]
pub struct ApiError {
    status: StatusCode,
    code: Code,
    message: String,
    param: Option<String>,
    /// The code of a provider that refused, which SDKs read in place of ours.
    provider_code: Option<String>,
    retry_after: Option<u64>,
    /// Whether a retry is useless, although the status allows one.
    is_lasting: bool,
    extra: Map<String, Value>,
}

impl ApiError {
    fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        debug_assert!(code.statuses().contains(&status.as_u16()), "{status} {}", code.name());
        let (message, extra) = (message.into(), Map::new());
        Self { status, code, message, param: None, provider_code: None, retry_after: None, is_lasting: false, extra }
    }

    pub(in crate::http) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(field.to_owned(), value.into());
        self
    }

    pub(in crate::http) const fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Marks an error that lasts until somebody acts.
    const fn not_again(mut self) -> Self {
        self.is_lasting = true;
        self
    }

    /// The seconds to wait before a retry, where a retry may help.
    pub(in crate::http) fn wait(&self) -> Option<u64> {
        let usual =
            (self.status == StatusCode::TOO_MANY_REQUESTS || self.status.is_server_error()).then_some(USUAL_WAIT_S);
        self.retry_after.or(usual).map(|seconds| seconds.clamp(1, LONGEST_WAIT_S))
    }

    /// The value of `x-should-retry`; `None` where the status says enough.
    fn may_retry(&self) -> Option<bool> {
        let in_vain = match self.status.as_u16() {
            401..=403 => true,
            // Some conflicts end by themselves, and say when.
            409 => self.retry_after.is_none(),
            _ => self.is_lasting,
        };
        in_vain.then_some(false)
    }

    /// Adds the place in the line where the request waited.
    #[must_use]
    pub fn waited(self, place: usize) -> Self {
        self.with("place", place)
    }

    /// An invalid field.
    pub fn invalid(field: &str, message: impl std::fmt::Display) -> Self {
        let mut error = Self::new(StatusCode::BAD_REQUEST, Code::InvalidRequest, format!("{field}: {message}"));
        error.param = Some(field.to_owned());
        error.with("field", field)
    }

    /// A missing or unknown key.
    pub fn unauthorized(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, message)
    }

    /// The caller is not allowed to do this.
    pub fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, Code::Forbidden, message)
    }

    /// The key or the role lacks this scope.
    pub fn out_of_scope(scope: Scope) -> Self {
        let message = format!("This key or role may not do this: it takes the scope \"{}\".", scope.name());
        Self::forbidden(&message).with("scope", scope.name())
    }

    /// There is no such object.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, Code::NotFound, format!("{what} was not found"))
    }

    /// There is no such model.
    pub fn model_not_found(name: &str, nearest: &[String]) -> Self {
        let hint = if nearest.is_empty() { String::new() } else { format!(" Did you mean {}?", nearest.join(" or ")) };
        let name: String = name.chars().take(100).collect();
        let mut error =
            Self::new(StatusCode::NOT_FOUND, Code::ModelNotFound, format!("There is no model \"{name}\".{hint}"));
        error.param = Some("model".into());
        error.with("nearest", nearest.to_vec())
    }

    /// A name that means no model, or several.
    pub fn no_model(name: &str, why: &Missing) -> Self {
        match why {
            Missing::Unknown(nearest) => Self::model_not_found(name, nearest),
            Missing::Several(names) => {
                let message =
                    format!("is the name of a model at several endpoints here; ask for {}", names.join(" or "));
                Self::invalid("model", message).with("nearest", names.clone())
            }
        }
    }

    /// The model has no price.
    pub fn unpriced(name: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            Code::UnpricedModel,
            format!("\"{name}\" has no price here, so it can't be run"),
        )
    }

    /// A conflict with an existing object or state.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, Code::Conflict, message)
    }

    /// The body is larger than the limit.
    pub fn too_large(limit: usize) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::PayloadTooLarge, format!("body: larger than {limit} bytes"))
    }

    /// The body has a content-encoding.
    pub fn encoded(encoding: &str) -> Self {
        let encoding: String = encoding.chars().take(40).collect();
        let message = format!("content-encoding: bodies are read as they are, not as {encoding}; send it uncompressed");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::UnsupportedEncoding, message)
    }

    /// The path does not have the method.
    pub fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, Code::MethodNotAllowed, "this path does not take that method")
    }

    /// The path is not served over another protocol.
    pub fn no_upgrade() -> Self {
        let message = "This path is served over HTTP alone: ask again without an upgrade.";
        Self::new(StatusCode::UPGRADE_REQUIRED, Code::UpgradeRequired, message)
    }

    /// The card was declined.
    pub fn payment_declined(decline_code: &str, payment_id: &str) -> Self {
        let message = format!("The card was declined: {decline_code}");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, Code::PaymentDeclined, message)
            .with("decline_code", decline_code)
            .with("payment_id", payment_id)
    }

    /// A timeout, with the stage that took too long.
    pub fn too_slow(message: &str, stage: &str) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, Code::Timeout, message).with("stage", stage)
    }

    /// Too many requests; to be retried after so many seconds.
    pub fn slow_down(message: &str, seconds: u64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, Code::RateLimit, message).after(seconds)
    }

    /// An address sends more than so many requests in a minute; to be retried after so many seconds.
    pub fn address_limit(limit: u32, seconds: u64) -> Self {
        let message = format!("{limit} requests a minute from one address is the limit; try again in {seconds} s.");
        Self::slow_down(&message, seconds).with("limit", limit).with("reset_ms", seconds.saturating_mul(1_000))
    }

    /// Frames of a live socket's request that are not remembered any more; `first` is the number of the first that is.
    pub fn frames_forgotten(first: u64) -> Self {
        let message = format!(
            "The frames before number {first} are not remembered any more; the rest is, after {}.",
            first.saturating_sub(1)
        );
        Self::new(StatusCode::GONE, Code::FramesForgotten, message).with("first", first)
    }

    /// The account has too many live sockets.
    pub fn too_many_sockets(message: String, allowed: usize) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, Code::SocketLimit, message).with("allowed", allowed).after(1)
    }

    /// Too much load just now.
    pub fn overloaded(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::Overloaded, message).after(1)
    }

    /// The server is not ready, or is stopping.
    pub fn not_ready(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::NotReady, message).after(1)
    }

    /// A fault of this server. Its cause is in the log, under the request's id.
    pub fn internal(logged: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %logged, "internal error");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, "Something went wrong here; it has been logged.")
    }

    /// The HTTP status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The code.
    pub const fn code(&self) -> &'static str {
        self.code.name()
    }

    /// The message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The body.
    pub fn body(&self, shape: Shape, request_id: &str) -> Value {
        let phrase = self.status.canonical_reason().unwrap_or("Overloaded");
        let is_broke = self.status == StatusCode::PAYMENT_REQUIRED;
        let mut body = Map::new();
        let error = match shape {
            Shape::Native | Shape::Cohere => phrase.into(),
            Shape::OpenAi | Shape::Anthropic | Shape::Google if is_broke => phrase.into(),
            Shape::OpenAi | Shape::Object => self.openai_object(),
            Shape::Anthropic | Shape::AnthropicObject => {
                body.insert("type".into(), "error".into());
                self.anthropic_object()
            }
            Shape::Google | Shape::GoogleObject => return self.google_body(request_id),
        };
        body.insert("status".into(), self.status.as_u16().into());
        body.insert("error".into(), error);
        body.insert("message".into(), self.message.clone().into());
        body.insert("code".into(), self.code.name().into());
        body.insert("request_id".into(), request_id.into());
        if shape == Shape::Cohere {
            body.insert("id".into(), request_id.into());
        }
        body.extend(self.extra.clone());
        if let Some(seconds) = self.wait() {
            body.insert("retry_after".into(), seconds.into());
        }
        Value::Object(body)
    }

    /// The `error` object of "Error codes", `OpenAI` API documentation.
    pub fn openai_object(&self) -> Value {
        let kind = match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            402 => "insufficient_quota",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            529 => "overloaded_error",
            _ => "api_error",
        };
        let code = self.provider_code.as_deref().unwrap_or(self.code.name());
        json!({"message": self.message, "type": kind, "code": code, "param": self.param})
    }

    /// The `error` object of "Errors", Anthropic API.
    fn anthropic_object(&self) -> Value {
        let kind = match self.status.as_u16() {
            401 => "authentication_error",
            402 => "billing_error",
            403 => "permission_error",
            404 => "not_found_error",
            409 => "conflict_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            504 => "timeout_error",
            503 | 529 => "overloaded_error",
            _ => "api_error",
        };
        let tokens = |name: &str| self.extra.get(name).and_then(Value::as_u64);
        // Agents of this format compact their conversation on these words alone.
        let message = match (self.code, tokens("prompt_tokens"), tokens("context_length")) {
            (Code::ContextLengthExceeded, Some(prompt), Some(most)) => {
                format!("prompt is too long: {prompt} tokens > {most} maximum")
            }
            _ => self.message.clone(),
        };
        json!({"type": kind, "message": message})
    }

    /// The whole answer.
    pub fn response(&self, shape: Shape, request_id: &str) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        response.insert_header(("x-request-id", request_id));
        if let Some(seconds) = self.wait() {
            response.insert_header(("retry-after", seconds.to_string()));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110, 11.6.1: each 401 names the accepted scheme.
            response.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        if let Some(may_retry) = self.may_retry() {
            response.insert_header(("x-should-retry", may_retry.to_string()));
        }
        response.json(self.body(shape, request_id))
    }
}

impl From<BadRequest> for ApiError {
    fn from(bad: BadRequest) -> Self {
        Self::invalid(&bad.field, bad.message)
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::InsufficientCredits { available, held, debt, needed, reload_due } => {
                let message = "Insufficient credits. Please add credits to continue.";
                Self::new(StatusCode::PAYMENT_REQUIRED, Code::InsufficientCredits, message)
                    .with("available", available.to_string())
                    .with("held", held.to_string())
                    .with("debt", debt.to_string())
                    .with("needed", needed.to_string())
                    .with("reload_due", reload_due)
            }
            Refusal::Frozen { since } => {
                let message = "This account is frozen and admits no requests. Ask whoever runs this gateway.";
                Self::new(StatusCode::FORBIDDEN, Code::AccountFrozen, message).with("since", since.to_string())
            }
            Refusal::ModelLocked { class, largest, unlock } => {
                let message = format!(
                    "Models of class {} are locked (up to {} are unlocked). Buy ${unlock} of credits to unlock them.",
                    class.name(),
                    largest.name()
                );
                Self::new(StatusCode::FORBIDDEN, Code::ModelLocked, message)
                    .with("class", class.name())
                    .with("largest", largest.name())
                    .with("unlock", unlock.to_string())
            }
            Refusal::ConcurrencyLimit { allowed, used, needed, next, scale } => {
                let hint =
                    next.map_or_else(String::new, |(dollars, units)| format!(" Buy ${dollars} for {units} units."));
                let message = format!("{used} of {allowed} concurrency units are in use, {needed} needed.{hint}");
                let next =
                    next.map(|(dollars, units)| json!({"dollars": dollars.to_string(), "units": units.to_string()}));
                Self::new(StatusCode::TOO_MANY_REQUESTS, Code::ConcurrencyLimit, message)
                    .with("allowed", allowed.to_string())
                    .with("used", used.to_string())
                    .with("needed", needed.to_string())
                    .with("next_tier", next.unwrap_or(Value::Null))
                    .with("auto_scale", scale_json(scale))
                    .after(1)
            }
            Refusal::RateLimit { limit, retry_after_ms } => {
                let message = format!("{limit} requests a second is the limit; try again in {retry_after_ms} ms.");
                Self::new(StatusCode::TOO_MANY_REQUESTS, Code::RateLimit, message)
                    .with("limit", limit)
                    .with("reset_ms", retry_after_ms)
                    .after(u64::try_from(retry_after_ms).unwrap_or(1_000).div_ceil(1_000))
            }
            Refusal::KeyLimit(refused) => key_limit(refused),
            Refusal::BadAmount { field, message } => Self::invalid(&field, &message),
            Refusal::NotSubscribed | Refusal::NoGrant(_) => {
                Self::new(StatusCode::NOT_FOUND, Code::NotFound, refusal.to_string())
            }
            Refusal::AlreadyAdmitted(_)
            | Refusal::NoHold(_)
            | Refusal::NoPayment(_)
            | Refusal::AlreadyFunded(_)
            | Refusal::AlreadyFrozen(_)
            | Refusal::NotFrozen
            | Refusal::AlreadySubscribed
            | Refusal::PaymentInFlight
            | Refusal::TooManyReversals(_)
            | Refusal::CycleMoved(_)
            | Refusal::GrantMoved(_)
            | Refusal::ResourcesMoved => Self::conflict(refusal.to_string()),
        }
    }
}

/// The result of buying permits, where the request wanted that.
fn scale_json(scale: Scale) -> Value {
    match scale {
        Scale::Off => Value::Null,
        Scale::Buying => json!({"status": "buying"}),
        Scale::OverMaximum(amount) => json!({"status": "max_monthly_spend_reached", "amount": amount}),
        Scale::NotBefore(at) => json!({"status": "card_declined", "retry_at": at.to_string()}),
        Scale::Top => json!({"status": "highest_tier"}),
        Scale::Paused => json!({"status": "paused"}),
    }
}

fn key_limit(refused: KeyRefusal) -> ApiError {
    let error = |message| ApiError::new(StatusCode::FORBIDDEN, Code::KeyLimit, message);
    match refused {
        KeyRefusal::Model { allowed } => {
            error("This key may not use that model.".to_owned()).with("limit", "models").with("allowed", allowed)
        }
        KeyRefusal::Amount { window, limit, used, resets_at } => {
            let span = match resets_at {
                Some(_) => format!("a {}", window.name()),
                None => "in all".to_owned(),
            };
            error(format!("This key may spend ${limit} {span}; ${used} are spent or held by running requests."))
                .with("limit", window.name())
                .with("amount", limit.to_string())
                .with("used", used.to_string())
                .with("resets_at", resets_at.map(|at| at.to_string()))
        }
    }
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Invalid { field, message } => Self::invalid(&field, message),
            ServiceError::OutOfScope(scope) => Self::out_of_scope(scope),
            ServiceError::NotFound(what) => Self::not_found(what),
            ServiceError::Conflict(message) => Self::conflict(message),
            ServiceError::Refused(refusal) => refusal.into(),
            ServiceError::Declined { code, payment } => Self::payment_declined(&code, &payment.to_string()),
            ServiceError::CardRefused { ref code, .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, Code::CardRefused, error.to_string())
                    .with("processor_code", code.as_str())
            }
            ServiceError::Overloaded(message) => Self::overloaded(message),
            ServiceError::NotReady(message) => Self::not_ready(message),
            ServiceError::Elsewhere(message) => Self::new(StatusCode::BAD_GATEWAY, Code::ProviderError, message),
            ServiceError::Internal(message) => Self::internal(&message),
        }
    }
}

impl From<AccountError> for ApiError {
    fn from(error: AccountError) -> Self {
        ServiceError::from(error).into()
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Reused => {
                let message = "This Idempotency-Key was used for another request in the last 24 hours. Use a new key.";
                Self::new(StatusCode::CONFLICT, Code::IdempotencyKeyReused, message)
            }
            Refused::InProgress => {
                let message = "The first request with this Idempotency-Key has not ended yet. Try again soon.";
                Self::new(StatusCode::CONFLICT, Code::IdempotencyInProgress, message).after(2)
            }
            Refused::Lost { request_id, why, made } => {
                let why = match why {
                    Lost::Interrupted => "the server stopped before it was kept",
                    Lost::TooLarge => "it was too large to be kept",
                    Lost::Unreadable => "it was kept under another operator's token",
                };
                let message = format!(
                    "The first request with this Idempotency-Key was carried out, and its answer is lost: {why}. It is not \
                     run or charged again; to run it anew, use a new key."
                );
                let error = Self::new(StatusCode::CONFLICT, Code::AnswerLost, message)
                    .with("original_request_id", request_id.to_string());
                match made {
                    Some((what, amount)) => error.with("made", what).with("amount", amount.to_string()),
                    None => error,
                }
            }
            Refused::Overloaded => Self::overloaded("Too many requests with an Idempotency-Key run or wait."),
            Refused::Ledger(error) => ServiceError::from(error).into(),
            Refused::Account(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use billing::Nanos;

    #[test]
    fn a_402_is_literally_the_contracts() {
        let refusal = Refusal::InsufficientCredits {
            available: Nanos::new(5),
            held: Nanos::ZERO,
            debt: Nanos::ZERO,
            needed: Nanos::dollars(1),
            reload_due: false,
        };
        for shape in [Shape::Native, Shape::OpenAi] {
            let text = ApiError::from(refusal.clone()).body(shape, "r").to_string();
            let start = r#"{"status":402,"error":"Payment Required","message":"Insufficient credits. Please add credits to continue.","#;
            assert!(text.starts_with(start), "{text}");
        }
    }

    #[test]
    fn openai_shaped_errors_carry_an_object() {
        let body = ApiError::invalid("temperature", "must be a number").body(Shape::OpenAi, "r");
        assert_eq!(body["error"]["param"], "temperature");
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert_eq!(body["status"], 400);
        assert_eq!(ApiError::not_found("x").body(Shape::Native, "r")["error"], "Not Found");
    }

    #[test]
    fn a_402_says_its_words_in_an_object_to_clients_that_read_one() {
        let broke = |shape| {
            let (available, held, debt, needed) = (Nanos::ZERO, Nanos::ZERO, Nanos::ZERO, Nanos::dollars(1));
            ApiError::from(Refusal::InsufficientCredits { available, held, debt, needed, reload_due: false })
                .body(shape, "r")
        };
        let said = "Insufficient credits. Please add credits to continue.";
        let error =
            json!({"message": said, "type": "insufficient_quota", "code": "insufficient_credits", "param": null});
        let body = broke(Shape::Object);
        assert_eq!((&body["status"], &body["error"], &body["message"]), (&json!(402), &error, &json!(said)));
        assert_eq!(body["needed"], broke(Shape::OpenAi)["needed"]);
    }

    #[test]
    fn clients_that_ask_again_by_themselves_are_told_whether_and_when() {
        let told = |error: &ApiError| {
            let response = error.response(Shape::OpenAi, "r");
            let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            (header("retry-after"), header("x-should-retry"))
        };
        let (never, after) = (Some("false".to_owned()), |seconds: &str| Some(seconds.to_owned()));
        assert_eq!(told(&ApiError::unauthorized("no key")), (None, never.clone()));
        assert_eq!(told(&ApiError::forbidden("no")), (None, never.clone()));
        assert_eq!(told(&ApiError::conflict("taken")), (None, never));
        assert_eq!(told(&Refused::InProgress.into()), (after("2"), None));
        assert_eq!(told(&ApiError::internal(&"x")), (after("2"), None));
        assert_eq!(told(&ApiError::overloaded("x")), (after("1"), None));
        assert_eq!(told(&Refusal::RateLimit { limit: 10, retry_after_ms: 20 }.into()), (after("1"), None));
        assert_eq!(told(&ApiError::invalid("x", "y")), (None, None));
    }
}
