//! A provider's refusal, as its caller sees it. A refusal that is about the request, or about the caller's own key, is
//! passed on. One that is about the provider's state keeps a status that tells clients to retry. One that is between
//! the provider and this gateway is neither's fault, and lasts until the operator acts.

use actix_web::http::StatusCode;
use actors::provider::is_spent;
use wire::inference::{Failure, ProviderError, Unserved};

use super::{ApiError, code::Code};

/// The wait before a retry where the provider names none: at a limit, an overload, and a failure.
const LIMITED_S: u64 = 5;
const OVERLOADED_S: u64 = 5;
const FAILED_S: u64 = 2;
/// The wait before a retry where only the operator can end the problem.
const LASTING_S: u64 = 60;

fn bad_gateway(message: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_GATEWAY, Code::ProviderError, message).after(FAILED_S)
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match &failure {
            Failure::Invalid { field, message } => Self::invalid(field, message),
            Failure::ContextLength(too_long) => {
                let mut error = Self::new(StatusCode::BAD_REQUEST, Code::ContextLengthExceeded, too_long.to_string());
                error.param = Some(too_long.field.to_owned());
                error.with("prompt_tokens", too_long.prompt).with("context_length", too_long.context)
            }
            Failure::NotFinite => {
                let message = "The model is broken: its scores are not finite numbers. Nothing was charged.";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::ModelError, message)
            }
            Failure::Provider(error) => refused(error),
            Failure::Unserved(unserved) => {
                let message = match unserved {
                    Unserved::Credentials => "The provider refused this gateway's credentials.",
                    Unserved::Quota => {
                        "The provider refused this gateway's account: its quota or credit there is used up."
                    }
                };
                bad_gateway(&format!("{message} Only whoever runs it can help.")).after(LASTING_S).not_again()
            }
            Failure::Transport(message) | Failure::Unreached(message) => bad_gateway(message),
            Failure::TooLarge(_) => bad_gateway("The provider's answer is too long to be told whole; stream it."),
            Failure::Timeout(stage) => timeout(stage),
            Failure::Engine(message) => Self::internal(message),
            Failure::LeftAlone { seconds, .. } => Self::overloaded(failure.to_string()).after(*seconds),
            Failure::Overloaded(message) => Self::overloaded(message.as_str()),
            Failure::Unavailable(message) => Self::not_ready(message.as_str()),
        }
    }
}

fn timeout(stage: &str) -> ApiError {
    let message = format!("No answer in time (stage: {stage}).");
    ApiError::new(StatusCode::GATEWAY_TIMEOUT, Code::Timeout, message).after(FAILED_S).with("stage", stage)
}

/// The parts of a provider's refusal that may be passed on.
fn refused(error: &ProviderError) -> ApiError {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let words = &error.message;
    let kept = |code, message: String| ApiError::new(status, code, message);
    let limited = |wait: u64| {
        let mut told = kept(Code::ProviderError, format!("The provider answered {}: {words}", error.status));
        told.retry_after = Some(error.retry_after.unwrap_or(wait));
        told
    };
    let mut told = match error.status {
        400 | 409 | 422 | 451 => kept(Code::InvalidRequest, format!("The provider refused: {words}")),
        413 => kept(Code::PayloadTooLarge, format!("The provider refused: {words}")),
        // A refusal without an error of the provider comes from a wrong address.
        404 if error.code.is_some() || error.kind.is_some() || error.param.is_some() => {
            kept(Code::ModelNotFound, format!("The provider refused: {words}"))
        }
        // The refusal is about the caller's own key.
        401..=403 => kept(Code::ProviderError, format!("The provider refused: {words}")),
        429 if is_spent(error) => limited(LASTING_S).not_again(),
        429 => limited(LIMITED_S),
        503 | 529 => limited(OVERLOADED_S),
        408 | 504 | 522 | 524 => {
            let mut told = timeout("provider");
            told.retry_after = Some(error.retry_after.unwrap_or(FAILED_S));
            told
        }
        200..300 => bad_gateway(&format!("The provider reported an error: {words}")),
        _ => {
            let mut told = bad_gateway(&format!("The provider answered {}: {words}", error.status));
            told.retry_after = error.retry_after.or(told.retry_after);
            told
        }
    };
    if told.status.is_client_error() {
        (told.param, told.provider_code) = (error.param.clone(), error.code.clone());
    }
    told.with("provider_status", error.status).with("provider_message", words.as_str())
}

