//! Amounts and times as pages show them, and amounts as people type them.

use std::fmt;

use billing::{Nanos, Timestamp};
use serde_json::Value;

use crate::http::{error::ApiError, values};

/// Dollars that a person typed into a field.
///
/// # Errors
///
/// The text is no amount.
pub(in crate::http) fn dollars(field: &str, text: &str) -> Result<Nanos, ApiError> {
    values::amount(field, &Value::String(text.trim().trim_start_matches('$').to_owned()))
}

/// The same in a field that may be left empty.
///
/// # Errors
///
/// The text is no amount.
pub(in crate::http) fn dollars_given(field: &str, text: Option<&str>) -> Result<Option<Nanos>, ApiError> {
    text.map(|text| dollars(field, text)).transpose()
}

/// A time to the minute, in UTC, as people read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Minute(Timestamp);

/// A time to the minute.
pub(super) const fn minute(at: Timestamp) -> Minute {
    Minute(at)
}

impl Minute {
    /// The same time as machines read it: a "valid global date and time string" of the HTML standard.
    pub(super) fn machine(self) -> String {
        let text = self.0.to_string();
        text.get(..16).map_or_else(|| text.clone(), |minute| format!("{minute}Z"))
    }
}

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        match (text.get(..10), text.get(11..16)) {
            (Some(day), Some(minute)) => write!(f, "{day} {minute} UTC"),
            _ => f.write_str(&text),
        }
    }
}

/// A time of so many milliseconds.
pub(super) fn millis(ms: u64) -> String {
    if ms < 10_000 {
        format!("{} ms", count(ms.try_into().unwrap_or(i64::MAX)))
    } else {
        format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
    }
}

/// A whole number with thin groups of three.
pub(in crate::http) fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_short() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
        assert_eq!([0, 9_999, 10_099].map(millis), ["0 ms", "9\u{202f}999 ms", "10.0 s"]);
        assert_eq!(count(-1_000), "-1\u{202f}000");
        let at: Timestamp = "2026-11-29T10:12:13Z".parse().unwrap();
        assert_eq!((minute(at).to_string().as_str(), at.date().as_str()), ("2026-11-29 10:12 UTC", "2026-11-29"));
        assert_eq!(minute(at).machine(), "2026-11-29T10:12Z");
    }
}
