//! A provider's error in any shape: its message, its code, and the status that it stands for.

use serde_json::Value;

use crate::{inference::ProviderError, sse::Decoder};

/// The most bytes of a text without JSON that become an error's message.
const TEXT_WORDS: usize = 200;
/// The most bytes of such a text that are read.
const TEXT_SEEN: usize = 16 << 10;
/// The most bytes kept of an error's message, and of its code, type and param.
const MOST_WORDS: usize = 2_000;
const MOST_CODE: usize = 100;
/// The most entries shown of a list of errors.
const MOST_ENTRIES: usize = 8;
/// How deep an error is searched for a message.
const DEEPEST: usize = 4;

/// Words in `code`, `type` or `status` of errors that name no number, and the status of each. A part of a word is
/// enough; the first match counts.
const STATUS_WORDS: &[(&str, u16)] = &[
    // Faults of a request's images, of which some sound like others.
    ("image_file_not_found", 400),
    ("image_file_too_large", 400),
    ("image_too_large", 400),
    ("insufficient_quota", 429),
    ("rate_limit", 429),
    ("ratelimit", 429),
    ("too_many_requests", 429),
    ("resource_exhausted", 429),
    ("slow_down", 429),
    ("overloaded_error", 529),
    ("overloaded", 503),
    ("unavailable", 503),
    ("timeout", 504),
    ("deadline_exceeded", 504),
    ("invalid_api_key", 401),
    ("authentication", 401),
    ("unauthenticated", 401),
    ("unauthorized", 401),
    ("permission", 403),
    ("forbidden", 403),
    ("billing", 402),
    ("too_large", 413),
    ("model_not_found", 404),
    ("not_found", 404),
    ("notfound", 404),
    ("unprocessable", 422),
    ("invalid_request", 400),
    ("invalid_argument", 400),
    ("badrequest", 400),
    ("bad_request", 400),
    ("context_length", 400),
    ("content_filter", 400),
    ("content_policy", 400),
    ("cyber_policy", 400),
    ("bio_policy", 400),
    ("invalid_prompt", 400),
    ("invalid_image", 400),
    ("invalid_base64_image", 400),
    ("invalid_value", 400),
    ("invalid_type", 400),
    ("image_parse_error", 400),
    ("image_too_small", 400),
    ("empty_image", 400),
    ("unsupported_image", 400),
    ("failed_to_download_image", 400),
    ("unsupported_parameter", 400),
    ("unsupported_value", 400),
    ("unknown_parameter", 400),
    ("missing_required_parameter", 400),
    ("above_max", 400),
    ("below_min", 400),
    ("user_error", 400),
    ("server_error", 500),
    ("api_error", 500),
    ("internal", 500),
];

/// Whether the value of an `error` field is an error.
pub(in crate::format) fn is_telling(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(list) => list.iter().any(is_telling),
        Value::Object(fields) => fields.values().any(is_telling),
    }
}

/// The error in an answer with a success status.
pub(in crate::format) fn in_answer(body: &Value, text: &str) -> ProviderError {
    let error = of(body, text);
    ProviderError { status: named_status(body).unwrap_or(200), ..error }
}

/// An error in an answer with a success status, in our words.
pub(in crate::format) fn in_words(message: impl Into<String>) -> ProviderError {
    ProviderError { status: 200, message: message.into(), ..ProviderError::default() }
}

/// Reads a provider's error answer: its HTTP status and its body. In whatever form its errors are, they are JSON and say
/// something.
pub fn read_refusal(status: u16, body: &[u8]) -> ProviderError {
    read_refusal_as(status, body, |body| words(body).is_some())
}

/// The same of a provider whose errors stand in a member `error`.
pub(in crate::format) fn read_named_refusal(status: u16, body: &[u8]) -> ProviderError {
    read_refusal_as(status, body, |body| body.get("error").is_some_and(is_telling))
}

fn read_refusal_as(status: u16, body: &[u8], is_own: impl Fn(&Value) -> bool) -> ProviderError {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}').trim();
    let said = first_event(text);
    let text = said.as_deref().unwrap_or(text);
    let error = match serde_json::from_str(text) {
        Ok(value) => {
            let said = first(&value);
            ProviderError { is_foreign: !is_own(said), ..of(said, text) }
        }
        Err(_) => ProviderError { message: text_words(text), is_foreign: true, ..ProviderError::default() },
    };
    let message = if error.message.is_empty() { format!("HTTP status {status}") } else { error.message };
    ProviderError { status, message, ..error }
}

/// The data of the first event, where an error is written as a stream.
fn first_event(text: &str) -> Option<String> {
    let is_stream = ["data:", "event:", ":"].iter().any(|start| text.starts_with(start));
    if !is_stream {
        return None;
    }
    let (mut decoder, mut events) = (Decoder::default(), Vec::new());
    decoder.feed(text.as_bytes(), &mut events).ok()?;
    decoder.end(&mut events);
    events.into_iter().map(|event| event.data).find(|data| !data.trim().is_empty())
}

