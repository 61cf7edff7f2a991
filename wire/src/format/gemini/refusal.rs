//! Errors of the Gemini API (`google.rpc.Status`): an object, or an array of one. A bad key has the status of a bad
//! request, and is told apart by a reason in the details.

use serde_json::Value;

use crate::{
    format::openai::{fault, faults::read_named_refusal},
    inference::ProviderError,
};

/// Reasons and words of a key that is not valid.
const BAD_KEYS: [&str; 2] = ["API_KEY_INVALID", "API_KEY_EXPIRED"];
const BAD_KEY_WORDS: &str = "API key not valid";
/// The most bytes of a reason that are kept.
const LONGEST_REASON: usize = 100;

/// Reads an error answer.
pub(super) fn read(status: u16, body: &[u8]) -> ProviderError {
    let error = read_named_refusal(status, body);
    match serde_json::from_slice::<Value>(body) {
        Ok(body) => named(error, &body),
        Err(_) => error,
    }
}

/// Reads an error within an answer.
pub(super) fn in_answer(body: &Value) -> ProviderError {
    named(fault::in_answer(body, ""), body)
}

/// An error with Google's own names: the status in words, and the reason in its details.
fn named(error: ProviderError, body: &Value) -> ProviderError {
    let body = body.as_array().and_then(|list| list.first()).unwrap_or(body);
    let short = |text: &str| (text.len() <= LONGEST_REASON).then(|| text.to_owned());
    let kind = body.pointer("/error/status").and_then(Value::as_str).and_then(short);
    let details = body.pointer("/error/details").and_then(Value::as_array).into_iter().flatten();
    let reason = details.filter_map(|detail| detail.get("reason")?.as_str()).find_map(short);
    let is_bad_key =
        reason.as_deref().is_some_and(|reason| BAD_KEYS.contains(&reason)) || error.message.starts_with(BAD_KEY_WORDS);
    ProviderError {
        status: if is_bad_key { 401 } else { error.status },
        code: reason.or_else(|| kind.clone()).or(error.code),
        kind: kind.or(error.kind),
        ..error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_key_is_told_apart_from_a_bad_request() {
        let of = |reason: &str, message: &str| {
            let info = format!(r#"{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{reason}"}}"#);
            let body = format!(
                r#"[{{"error":{{"code":400,"message":"{message}","status":"INVALID_ARGUMENT","details":[{info}]}}}}]"#
            );
            let error = read(400, body.as_bytes());
            (error.status, error.code.unwrap(), error.kind.unwrap())
        };
        assert_eq!(of("API_KEY_INVALID", "x"), (401, "API_KEY_INVALID".into(), "INVALID_ARGUMENT".into()));
        assert_eq!(of("OTHER", "API key not valid. Please pass a valid API key.").0, 401);
        assert_eq!(of("BAD_REQUEST", "x").0, 400);
        let spent = r#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}"#;
        let error = read(429, spent.as_bytes());
        assert_eq!((error.status, error.code.as_deref()), (429, Some("RESOURCE_EXHAUSTED")));
        assert_eq!(read(502, b"<html>Bad Gateway").message, "Bad Gateway");
        assert_eq!(in_answer(&serde_json::from_str(spent).unwrap()).status, 429);
    }
}