#[cfg(test)]
mod tests {
    use super::super::Shape;
    use super::*;
    use serde_json::{Value, json};
    use wire::format::openai::read_refusal;

    fn answered(status: u16, body: &str) -> ApiError {
        Failure::Provider(Box::new(read_refusal(status, body.as_bytes()))).into()
    }

    const SAID: &str =
        r#"{"error":{"message":"no","type":"x","param":"messages[0]","code":"context_length_exceeded"}}"#;

    #[test]
    fn what_is_about_the_request_stays_what_it_is() {
        for (status, code) in
            [(400, "invalid_request"), (404, "model_not_found"), (413, "payload_too_large"), (422, "invalid_request")]
        {
            let body = answered(status, SAID).body(Shape::OpenAi, "r");
            assert_eq!((&body["status"], &body["code"]), (&json!(status), &json!(code)));
            assert_eq!(body["error"]["param"], "messages[0]");
            assert_eq!(body["error"]["code"], "context_length_exceeded");
            assert_eq!(body["error"]["type"], "invalid_request_error");
            assert_eq!(body["message"], "The provider refused: no");
        }
        for silent in ["<html>", r#"{"error":"no"}"#, r#"{"error":{"message":"no","param":null,"code":null}}"#] {
            let body = answered(400, silent).body(Shape::OpenAi, "r");
            assert_eq!((&body["error"]["param"], &body["error"]["code"]), (&Value::Null, &json!("invalid_request")));
        }
        assert_eq!(answered(404, "<html>no such page").status(), 502, "an address that is not the provider's");
        let broken = answered(500, SAID).body(Shape::OpenAi, "r");
        assert_eq!((&broken["error"]["param"], &broken["error"]["code"]), (&Value::Null, &json!("provider_error")));
    }

    #[test]
    fn what_tells_a_client_to_come_back_says_when() {
        for (status, told, wait) in [
            (429, 429, LIMITED_S),
            (529, 529, OVERLOADED_S),
            (503, 503, OVERLOADED_S),
            (500, 502, FAILED_S),
            (520, 502, FAILED_S),
            (301, 502, FAILED_S),
            (418, 502, FAILED_S),
            (408, 504, FAILED_S),
            (504, 504, FAILED_S),
            (524, 504, FAILED_S),
        ] {
            let error = answered(status, r#"{"message":"busy"}"#);
            assert_eq!((error.status().as_u16(), error.wait()), (told, Some(wait)), "{status}");
            let mut refusal = read_refusal(status, b"busy");
            for (said, wait) in [(17, 17), (0, 1), (86_400, 120)] {
                refusal.retry_after = Some(said);
                let error = ApiError::from(Failure::Provider(Box::new(refusal.clone())));
                assert_eq!((error.wait(), error.may_retry()), (Some(wait), None), "{status}");
            }
        }
        let quota = answered(429, r#"{"error":{"message":"none left","code":"insufficient_quota"}}"#);
        assert_eq!((quota.status().as_u16(), quota.may_retry()), (429, Some(false)));
        assert_eq!(quota.openai_object()["code"], "insufficient_quota");
    }

    #[test]
    fn what_only_the_operator_can_end_says_so_and_nothing_of_the_provider() {
        for unserved in [Unserved::Credentials, Unserved::Quota] {
            let error = ApiError::from(Failure::Unserved(unserved));
            assert_eq!((error.status().as_u16(), error.code()), (502, "provider_error"));
            assert_eq!((error.wait(), error.may_retry()), (Some(LASTING_S), Some(false)));
        }
        let error = ApiError::from(Failure::LeftAlone { whom: "x".into(), seconds: 5 });
        assert_eq!((error.status().as_u16(), error.wait()), (503, Some(5)));
    }
}