/// An error, which Google writes as an array of one entry.
fn first(body: &Value) -> &Value {
    body.as_array().and_then(|list| list.first()).unwrap_or(body)
}

fn of(body: &Value, text: &str) -> ProviderError {
    let body = first(body);
    let said = |name: &str| {
        let value = body.pointer(&format!("/error/{name}")).or_else(|| body.get(name))?;
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        (!text.is_empty()).then(|| cut(&text, MOST_CODE))
    };
    let kind = said("type").filter(|kind| kind != "error");
    let message = words(body).unwrap_or_else(|| text_words(text));
    let (code, param) = (said("code"), said("param"));
    ProviderError { status: 0, message, code, kind, param, retry_after: None, is_foreign: false }
}

/// The message of an error: the first that is not empty of `error.message`, `error`, `message` and `detail`, then of
/// other servers' names.
fn words(body: &Value) -> Option<String> {
    if let Value::String(text) = body {
        return said(text);
    }
    let message = body.pointer("/error/message").and_then(|message| text_of(message, 0));
    let error = || body.get("error").filter(|error| is_telling(error)).and_then(|error| text_of(error, 0));
    let named = |name: &str| body.get(name).and_then(|value| text_of(value, 0));
    message
        .or_else(error)
        .or_else(|| named("message"))
        .or_else(|| named("detail"))
        .or_else(|| ["errors", "msg", "error_description", "reason", "title"].into_iter().find_map(named))
        .map(|words| cut(&words, MOST_WORDS))
}

fn said(text: &str) -> Option<String> {
    let text = plain(text);
    (!text.is_empty()).then(|| cut(&text, MOST_WORDS))
}

/// The text of a value: the text itself, the entries of a list, or the message of an object.
fn text_of(value: &Value, depth: usize) -> Option<String> {
    if depth > DEEPEST {
        return None;
    }
    match value {
        Value::String(text) => said(text),
        Value::Number(number) => Some(format!("error {number}")),
        Value::Null | Value::Bool(_) => None,
        Value::Array(list) => {
            let entries: Vec<_> =
                list.iter().filter_map(|entry| text_of(entry, depth + 1)).take(MOST_ENTRIES).collect();
            (!entries.is_empty()).then(|| entries.join("; "))
        }
        Value::Object(fields) => {
            let names = ["message", "msg", "detail", "error", "description", "reason", "code", "type"];
            let message = names.into_iter().find_map(|name| text_of(fields.get(name)?, depth + 1));
            let message = message.or_else(|| is_telling(value).then(|| value.to_string()))?;
            Some(match fields.get("loc").and_then(Value::as_array) {
                // FastAPI names the place in the request.
                Some(place) => format!("{}: {message}", place.iter().map(step).collect::<Vec<_>>().join(".")),
                None => message,
            })
        }
    }
}

fn step(step: &Value) -> String {
    step.as_str().map_or_else(|| step.to_string(), str::to_owned)
}

/// The first words of a text that is not JSON; of an HTML page only its visible text.
pub(in crate::format) fn text_words(text: &str) -> String {
    let text = start(text.trim_start(), TEXT_SEEN);
    let seen = if text.starts_with('<') { without_tags(text) } else { text.to_owned() };
    cut(&plain(&seen), TEXT_WORDS)
}

/// The text of an HTML page, roughly: without tags, scripts and styles.
fn without_tags(page: &str) -> String {
    let (mut seen, mut left) = (String::new(), page);
    while let Some((before, rest)) = left.split_once('<') {
        seen.push_str(before);
        seen.push(' ');
        let hides = ["script", "style"]
            .into_iter()
            .find(|name| rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)));
        let end = hides.and_then(|name| rest.to_ascii_lowercase().find(&format!("</{name}")));
        let rest = end.and_then(|end| rest.get(end..)).unwrap_or(rest);
        left = rest.split_once('>').map_or("", |(_, after)| after);
        if seen.len() > MOST_WORDS {
            break;
        }
    }
    seen + left
}

