//! Values in the bodies and paths of several routes, read with errors that name their field.

use billing::{Nanos, Timestamp};
use serde_json::Value;
use uuid::Uuid;

use super::error::ApiError;
use crate::service::people::members::MadeKeys;

/// The longest text, in bytes.
const LONGEST: usize = 4_096;

/// The fault of a text that is used to search the database.
pub fn text_fault(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("must not be empty");
    }
    if text.len() > LONGEST {
        return Some("is too long");
    }
    text.chars().any(char::is_control).then_some("must not have control characters")
}

/// What becomes of the keys that a member made, where the membership ends: they are revoked where nothing is said.
///
/// # Errors
///
/// Something else is said than `revoke` or `keep`.
pub fn made_keys(said: Option<&str>) -> Result<MadeKeys, ApiError> {
    let Some(said) = said else { return Ok(MadeKeys::Revoke) };
    MadeKeys::from_name(said).ok_or_else(|| ApiError::invalid("keys", "must be revoke or keep"))
}

/// An operator's reason for an action, for readers of the audit log.
///
/// # Errors
///
/// The text is empty, too long or has control characters.
pub fn reason(reason: String) -> Result<String, ApiError> {
    match text_fault(&reason) {
        Some(fault) => Err(ApiError::invalid("reason", fault)),
        None => Ok(reason),
    }
}

/// An id in a path or a query.
///
/// # Errors
///
/// The text is not a UUID. The error states `rule`.
pub fn id(field: &str, text: &str, rule: &'static str) -> Result<Uuid, ApiError> {
    Uuid::parse_str(text).map_err(|_| ApiError::invalid(field, rule))
}

/// An amount of dollars as a string or a number.
///
/// # Errors
///
/// The value is neither a string nor a number, or not an amount of whole nanodollars.
pub fn amount(field: &str, value: &Value) -> Result<Nanos, ApiError> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err(ApiError::invalid(field, "must be an amount of dollars, such as \"10.00\"")),
    };
    text.parse().map_err(|error| ApiError::invalid(field, error))
}

/// An optional amount.
///
/// # Errors
///
/// As for [`amount`].
pub fn amount_given(field: &str, value: Option<&Value>) -> Result<Option<Nanos>, ApiError> {
    value.map(|value| amount(field, value)).transpose()
}

/// A time in a body: a date, an RFC 3339 time, or milliseconds since 1970.
///
/// # Errors
///
/// The value is not a time, or is outside the years 1970 to 9999.
pub fn instant(name: &str, value: &Value) -> Result<Timestamp, ApiError> {
    match value {
        Value::String(text) => text.parse().map_err(|error| ApiError::invalid(name, error)),
        Value::Number(number) => {
            let at = number.as_i64().map(Timestamp).filter(|at| is_instant(*at));
            let rule = "must be whole milliseconds since 1970, in the year 9999 or before";
            at.ok_or_else(|| ApiError::invalid(name, rule))
        }
        _ => Err(ApiError::invalid(name, "must be a date, an RFC 3339 time, or milliseconds since 1970")),
    }
}

/// Whether a time can be written with a year of four digits.
pub fn is_instant(at: Timestamp) -> bool {
    (Timestamp(0)..=Timestamp::LAST).contains(&at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_instant_in_a_body_is_text_or_milliseconds_and_can_be_written() {
        assert_eq!(instant("at", &json!("2026-11-24")).unwrap(), Timestamp(1_795_478_400_000));
        assert_eq!(instant("at", &json!(1_795_478_400_000_i64)).unwrap(), Timestamp(1_795_478_400_000));
        assert_eq!(instant("at", &json!(Timestamp::LAST.0)).unwrap(), Timestamp::LAST);
        for wrong in [
            json!(Timestamp::LAST.0 + 1),
            json!(i64::MAX),
            json!(u64::MAX),
            json!(-1),
            json!(1.5),
            json!("10000-01-01"),
            json!("9999-12-31T23:59:59-23:59"),
            json!(true),
            json!([]),
        ] {
            assert!(instant("at", &wrong).unwrap_err().message().starts_with("at"), "{wrong}");
        }
    }
}
