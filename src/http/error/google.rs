//! Errors as clients of Google's APIs read them (`google.rpc.Status`, and AIP-193): a code, which is HTTP's, a status in
//! words, a message, and details. Its SDKs take `status`, `message` and `code` at the top before those of the object, so
//! nothing else has these names.

use actix_web::http::StatusCode;
use serde_json::{Map, Value, json};

use super::{ApiError, code::Code};

/// Whose reasons they are, in details.
const DOMAIN: &str = "farebox";

impl ApiError {
    /// The body of an error, with our own fields beside the object.
    pub(super) fn google_body(&self, request_id: &str) -> Value {
        let mut body = Map::new();
        // Clients know an error within a stream by the name with which it begins.
        body.insert("error".into(), self.google_object());
        body.insert("request_id".into(), request_id.into());
        body.extend(self.extra.clone());
        if let Some(seconds) = self.wait() {
            body.insert("retry_after".into(), seconds.into());
        }
        Value::Object(body)
    }

    fn google_object(&self) -> Value {
        let (status, reason) = (word(self.status), self.code.name().to_ascii_uppercase());
        let mut info = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": DOMAIN});
        if let Some(param) = &self.param {
            info["metadata"] = json!({"field": param});
        }
        let mut details = vec![info];
        if let Some(seconds) = self.wait() {
            let delay = format!("{seconds}s");
            details.push(json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}));
        }
        let tokens = |name: &str| self.extra.get(name).and_then(Value::as_u64);
        // Agents of this format compact their conversation on these words.
        let message = match (self.code, tokens("prompt_tokens"), tokens("context_length")) {
            (Code::ContextLengthExceeded, Some(prompt), Some(most)) => {
                format!("The input token count ({prompt}) exceeds the maximum number of tokens allowed ({most}).")
            }
            _ => self.message.clone(),
        };
        json!({"code": self.status.as_u16(), "message": message, "status": status, "details": details})
    }
}

/// The word for a status (`google.rpc.Code`).
fn word(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "UNAUTHENTICATED",
        // Money is a precondition here; a quota comes back by itself.
        402 => "FAILED_PRECONDITION",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        405 | 426 => "UNIMPLEMENTED",
        408 | 504 => "DEADLINE_EXCEEDED",
        429 => "RESOURCE_EXHAUSTED",
        400..=499 => "INVALID_ARGUMENT",
        502 | 503 | 529 => "UNAVAILABLE",
        _ => "INTERNAL",
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Shape, *};
    use billing::command::Refusal;

    #[test]
    fn an_error_has_the_words_that_googles_sdks_read() {
        let of = |error: ApiError| error.body(Shape::GoogleObject, "r");
        let invalid = of(ApiError::invalid("contents", "is required"));
        let info = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "INVALID_REQUEST", "domain": "farebox",
            "metadata": {"field": "contents"}});
        let expected =
            json!({"code": 400, "message": "contents: is required", "status": "INVALID_ARGUMENT", "details": [info]});
        assert_eq!(
            (&invalid["error"], &invalid["request_id"], &invalid["field"]),
            (&expected, &json!("r"), &json!("contents"))
        );
        for (error, status) in [
            (ApiError::unauthorized("x"), "UNAUTHENTICATED"),
            (ApiError::forbidden("x"), "PERMISSION_DENIED"),
            (ApiError::model_not_found("m", &[]), "NOT_FOUND"),
            (ApiError::too_large(1), "INVALID_ARGUMENT"),
            (ApiError::slow_down("x", 7), "RESOURCE_EXHAUSTED"),
            (ApiError::overloaded("x"), "UNAVAILABLE"),
            (ApiError::internal(&"x"), "INTERNAL"),
        ] {
            let body = of(error.clone());
            assert_eq!(body["error"]["status"], status);
            assert_eq!(body["error"]["code"], error.status().as_u16());
            assert!(["status", "message", "code"].iter().all(|name| body.get(name).is_none()), "{body}");
            assert!(body.to_string().starts_with("{\"error\":"), "{body}");
        }
        let slow = of(ApiError::slow_down("x", 7));
        assert_eq!(slow["error"]["details"][1]["retryDelay"], "7s");
    }

    #[test]
    fn too_few_credits_are_told_in_one_form_unless_the_client_reads_objects() {
        let refusal = Refusal::InsufficientCredits {
            available: billing::Nanos::ZERO,
            held: billing::Nanos::ZERO,
            debt: billing::Nanos::ZERO,
            needed: billing::Nanos::ZERO,
            reload_due: false,
        };
        let broke = ApiError::from(refusal);
        let object = broke.body(Shape::GoogleObject, "r");
        assert_eq!(
            (&object["error"]["status"], &object["error"]["code"]),
            (&json!("FAILED_PRECONDITION"), &json!(402))
        );
        assert_eq!(object["available"], "0.00");
        let literal = broke.body(Shape::Google, "r");
        assert_eq!((&literal["error"], &literal["status"]), (&json!("Payment Required"), &json!(402)));
    }
}