/// One line without control characters.
fn plain(text: &str) -> String {
    let clean: String = text.chars().take(2 * MOST_WORDS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cut(text: &str, most: usize) -> String {
    start(text, most).to_owned()
}

/// The beginning of a text, in whole characters.
fn start(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

/// The HTTP status that an error names, as a number or by a known word.
fn named_status(body: &Value) -> Option<u16> {
    let body = body.as_array().and_then(|list| list.first()).unwrap_or(body);
    let error = body.get("error").unwrap_or(body);
    let fields = || {
        let names = ["status", "status_code", "http_status", "code", "type"];
        [error, body].into_iter().flat_map(move |place| names.into_iter().filter_map(move |name| place.get(name)))
    };
    let number = |value: &Value| match value {
        Value::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let word = |value: &Value| {
        let word = value.as_str()?.to_ascii_lowercase();
        STATUS_WORDS.iter().find(|(known, _)| word.contains(known)).map(|(_, status)| *status)
    };
    let numbered = fields().filter_map(number).find(|status| (400..600).contains(status));
    numbered.or_else(|| fields().find_map(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_in_the_form_of_errors_is_of_what_stands_before_the_provider() {
        let own = r#"{"error":{"message":"no","type":"server_error"}}"#;
        let listed = r#"[{"error":{"code":503,"message":"no","status":"UNAVAILABLE"}}]"#;
        let bare = r#"{"message":"no healthy upstream"}"#;
        let html = "<html><body><center><h1>502 Bad Gateway</h1></center></body></html>";
        for (body, is_foreign, is_of_others) in [
            (own, false, false),
            (listed, false, false),
            (bare, true, false),
            (html, true, true),
            ("upstream connect error", true, true),
            ("", true, true),
            ("{}", true, true),
            (r#"{"error":null}"#, true, true),
        ] {
            assert_eq!(read_named_refusal(503, body.as_bytes()).is_foreign, is_foreign, "{body}");
            assert_eq!(read_refusal(503, body.as_bytes()).is_foreign, is_of_others, "{body}");
        }
    }

    #[test]
    fn words_are_found_in_every_shape() {
        for (body, words) in [
            (r#"{"error":{"message":"no","type":"x"},"message":"other"}"#, "no"),
            (r#"{"error":"no such thing","message":"other"}"#, "no such thing"),
            (r#"{"error":null,"message":"m","detail":"d"}"#, "m"),
            (r#"{"error":{},"detail":"d"}"#, "d"),
            (r#"{"error":["a",{"message":"b"}]}"#, "a; b"),
            (r#"{"error":{"message":{"detail":[{"loc":["body","n"],"msg":"too big"}]}}}"#, "body.n: too big"),
            (r#"{"object":"error","message":"flat"}"#, "flat"),
            (r#"{"detail":[{"loc":["body","messages",0],"msg":"field required"}]}"#, "body.messages.0: field required"),
            (r#"{"errors":[{"code":7003,"message":"Could not route"}]}"#, "Could not route"),
            (r#"[{"error":{"code":400,"message":"API key not valid"}}]"#, "API key not valid"),
            (r#"{"error":{"type":"overloaded_error"}}"#, "overloaded_error"),
            (r#"{"error":{"weird":{"x":1}}}"#, r#"{"weird":{"x":1}}"#),
            (r#"{"what":"ever"}"#, r#"{"what":"ever"}"#),
            (r#""just text""#, "just text"),
            ("upstream\r\n  connect error\u{7}", "upstream connect error"),
            ("<html><head><style>b{}</style><title>502 Bad Gateway</title></head></html>", "502 Bad Gateway"),
            ("event: error\ndata: {\"error\":{\"message\":\"in a stream\"}}\n\n", "in a stream"),
            ("", "HTTP status 500"),
        ] {
            assert_eq!(read_refusal(500, body.as_bytes()).message, words, "{body}");
        }
        let long = "é".repeat(500);
        assert_eq!(read_refusal(500, long.as_bytes()).message, "é".repeat(100));
        assert!(
            read_refusal(500, format!(r#"{{"message":"{}"}}"#, "x".repeat(9_000)).as_bytes()).message.len() <= 2_000
        );
    }

    #[test]
    fn an_error_in_an_answer_stands_for_the_status_that_it_names() {
        for (body, status) in [
            (r#"{"error":{"code":429,"message":"x"}}"#, 429),
            (r#"{"error":{"code":"503"}}"#, 503),
            (r#"{"error":{"type":"overloaded_error"}}"#, 529),
            (r#"{"error":{"code":8,"status":"RESOURCE_EXHAUSTED"}}"#, 429),
            (r#"{"object":"error","type":"BadRequestError","code":null}"#, 400),
            (r#"{"error":{"type":"invalid_request_error","code":"context_length_exceeded"}}"#, 400),
            (r#"{"error":{"code":"invalid_api_key","type":"invalid_request_error"}}"#, 401),
            (r#"{"error":{"code":"invalid_prompt","message":"x"}}"#, 400),
            (r#"{"type":"error","code":"image_parse_error","message":"x"}"#, 400),
            (r#"{"error":{"code":"image_file_not_found"}}"#, 400),
            (r#"{"error":{"code":"invalid_image_url"}}"#, 400),
            (r#"{"error":{"code":"string_above_max_length","type":"server_error"}}"#, 400),
            (r#"{"error":{"code":"server_error"}}"#, 500),
            (r#"{"error":{"code":"vector_store_timeout"}}"#, 504),
            (r#"{"error":"text"}"#, 200),
        ] {
            let value = serde_json::from_str(body).unwrap();
            assert_eq!(in_answer(&value, body).status, status, "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_refusal_panics(body in ".{0,300}") {
            let _ = read_refusal(500, body.as_bytes());
            let _ = read_refusal(500, format!("<{body}").as_bytes());
        }
    }
}
