//! Reading a JSON body field by field, with errors that name the field.

use serde_json::{Map, Value};

/// A field that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct BadRequest {
    /// Which; empty where the body as a whole is meant.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl BadRequest {
    /// An error of a field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// A body that must be a JSON object.
pub(crate) fn object(body: &[u8]) -> Result<Map<String, Value>, BadRequest> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(BadRequest::new("body", "must be a JSON object")),
        Err(error) => Err(BadRequest::new("body", format!("is not JSON: {error}"))),
    }
}

/// A field that may be absent or null.
pub(crate) fn present<'a>(map: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    map.get(field).filter(|value| !value.is_null())
}

/// A text.
pub(crate) fn string(map: &Map<String, Value>, field: &str) -> Result<Option<String>, BadRequest> {
    present(map, field)
        .map(|value| value.as_str().map(str::to_owned).ok_or_else(|| BadRequest::new(field, "must be a string")))
        .transpose()
}

/// A yes or no.
pub(crate) fn boolean(map: &Map<String, Value>, field: &str) -> Result<Option<bool>, BadRequest> {
    present(map, field)
        .map(|value| value.as_bool().ok_or_else(|| BadRequest::new(field, "must be true or false")))
        .transpose()
}

/// A whole number within a range.
pub(crate) fn whole(map: &Map<String, Value>, field: &str, least: u64, most: u64) -> Result<Option<u64>, BadRequest> {
    let bad = || BadRequest::new(field, format!("must be a whole number from {least} to {most}"));
    present(map, field)
        .map(|value| value.as_u64().filter(|number| (least..=most).contains(number)).ok_or_else(bad))
        .transpose()
}

/// A number within a range.
#[expect(clippy::cast_possible_truncation, reason = "the range is far inside f32")]
pub(crate) fn number(map: &Map<String, Value>, field: &str, least: f64, most: f64) -> Result<Option<f32>, BadRequest> {
    let bad = || BadRequest::new(field, format!("must be a number from {least} to {most}"));
    present(map, field)
        .map(|value| value.as_f64().filter(|number| (least..=most).contains(number)).map(|n| n as f32).ok_or_else(bad))
        .transpose()
}
