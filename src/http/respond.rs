//! Request bodies and answers: JSON is read with errors that name the field, and answers have their request's id.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode};
use bytes::Bytes;
use serde::Serialize;
use wire::object::Object;

use super::{
    arrival::Arrival,
    error::{self, ApiError},
    formats::errors_of,
    state::Shared,
};
use crate::words;

/// A request's body, or why it did not arrive.
pub type Body = Result<Bytes, actix_web::Error>;

/// Answers a request with an error.
pub fn refuse(request: &HttpRequest, error: &ApiError) -> HttpResponse {
    // The label is the path's pattern, of which there are few. Paths from clients are never labels.
    let route = request.match_pattern().unwrap_or_else(|| "none".to_owned());
    let status = error.status().as_u16().to_string();
    metrics::counter!("farebox_refusals_total", "route" => route, "status" => status).increment(1);
    let form = request.app_data::<Shared>().map(|state| state.settings.http.error_form).unwrap_or_default();
    let shape = error::form::shape_of(errors_of(request), request.headers(), form);
    error.response(shape, &Arrival::of(request).id.to_string())
}

/// A JSON answer or an error, with the request's id.
pub fn answer<T: Serialize>(request: &HttpRequest, result: Result<T, ApiError>) -> HttpResponse {
    answer_with(request, result.map(|body| (StatusCode::OK, body)))
}

/// A JSON answer with a status of its own, such as 202 for pending work.
pub fn answer_with<T: Serialize>(request: &HttpRequest, result: Result<(StatusCode, T), ApiError>) -> HttpResponse {
    match result {
        Ok((status, body)) => {
            let request_id = Arrival::of(request).id.to_string();
            HttpResponse::build(status).insert_header(("x-request-id", request_id)).json(body)
        }
        Err(error) => refuse(request, &error),
    }
}

/// Reads a complete JSON body, with errors that name the field.
///
/// # Errors
///
/// The body is too large or did not arrive, or as for [`parse_body`].
pub fn read<T: serde::de::DeserializeOwned>(state: &Shared, body: Body) -> Result<T, ApiError> {
    parse_body(&body.map_err(|_| ApiError::too_large(state.settings.limits.body_bytes))?)
}

/// Reads the body of a request that takes none: what it says would be ignored. An empty object is none.
///
/// # Errors
///
/// The body has a field, is no JSON object, or did not arrive.
pub fn read_nothing(state: &Shared, body: Body) -> Result<(), ApiError> {
    let Nothing {} = read(state, body)?;
    Ok(())
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Reads JSON, with errors that name the field.
///
/// # Errors
///
/// The body is not JSON of the type, or more follows it. The error names the field.
pub fn parse_body<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    parse("body", if body.is_empty() { b"{}" } else { body })
}

/// Reads JSON that has this name as a whole, as [`parse_body`] does.
///
/// # Errors
///
/// As for [`parse_body`].
pub fn parse<T: serde::de::DeserializeOwned>(whole: &str, text: &[u8]) -> Result<T, ApiError> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let Object(parsed) = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let (path, message) = (error.path().to_string(), error.inner().to_string());
        // A missing or unknown field is named by the message alone; an invalid one by its path.
        let named = message.split("field `").nth(1).and_then(|rest| rest.split('`').next());
        let field = match (named, path.as_str()) {
            (Some(named), _) => named.to_owned(),
            (None, "." | "?") => whole.to_owned(),
            (None, _) => path,
        };
        ApiError::invalid(&field, words::plain(&message))
    })?;
    reader.end().map_err(|error| ApiError::invalid(whole, error))?;
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::{error::Shape, *};

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        amount: u8,
        inner: Option<Inner>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        names: Vec<String>,
    }

    #[test]
    fn the_field_that_is_wrong_is_named() {
        for (body, field) in [
            ("{}", "amount"),
            ("", "amount"),
            (r#"{"amount": "x"}"#, "amount"),
            (r#"{"amount": 1, "color": 1}"#, "color"),
            (r#"{"amount": 1, "inner": {"names": ["a", 2]}}"#, "inner.names[1]"),
            (r#"{"amount": 1} x"#, "body"),
            ("[", "body"),
            ("7", "body"),
            ("[1, null]", "body"),
            (" [1, {\"names\": []}]", "body"),
        ] {
            let error = parse_body::<Body>(body.as_bytes()).unwrap_err().body(Shape::Native, "r");
            assert_eq!(error["field"], field, "{body}: {error}");
        }
        let parsed: Body = parse_body(br#"{"amount": 1, "inner": {"names": ["a"]}}"#).unwrap();
        assert_eq!((parsed.amount, parsed.inner.unwrap().names.len()), (1, 1));
        assert!(parse_body::<Nothing>(b"").is_ok() && parse_body::<Nothing>(b" {} ").is_ok());
        assert_eq!(parse_body::<Nothing>(br#"{"all": true}"#).unwrap_err().body(Shape::Native, "r")["field"], "all");
    }
}
